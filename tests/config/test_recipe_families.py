"""Families of recipes: which members there are, what each is made of, and how mistakes in a family are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtmoe.config import load_recipe, shipped_families, shipped_recipes
from mtmoe.errors import UserError
from mtmoe.languages import tokeniser_of
from mtmoe.planning.devices import GPUS
from mtmoe.planning.plan import Cluster, make_plan
from tests.shipped import recipes_of_all_kinds

FAMILY = """
[family]
name = "news-{source}-{target}"
words = { corpus = "news-{pair}" }

[family.pairs]
de-en = 5000
gu-en = 50

[family.languages.gu.subwords]
character_coverage = 0.99

[[family.sizes]]
least_pairs = 0
settings.model.width = 64
settings.training.max_steps = 10

[[family.sizes]]
least_pairs = 1000
settings.model.width = 128
settings.training.max_steps = 100

[[family.sizes]]
variant = "tiny"
least_pairs = 0
settings.model.width = 8
settings.training.max_steps = 1

[family.directions.en-de.training]
label_smoothing = 0.2

[data]
source_language = "{source}"
target_language = "{target}"
valid = "split"
test = "split"

[[data.train]]
name = "{corpus}"
format = "tsv"
file = { path = "{pair}.{unknown}.tsv" }
"""


def _written(folder: Path, text: str = FAMILY, name: str = "news.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_member_has_the_settings_of_its_file_its_languages_its_size_and_its_direction(tmp_path: Path) -> None:
    _written(tmp_path)
    member = load_recipe(tmp_path / "news-en-de")
    assert (member.name, member.data.languages) == ("news-en-de", "en-de")
    assert member.data.train[0].name == "news-de-en"
    assert member.data.train[0].file.path == "de-en.{unknown}.tsv", "what is no word of the family stays"
    assert (member.model.width, member.training.max_steps, member.training.label_smoothing) == (128, 100, 0.2)
    other = load_recipe(tmp_path / "news-de-en.toml")
    assert (other.model.width, other.training.label_smoothing, other.subwords.character_coverage) == (128, 0.1, 1.0)
    small = load_recipe(tmp_path / "news-en-gu")
    assert (small.model.width, small.subwords.character_coverage) == (64, 0.99)
    tiny = load_recipe(tmp_path / "news-de-en-tiny")
    assert (tiny.name, tiny.model.width) == ("news-de-en-tiny", 8)


def test_a_family_itself_is_no_recipe_and_tells_a_member(tmp_path: Path) -> None:
    path = _written(tmp_path)
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert error.value.problem == f"{path}: is a family of 8 recipes"
    assert "name one of them, such as news-de-en" in error.value.fix
    with pytest.raises(UserError, match=r"news-en-fr\.toml: no such recipe file"):
        load_recipe(tmp_path / "news-en-fr.toml")
    with pytest.raises(UserError, match=r"wmt\.toml: is a family without pairs of languages"):
        load_recipe("wmt")


def test_a_file_of_a_members_name_takes_its_place(tmp_path: Path) -> None:
    _written(tmp_path)
    _written(tmp_path, 'extend = "demo"\n', "news-en-de.toml")
    assert load_recipe(tmp_path / "news-en-de.toml").data.target_language == "fr"


def test_a_recipe_extends_a_member_and_a_family_extends_a_family(tmp_path: Path) -> None:
    own = _written(tmp_path, 'extend = "wmt19-gu-en-small"\n[training]\nmax_steps = 900\n', "own.toml")
    recipe = load_recipe(own)
    assert (recipe.name, recipe.training.max_steps, recipe.model.width) == ("own", 900, 128)
    assert recipe.about.description == "", "as of any other base"
    _written(tmp_path)
    _written(
        tmp_path, 'extend = "news.toml"\n[family]\nname = "old-{source}-{target}"\npairs = { fr-en = 7 }', "b.toml"
    )
    assert load_recipe(tmp_path / "old-fr-en").model.width == 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "least_pairs = 1000",
            "least_pears = 1000",
            ":19: family.sizes.1.least_pears: unknown setting; did you mean 'least_pairs'?",
        ),
        ("words =", "wrds =", "family.wrds: unknown setting; did you mean 'words'?"),
        ("de-en = 5000", "de = 5000", "'de' is not two languages with a hyphen between them"),
        ("de-en = 5000", 'de-en = "many"', ":7: family.pairs.de-en: Input should be a valid integer"),
        ("directions.en-de", "directions.en-fr", "directions: 'en-fr' is in none of the pairs"),
        ("news-{source}-{target}", "news-{target}", "has no {source} and {target}: all members would have one name"),
    ],
)
def test_mistakes_in_a_family_are_told_with_their_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = _written(tmp_path, FAMILY.replace(old, new))
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert error.value.problem.startswith(f"{path}")
    assert message in error.value.problem


def test_a_mistake_in_the_settings_of_a_size_is_told_with_its_line(tmp_path: Path) -> None:
    _written(tmp_path, FAMILY.replace("settings.model.width = 128", "settings.model.widht = 128"))
    with pytest.raises(UserError) as error:
        load_recipe(tmp_path / "news-en-de")
    assert error.value.problem.startswith(f"{tmp_path}/news.toml:20: unknown setting model.widht = 128; did you mean")


def test_a_broken_file_beside_a_family_does_not_hide_it(tmp_path: Path) -> None:
    _written(tmp_path, "a = = 3", "a.toml")
    _written(tmp_path, 'extend = "nowhere"\n[family]\n', "b.toml")
    _written(tmp_path)
    assert load_recipe(tmp_path / "news-en-de").name == "news-en-de"


# ------------------------------------------------------------------------------------------------- the shipped ones

PAIRS = {
    "wmt14": "cs-en de-en fr-en hi-en ru-en",
    "wmt15": "cs-en de-en fi-en fr-en ru-en",
    "wmt16": "cs-en de-en fi-en ro-en ru-en tr-en",
    "wmt17": "cs-en de-en fi-en lv-en ru-en tr-en zh-en",
    "wmt18": "cs-en de-en et-en fi-en ru-en tr-en zh-en",
    "wmt19": "cs-en de-en fi-en fr-de gu-en kk-en lt-en ru-en zh-en",
}
"""The configurations of the data sets on the hub that have text."""


def test_every_direction_of_wmt14_to_wmt19_is_there_in_both_sizes() -> None:
    directions = {
        f"{year}-{direction}"
        for year, pairs in PAIRS.items()
        for pair in pairs.split()
        for direction in (pair, "-".join(reversed(pair.split("-"))))
    }
    expected = directions | {f"{name}-small" for name in directions}
    assert expected <= set(shipped_recipes())
    of_families = {member for family in shipped_families().values() for member in family.members}
    assert expected - of_families == {"wmt14-en-de", "wmt14-en-fr"}, "the paper's models have files of their own"
    assert of_families <= expected


def test_every_member_reads_its_own_pair_and_a_test_set_that_sacrebleu_has_in_its_direction() -> None:
    from sacrebleu.dataset import DATASETS

    for name, family in shipped_families().items():
        for member in family.members:
            recipe = load_recipe(member)
            data, year = recipe.data, name.removeprefix("wmt")
            pair = f"{data.source_language}-{data.target_language}"
            assert member in (f"{name}-{pair}", f"{name}-{pair}-small")
            for source, split in ((data.train[0], "train"), (data.valid[0], "validation")):
                assert (source.dataset, source.split) == (f"wmt/wmt{year}", split)
                assert source.subset in PAIRS[name].split()
                assert sorted(source.subset.split("-")) == sorted(pair.split("-"))
            [test] = data.test
            assert pair in DATASETS[test.test_set].langpairs
            assert recipe.training.validation.bleu_tokeniser == "auto"
            assert (tokeniser_of(data.target_language) == "zh") == pair.endswith("zh")
            assert (recipe.subwords.character_coverage < 1) == ("zh" in pair)
            assert "{" not in recipe.model_dump_json(include={"data", "about"}).replace('{"', "").replace(":{", "")


def test_each_small_member_trains_within_a_night_on_one_gpu_by_the_plan() -> None:
    """At the share of the floor's speed that was measured: docs/benchmarks/gpu.md."""
    small = [name for name in recipes_of_all_kinds() if name.endswith("-small")]
    assert len(small) == 5, "of four sizes, and with Chinese"
    for name in small:
        plan = make_plan(load_recipe(name), Cluster(GPUS["a100"], 1, efficiency=0.13))
        assert plan.fits
        assert plan.days * 24 < 8
        whole = load_recipe(name.removesuffix("-small"))
        assert make_plan(whole, Cluster(GPUS["a100"], 8)).num_parameters > plan.num_parameters


def test_larger_text_has_a_larger_network() -> None:
    sizes = [
        make_plan(load_recipe(name), Cluster(GPUS["a100"], 8)).num_parameters
        for name in ("wmt19-gu-en", "wmt16-tr-en", "wmt16-ro-en", "wmt16-de-en", "wmt18-de-en")
    ]
    assert sizes == sorted(set(sizes))
