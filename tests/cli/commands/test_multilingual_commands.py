"""Languages as a user names them: tokenisers of BLEU, directions, language tokens; runs that are not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.checkpoint import load_model, load_run_recipe, open_run
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.evaluation import bleu_tokenisers, quality
from mtmoe.inference.translator import Translator
from mtmoe.training.validation import Validator

CHINESE = ["我们今天去学校。", "他看到一只红色的猫。", "老师给学生一本书。"]


@pytest.fixture
def chinese(tmp_path: Path) -> dict[str, Path]:
    files = {"hypothesis": [CHINESE[0], "他看到红色的猫。", CHINESE[2]], "reference": CHINESE}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {name: tmp_path / name for name in files}


def _bleu(invoke: Any, files: dict[str, Path], *options: object) -> Any:
    result = invoke("bleu", "--hypothesis", files["hypothesis"], "--reference", files["reference"], *options, "--json")
    assert result.exit_code == 0, result.stderr
    [measured] = json.loads(result.stdout)
    return measured, result.stderr


def _in_language(folder: Path, run: Path, code: str, **replaced: str) -> Path:
    """The run, as if it translated into another language; its weights stay."""
    folder.mkdir()
    for path in run.iterdir():
        if path.name not in ("recipe.toml", "data"):
            (folder / path.name).symlink_to(path)
    recipe = (run / "recipe.toml").read_text(encoding="utf-8")
    for before, after in {'target_language = "fr"': f'target_language = "{code}"', **replaced}.items():
        assert before in recipe
        recipe = recipe.replace(before, after)
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")
    return folder


@pytest.mark.parametrize("pair", ["en-zh", "en-zh-CN", "en-zh_tw", "EN-ZHO", "eng-cmn-Hans-CN", "en-yue"])
def test_every_spelling_of_chinese_is_measured_by_its_tokeniser(invoke: Any, chinese: Any, pair: str) -> None:
    measured, errors = _bleu(invoke, chinese, "-l", pair)
    assert "|tok:zh|" in measured["bleu_signature"]
    assert 50 < measured["bleu"] < 100
    assert errors == ""


def test_a_tokeniser_can_be_named_and_thai_has_characters(invoke: Any, chinese: Any) -> None:
    assert "|tok:char|" in _bleu(invoke, chinese, "-l", "en-th")[0]["bleu_signature"]
    assert "|tok:intl|" in _bleu(invoke, chinese, "-l", "en-zh", "--tokeniser", "intl")[0]["bleu_signature"]


def test_text_without_spaces_that_is_measured_as_if_it_had_them_is_warned_of(invoke: Any, chinese: Any) -> None:
    measured, errors = _bleu(invoke, chinese)
    assert "|tok:13a|" in measured["bleu_signature"]
    assert "the tokeniser 13a takes a sentence for one word" in errors


def test_an_unknown_code_is_warned_of_once_with_the_nearest(invoke: Any, chinese: Any) -> None:
    _, errors = _bleu(invoke, chinese, "-l", "en-cn")
    assert errors.count("'cn' is not a language code that is known (did you mean zh?)") == 1


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [("zh-TW", "'zh-TW' is one language"), ("en-pt-br", "can be read as en to pt-BR or en-PT to br"), ("en", "en-de")],
)
def test_a_direction_that_is_none_is_a_usage_error(invoke: Any, chinese: Any, pair: str, complaint: str) -> None:
    result = invoke("bleu", "--hypothesis", chinese["hypothesis"], "--reference", chinese["reference"], "-l", pair)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_tokeniser_that_is_not_installed_is_missed_before_anything_is_translated(
    invoke: Any, tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("Japanese tokenization requires extra dependencies")

    monkeypatch.setattr(bleu_tokenisers, "BLEU", missing)
    monkeypatch.setattr("mtmoe.inference.translator.Translator.__init__", None)
    monkeypatch.setattr("mtmoe.data.prepared.preparation.prepare", None)
    run = _in_language(tmp_path / "run", tiny_run.run, "ja-JP")
    text = tmp_path / "text"
    text.write_text("the man\n")
    problem = "sacreBLEU's tokeniser ja-mecab is not installed\npip install 'sacrebleu[ja]'"
    found = invoke("bleu", run, "--source", text, "--reference", text)
    assert (found.exit_code, found.stderr) == (1, f"error: {problem}; or choose another tokeniser: --tokeniser char\n")
    found = invoke("bench", "translate", run, "--source", text, "--reference", text)
    assert (found.exit_code, found.stderr) == (1, f"error: {problem}\n")
    found = invoke("train", tiny_run.recipe, tmp_path / "new", "--set", "data.target_language=jpn")
    advice = "; or choose another tokeniser: --set training.validation.bleu_tokeniser=char"
    assert (found.exit_code, found.stderr) == (1, f"error: {problem}{advice}\n")
    assert not (tmp_path / "new").exists()


def test_a_tokeniser_whose_model_would_be_fetched_says_how(invoke: Any, chinese: Any, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(bleu_tokenisers, "SACREBLEU_DIR", str(tmp_path / "s"))
    result = invoke("bleu", "--hypothesis", chinese["reference"], "--reference", chinese["reference"],
                    "--tokeniser", "flores200")  # fmt: skip
    assert result.exit_code == 1
    assert f"needs a model that is not there: {tmp_path / 's' / 'models'}" in result.stderr
    assert "curl --location" in result.stderr


def test_sentences_of_chinese_have_no_space_between_them_however_it_is_spelt(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    line = "The man sees the dog. " * 6
    for code, spaced in (("fr", True), ("zho_CN", False), ("khm", False)):
        run = tiny_run.run if code == "fr" else _in_language(tmp_path / code, tiny_run.run, code)
        options = ("--set", "decoding.max_source_tokens=30")
        alone = invoke("translate", run, *options, input="The man sees the dog.\n").stdout.strip()
        whole = invoke("translate", run, *options, input=line + "\n").stdout.strip()
        assert whole == (" " if spaced else "").join([alone] * 6)


def test_validation_finds_the_bleu_that_mtmoe_bleu_finds_for_the_same_sentences(
    tiny_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_run_recipe(open_run(tiny_run.run))
    changed = {"decoding": recipe.decoding.model_copy(update={"max_source_tokens": 12})}  # some lines are in parts
    changed |= {"data": recipe.data.model_copy(update={"target_language": "zh_TW"})}
    recipe = recipe.model_copy(update=changed)
    prepared = open_prepared(tiny_run.data)
    monkeypatch.setattr(type(prepared), "data_settings", recipe.data)
    loaded = load_model(tiny_run.run)
    measured = Validator(recipe, prepared, loaded.subwords, torch.device("cpu"))(loaded.model)
    number = recipe.training.validation.translate_sentences
    sources, references = prepared.valid_source[:number], prepared.valid_target[:number]

    overrides = ["decoding.max_source_tokens=12", f"decoding.beam_size={recipe.training.validation.beam_size}"]
    translator = Translator(tiny_run.run, device="cpu", overrides=overrides)
    # As if the run translated into Chinese: no space between the parts of a line.
    translator.loaded = translator.loaded._replace(recipe=recipe)
    texts = [t.text for t in translator.translate(sources, with_scores=False)]
    assert any(t.warnings for t in translator.translate(sources))
    found = quality.measure_quality(texts, [references], tokeniser="zh")
    assert measured.bleu == found.bleu
    assert found.chrf > 0
    assert measured.chrf == found.chrf
    assert measured.line()["bleu_signature"] == found.bleu_signature
    assert "|tok:zh|" in found.bleu_signature


# ------------------------------------------------------------------------------------------- runs, standard input


@pytest.mark.parametrize(
    "command",
    [
        ("bleu",),
        ("translate",),
        ("score", "{}", "x"),
        ("average", "{}", "--last", "2"),
        ("export", "{}", "o"),
        ("bench", "translate"),
    ],
)
def test_a_run_that_is_not_there_is_told_with_the_nearest_that_is(
    invoke: Any, tiny_run: Any, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(tiny_run.run)
    typo = str(tmp_path / "runs" / "dmeo")
    arguments = [part.format(typo) for part in command] if "{}" in command else [*command, typo]
    result = invoke(*arguments, input="")
    assert result.exit_code == 1
    assert f"error: no run {typo}: it does not exist\ndid you mean {tmp_path / 'runs' / 'demo'}?\n" in result.stderr


def test_the_folder_of_runs_the_data_and_a_checkpoint_are_told_apart_from_a_run(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "demo").symlink_to(tiny_run.run)
    assert f"did you mean {tmp_path / 'demo'}?" in invoke("translate", tmp_path, input="").stderr
    assert "it is the DATA_DIR of `mtmoe preprocess`" in invoke("translate", tiny_run.data, input="").stderr
    checkpoints = tiny_run.run / "checkpoints"
    assert f"did you mean {tiny_run.run}?" in invoke("translate", checkpoints, input="").stderr


def test_a_hyphen_is_standard_input_and_output(invoke: Any, tiny_run: Any) -> None:
    expected = invoke("translate", tiny_run.run, input="the man\n").stdout
    assert expected
    assert invoke("translate", tiny_run.run, "-", "--output", "-", input="the man\n").stdout == expected
    result = invoke("translate", tiny_run.run, "-", "other", input="the man\n")
    assert result.exit_code == 2
    assert "- is standard input, which is translated alone" in result.stderr
    result = invoke("bleu", "--hypothesis", "-", "--reference", "-", input="the man\n")
    assert result.exit_code == 2
    assert "- is standard input, which can be one of the files alone" in result.stderr


def test_advice_on_text_that_is_not_utf_8_names_no_setting_that_the_command_lacks(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    bad.write_bytes(b"key\tSchl\xfcssel\n")
    good.write_text("the man\n")
    for arguments in (
        ("bleu", "--hypothesis", bad, "--reference", good),
        ("score", tiny_run.run, good, bad),
        ("translate", tiny_run.run, good, "--terms", bad),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 1
        assert f"{bad}:1: not UTF-8: byte 0xfc" in result.stderr
        assert "iconv" in result.stderr
        assert "data.cleaning" not in result.stderr


# ---------------------------------------------------------------------------------------------------- n-best lists


@pytest.mark.parametrize("format_name", ["text", "tsv", "json"])
def test_the_best_translations_are_printed_in_the_order_of_their_printed_scores(
    invoke: Any, tiny_run: Any, format_name: str
) -> None:
    lines = ["the man sees the dog", "a dog", "the xyzzy qwrt", "man man man dog dog", "Où est ça"]
    text = "".join((json.dumps({"text": line}) if format_name == "json" else line) + "\n" for line in lines)
    result = invoke("translate", tiny_run.run, "--nbest", 8, "--beam", 8, "--format", format_name, input=text)
    lists: dict[str, list[float]] = {}
    for row in result.stdout.splitlines():
        if format_name == "json":
            answer = json.loads(row)
            lists[answer["text"]] = [answer["score"], *(other["score"] for other in answer["alternatives"])]
        else:
            key, score, *_ = row.split("\t")
            lists.setdefault(key, []).append(float(score))
    assert len(lists) == len(lines)
    assert max(map(len, lists.values())) > 3
    for scores in lists.values():
        assert scores == sorted(scores, reverse=True)
