"""`mtmoe bleu` over several systems and test sets, sacreBLEU's test sets without a network, and COMET."""

from __future__ import annotations

import json
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

import pytest

WORDS = ("Der", "Hund", "sieht", "die", "alte", "Frau", "am", "Fluss", "und", "geht", "dann", "nach", "Hause")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Twelve sentences: references, a good and a bad translation."""
    references = [" ".join([*WORDS[n % 5 :], f"Nummer {n}."]) for n in range(12)]
    texts = {
        "reference": references,
        "good": [line.replace("alte", "junge") for line in references],
        "bad": [line.lower() for line in references],
        "source": [f"sentence {n}" for n in range(12)],
    }
    paths = {}
    for name, lines in texts.items():
        paths[name] = tmp_path / f"{name}.txt"
        paths[name].write_text("".join(f"{line}\n" for line in lines))
    return paths


def _measure(invoke: Any, path: Path, files: dict[str, Path], *arguments: Any) -> list[dict[str, Any]]:
    result = invoke("bleu", "--hypothesis", path, "--reference", files["reference"], "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_score_has_a_confidence_interval_that_changes_neither_score_nor_signature(
    invoke: Any, files: dict[str, Path]
) -> None:
    from mtmoe.evaluation.quality import measure_quality

    lines = {name: path.read_text().splitlines() for name, path in files.items()}
    plain = measure_quality(lines["good"], [lines["reference"]])
    [measured] = _measure(invoke, files["good"], files)
    assert measured["bleu"] == plain.bleu
    assert measured["bleu_signature"] == plain.bleu_signature
    assert plain.bleu_interval is None
    assert 0 < measured["bleu_interval"] < 20
    shown = invoke("bleu", "--hypothesis", files["good"], "--reference", files["reference"]).stdout
    assert f"95 % intervals by bootstrap: BLEU +- {measured['bleu_interval']:.2f}, chrF2 +- " in shown


def test_the_interval_is_that_of_resampled_test_sets(files: dict[str, Path]) -> None:
    import numpy as np
    from sacrebleu.metrics.bleu import BLEU

    from mtmoe.evaluation.quality import measure_quality

    good, reference = (files[name].read_text().splitlines() for name in ("good", "reference"))
    generator = np.random.default_rng(0)
    scores = []
    for _ in range(500):
        chosen = generator.integers(len(good), size=len(good))
        scores.append(BLEU().corpus_score([good[i] for i in chosen], [[reference[i] for i in chosen]]).score)
    low, high = np.quantile(scores, [0.025, 0.975])
    found = measure_quality(good, [reference], num_samples=1000).bleu_interval
    assert found == pytest.approx((high - low) / 2, rel=0.2)


def test_several_systems_are_a_table_with_signatures(invoke: Any, files: dict[str, Path]) -> None:
    command = ("bleu", "--hypothesis", files["good"], "--hypothesis", files["bad"], "--reference", files["reference"])
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    head, good, bad, *rest = result.stdout.splitlines()
    assert head.split() == ["test", "set", "system", "BLEU", "chrF2"]
    assert good.split()[1] == str(files["good"])
    assert "p = " not in good
    assert bad.count("p = 0.00") == 2
    assert "12 sentences, paired bootstrap against" in "\n".join(rest)
    assert any("BLEU:  nrefs:1|bs:1000|seed:12345|case:mixed" in line for line in rest)


def test_earlier_results_are_shown_in_one_table(invoke: Any, files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("good", "bad"):
        (tmp_path / name).write_text(json.dumps(_measure(invoke, files[name], files)))
    both = ("--hypothesis", files["good"], "--hypothesis", files["bad"])
    (tmp_path / "both").write_text(invoke("bleu", *both, "--reference", files["reference"], "--json").stdout)
    command = ("bleu", *(word for name in ("good", "bad", "both") for word in ("--results", tmp_path / name)))
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if "+- " in line and "txt" in line]
    assert len(rows) == 4
    assert rows[0].split()[1:5] == rows[2].split()[1:5]
    assert len(json.loads(invoke(*command, "--json").stdout)) == 3


def test_results_with_different_signatures_are_not_compared(
    invoke: Any, files: dict[str, Path], tmp_path: Path
) -> None:
    measured = _measure(invoke, files["good"], files)
    (tmp_path / "a").write_text(json.dumps(measured))
    command = ("bleu", "--results", tmp_path / "a", "--results", tmp_path / "b")
    other = measured[0] | {"bleu_signature": measured[0]["bleu_signature"].replace("13a", "intl")}
    (tmp_path / "b").write_text(json.dumps([other]))
    result = invoke(*command)
    assert result.exit_code == 1
    assert "cannot be compared: " in result.stderr
    assert "tok:intl" in result.stderr
    assert "tok:13a" in result.stderr
    (tmp_path / "b").write_text(json.dumps([measured[0] | {"num_sentences": 11}]))
    assert "has 11 sentences in" in invoke(*command).stderr
    (tmp_path / "b").write_text(json.dumps([other | {"test_set": "another"}]))
    assert invoke(*command).exit_code == 0


@pytest.mark.parametrize("content", ["no JSON", "{}", "[1]", '[{"test_set": "x"}]', "7"])
def test_other_files_are_no_results(invoke: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text(content)
    result = invoke("bleu", "--results", tmp_path / "a")
    assert result.exit_code == 1
    assert "a: is not what `mtmoe bleu --json` writes" in result.stderr


# ------------------------------------------------------------------------------------- sacreBLEU's test sets


@pytest.fixture
def wmt14(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """sacreBLEU's directory with wmt14/full in it, as sacreBLEU lays it out, and no network."""
    from sacrebleu.dataset import DATASETS

    directory = tmp_path / "sacrebleu" / "wmt14" / "full"
    monkeypatch.setattr("sacrebleu.dataset.base.SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    usual = DATASETS["wmt14/full"]
    here = type(usual)(usual.name, usual.data, usual.description, usual.citation, usual.md5, usual.langpairs)
    monkeypatch.setitem(DATASETS, "wmt14/full", here)
    directory.mkdir(parents=True)
    for field in DATASETS["wmt14/full"].fieldnames("en-de"):
        text = {"src": files["source"], "ref": files["reference"]}.get(field, files["source"]).read_text()
        (directory / f"wmt14_full.en-de.{field}").write_text(text)

    def refused(*arguments: Any, **options: Any) -> NoReturn:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refused)
    return directory


def test_a_public_test_set_is_used_like_files(invoke: Any, files: dict[str, Path], wmt14: Path) -> None:
    [of_files] = _measure(invoke, files["good"], files)
    public = ("--test-set", "wmt14/full", "-l", "en-de")
    result = invoke("bleu", "--hypothesis", files["good"], *public, "--json")
    assert result.exit_code == 0, result.stderr
    [of_set] = json.loads(result.stdout)
    assert of_set["test_set"] == "wmt14/full"
    assert {key: of_set[key] for key in of_set if key != "test_set"} == {
        key: of_files[key] for key in of_files if key != "test_set"
    }


def test_a_run_translates_public_and_several_test_sets(
    invoke: Any, tiny_run: Any, wmt14: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sacrebleu.dataset import DATASETS

    monkeypatch.setitem(DATASETS, "wmt14/again", DATASETS["wmt14/full"])
    public = ("--test-set", "wmt14/full", "--test-set", "wmt14/again", "-l", "en-de")
    result = invoke("bleu", tiny_run.run, *public, "--set", "decoding.beam_size=1")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[1:3]] == ["wmt14/full", "wmt14/again"]


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("wmt14/ful", "en-de", "sacreBLEU has no test set 'wmt14/ful'\ndid you mean wmt14/full"),
        ("wmt14/full", "en-xx", "the test set wmt14/full is not there for 'en-xx'\nit is there for: cs-en, de-en, "),
        ("wmt14/full", "de-en", "could not be fetched from https://statmt.org/wmt14/test-full.tgz: "),
    ],
)
def test_a_public_test_set_that_cannot_be_had_is_an_error(
    invoke: Any, files: dict[str, Path], wmt14: Path, name: str, pair: str, message: str
) -> None:
    result = invoke("bleu", "--hypothesis", files["good"], "--test-set", name, "-l", pair)
    assert result.exit_code == 1
    assert message in result.stderr


def test_chinese_is_divided_into_characters(invoke: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("我们今天去学校。\n")
    arguments = ("bleu", "--hypothesis", tmp_path / "a", "--reference", tmp_path / "a", "--json")
    [measured] = json.loads(invoke(*arguments, "-l", "en-zh").stdout)
    assert "tok:zh" in measured["bleu_signature"]
    missing = invoke(*arguments, "-l", "en-ja")
    if missing.exit_code:
        assert "sacreBLEU's tokeniser ja-mecab is not installed\npip install 'sacrebleu[ja]'" in missing.stderr
        assert "pip install 'sacrebleu[ja]'" in missing.stderr


def test_runs_into_different_languages_are_not_compared(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    recipe = (tiny_run.run / "recipe.toml").read_text()
    (other / "recipe.toml").write_text(recipe.replace('target_language = "fr"', 'target_language = "de"'))
    (other / "data").symlink_to(tiny_run.data)
    result = invoke("bleu", tiny_run.run, other)
    assert result.exit_code == 1
    assert f"{other} translates into 'de', but {tiny_run.run} into 'fr'" in result.stderr


# ----------------------------------------------------------------------------------------------------- COMET


def test_comet_that_is_not_installed_is_named_before_anything_is_translated(
    invoke: Any, tiny_run: Any, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    command = ("bleu", tiny_run.run, "--source", files["source"], "--reference", files["reference"])
    result = invoke(*command, "--comet", "Unbabel/wmt22-comet-da")
    assert result.exit_code == 1
    assert "COMET cannot be imported" in result.stderr
    assert "pip install unbabel-comet" in result.stderr


def test_comet_that_is_installed_scores_source_translation_and_reference(
    invoke: Any, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Model:
        def predict(self, data: list[dict[str, str]], gpus: int) -> Any:
            seen.append(data)
            return types.SimpleNamespace(system_score=0.5 + 0.25 * (len(seen) - 1))

    comet = types.ModuleType("comet")
    comet.download_model = lambda name: f"/models/{name}"  # type: ignore[attr-defined]
    comet.load_from_checkpoint = lambda path: Model()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet", comet)
    arguments = ("--source", files["source"], "--comet", "Unbabel/x", "--reference", files["good"])
    [measured] = _measure(invoke, files["bad"], files, *arguments)
    assert measured["comet"] == 0.625  # the mean over two references
    assert measured["comet_model"] == "Unbabel/x"
    references = [files[name].read_text().splitlines()[3] for name in ("reference", "good")]
    hypothesis = files["bad"].read_text().splitlines()[3]
    assert [data[3] for data in seen] == [
        {"src": "sentence 3", "mt": hypothesis, "ref": reference} for reference in references
    ]


def test_perturbed_text_has_a_table_within_80_columns_and_a_part_of_the_report(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    result = invoke("bleu", tiny_run.run, "--perturb", "all")
    assert result.exit_code == 0, result.stderr
    assert max(map(len, (line for line in result.stdout.splitlines() if "nrefs" not in line))) <= 80
    kinds = [line.split()[0] for line in result.stdout.partition("as people type it (seed 1)\n")[2].splitlines()]
    assert {"text", "clean", "clean*", "upper", "title*", "lower+no-punctuation*", "url", "merged"} <= set(kinds)
    assert result.stdout.count("case:lc") == 2
    chosen = ("bleu", tiny_run.run, "--perturb", "url, typos", "--perturb-seed", "7", "--json")
    written = invoke(*chosen).stdout
    [report] = json.loads(written)
    assert [row["kind"] for row in report["robustness"]["kinds"]] == ["clean", "url", "typos"]
    assert report["robustness"]["kinds"][0]["bleu"] == report["bleu"]
    assert 0 <= report["robustness"]["kinds"][1]["kept_share"] <= 1
    assert invoke(*chosen).stdout == written
    (tmp_path / "report").write_text(written)
    shown = invoke("bleu", "--results", tmp_path / "report").stdout
    assert "as people type it (seed 7)" in shown
    (tmp_path / "report").write_text(written.replace('"num_loops": ', '"num_loops": -1'))
    assert "is not what `mtmoe bleu --json` writes" in invoke("bleu", "--results", tmp_path / "report").stderr


def test_a_perturbation_that_cannot_be_is_told_before_any_work(
    invoke: Any, tiny_run: Any, files: dict[str, Path]
) -> None:
    result = invoke("bleu", tiny_run.run, "--perturb", "upper,uper")
    assert result.exit_code == 1
    assert "'uper' is no kind of perturbation" in result.stderr
    assert "upper, title, lower" in result.stderr
    for arguments in (
        (tiny_run.run, "--perturb-seed", "3"),
        (tiny_run.run, tiny_run.folder, "--perturb", "all"),
        (tiny_run.run, "--perturb", "all", "--comet", "a/model"),
        ("--hypothesis", files["good"], "--reference", files["reference"], "--perturb", "all"),
    ):
        result = invoke("bleu", *arguments)
        assert result.exit_code == 2
        assert "--perturb KINDS measures one RUN" in result.stderr
