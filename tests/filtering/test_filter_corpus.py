"""Whole filters: what is kept, what is told, and what a stop or other processes change: nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mtmoe.filtering.filter_corpus as module
from mtmoe.corpus_survey.text_fields import LanguagePair
from mtmoe.errors import UserError
from mtmoe.filtering.criteria import Criteria, Selection
from mtmoe.filtering.filter_corpus import filter_corpus
from mtmoe.filtering.filter_options import FilterOptions
from tests.filtering.conftest import Shuffled, ToyRuns
from tests.parallel_text import sentences, write_lines, write_tmx

EN, DE = sentences("en", 120), sentences("de", 120)


def rows_of(output: Path) -> list[dict[str, str]]:
    """Return the rows of the table of scores."""
    head, *lines = (output / "scores.tsv").read_text(encoding="utf-8").splitlines()
    return [dict(zip(head.split("\t"), line.split("\t"), strict=True)) for line in lines]


def contents(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


def area_under_curve(scores: list[float], is_bad: list[bool]) -> float:
    good, bad = (np.array([s for s, b in zip(scores, is_bad, strict=True) if b is kind]) for kind in (False, True))
    wins: float = ((good[:, None] > bad).mean() + (good[:, None] >= bad).mean()) / 2
    return wins


def dual(toy_runs: ToyRuns) -> Criteria:
    return Criteria(forward=toy_runs.forward, backward=toy_runs.backward, lexicon=toy_runs.forward)


def test_shuffled_pairs_are_told_from_right_ones(toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path) -> None:
    best = Selection(keep_share=0.7)
    report = filter_corpus(FilterOptions(shuffled.paths, tmp_path / "out", dual(toy_runs), best, with_scores=True))
    rows = rows_of(tmp_path / "out")
    # The toy has twelve words: a shuffled pair has half of them in common.
    assert area_under_curve([float(row["score"]) for row in rows], list(shuffled.is_shuffled)) > 0.75
    assert report is not None
    assert (report.num_pairs, report.num_kept, report.left_out) == (200, 140, {"below_score": 60})
    kept = [place for place, row in enumerate(rows) if row["decision"] == "kept"]
    for path in shuffled.paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        written = (tmp_path / "out" / f"kept{path.suffix}").read_text(encoding="utf-8").splitlines()
        assert written == [lines[place] for place in kept]
    assert report.least_score == pytest.approx(min(float(rows[place]["score"]) for place in kept), rel=1e-4)


def test_the_report_has_examples_of_each_tenth(toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path) -> None:
    options = FilterOptions(
        shuffled.paths, tmp_path / "out", dual(toy_runs), Selection(keep_pairs=50), with_scores=True
    )
    report = filter_corpus(options)
    assert report is not None
    scores = sorted(float(row["score"]) for row in rows_of(tmp_path / "out"))
    assert [decile.least for decile in report.deciles] == pytest.approx(scores[::20], rel=1e-4)
    assert [decile.num_pairs for decile in report.deciles] == [20] * 10
    assert [decile.num_kept for decile in report.deciles] == [0] * 7 + [10, 20, 20]
    sources, targets = (path.read_text(encoding="utf-8").splitlines() for path in shuffled.paths)
    for decile in report.deciles:
        assert len(decile.examples) == 3
        for example in decile.examples:
            assert (example.source, example.target) == (sources[example.number - 1], targets[example.number - 1])
            assert example.score >= decile.least
            assert list(example.measures) == ["translation", "coverage"]
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(report.as_data())
    )


def test_the_manifest_has_hashes_of_text_runs_and_outputs(
    toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path
) -> None:
    filter_corpus(FilterOptions(shuffled.paths, tmp_path / "out", dual(toy_runs), output_format="tsv"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    for entry, path in zip(manifest["text"], shuffled.paths, strict=True):
        assert entry["blake2b"] == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    content = (tmp_path / "out" / "kept.tsv").read_bytes()
    assert manifest["outputs"] == {"kept.tsv": {"num_lines": 200, "sha256": hashlib.sha256(content).hexdigest()}}
    assert content.count(b"\t") == 200
    assert manifest["options"]["runs"]["forward"]["weights"]
    assert manifest["options"]["selection"]["weights"] == {"translation": 1.0, "coverage": 3.0}


def test_workers_write_what_one_process_writes(
    toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "CHUNK_PAIRS", 64)
    alone = FilterOptions(shuffled.paths, tmp_path / "one", dual(toy_runs), with_scores=True)
    filter_corpus(alone)
    filter_corpus(alone._replace(output=tmp_path / "two", num_workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("stopped_after", [64, 128])
def test_a_filter_that_was_stopped_goes_on_and_writes_the_same(
    toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path, monkeypatch: Any, stopped_after: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_PAIRS", 64)
    criteria = dual(toy_runs)._replace(with_near_duplicates=True, similarity=0.6)
    whole = FilterOptions(shuffled.paths, tmp_path / "whole", criteria, Selection(keep_share=0.5), with_scores=True)
    filter_corpus(whole)
    parts = whole._replace(output=tmp_path / "parts")

    def stop(stage: str, done: int, total: int | None, unit: str) -> None:
        if stage == "measure" and done == stopped_after:
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        filter_corpus(parts, progress=stop, tell=told.append)
    assert f"stopped after pair {stopped_after} of 200" in told[0]
    assert not (tmp_path / "parts" / "manifest.json").exists()
    with pytest.raises(UserError, match="filter overwrites nothing"):
        filter_corpus(parts)
    with pytest.raises(UserError, match=r"its unfinished filter was begun with criteria.similarity = 0.6"):
        filter_corpus(parts._replace(criteria=criteria._replace(similarity=0.7)), resume=True)
    filter_corpus(parts, resume=True, tell=told.append)
    assert f"going on after pair {stopped_after} of 200" in told[1]
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")
    assert b"near_duplicate" in contents(tmp_path / "whole")["scores.tsv"]


@pytest.mark.parametrize("place", ["report.json", "manifest.json"])
def test_a_filter_that_was_killed_while_it_wrote_goes_on(
    toy_runs: ToyRuns, shuffled: Shuffled, tmp_path: Path, monkeypatch: Any, place: str
) -> None:
    options = FilterOptions(shuffled.paths, tmp_path / "parts", dual(toy_runs))
    filter_corpus(options._replace(output=tmp_path / "whole"))
    real = module.write_atomically

    def killed(path: Path, content: bytes) -> None:
        if path.name == place:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        filter_corpus(options)
    monkeypatch.setattr(module, "write_atomically", real)
    monkeypatch.setattr(module, "measured_chunks", None)  # nothing is measured again
    filter_corpus(options, resume=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "parts")


def test_what_is_complete_is_left_as_it_is_and_never_taken_for_something_else(tmp_path: Path) -> None:
    paths = write_lines(tmp_path / "a.en", EN), write_lines(tmp_path / "a.de", DE)
    options = FilterOptions(paths, tmp_path / "out", Criteria(with_form=True), Selection(keep_pairs=7))
    filter_corpus(options)
    before, told = contents(tmp_path / "out"), list[str]()
    assert filter_corpus(options, resume=True, tell=told.append) is None
    assert told == [f"{tmp_path / 'out'}: complete already"]
    for other in (options._replace(selection=Selection(keep_pairs=8)), options._replace(with_scores=True)):
        with pytest.raises(UserError, match="is complete already, of other text or with other options"):
            filter_corpus(other, resume=True)
    with pytest.raises(UserError, match="is there already, and filter overwrites nothing"):
        filter_corpus(options)
    write_lines(tmp_path / "a.en", [*EN[1:], EN[0]])
    with pytest.raises(UserError, match="is complete already, of other text or with other options"):
        filter_corpus(options, resume=True)
    assert contents(tmp_path / "out") == before


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    paths = write_lines(tmp_path / "a.en", EN), write_lines(tmp_path / "a.de", DE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    options = FilterOptions(paths, tmp_path / "out")
    with pytest.raises(UserError, match="filter overwrites nothing"):
        filter_corpus(options)
    with pytest.raises(UserError, match="holds no unfinished filter to go on with"):
        filter_corpus(options, resume=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    sources, targets = [*EN[:60], "Untranslated and so on."], [*DE[:60], "Untranslated and so on."]
    rows = list(zip(sources, targets, strict=True))
    texts = {
        "text": (write_lines(tmp_path / "a.en", sources), write_lines(tmp_path / "a.de", targets)),
        "tsv": (write_lines(tmp_path / "a.tsv", ["\t".join(row) for row in rows]),),
        "jsonl": (write_lines(tmp_path / "a.jsonl", [json.dumps({"en": s, "de": t}) for s, t in rows]),),
        "tmx": (write_tmx(tmp_path / "a.tmx", ("en", sources), ("de", targets)),),
    }
    kept = {}
    for name, paths in texts.items():
        report = filter_corpus(FilterOptions(paths, tmp_path / name, Criteria(with_form=True)))
        assert report is not None
        assert report.left_out == {"identical_sides": 1}
        kept[name] = [(tmp_path / name / f"kept.{code}").read_text(encoding="utf-8") for code in ("en", "de")]
    assert kept["text"] == ["".join(f"{line}\n" for line in side[:60]) for side in (sources, targets)]
    assert all(found == kept["text"] for found in kept.values())


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "a.en", EN), tmp_path / "a.de"
    lines = [line.encode() for line in DE]
    lines[7] = "Grüße".encode("latin-1")
    target.write_bytes(b"\n".join(lines) + b"\n")
    report = filter_corpus(FilterOptions((source, target), tmp_path / "out", with_scores=True))
    assert report is not None
    assert (report.num_pairs, report.num_unreadable, report.num_kept) == (119, 1, 119)
    assert (tmp_path / "out" / "kept.en").read_text(encoding="utf-8").splitlines() == [*EN[:7], *EN[8:]]
    assert report.deciles == []
    assert report.least_score is None


def test_faults_of_the_text_and_of_runs_are_told_before_any_work(toy_runs: ToyRuns, tmp_path: Path) -> None:
    source, target = write_lines(tmp_path / "a.en", EN), write_lines(tmp_path / "a.de", DE)
    cases = {
        "translates en-fr, but the text needs a run of en-de": Criteria(forward=toy_runs.forward),
        'is a run of task = "language-model", but --forward needs one of "translation"': Criteria(
            forward=toy_runs.target_lm
        ),
        'is a run of task = "translation", but --source-lm needs one of "language-model"': Criteria(
            source_lm=toy_runs.forward
        ),
    }
    for problem, criteria in cases.items():
        with pytest.raises(UserError) as error:
            filter_corpus(FilterOptions((source, target), tmp_path / "out", criteria))
        assert problem in str(error.value)
    shorter = write_lines(tmp_path / "b.de", DE[:-1])
    with pytest.raises(UserError, match="lines"):
        filter_corpus(FilterOptions((source, shorter), tmp_path / "out"))
    with pytest.raises(UserError, match="is a directory; filter reads files"):
        filter_corpus(FilterOptions((_data_set(tmp_path),), tmp_path / "out", asked=LanguagePair("en", "de")))
    assert not (tmp_path / "out").exists()


def _data_set(folder: Path) -> Path:
    (folder / "set").mkdir()
    rows = [json.dumps({"en": source, "de": target}) for source, target in zip(EN, DE, strict=True)]
    write_lines(folder / "set" / "train.jsonl", rows)
    return folder / "set"


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection(least_score=1.0, keep_pairs=3), "give one of"),
        (Selection(keep_share=0.5), "no criterion gives one"),
        (Selection(weights={"form": 2.0}), "there is no measure 'form' among none"),
        (Selection(least={"coverage": 2.0}), "there is no measure 'coverage' among none"),
    ],
)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, selection: Selection, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        filter_corpus(FilterOptions((tmp_path,), tmp_path / "out", selection=selection))
