"""Memory tuning: the numbers of ``[scoring]`` that make a dev text likeliest, found setting by setting.

Each setting goes up, or else down, by a factor for as long as the text becomes likelier, and they take turns until none
of them helps. Those of dynamic evaluation come first, for which the text is read each time; then those of the cache,
which only asks what the best of these readings remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from mtmoe.checkpoint import LoadedLanguageModel
from mtmoe.config.settings import DynamicEvaluation, NeuralCache, Scoring, Settings
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.errors import UserError
from mtmoe.inference.scoring.dynamic_evaluation import RootMeanSquares
from mtmoe.inference.scoring.forced_decoding import perplexity_of
from mtmoe.inference.scoring.neural_cache import Cache
from mtmoe.inference.scoring.running_text_reader import RunningReader, Stretch, with_cache
from mtmoe.vocabulary import EOS

_DYNAMIC_FACTORS = {"learning_rate": 2.0, "decay": 3.0}
_CACHE_FACTORS = {"theta": 1.5, "weight": 1.5}
_DIGITS = 3  # of a value: so that it can be written down
_SettingsType = TypeVar("_SettingsType", bound=Settings)


class Trial(NamedTuple):
    """Settings that were tried, and the perplexity per token of the dev text with them."""

    scoring: Scoring
    perplexity: float


def tuned_scoring(
    loaded: LoadedLanguageModel,
    lines: Sequence[str],
    scoring: Scoring,
    usual: RootMeanSquares | None,
    tried: Callable[[Trial], None],
) -> Scoring:
    """Return the settings with the numbers that suit a dev text best; ``tried`` hears of all that are tried.

    Tables that are absent stay so.

    Raises:
        UserError: the text has no line.
    """
    tokens = [
        token
        for ids in loaded.vocabulary.encode_batch([normalise_line(line) for line in lines])
        for token in (*ids, EOS)
    ]
    if not tokens:
        raise UserError("there is no line to choose the settings on", fix="give a text of at least one line")
    stretches: list[Stretch] = []
    dynamic, cache = scoring.dynamic, scoring.cache

    def read(settings: DynamicEvaluation | None) -> tuple[float, list[Stretch]]:
        alone = Scoring(dynamic=settings)
        found = list(RunningReader(loaded, usual, scoring=alone).stretches(tokens))
        nats = -sum(float(stretch.log_N.double().sum()) for stretch in found)
        tried(Trial(alone, perplexity_of(-nats, len(tokens))))
        return nats, found if cache is not None else []

    def remember(settings: NeuralCache) -> tuple[float, None]:
        memory = Cache(settings)
        nats = -sum(float(with_cache(stretch, memory).sum()) for stretch in stretches)
        tried(Trial(Scoring(dynamic=dynamic, cache=settings), perplexity_of(-nats, len(tokens))))
        return nats, None

    if dynamic is not None:
        dynamic, stretches = _best(dynamic, _DYNAMIC_FACTORS, read)
    elif cache is not None:
        _, stretches = read(None)
    if cache is not None:
        cache, _ = _best(cache, _CACHE_FACTORS, remember)
    return Scoring(dynamic=dynamic, cache=cache)


_Kept = TypeVar("_Kept")


def _best(
    start: _SettingsType, factors: dict[str, float], nats_of: Callable[[_SettingsType], tuple[float, _Kept]]
) -> tuple[_SettingsType, _Kept]:
    """Return the settings of the fewest nats that the search finds from ``start``, and what came with them."""
    best, (least, kept) = start, nats_of(start)
    seen = {start}
    improved = True
    while improved:
        improved = False
        for key, factor in factors.items():
            for by in (factor, 1 / factor):
                went = False
                while (other := _scaled(best, key, by)) is not None and other not in seen:
                    seen.add(other)
                    nats, found = nats_of(other)
                    if not nats < least:
                        break
                    best, least, kept, improved, went = other, nats, found, True, True
                if went:  # the other way it is where it came from
                    break
    return best, kept


def _scaled(settings: _SettingsType, key: str, factor: float) -> _SettingsType | None:
    """Return the settings with another number, or None where it would be out of its range."""
    value = float(f"{getattr(settings, key) * factor:.{_DIGITS}g}")
    try:
        return type(settings).model_validate({**settings.model_dump(), key: value})
    except ValidationError:
        return None
