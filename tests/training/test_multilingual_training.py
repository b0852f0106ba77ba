"""A model of two directions learns what the language token means."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from mtmoe.config import recipe_from_dict
from mtmoe.data.prepared.preparation import prepare
from mtmoe.inference.translator import Translator
from tests.toy import WORDS, toy_settings
from tests.training.test_trainer import Listener, train

GERMAN = dict(zip(WORDS, ["eins", "zwei", "rot", "gruen", "katze", "hund", "haus", "sieht", "isst", "gross", "alt",
                          "baum"], strict=True))  # fmt: skip


def source_of(folder: Path, part: str, language: str, number: int, seed: int) -> dict[str, Any]:
    """English sentences and their words in French or German, in order."""
    generator = random.Random(seed)
    table: dict[str, Any] = {"name": f"{part}-{language}", "direction": f"en-{language}", "format": "tsv"}
    dictionary = WORDS if language == "fr" else GERMAN
    sentences = [generator.sample(list(WORDS), generator.randint(2, 5)) for _ in range(number)]
    path = folder / f"{part}.{language}.tsv"
    lines = (" ".join(words) + "\t" + " ".join(dictionary[word] for word in words) for words in sentences)
    path.write_text("".join(f"{line}\n" for line in lines))
    return table | {"file": {"path": str(path)}}


def test_the_token_at_test_time_changes_the_language_of_the_output(tmp_path: Path) -> None:
    settings = toy_settings(
        tmp_path,
        max_steps=600,
        batch_tokens=800,
        learning_rate=0.005,
        label_smoothing=0.0,
        schedule={"kind": "cosine", "warmup_steps": 20},
        validation={"every_steps": 600, "translate_sentences": 20},
        save_every_steps=600,
        precision="fp32",
    )
    settings["data"] = {"source_language": "mul", "target_language": "mul", "multilingual": {}}
    for part, number in (("train", 700), ("valid", 15), ("test", 5)):
        seeds = {"fr": number, "de": number + 1}
        settings["data"][part] = [source_of(tmp_path, part, language, number, s) for language, s in seeds.items()]
    settings["data"]["cleaning"] = {"remove_test_overlap": False}  # there are few sentences of two words
    settings["model"] |= {"dropout": 0.0, "width": 64}
    recipe = recipe_from_dict(settings, tmp_path / "two.toml")
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    listener = Listener()
    train(recipe, tmp_path / "run", tmp_path / "data", listener=listener)

    translator = Translator(tmp_path / "run")
    generator = random.Random(5)
    sentences = [generator.sample(list(WORDS), 4) for _ in range(8)]
    for language, dictionary, other in (("fr", WORDS, GERMAN), ("de", GERMAN, WORDS)):
        lines = [f"<2{language}> {' '.join(words)}" for words in sentences]
        found = [set(translation.text.split()) for translation in translator.translate(lines)]
        spoken = set().union(*found)
        assert not spoken & set(other.values())
        num_right = sum(
            len(f & {dictionary[word] for word in words}) for f, words in zip(found, sentences, strict=True)
        )
        assert num_right >= 4 * len(sentences) / 2
    (measured,) = listener.validations
    each = [measured["bleu.valid-fr"], measured["bleu.valid-de"]]
    assert measured["bleu"] == sum(each) / 2
