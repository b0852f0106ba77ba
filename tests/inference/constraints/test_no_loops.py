"""No loops in what is found: against a search without the rule, and with translators."""

from __future__ import annotations

import pytest

from mtmoe.data.repetition import has_loop
from mtmoe.inference.constraints.search_task import SearchTask
from mtmoe.inference.search.beam_search import search_all
from mtmoe.inference.search.search_options import SearchOptions
from mtmoe.inference.text.subword_repetition import Repetition, SubwordLetters
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import NUM_SPECIAL
from tests.inference.conftest import SENTENCES, untrained_run

SUBWORDS = SubwordLetters([b""] * NUM_SPECIAL + [b" jklmnopqr", b" efghi", b" bc"])
SOURCES = [[4, 5, 6], [5], [4, 4, 6, 6, 5], [6, 5], [4, 6, 4, 6, 4, 6]]
OPTIONS = SearchOptions(
    beam_size=3, length_alpha=0.6, coverage_beta=0.1, prune_margin=9.0, max_length_ratio=2.0, max_length_extra=6
)


def tasks():
    return [SearchTask(number=n, repetition=Repetition(source, SUBWORDS)) for n, source in enumerate(SOURCES)]


def allows(ids, source) -> bool:
    """Whether no word of ids was banned where it came."""
    return not any(ids[n] in Repetition(source, SUBWORDS).looping_words(ids[:n]) for n in range(len(ids)))


@pytest.mark.parametrize("seed", range(4))
def test_what_does_not_loop_is_found_as_without_the_rule_and_nothing_loops(random_model, seed):
    free, ruled = (
        search_all(random_model(seed, 3, eos_bonus=-1.0), SOURCES, OPTIONS, batch_tokens=1000, tasks=given)
        for given in (None, tasks())
    )
    assert all(allows(found[0].ids, source) for found, source in zip(ruled, SOURCES, strict=True))
    alone = [
        search_all(random_model(seed, 3, eos_bonus=-1.0), [source], OPTIONS, batch_tokens=1, tasks=[task])[0]
        for source, task in zip(SOURCES, tasks(), strict=True)
    ]
    assert [found[0].ids for found in alone] == [found[0].ids for found in ruled]
    # Sharp models find the best path of all, which the rule leaves alone if it does not loop.
    greedy = [
        search_all(random_model(seed, 3, eos_bonus=-1.0), SOURCES, one, batch_tokens=1000, tasks=given)
        for one in [SearchOptions(1, 0.0, 0.0, 9.0, 2.0, 6)]
        for given in (None, tasks())
    ]
    for without, with_rule, source in zip(*greedy, SOURCES, strict=True):
        assert (without[0].ids == with_rule[0].ids) == allows(without[0].ids, source)
    assert len(free) == len(ruled)


@pytest.fixture(scope="module")
def looping_run(tmp_path_factory):
    """A run that goes round in circles: nothing in it tells where it is."""
    return untrained_run(tmp_path_factory.mktemp("loops"), SENTENCES, seed=5)


def test_translations_go_round_in_circles_no_more(looping_run):
    lines = [*SENTENCES, "The station is near the market.", "Two dogs ride a bicycle."]
    with_loops, without = (
        Translator(looping_run, device="cpu", overrides=[f"decoding.no_loops={flag}", "decoding.max_length_extra=20"])
        for flag in ("false", "true")
    )
    before, after = with_loops.translate(lines), without.translate(lines)
    loops = [has_loop(found.text, line) for found, line in zip(before, lines, strict=True)]
    assert any(loops)
    assert [("loop" in found.suspicions) for found in before] == loops
    assert not any(has_loop(found.text, line) for found, line in zip(after, lines, strict=True))
    alone = [without.translate([line])[0].text for line in lines]
    assert alone == [found.text for found in after]
