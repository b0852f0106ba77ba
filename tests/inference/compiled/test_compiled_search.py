"""The search of the library finds what the search of Python finds with the same model, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mtmoe.config.settings import Decoding, Sampling
from mtmoe.errors import UserError
from mtmoe.inference.compiled.compiled_model import CompiledModel
from mtmoe.inference.compiled.compiled_search import CompiledSearch, can_search
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import BeamSearch, open_search, search_all
from mtmoe.inference.search.hypothesis import Hypothesis
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.search.search_source import SearchSource
from mtmoe.inference.search.threads import WaitingSources
from mtmoe.inference.text.subword_repetition import Repetition, SubwordLetters, SubwordTexts, TextRepetition
from tests.inference.compiled.test_compiled_model import VOCABULARY, model_of

GREEDY = SearchOptions.from_settings(Decoding(beam_size=1, max_length_ratio=2.0, max_length_extra=10))
BEAM = SearchOptions.from_settings(Decoding(beam_size=5, max_length_ratio=1.5, max_length_extra=10), num_best=5)
OPTIONS = [
    GREEDY,
    replace(GREEDY, keep_attention=True, length_alpha=0.7, coverage_beta=0.0),
    BEAM,
    replace(BEAM, num_best=1, early_stopping="best", beam_margin=1.5, coverage_beta=0.0),
    replace(BEAM, num_best=2, early_stopping="exact", length_alpha=0.6, keep_attention=True),
    replace(BEAM, prune_margin=0.5, beam_margin=0.3, max_length_ratio=0.0, max_length_extra=1),
    replace(BEAM, beam_size=60, num_best=60, max_length_extra=3),  # more than there are words
]
# Subwords of no, one and several letters, of one word, of none and of two, within a word and beginning one.
SPELLINGS = ([b"", b" a", b"b", b" see", b"dog", b" because", b".", b" at sea", b" ", b"\xc3"] * 6)[:VOCABULARY]


class Plain:
    """A compiled model that is searched with by Python alone."""

    def __init__(self, model: CompiledModel) -> None:
        self.vocabulary_size, self.hidden_width = model.vocabulary_size, model.hidden_width
        self.encode, self.initial_state, self.decode_step = model.encode, model.initial_state, model.decode_step
        self.output_vectors, self.project, self.next_words = model.output_vectors, model.project, model.next_words
        self.coverage_penalty = model.coverage_penalty


def looping_sources(number: int, few_words: int, seed: int = 0) -> list[list[int]]:
    """Return sources of few different words, so that some repeat something."""
    generator = np.random.default_rng(seed)
    return [generator.integers(4, 4 + few_words, generator.integers(1, 15)).tolist() for _ in range(number)]


def tasks_of(sources: list[list[int]], letters: SubwordLetters) -> list[SearchTask]:
    """Return tasks that limit loops, but for every fifth source."""
    return [
        SearchTask(number=number, repetition=Repetition(source, letters) if number % 5 else None)
        for number, source in enumerate(sources)
    ]


def circling_model(seed: int = 0, **settings: object) -> CompiledModel:
    """Return a model that likes few words, and nearly never ends by itself."""
    model = model_of(**settings)
    torch.manual_seed(seed)
    with torch.no_grad():
        torch.nn.init.normal_(model.output_VD, std=0.05)
        model.output_VD[4:12] *= 6
    return CompiledModel(model)


def assert_same(found: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> None:
    """Compare everything of hypotheses, numbers to the bit."""
    assert len(found) == len(expected)
    for group, others in zip(found, expected, strict=True):
        assert [one._replace(attention=None) for one in group] == [one._replace(attention=None) for one in others]
        for one, other in zip(group, others, strict=True):
            assert (one.attention is None) == (other.attention is None)
            if one.attention is not None:
                assert torch.equal(one.attention, other.attention)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_finds_what_the_search_of_python_finds(options):
    sources = looping_sources(40, 40)
    for in_int8 in (False, True):
        model = CompiledModel(model_of(output_attention=True), in_int8=in_int8)
        expected = search_all(Plain(model), sources, options, batch_tokens=400)
        for batch_tokens, num_threads in ((1, 1), (300, 1), (10_000, 2)):
            found = search_all(model, sources, options, batch_tokens=batch_tokens, num_threads=num_threads)
            assert_same(found, expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("options", [GREEDY, replace(BEAM, num_best=1)], ids=["greedy", "beam"])
def test_what_may_loop_is_limited_alike(options, seed):
    letters = SubwordLetters(SPELLINGS)
    sources = looping_sources(40, 4 + 2 * seed, seed)
    model = circling_model(seed)
    options = replace(options, max_length_extra=60)
    tasks = tasks_of(sources, letters)
    expected = search_all(Plain(model), sources, options, batch_tokens=4000, tasks=tasks)
    assert_same(search_all(model, sources, options, batch_tokens=4000, tasks=tasks), expected)
    free = search_all(model, sources, options, batch_tokens=4000)
    assert [one[0].ids for one in free] != [one[0].ids for one in expected]


def test_what_more_is_required_of_is_left_to_the_search_of_python():
    letters, texts = SubwordLetters(SPELLINGS), SubwordTexts([spelling.decode("latin-1") for spelling in SPELLINGS])
    sources = looping_sources(30, 8)
    tasks = tasks_of(sources, letters)
    tasks[3] = tasks[3]._replace(prefix_ids=(20, 21, 22))
    tasks[11] = tasks[11]._replace(repetition=TextRepetition("a a a", texts))
    tasks[12] = tasks[12]._replace(repetition=Repetition([5, 5, 5, 5], letters))  # not what is translated
    tasks[14] = tasks[14]._replace(repetition=Repetition(sources[14], SubwordLetters(SPELLINGS[::-1])))
    model = circling_model()
    for options in (GREEDY, BEAM):
        expected = search_all(Plain(model), sources, options, batch_tokens=500, tasks=tasks)
        assert_same(search_all(model, sources, options, batch_tokens=500, tasks=tasks), expected)
        assert expected[3][0].ids[:3] == (20, 21, 22)


@pytest.mark.parametrize(
    "change",
    [
        {"min_length_ratio": 0.5},
        {"no_repeat_ngram": 3},
        {"groups": 5},
        {"sampling": Sampling()},
    ],
    ids=str,
)
def test_options_that_it_does_not_know_are_left_to_the_search_of_python(change):
    options = replace(BEAM, num_best=1, **change)
    assert can_search(BEAM)
    assert not can_search(options)
    model = CompiledModel(model_of())
    assert isinstance(open_search(model, options, 100, "cpu", None, WaitingSources([])), BeamSearch)
    sources = looping_sources(5, 30)
    found = search_all(model, sources, options, batch_tokens=500)
    assert_same(found, search_all(Plain(model), sources, options, batch_tokens=500))


class Coming:
    """Sources that come while others are searched for, some of them with more than the library knows."""

    def __init__(self, sources: list[SearchSource]) -> None:
        self.sources = sources
        self.is_over = True

    def take(self, num_wanted) -> list[SearchSource]:
        number = min(2, num_wanted(self.sources[0], len(self.sources)), len(self.sources))
        taken, self.sources[:] = self.sources[:number], self.sources[number:]
        self.is_over = True
        return taken


def test_sources_come_at_any_step_and_are_dropped():
    ids = looping_sources(40, 30)
    options = replace(BEAM, keep_attention=True)
    model = CompiledModel(model_of())
    tasks = [SearchTask(prefix_ids=(9,) if number % 7 == 0 else ()) for number in range(len(ids))]
    expected = search_all(Plain(model), ids, options, batch_tokens=4000, tasks=tasks)
    sources = [
        SearchSource.of(key, source, task, options)._replace(keep_attention=key % 2 == 0)
        for key, (source, task) in enumerate(zip(ids, tasks, strict=True))
    ]
    waiting = Coming(sources)
    search = open_search(model, options, 4000, "cpu", None, waiting)
    assert isinstance(search, CompiledSearch)
    found: dict[int, list[Hypothesis]] = {}
    is_dropped = False
    while len(found) < len(ids) - 3:
        waiting.is_over = not waiting.sources
        for item in search.run():
            waiting.is_over = not waiting.sources
            if item is not None:
                found[item[0]] = item[1]
            elif not is_dropped and len(waiting.sources) <= 31 and not {6, 7, 8} & set(found):
                search.drop([6, 7, 8])
                is_dropped = True
    assert is_dropped
    assert set(found) == set(range(len(ids))) - {6, 7, 8}
    for key, hypotheses in found.items():
        of_key = expected[key] if key % 2 == 0 else [one._replace(attention=None) for one in expected[key]]
        assert_same([hypotheses], [of_key])


def test_what_is_no_number_is_an_error():
    model = model_of()
    with torch.no_grad():
        model.output_VD.fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        search_all(CompiledModel(model), [[5, 6]], GREEDY, batch_tokens=100)


def test_the_vocabulary_is_that_of_the_spellings():
    assert len(SPELLINGS) == VOCABULARY
