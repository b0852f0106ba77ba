"""`mtmoe synthesise` as a whole: its options, and that a recipe reads what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.processes.commands import invoke_in_group


@pytest.fixture
def text(tiny_run: Any, tmp_path: Path) -> Path:
    path = tmp_path / "mono.fr"
    lines = (tiny_run.folder / "test.en").read_text().splitlines()
    path.write_text("".join(f"{line} again\n" for line in [*lines[:5], ""]))
    return path


def test_the_table_that_is_written_reads_the_pairs(invoke: Any, tiny_run: Any, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "bt.tsv"
    result = invoke(
        "synthesise", tiny_run.run, text, output, "--method", "sampling", "--tag", "<BT>", "--license", 'CC "0"',
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("# 6 pairs, back-translated: fr-en\n[[data.train]]\n")
    assert "synthesise: 6 lines" in result.stderr
    recipe = tmp_path / "student.toml"
    recipe.write_text(tiny_run.recipe.read_text().replace("[[data.valid]]", f"{result.stdout}[[data.valid]]"))
    prepared = invoke("preprocess", recipe, tmp_path / "data", "--workers", 1, "--set", "subwords.vocabulary_size=345")
    assert prepared.exit_code == 0, prepared.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert report["train"]["bt"]["read"] == 6
    assert report["train"]["bt"]["kept"] + report["train"]["bt"]["empty_side"] == 6


def test_every_method_makes_other_pairs_and_shards_make_the_same(
    invoke: Any, tiny_run: Any, text: Path, tmp_path: Path
) -> None:
    made = {}
    for method in ("beam", "sampling", "top-k", "noised-beam"):
        output = tmp_path / f"{method}.tsv"
        options = ("--blank", 0.9) if method == "noised-beam" else ()
        result = invoke("synthesise", tiny_run.run, text, output, "--method", method, *options)
        assert result.exit_code == 0, result.stderr
        made[method] = [line.split("\t")[:2] for line in output.read_text().split("\n")]
    assert len({str(pairs) for pairs in made.values()}) == 4
    output = tmp_path / "shards.tsv"
    options = ("--method", "top-k", "--top-k", 10, "--seed", 1)
    first = invoke("synthesise", tiny_run.run, text, output, *options, "--shard", "1/2")
    assert (first.exit_code, first.stdout) == (0, "")
    assert "shards.tsv: 1 of 2 shards are not complete; the last one joins all" in first.stderr
    second = invoke("synthesise", tiny_run.run, text, output, *options, "--shard", "2/2")
    assert "[[data.train]]" in second.stdout
    assert [line.split("\t")[:2] for line in output.read_text().split("\n")] == made["top-k"]


def test_processes_of_torchrun_share_the_lines(invoke: Any, tiny_run: Any, text: Path, tmp_path: Path) -> None:
    expected, output = tmp_path / "one.tsv", tmp_path / "two.tsv"
    command = ["synthesise", tiny_run.run, text, "--method", "sampling", "--device", "cpu"]
    assert invoke(*command[:3], expected, *command[3:]).exit_code == 0
    done = invoke_in_group(2, *command[:3], output, *command[3:])
    assert [each.status for each in done] == [0, 0], [each.talk for each in done]
    # Whoever finds all complete says how to read it: the last one, or both where they end at the same time.
    assert 1 <= sum(each.output.count("[[data.train]]") for each in done) <= 2
    pairs = [[line.split("\t")[:2] for line in path.read_text().split("\n")] for path in (expected, output)]
    assert pairs[0] == pairs[1]


def test_a_shard_of_ones_own_contradicts_torchrun(
    invoke: Any, tiny_run: Any, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    result = invoke("synthesise", tiny_run.run, text, tmp_path / "out", "--shard", "1/2")
    assert result.exit_code == 2
    assert "--shard 1/2 and torchrun (RANK = 1) both say which lines this process does" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--top-k", "5"], "--top-k belongs to --method top-k, not to --method beam"),
        (["--method", "top-k", "--drop", "0.1"], "belong to --method noised-beam, not to --method top-k"),
        (["--seed", "5"], "--seed does nothing with --method beam, which draws nothing"),
        (["--utility", "chrf"], "--utility compares with --reference: give one"),
        (["--candidates", "5"], "--candidates are chosen from by --reference: give one"),
        (["--tag", "a b"], "--tag 'a b' is not one word"),
        (["--shard", "3/2"], "'3/2' is no shard: write 2/4 for the second of four"),
        (["--shard", "0/2"], "'0/2' is no shard"),
        (["--device", "cpu,cpu"], "--device names 2 devices, but --workers is 1"),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    invoke: Any, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    result = invoke("synthesise", "run", "text", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_mistakes_are_told_before_anything_is_written(invoke: Any, tiny_run: Any, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.tsv"
    for arguments, complaint in (
        ([tiny_run.folder, text, output], "recipe.toml"),
        ([tiny_run.run, tmp_path / "none.fr", output], "none.fr: no such file"),
        ([tiny_run.run, text, output, "--candidates", "9", "--reference", text], "num_best = 9 is more than"),
        ([tiny_run.run, text, output, "--method", "top-k", "--beam", "4"], "No such option"),
        ([tiny_run.run, text, output, "--set", "decoding.beam_sise=4"], "did you mean"),
        ([tiny_run.run, text, tmp_path / "none" / "out.tsv"], "No such file or directory"),
    ):
        result = invoke("synthesise", *arguments)
        assert result.exit_code in (1, 2)
        assert complaint in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"mono.fr"}


def test_the_choices_of_the_command_are_those_of_the_library() -> None:
    from mtmoe.cli.commands import synthesise as command

    from mtmoe.synthesis import synthesis_options as library

    for name in ("ORIGINS", "METHODS", "UTILITIES"):
        assert getattr(command, name) == getattr(library, name)
