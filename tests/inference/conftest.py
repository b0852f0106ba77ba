"""Models to search with: fake ones, whose right answer can be worked out, and an untrained run on disk."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from mtmoe.checkpoint import CheckpointState, create_run, save_checkpoint
from mtmoe.config import recipe_from_dict
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, train_subwords
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.model.language_model import LanguageModel
from mtmoe.model.translation import TranslationModel
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL


class Prediction(NamedTuple):
    """What a model says after a prefix: log-probabilities by id, and attention by source position."""

    log_probabilities: Sequence[float]
    attention: Sequence[float]


Predict = Callable[[tuple[int, ...], tuple[int, ...]], Prediction]
"""From source ids (with EOS) and target prefix (without BOS) to the next token."""


class State(NamedTuple):
    sources: tuple[tuple[int, ...], ...]
    prefixes: tuple[tuple[int, ...], ...]
    num_positions: int

    def select(self, indices: torch.Tensor) -> State:
        rows = indices.tolist()
        sources, prefixes = (tuple(values[row] for row in rows) for values in self[:2])
        return State(sources, prefixes, self.num_positions)

    def join(self, *others: State) -> State:
        states = (self, *others)
        sources, prefixes = (tuple(itertools.chain(*(state[place] for state in states))) for place in (0, 1))
        return State(sources, prefixes, max(state.num_positions for state in states))


class FakeModel:
    """Predicts whatever a function says; remembers how many rows each step had."""

    def __init__(self, predict: Predict, num_words: int = 3) -> None:
        self.predict = predict
        self.vocabulary_size = self.hidden_width = NUM_SPECIAL + num_words
        self.num_rows: list[int] = []

    def encode(self, source_BS, source_lengths_B):
        rows = zip(source_BS.tolist(), source_lengths_B.tolist(), strict=True)
        return tuple(tuple(ids[:length]) for ids, length in rows), source_BS.shape[1]

    def initial_state(self, memory):
        sources, num_positions = memory
        return State(sources, tuple(() for _ in sources), num_positions)

    def decode_step(self, tokens_X, state):
        self.num_rows.append(len(state.sources))
        new = [() if token == BOS else (token,) for token in tokens_X.tolist()]
        prefixes = tuple(old + token for old, token in zip(state.prefixes, new, strict=True))
        predictions = [self.predict(*row) for row in zip(state.sources, prefixes, strict=True)]
        logits_XV = torch.tensor([p.log_probabilities for p in predictions])
        attention_XS = torch.zeros(len(predictions), state.num_positions)
        for row, prediction in enumerate(predictions):
            attention_XS[row, : len(prediction.attention)] = torch.tensor(prediction.attention)
        return logits_XV, attention_XS, State(state.sources, prefixes, state.num_positions)

    def output_vectors(self, words):
        return torch.eye(self.vocabulary_size)[words]

    def project(self, hidden_XD, out=None):
        logits_XV = hidden_XD
        return logits_XV if out is None else out.copy_(logits_XV)


def random_predictions(seed: int, num_words: int, eos_bonus: float = 0.0, sharpness: float = 1.5) -> Predict:
    """Any distribution over the vocabulary, another one for each source and prefix, always the same."""

    def predict(source: tuple[int, ...], prefix: tuple[int, ...]) -> Prediction:
        generator = np.random.default_rng([seed, zlib.crc32(repr((source, prefix)).encode())])
        logits = sharpness * generator.normal(size=NUM_SPECIAL + num_words)
        logits[EOS] += eos_bonus
        weights = np.exp(3 * generator.normal(size=len(source)))
        normaliser = math.log(np.exp(logits).sum())
        return Prediction((logits - normaliser).tolist(), (weights / weights.sum()).tolist())

    return predict


@pytest.fixture
def fake_model() -> type[FakeModel]:
    return FakeModel


@pytest.fixture
def random_model() -> Callable[..., FakeModel]:
    """A fake model with ``random_predictions(seed, num_words, ...)``."""
    return lambda seed, num_words, **kwargs: FakeModel(random_predictions(seed, num_words, **kwargs), num_words)


@pytest.fixture
def scripted_model() -> Callable[..., FakeModel]:
    """A fake model that knows a table from prefix to {id: probability}; attention is even everywhere."""

    def build(table: dict[tuple[int, ...], dict[int, float]], num_words: int = 3) -> FakeModel:
        def predict(source: tuple[int, ...], prefix: tuple[int, ...]) -> Prediction:
            given = table.get(prefix, table[()])
            log_probabilities = [math.log(given.get(token, 1e-30)) for token in range(NUM_SPECIAL + num_words)]
            return Prediction(log_probabilities, [1 / len(source)] * len(source))

        return FakeModel(predict, num_words)

    return build


# ------------------------------------------------------------------------------------ a run on disk, untrained

SENTENCES = [
    "Where is the station?",
    "A man rides a bicycle past the old station.",
    "Two dogs play in the snow.",
    "The children are waiting for the bus near the market.",
    "Où est la gare ?",
    "Un homme passe à vélo devant la vieille gare.",
    "Deux chiens jouent dans la neige.",
    "Les enfants attendent le bus près du marché.",
]


def untrained_run(directory: Path, sentences: Sequence[str], *, seed: int = 2, **tables: dict[str, Any]) -> Path:
    """A run with random weights and subwords of its own; its translations are nonsense, but always the same.

    seed: some weights end too few sentences, or write numbers that no source has. ``tables``: of the recipe, in place
    of the tiny one's.
    """
    files = {"format": "text", "name": "x", "source_file": {"path": "x.en"}, "target_file": {"path": "x.fr"}}
    settings = {
        "name": "tiny",
        "data": {"source_language": "en", "target_language": "fr", "train": [files], "valid": [files], "test": [files]},
        "subwords": {"vocabulary_size": 320},
        "model": {
            "width": 16,
            "tied_embeddings": "none",
            "encoder_moe_after": [1],
            "moe": {"num_experts": 4, "expert_hidden": 16},
        },
        "training": {"max_steps": 1},
        "decoding": {
            "beam_size": 4,
            "max_length_ratio": 1.5,
            "max_length_extra": 2,
            "max_source_tokens": 40,
            "over_long": "truncate",
        },
        **tables,
    }
    recipe = recipe_from_dict(settings, directory / "recipe.toml")
    train_subwords(sentences, recipe.subwords, directory / "trained.model", seed=1)
    run = create_run(directory / "run", recipe, directory / "trained.model")
    torch.manual_seed(seed)
    model = TranslationModel(recipe.model, SubwordModel.load(run.subwords).size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # sharper than a fresh model, so that sentences differ
        model.output_VD.mul_(1.5)
        for embedding_VD in (model.source_embedding_VD, model.target_embedding_VD):
            embedding_VD.div_(4.0)  # calmer than a fresh model's, else a word is followed by itself for ever
    save_checkpoint(run, dict(model.named_parameters()), {}, CheckpointState(step=1))
    return run.directory


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny untrained run."""
    return untrained_run(tmp_path_factory.mktemp("run"), SENTENCES)


def untrained_language_model(directory: Path, vocabulary: Path, language: str = "fr", bptt_steps: int = 0) -> Path:
    """A run of a language model with random weights, over the vocabulary of that file."""
    algorithm = {"algorithm": "word", "byte_fallback": False} if vocabulary.name == "words.txt" else {}
    text = {"format": "lines", "name": "x", "file": {"path": "x.fr"}}
    settings = {
        "name": "tiny-lm",
        "task": "language-model",
        "data": {"target_language": language, "train": [text], "valid": [text], "test": [text]},
        "subwords": {"vocabulary_size": load_vocabulary(vocabulary).size, **algorithm},
        "model": {"width": 16, "decoder_moe_after": [1], "moe": {"num_experts": 4, "expert_hidden": 16}},
        "training": {
            "max_steps": 1,
            "bptt_steps": bptt_steps,
            "validation": {"metric": "perplexity", "translate_sentences": 0},
        },
    }
    recipe = recipe_from_dict(settings, directory / "lm.toml")
    run = create_run(directory / "run", recipe, vocabulary)
    torch.manual_seed(11)
    model = LanguageModel(recipe.model, load_vocabulary(vocabulary).size)
    with torch.no_grad():
        model.embedding_VD.mul_(2.0)
    save_checkpoint(run, dict(model.named_parameters()), {}, CheckpointState(step=1))
    return run.directory


@pytest.fixture(scope="session")
def language_model_run(run_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model over the vocabulary of ``run_directory``."""
    return untrained_language_model(tmp_path_factory.mktemp("lm"), run_directory / "subwords.model")
