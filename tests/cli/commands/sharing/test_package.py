"""``mtmoe package``, and the commands that take a package in place of a run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

import mtmoe
from mtmoe.serving.loading import load_run
from mtmoe.sharing.packaging import PackageOptions, package_run


@pytest.fixture(scope="module")
def package(tiny_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tiny run, with all bits."""
    path = tmp_path_factory.mktemp("packages") / "tiny.mtmoe"
    package_run(PackageOptions(tiny_run.run, "0.1.0", precision="fp32"), path)
    return path


@pytest.fixture
def text(tiny_run) -> bytes:
    return (tiny_run.folder / "test.en").read_bytes()


def test_size_and_bleu_of_each_choice_are_told_and_the_smallest_that_loses_nothing_is_taken(invoke, tiny_run, tmp_path):
    result = invoke("package", tiny_run.run, tmp_path / "m.mtmoe", "--json", "--license", "MIT")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert [choice["weights"] for choice in told["choices"]] == ["int8", "bf16", "fp32"]
    sizes = [choice["num_bytes"] for choice in told["choices"]]
    assert sizes == sorted(sizes)
    assert told["run"]["num_sentences"] == 6
    assert told["choices"][2]["bleu"] == told["run"]["bleu"]
    good = [choice["weights"] for choice in told["choices"] if choice["bleu"] >= told["run"]["bleu"] - 0.1]
    assert told["weights"] == good[0]
    assert told["num_bytes"] == (tmp_path / "m.mtmoe").stat().st_size
    with zipfile.ZipFile(tmp_path / "m.mtmoe") as archive:
        card = archive.read("README.md").decode()
    assert "license: mit\n" in card
    assert told["run"]["bleu_signature"] in card


def test_the_table_is_for_people(invoke, tiny_run, tmp_path):
    result = invoke("package", tiny_run.run, tmp_path / "m.mtmoe", "--weights", "bf16")
    assert result.exit_code == 0, result.stderr
    assert "the run itself" in result.stdout
    assert "bf16, as written" in result.stdout
    assert "int8" not in result.stdout
    assert "dev set, 6 sentences: nrefs:1|" in result.stdout
    assert f"next: mtmoe translate {tmp_path / 'm.mtmoe'}" in result.stderr


def test_unmeasured_weights_are_in_bf16(invoke, tiny_run, tmp_path):
    result = invoke("package", tiny_run.run, tmp_path / "m.mtmoe", "--no-bleu")
    assert result.exit_code == 0, result.stderr
    assert "weights in bf16" in result.stderr
    assert "BLEU was not measured" in result.stderr
    assert "BLEU" not in result.stdout


def test_translate_score_bleu_and_describe_say_of_a_package_what_they_say_of_the_run(invoke, tiny_run, package, text):
    source, target = tiny_run.folder / "test.en", tiny_run.folder / "test.fr"
    for arguments in (
        ("translate", "{}", "--scores"),
        ("score", "{}", source, target, "--tokens"),
        ("bleu", "{}", "--source", source, "--reference", target, "--json"),
        ("bleu", "{}", "--data", tiny_run.data, "--json"),
        ("explain", "{}", "--json", "--no-ablation", "--without", "0"),
        ("describe", "{}", "--json"),
    ):
        answers = []
        for model in (tiny_run.run, package):
            result = invoke(*(str(argument).format(model) for argument in arguments), input=text)
            assert result.exit_code == 0, result.stderr
            answers.append(result.stdout.replace(str(model), "MODEL"))
        assert answers[0] == answers[1], arguments
        assert answers[0]


def test_files_that_are_translated_go_on_where_they_were(invoke, tiny_run, package, tmp_path):
    output = tmp_path / "out.fr"
    arguments = ("translate", package, tiny_run.folder / "test.en", "--output", output)
    assert invoke(*arguments).exit_code == 0
    whole = output.read_bytes()
    result = invoke(*arguments, "--resume")
    assert result.exit_code == 0, result.stderr
    assert output.read_bytes() == whole


def test_several_processes_translate_with_a_package(invoke, package, text):
    alone, together = (invoke("translate", package, "--workers", number, input=text) for number in ("1", "2"))
    assert together.exit_code == 0, together.stderr
    assert together.stdout == alone.stdout


def test_python_takes_a_package(tiny_run, package, text):
    lines = text.decode().splitlines()
    of_run, of_package = (mtmoe.Translator(model, device="cpu").translate(lines) for model in (tiny_run.run, package))
    assert of_package == of_run


def test_a_server_takes_a_package(package):
    served = load_run(package, device="cpu")
    assert [(direction.source, direction.target) for direction in served.directions] == [("en", "fr")]


def test_a_package_and_the_run_translate_together(invoke, tiny_run, package, text):
    alone, together = (invoke("translate", package, *more, input=text) for more in ((), ("--with", tiny_run.run)))
    assert together.exit_code == 0, together.stderr
    assert together.stdout == alone.stdout  # the same weights twice


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("package", "{package}", "{folder}/m.mtmoe"), "is a file"),
        (("package", "{run}", "{folder}/m.zip"), "known as a package by its ending: m.zip.mtmoe"),
        (("package", "{run}", "{folder}/no/m.mtmoe"), "there is no directory"),
        (("package", "{run}", "{folder}/m.mtmoe", "--checkpoint", "step-9"), "no checkpoint 'step-9'"),
        (("package", "{folder}/no", "{folder}/m.mtmoe"), "it does not exist"),
        (("translate", "{folder}/no.mtmoe"), "no package"),
        (("translate", "{package}", "--checkpoint", "last"), "a package holds one"),
        (("bleu", "{package}"), "--data"),
        (("average", "{package}", "--last", "2"), "is a file"),
        (("calibrate", "{package}"), "is a file"),
        (("train", "{recipe}", "{folder}/new", "--from", "{package}"), "is a file"),
    ],
)
def test_what_is_no_package_and_what_takes_none_is_told(invoke, tiny_run, package, tmp_path, arguments, what):
    named = {"package": package, "run": tiny_run.run, "folder": tmp_path, "recipe": tiny_run.recipe}
    result = invoke(*(argument.format(**named) for argument in arguments), input=b"")
    assert result.exit_code in (1, 2)
    assert what in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.glob("*.mtmoe")) == []
