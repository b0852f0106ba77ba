"""Search for words in named texts."""

from __future__ import annotations

import pytest

from mtmoe.config.word_search import names_with_words
from mtmoe.errors import UserError

TEXTS = {
    "beam_size": "beam_size: Hypotheses kept",
    "max_steps": "max_steps: Optimizer steps",
    "Alpha": "Alpha: of a beam",
}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["beam_size", "max_steps", "Alpha"]),
        (["beam"], ["beam_size", "Alpha"]),
        (["BEAM", "alph"], ["Alpha"]),
        (["optimizer steps"], ["max_steps"]),
    ],
)
def test_names_are_found_whose_text_has_all_words(words: list[str], names: list[str]) -> None:
    assert names_with_words(TEXTS, words, "setting", "mtmoe settings") == names


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["beem_size"], "no setting has the word 'beem_size'; did you mean 'beam_size'?"),
        (["hypotesis"], "no setting has the word 'hypotesis'; did you mean 'hypotheses'?"),
        (["zzz"], "no setting has the word 'zzz'"),
        (["beam", "steps"], "no setting has all of the words 'beam', 'steps'"),
    ],
)
def test_what_is_not_found_is_told_with_the_nearest_word(words: list[str], problem: str) -> None:
    with pytest.raises(UserError) as error:
        names_with_words(TEXTS, words, "setting", "mtmoe settings")
    assert error.value.problem == problem
