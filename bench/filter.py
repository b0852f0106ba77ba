#!/usr/bin/env python3
"""How well the scores of `mtmoe filter` tell shuffled pairs from right ones.

    filter.py measure FORWARD SOURCE TARGET [--backward RUN] [--noisy-lexicon DATA]
    filter.py shuffle TARGET                TARGET with 30 % of its lines shuffled among themselves, to standard output

FORWARD is a run that translates the language of SOURCE into that of TARGET, two aligned files of text that it has not
seen; RUN is one of the other direction. DATA is a data directory of text that was shuffled, too: its lexicon is what
one has without any clean text. TARGET is shuffled. For each criterion, and for sums of them: the area under the ROC
curve (the probability that a right pair has a better score than a shuffled one, half of ties; pairs that break a rule
have the worst score), the share of shuffled pairs among the best 70 %, and pairs a CPU-second.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mtmoe.filtering.criteria import Criteria
from mtmoe.filtering.filter_corpus import SCORES, filter_corpus
from mtmoe.filtering.filter_options import FilterOptions
from mtmoe.system.process_settings import prepare_for_translation

SHARE, SEED = 0.3, 1
COMBINED = (
    ("form", "languages"),
    ("lexicon", "form", "languages"),
    ("noisy lexicon", "form", "languages"),
    ("forward", "form", "languages"),
    ("forward", "lexicon"),
    ("forward", "lexicon", "form", "languages"),
    ("dual", "lexicon"),
    ("dual", "lexicon", "form", "languages"),
)


def main() -> None:
    """Measure, or shuffle a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    for name in ("forward", "source", "target"):
        measuring.add_argument(name, type=Path)
    measuring.add_argument("--backward", type=Path)
    measuring.add_argument("--noisy-lexicon", type=Path)
    verbs.add_parser("shuffle").add_argument("target", type=Path)
    asked = parser.parse_args()
    if asked.verb == "shuffle":
        sys.stdout.write("".join(f"{line}\n" for line in shuffled(lines_of(asked.target))))
        return
    prepare_for_translation()
    torch.set_num_threads(1)
    print(*circumstances(), sep="\t")
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))


def measure(asked: argparse.Namespace, folder: Path) -> None:
    """Print a line for each criterion, and for each sum of criteria."""
    print("criteria", "AUC", "shuffled among the best 70 %", "pairs a CPU-second", sep="\t", flush=True)
    targets = lines_of(asked.target)
    noisy = shuffled(targets)
    paths = asked.source.absolute(), folder / asked.target.name
    paths[1].write_text("".join(f"{line}\n" for line in noisy), encoding="utf-8")
    is_bad = np.array([one != other for one, other in zip(targets, noisy, strict=True)])
    scores = {}
    for name, criteria in criteria_of(asked).items():
        begin = time.process_time()
        filter_corpus(FilterOptions(paths, folder / name, criteria, with_scores=True, devices=("cpu",)))
        speed = len(targets) / (time.process_time() - begin)
        scores[name] = scores_of(folder / name)
        print(name, *figures(scores[name], is_bad), f"{speed:.0f}", sep="\t", flush=True)
    for names in COMBINED:
        if scores.keys() >= set(names):  # the score of several criteria is the sum of theirs
            print(" + ".join(names), *figures(sum(scores[name] for name in names), is_bad), "", sep="\t")


def criteria_of(asked: argparse.Namespace) -> dict[str, Criteria]:
    """Return each criterion alone, by name."""
    found = {
        "languages": Criteria(with_languages=True),
        "form": Criteria(with_form=True),
        "lexicon": Criteria(lexicon=asked.forward),
    }
    if asked.noisy_lexicon is not None:
        found["noisy lexicon"] = Criteria(lexicon=asked.noisy_lexicon)
    found["forward"] = Criteria(forward=asked.forward)
    if asked.backward is not None:
        found["backward"] = Criteria(backward=asked.backward)
        found["dual"] = Criteria(forward=asked.forward, backward=asked.backward)
    return found


def circumstances() -> list[str]:
    """Return date, commit and processor."""
    place = str(Path(__file__).parent)
    commit = subprocess.check_output(["git", "-C", place, "rev-parse", "--short", "HEAD"], text=True)
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return [time.strftime("%Y-%m-%d"), commit.strip(), models[0].partition(": ")[2] if models else "unknown processor"]


def figures(scores: np.ndarray, is_bad: np.ndarray) -> tuple[str, str]:
    """Return the area under the curve, and the share of shuffled pairs among the best."""
    best = np.argsort(-scores, kind="stable")[: round((1 - SHARE) * len(scores))]
    return f"{auc(scores, is_bad):.4f}", f"{is_bad[best].mean():.1%}"


def shuffled(lines: list[str]) -> list[str]:
    """Return the lines with a part of them moved around in a circle."""
    places = random.Random(SEED).sample(range(len(lines)), round(SHARE * len(lines)))
    found = list(lines)
    for place, other in zip(places, [*places[1:], places[0]], strict=True):
        found[place] = lines[other]
    return found


def scores_of(output: Path) -> np.ndarray:
    """Return the score of each pair; minus infinity for one that breaks a rule."""
    rows = [line.split("\t") for line in lines_of(output / SCORES)[1:]]
    return np.array([float(score) if score else -np.inf for _, score, *_ in rows])


def auc(scores: np.ndarray, is_bad: np.ndarray) -> float:
    """Return the area under the ROC curve, half of ties."""
    good, bad = scores[~is_bad, None], scores[is_bad]
    return float(((good > bad).mean() + (good >= bad).mean()) / 2)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file, without their ends."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
