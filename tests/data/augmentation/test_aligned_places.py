"""Words of a pair that surely translate each other."""

from __future__ import annotations

import numpy as np
import pytest

from mtmoe.data.augmentation.aligned_places import AlignedPlaces
from mtmoe.data.prepared.lexicon import Lexicon

PIECES = [
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    "▁the",
    "▁dog",
    "▁sees",
    "s",
    "▁a",
    ".",
    "▁le",
    "▁chien",
    "▁voit",
    "▁un",
    "▁",
]
THE, DOG, SEES, S, A, STOP, LE, CHIEN, VOIT, UN, SPACE = range(4, 15)


@pytest.fixture
def places():
    candidates_VC = np.zeros((len(PIECES), 4), np.int32)
    for source, best in {THE: [LE, UN], DOG: [CHIEN], SEES: [VOIT], S: [VOIT], A: [UN, LE], STOP: [STOP]}.items():
        candidates_VC[source, : len(best)] = best
    return AlignedPlaces(Lexicon(candidates_VC, np.zeros(0, np.int32)), PIECES)


@pytest.mark.parametrize(
    ("source", "target", "found"),
    [
        ([THE, DOG, SEES, STOP], [LE, CHIEN, VOIT, STOP], [(1, 1), (2, 2)]),
        ([SEES, THE, DOG], [CHIEN, VOIT, LE], [(1, 2)]),  # those that begin a side are left out
        ([THE, DOG, S, SEES], [LE, CHIEN, VOIT], [(1, 1)]),  # another has VOIT among its own
        ([THE, DOG, SEES, DOG], [LE, CHIEN, VOIT], [(2, 2)]),  # DOG twice
        ([THE, DOG, SEES], [LE, CHIEN, VOIT, CHIEN], [(2, 2)]),  # CHIEN twice
        ([DOG, SEES, A, DOG], [CHIEN, VOIT, UN, LE], [(1, 1)]),  # A has two
        ([DOG, SEES, A], [CHIEN, S, VOIT, UN], [(1, 1), (2, 2)]),  # words are counted, not subwords
        ([], [], []),
        ([DOG], [], []),
    ],
)
def test_sure_places(places, source, target, found):
    assert places.find(np.array(source, np.uint16), np.array(target, np.uint16)) == found
