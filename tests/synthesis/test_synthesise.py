"""Synthesis of pairs: what they are, and that nothing but text, runs and settings decides on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import sacrebleu

from mtmoe.errors import UserError
from mtmoe.inference.files.translation_options import TranslationListener, TranslationOptions
from mtmoe.inference.requests import Member
from mtmoe.inference.scoring.rescoring import RescoringRuns
from mtmoe.inference.translator import Translator
from mtmoe.synthesis.noise import Noise, noised
from mtmoe.synthesis.shards import Shard
from mtmoe.synthesis.synthesis_options import SynthesisOptions
from mtmoe.synthesis.synthesise import synthesise
from tests.inference.conftest import SENTENCES, untrained_language_model, untrained_run
from tests.synthesis.conftest import LINES

Rows = list[list[str]]
GIVEN = [" ".join(line.split()) for line in LINES]


def rows_of(path: Path) -> Rows:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [line.split("\t") for line in lines]


def assert_same(path: Path, expected: Rows) -> None:
    """Compare pairs exactly, and scores but for the last digits, which depend on the batch."""
    rows = rows_of(path)
    assert [(*row[:2], *row[4:]) for row in rows] == [(*row[:2], *row[4:]) for row in expected]
    for row, other in zip(rows, expected, strict=True):
        assert [float(cell) for cell in row[2:4]] == pytest.approx([float(cell) for cell in other[2:4]], abs=1e-3)


def made(options: SynthesisOptions, text: Path, name: str = "out.tsv") -> Rows:
    output = text.with_name(name)
    synthesise(options, text, output)
    return rows_of(output)


# ------------------------------------------------------------------------------------------------------ what pairs are


@pytest.mark.parametrize("origin", ["back-translated", "forward-translated"])
def test_a_pair_has_the_line_its_translation_and_its_scores(
    origin: str, translation: TranslationOptions, text: Path
) -> None:
    rows = made(SynthesisOptions(translation, origin), text)  # type: ignore[arg-type]
    expected = Translator(translation.run, device="cpu").translate(LINES)
    sides = (1, 0) if origin == "back-translated" else (0, 1)
    assert [row[sides[0]] for row in rows] == GIVEN
    assert [row[sides[1]] for row in rows] == [translation.text for translation in expected]
    for row, found in zip(rows, expected, strict=True):
        assert float(row[2]) == pytest.approx(found.score, abs=1e-3)
        assert float(row[3]) == pytest.approx(found.log_probability, abs=1e-3)
        assert (int(row[4]), row[5]) == (found.num_tokens, ",".join(found.suspicions))


def test_the_tag_stands_before_each_source_sentence_that_has_words(translation: TranslationOptions, text: Path) -> None:
    plain, tagged = (made(SynthesisOptions(translation, tag=tag), text) for tag in ("", "<BT>"))
    assert [row[0] for row in tagged] == [f"<BT> {row[0]}" if row[0] else "" for row in plain]
    assert [row[1] for row in tagged] == [row[1] for row in plain]


def test_noise_is_put_on_the_made_side_alone(translation: TranslationOptions, text: Path) -> None:
    plain = made(SynthesisOptions(translation), text)
    noise = Noise(0.3, 0.2, 2)
    found = made(SynthesisOptions(translation, method="noised-beam", noise=noise, seed=7), text)
    assert [row[0] for row in found] == [noised(row[0], noise, 7, number) for number, row in enumerate(plain)]
    assert [row[1] for row in found] == [row[1] for row in plain]
    assert [row[0] for row in found] != [row[0] for row in plain]


def test_samples_are_those_of_seed_and_line(translation: TranslationOptions, text: Path) -> None:
    rows = made(SynthesisOptions(translation, method="top-k", top_k=5, seed=3), text)
    overrides = ("decoding.beam_size=1", "decoding.sampling={top_k = 5, seed = 3}")
    expected = Translator(translation.run, device="cpu", overrides=overrides).translate(LINES)
    assert [row[0] for row in rows] == [translation.text for translation in expected]
    others = made(SynthesisOptions(translation, method="top-k", top_k=5, seed=4), text)
    assert [row[0] for row in others] != [row[0] for row in rows]
    assert made(SynthesisOptions(translation, method="sampling", seed=3), text) != rows


def test_a_run_whose_recipe_searches_otherwise_can_be_sampled_from(tmp_path: Path, text: Path) -> None:
    decoding = {
        "beam_size": 4,
        "beam_margin": 1.0,
        "early_stopping": "best",
        "prune_margin": 2.0,
        "max_length_ratio": 1,
    }
    run = untrained_run(tmp_path, SENTENCES, decoding=decoding)
    rows = made(SynthesisOptions(TranslationOptions(run, devices=("cpu",)), method="sampling"), text)
    assert len(rows) == len(LINES)
    asked = TranslationOptions(run, devices=("cpu",), overrides=("decoding.beam_margin=2.0",))
    with pytest.raises(UserError, match=r"beam_margin = 2\.0 belongs to beam search"):
        synthesise(SynthesisOptions(asked, method="sampling"), text, tmp_path / "other.tsv")


@pytest.mark.parametrize("utility", ["bleu", "chrf"])
def test_with_a_reference_the_candidate_most_like_it_is_taken(
    utility: str, translation: TranslationOptions, text: Path
) -> None:
    translator = Translator(translation.run, device="cpu")
    lists = [(found, *found.alternatives) for found in translator.translate(LINES, 4)]
    # References that are candidates of their own, but for a word; that of the last line is blank.
    references = [f"{found[-1].text} x" for found in lists[:-1]] + [""]
    reference = text.with_name("text.fr")
    reference.write_text("".join(f"{line}\n" for line in references), encoding="utf-8")
    options = SynthesisOptions(translation, "distilled", reference=reference, utility=utility)  # type: ignore[arg-type]
    rows = made(options, text)
    num_others = 0
    for row, candidates, wanted in zip(rows, lists, references, strict=True):
        if not wanted:
            assert (row[1], row[5]) == (candidates[0].text, "")
            continue
        if utility == "bleu":
            likeness = [sacrebleu.sentence_bleu(c.text, [wanted], use_effective_order=True).score for c in candidates]
        else:
            likeness = [sacrebleu.sentence_chrf(c.text, [wanted]).score for c in candidates]
        best = candidates[likeness.index(max(likeness))]
        assert row[1] == best.text
        assert float(row[3]) == pytest.approx(best.log_probability, abs=1e-3)
        assert float(row[5]) == pytest.approx(max(likeness), abs=0.01)
        num_others += best is not candidates[0]
    assert num_others >= 2


def test_an_ensemble_and_a_language_model_translate_along(
    run_directory: Path, translation: TranslationOptions, text: Path, tmp_path: Path
) -> None:
    language_model = untrained_language_model(tmp_path, run_directory / "subwords.model")
    runs = RescoringRuns(language_model=str(language_model))
    for method in ("beam", "sampling"):
        alone = made(SynthesisOptions(translation, method=method), text)  # type: ignore[arg-type]
        helped = translation._replace(rescoring=runs, overrides=("decoding.language_model.weight=1.0",))
        both = made(SynthesisOptions(helped, method=method), text)  # type: ignore[arg-type]
        assert [row[0] for row in both] != [row[0] for row in alone]
    with_itself = translation._replace(ensemble=(Member(run_directory),))
    assert [row[0] for row in made(SynthesisOptions(with_itself), text)] == [
        row[0] for row in made(SynthesisOptions(translation), text)
    ]


def test_lines_that_cannot_be_read_keep_their_place(translation: TranslationOptions, text: Path) -> None:
    text.write_bytes(b"A man.\n" + b"x" * (1 << 20) + b"y\nA b\xffs.\r\n")
    done = synthesise(SynthesisOptions(translation), text, text.with_name("out.tsv"))
    rows = rows_of(text.with_name("out.tsv"))
    assert [row[1] for row in rows] == ["A man.", "", "A b\ufffds."]
    assert done.lines.faults.num_unreadable == 1
    assert done.manifest is not None
    assert done.manifest.first_problem == "line 2: longer than 1,048,576 bytes"


# ----------------------------------------------------------------------------------------------- shards, interruptions

SAMPLED = {"method": "sampling", "seed": 5, "tag": "<BT>"}


@pytest.fixture
def expected(translation: TranslationOptions, text: Path) -> Rows:
    """The pairs, made at once and by one process."""
    return made(SynthesisOptions(translation, **SAMPLED), text, "expected.tsv")


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_in_any_order_are_the_whole_when_the_last_is_done(
    order: tuple[int, ...], translation: TranslationOptions, text: Path, expected: Rows
) -> None:
    options, output = SynthesisOptions(translation, **SAMPLED), text.with_name("bt.tsv")
    for place, number in enumerate(order):
        done = synthesise(options, text, output, shard=Shard(number, 3))
        assert [shard.number for shard in done.missing] == sorted(order[place + 1 :])
        assert output.exists() == (place == 2)
    assert_same(output, expected)
    assert done.manifest is not None
    assert (done.manifest.num_lines, done.manifest.shard) == (len(LINES), "1/1")
    assert done.manifest.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    left = {path.name for path in text.parent.iterdir() if path.name.startswith((".bt", "bt"))}
    assert left == {"bt.tsv", "bt.tsv.manifest.json"}


def test_more_shards_than_lines_lose_none(translation: TranslationOptions, text: Path, expected: Rows) -> None:
    for number in range(1, 9):
        synthesise(SynthesisOptions(translation, **SAMPLED), text, text.with_name("bt.tsv"), shard=Shard(number, 8))
    assert_same(text.with_name("bt.tsv"), expected)


def test_workers_make_what_one_process_makes(translation: TranslationOptions, text: Path, expected: Rows) -> None:
    options = SynthesisOptions(translation._replace(num_workers=2), **SAMPLED)
    synthesise(options, text, text.with_name("bt.tsv"), shard=Shard(2, 2))
    synthesise(options, text, text.with_name("bt.tsv"), shard=Shard(1, 2))
    assert_same(text.with_name("bt.tsv"), expected)


class _Heard(TranslationListener):
    def __init__(self) -> None:
        self.told: list[str] = []

    def complete_already(self, output: Path) -> None:
        self.told.append(f"{output.name} complete")

    def resumed(self, output: Path, num_lines_done: int, num_lines: int) -> None:
        self.told.append(f"{output.name} from {num_lines_done} of {num_lines}")


@pytest.mark.parametrize(("shard", "of_lines"), [(Shard(), "2 of 6"), (Shard(2, 2), "1 of 3")])
def test_what_was_interrupted_is_gone_on_with(
    shard: Shard, of_lines: str, translation: TranslationOptions, text: Path, expected: Rows
) -> None:
    options, output, heard = SynthesisOptions(translation, **SAMPLED), text.with_name("bt.tsv"), _Heard()
    if shard.total > 1:
        synthesise(options, text, output, shard=Shard(1, 2))

    def interrupted(stage: str, done: int, total: int | None, unit: str) -> None:
        assert (stage, unit) == ("synthesise", "lines")
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(options, text, output, shard=shard, progress=interrupted)
    assert not output.exists()
    synthesise(options, text, output, shard=shard, resume=True, listener=heard)
    assert_same(output, expected)
    synthesise(options, text, output, shard=shard, resume=True, listener=heard)
    part = shard.part_of(output).name
    assert heard.told == [f"{part} from {of_lines}", "bt.tsv complete"]
    left = {path.name for path in text.parent.iterdir() if path.name.startswith((".bt", "bt"))}
    assert left == {"bt.tsv", "bt.tsv.manifest.json"}


@pytest.mark.parametrize("died_at", ["write_manifest", "put_together"])
def test_a_process_that_dies_while_it_joins_leaves_what_another_goes_on_with(
    died_at: str,
    translation: TranslationOptions,
    text: Path,
    expected: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, output = SynthesisOptions(translation, **SAMPLED), text.with_name("bt.tsv")
    synthesise(options, text, output, shard=Shard(1, 2))
    with monkeypatch.context() as context:

        def dies(*arguments: object) -> None:
            raise KeyboardInterrupt

        name = "write_manifest" if died_at == "write_manifest" else "remove_parts"
        context.setattr(f"mtmoe.synthesis.joining.{name}", dies)
        with pytest.raises(KeyboardInterrupt):
            synthesise(options, text, output, shard=Shard(2, 2))
    done = synthesise(options, text, output, shard=Shard(1, 2), resume=True)
    assert done.missing == ()
    assert_same(output, expected)
    left = {path.name for path in text.parent.iterdir() if path.name.startswith((".bt", "bt"))}
    assert left == {"bt.tsv", "bt.tsv.manifest.json"}


def test_a_process_that_dies_before_its_manifest_is_written_has_lost_nothing(
    translation: TranslationOptions, text: Path, expected: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, output = SynthesisOptions(translation, **SAMPLED), text.with_name("bt.tsv")
    with monkeypatch.context() as context:

        def dies(*arguments: object) -> None:
            raise KeyboardInterrupt

        context.setattr("mtmoe.synthesis.synthesise.write_manifest", dies)
        with pytest.raises(KeyboardInterrupt):
            synthesise(options, text, output)
    done = synthesise(options, text, output, resume=True)
    assert_same(output, expected)
    assert done.manifest is not None
    assert done.manifest.sha256 == hashlib.sha256(output.read_bytes()).hexdigest()


def test_what_was_made_with_other_settings_is_not_gone_on_with(translation: TranslationOptions, text: Path) -> None:
    output = text.with_name("bt.tsv")
    synthesise(SynthesisOptions(translation), text, output)
    with pytest.raises(UserError, match=r"bt\.tsv: was made with output\.tag = , but now it is <BT>"):
        synthesise(SynthesisOptions(translation, tag="<BT>"), text, output, resume=True)
    other = translation._replace(overrides=("decoding.beam_size=2",))
    with pytest.raises(UserError, match=r"was made with decoding\.beam_size = 4, but now it is 2"):
        synthesise(SynthesisOptions(other), text, output, resume=True)
    text.write_text("Where?\n")
    with pytest.raises(UserError, match=r"was made with text\.num_lines = 6, but now it is 1"):
        synthesise(SynthesisOptions(translation), text, output, resume=True)
    synthesise(SynthesisOptions(translation), text, output)  # anew
    assert len(rows_of(output)) == 1


def test_parts_of_another_job_are_not_joined(translation: TranslationOptions, text: Path, expected: Rows) -> None:
    output = text.with_name("bt.tsv")
    synthesise(SynthesisOptions(translation), text, output, shard=Shard(1, 2))
    done = synthesise(SynthesisOptions(translation, **SAMPLED), text, output, shard=Shard(2, 2))
    assert done.missing == (Shard(1, 2),)
    assert not output.exists()
    synthesise(SynthesisOptions(translation, **SAMPLED), text, output, shard=Shard(1, 2))
    assert_same(output, expected)


# ------------------------------------------------------------------------------------------------- manifest, bad input


def test_the_manifest_tells_what_the_pairs_were_made_of(translation: TranslationOptions, text: Path) -> None:
    output = text.with_name("bt.tsv")
    options = SynthesisOptions(translation, method="top-k", top_k=7, seed=2, tag="<BT>", license="CC0")
    synthesise(options, text, output)
    manifest = json.loads(output.with_name("bt.tsv.manifest.json").read_text())
    assert manifest["license"] == "text.en: CC0; translated by models of x: terms not stated"
    assert (manifest["source_language"], manifest["target_language"]) == ("fr", "en")
    assert manifest["origin"] == "back-translated"
    assert manifest["columns"] == ["source", "target", "score", "log_probability", "num_tokens", "suspicions"]
    assert manifest["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert manifest["num_bytes"] == output.stat().st_size
    assert manifest["made_of"]["decoding"]["sampling"] == {"temperature": 1.0, "top_k": 7, "top_p": 1.0, "seed": 2}
    assert manifest["made_of"]["text"]["digest"] == hashlib.blake2b(text.read_bytes(), digest_size=16).hexdigest()
    assert len(manifest["made_of"]["weights"]) > 10


def test_a_reference_with_other_lines_is_refused(translation: TranslationOptions, text: Path) -> None:
    reference = text.with_name("text.fr")
    reference.write_text("x\n")
    with pytest.raises(UserError, match=r"text\.en has 6 lines, but .*text\.fr has 1"):
        synthesise(SynthesisOptions(translation, reference=reference), text, text.with_name("out.tsv"))


def test_an_input_is_not_overwritten_and_nothing_is_compressed(translation: TranslationOptions, text: Path) -> None:
    with pytest.raises(UserError, match="would be overwritten by its pairs"):
        synthesise(SynthesisOptions(translation), text, text)
    with pytest.raises(UserError, match=r"pairs are written as plain text, but the name ends in \.gz"):
        synthesise(SynthesisOptions(translation), text, text.with_name("out.tsv.gz"))


def test_a_run_of_one_language_translates_nothing(run_directory: Path, text: Path, tmp_path: Path) -> None:
    run = untrained_language_model(tmp_path, run_directory / "subwords.model")
    with pytest.raises(UserError, match="is a language model, which translates nothing"):
        synthesise(SynthesisOptions(TranslationOptions(run)), text, text.with_name("out.tsv"))
