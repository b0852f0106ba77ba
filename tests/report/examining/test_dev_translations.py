"""Translations of dev sentences: groups, suspicions, what is unrelated, alignments and confidence."""

from __future__ import annotations

import pytest

from mtmoe.evaluation.quality import measure_quality
from mtmoe.inference.scoring.calibration import reliability
from mtmoe.inference.translation import Translation
from mtmoe.report.examining.dev_translations import examine_translations

SOURCES = [f"le chat numero {n} dort bien" for n in range(6)] + ["oui"] * 5 + ["un mot que personne ne sait"]
REFERENCES = [f"the cat number {n} sleeps well" for n in range(6)] + ["yes"] * 5 + ["a word that nobody knows"]
TEXTS = [*REFERENCES[:6], "yes", "yes", "no", "yes", "yes", "zzz zzz"]


def translations(confidence: float | None = None) -> list[Translation]:
    """With a loop at the end, which is not like its reference at all."""
    found = [Translation(text, log_probability=-2.0, num_tokens=4, confidence=confidence) for text in TEXTS]
    found[0] = found[0]._replace(alignment=((0, 0), (1, 1)))
    found[-1] = found[-1]._replace(suspicions=("loop",))
    return found


def test_what_is_told_is_what_the_sentences_say() -> None:
    times = ({"le": 2000, "chat": 50, "numero": 50, "dort": 50, "bien": 20, "oui": 3}, {"the": 7})
    found = examine_translations(SOURCES, REFERENCES, translations(), "13a", times)
    assert [(group.name, group.num_sentences) for group in found.groups] == [("1 to 5", 5), ("6 to 10", 7)]
    quality = measure_quality(TEXTS[6:11], [REFERENCES[6:11]], tokeniser="13a")
    assert (found.groups[0].bleu, found.groups[0].chrf) == (quality.bleu, quality.chrf)
    # The numbers never come in the training text, and neither do the words of the last sentence.
    assert [(group.name, group.num_sentences) for group in found.by_rarest] == [("never", 7), ("1 to 9", 5)]
    assert (found.suspicions, found.num_unrelated) == ({"loop": 1}, 1)
    assert found.worst[0].translation == "zzz zzz"
    assert found.mean_log_probability == -0.5
    (alignment,) = found.alignments
    assert (alignment.source, alignment.links) == (tuple(SOURCES[0].split()), ((0, 0), (1, 1)))
    assert found.confidence is None


def test_without_counts_of_words_there_is_nothing_of_rare_ones() -> None:
    found = examine_translations(SOURCES, REFERENCES, translations(), "13a")
    assert (found.by_rarest, found.recall) == ((), ())


def test_confidence_is_held_against_what_is_good() -> None:
    found = examine_translations(SOURCES, REFERENCES, translations(0.75), "13a", good_chrf=60.0).confidence
    assert found == reliability([0.75] * 12, [True] * 8 + [False] + [True] * 2 + [False])
    assert found.share_good == pytest.approx(10 / 12)
