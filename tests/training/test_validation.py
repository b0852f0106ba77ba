"""What the dev set is translated with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.config.settings import Decoding
from mtmoe.data.prepared.data_directory import open_prepared
from mtmoe.data.prepared.preparation import prepare
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError
from mtmoe.inference.search.beam_search import search_all
from mtmoe.model.translation import TranslationModel
from mtmoe.training import validation as module
from mtmoe.training.validation import Validator
from tests.data.prepared.test_multilingual import multilingual, sentences, source_of


def test_dev_sentences_are_translated_by_the_words_of_the_recipes_shortlist(
    toy: Any, toy_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy({"decoding": {"shortlist": {"per_source_token": 2, "frequent": 3}}})
    prepared = open_prepared(toy_data)
    subwords = SubwordModel(prepared.subwords_path)
    validator = Validator(recipe, prepared, subwords, torch.device("cpu"))
    assert validator.shortlist is not None
    always = set(validator.shortlist.always_F.tolist())
    found_words: list[bool] = []

    def spy(model: Any, sources: Any, options: Any, **arguments: Any) -> Any:
        found = search_all(model, sources, options, **arguments)
        for source, hypotheses in zip(sources, found, strict=True):
            words = {*always, *validator.shortlist.own_words(source).tolist()}
            found_words.extend(word in words for word in hypotheses[0].ids)
        return found

    monkeypatch.setattr(module, "search_all", spy)
    torch.manual_seed(1)
    validator(TranslationModel(recipe.model, subwords.size))
    assert all(found_words)
    assert found_words


def test_a_shortlist_without_a_lexicon_is_an_error_before_training(
    toy: Any, toy_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = open_prepared(toy_data)
    monkeypatch.setattr(type(prepared), "lexicon_path", toy_data / "nothing")
    with pytest.raises(UserError, match="nothing: there is no such file"):
        Validator(
            toy({"decoding": {"shortlist": {}}}), prepared, SubwordModel(prepared.subwords_path), torch.device("cpu")
        )


def test_what_passes_through_is_in_the_translations_of_dev_sentences(toy: Any, toy_data: Path) -> None:
    recipe, prepared = toy({}), open_prepared(toy_data)
    subwords = SubwordModel(prepared.subwords_path)
    validator = Validator(recipe, prepared, subwords, torch.device("cpu"))
    validator.source_lines = ["red cat {x} sees", "one 😀", "https://a.de", "one"]
    torch.manual_seed(1)
    model = TranslationModel(recipe.model, subwords.size).eval()
    first, second, third, plain = validator.translate(model)
    assert first.count("{x}") == 1
    assert second.removesuffix(" 😀") == plain
    assert third == "https://a.de"


@pytest.mark.parametrize(
    "decoding",
    [{"beam_size": 4, "diverse_beams": {"groups": 2}}, {"beam_size": Decoding().beam_size, "sampling": {"seed": 5}}],
)
def test_dev_sentences_are_translated_by_one_beam_whatever_the_recipe_decodes_with(
    toy: Any, toy_data: Path, decoding: dict[str, Any]
) -> None:
    prepared = open_prepared(toy_data)
    subwords = SubwordModel(prepared.subwords_path)
    torch.manual_seed(1)
    model = TranslationModel(toy().model, subwords.size)
    bleu = [
        Validator(toy(changes), prepared, subwords, torch.device("cpu"))(model).bleu
        for changes in ({}, {"decoding": decoding})
    ]
    assert bleu[0] == bleu[1]


@pytest.mark.parametrize("named", ["auto", "intl"])
def test_each_dev_set_is_measured_by_the_tokeniser_of_its_own_direction(tmp_path: Path, named: str) -> None:
    train, valid = [], []
    for number, language in enumerate(("fr", "zh-CN", "th")):
        for part, found in (("train", train), ("valid", valid)):
            source = source_of(tmp_path, part, "en-fr", sentences(number, 40 if part == "train" else 4))
            renamed = {"name": f"{part}-{language}", "direction": f"en-{language}"}
            for side in ("source_file", "target_file"):
                path = Path(source[side]["path"])
                source[side] = {"path": str(path.rename(path.with_name(f"{language}.{path.name}")))}
            found.append(source | renamed)
    recipe = multilingual(tmp_path, train=train, valid=valid, test=[])
    settings = recipe.training.validation.model_copy(update={"bleu_tokeniser": named})
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"validation": settings})})
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    prepared = open_prepared(tmp_path / "data")
    assert prepared.valid_source[4].startswith("<2zh-CN> ")
    torch.manual_seed(1)
    model = TranslationModel(recipe.model, prepared.valid.vocabulary_size).eval()
    measured = Validator(recipe, prepared, SubwordModel(prepared.subwords_path), torch.device("cpu"))(model).line()
    names = [source["name"] for source in valid]
    assert measured["bleu"] == pytest.approx(sum(measured[f"bleu.{name}"] for name in names) / 3)
    if named == "intl":
        assert "|tok:intl|" in measured["bleu_signature"]
        return
    assert "bleu_signature" not in measured
    tokenisers = [measured[f"bleu_signature.{name}"].partition("|tok:")[2].partition("|")[0] for name in names]
    assert tokenisers == ["13a", "zh", "char"]
