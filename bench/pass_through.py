#!/usr/bin/env python3
"""Items that come out of translations, BLEU of the rest, and loops, with and without the settings that are for them.

    pass_through.py RUN SOURCE REFERENCE [TEXT ...]

SOURCE is translated as it is, and with one item in each line (those of `mtmoe bleu --perturb`). Of SOURCE and of the
TEXTs, of other domains, loops are counted by the yardstick of `mtmoe bleu --perturb`, which is not the rule that avoids
them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mtmoe.data.perturbations.insertion import drawn_place, inserted, removed
from mtmoe.data.perturbations.items import ITEM_KINDS, drawn_item
from mtmoe.data.repetition import has_loop
from mtmoe.evaluation.quality import measure_quality
from mtmoe.inference.translator import Translator

PASSES, LOOPS, OFF = "decoding.pass_through=[]", "decoding.no_loops=false", "both off"
CASES = {"defaults": (), PASSES: (PASSES,), LOOPS: (LOOPS,), OFF: (PASSES, LOOPS)}


def main() -> None:
    """Measure the run of the arguments."""
    if len(sys.argv) < 4 or "--help" in sys.argv:
        print(__doc__)
        return
    torch.set_num_threads(1)
    run, source_path, reference_path, *texts = sys.argv[1:]
    source, references = lines_of(source_path), lines_of(reference_path)
    random = np.random.default_rng(1)
    items = [drawn_item(ITEM_KINDS[random.integers(len(ITEM_KINDS))], random) for _ in source]
    with_items = [inserted(text, item, drawn_place(text, random)) for text, item in zip(source, items, strict=True)]
    for name, overrides in CASES.items():
        translator = Translator(run, device="cpu", overrides=overrides)
        bleu = measure_quality(told(name, "as it is", translator, source), [references]).bleu
        print(f"{name}: as it is: BLEU {bleu:.2f}", flush=True)
        if name in ("defaults", PASSES):
            found = told(name, "with items", translator, with_items)
            pairs = zip(found, items, with_items, strict=True)
            kept = sum(text.count(item) == line.count(item) for text, item, line in pairs)
            rest = measure_quality(list(map(removed, found, items)), [references]).bleu
            print(f"{name}: with items: {kept:,} of {len(items):,} kept, BLEU of the rest {rest:.2f}", flush=True)
        for path in texts if name in ("defaults", LOOPS) else ():
            told(name, path, translator, lines_of(path))


def told(name: str, text: str, translator: Translator, lines: Sequence[str]) -> list[str]:
    """Translate; tell of loops, and of the seconds that the processor worked."""
    begin = time.process_time()
    found = [translation.text for translation in translator.stream(lines, with_scores=False)]
    seconds = time.process_time() - begin
    loops = sum(has_loop(one, line) for one, line in zip(found, lines, strict=True))
    print(f"{name}: {text}: {len(lines):,} lines, {loops:,} loops, {seconds:.1f} CPU-seconds", flush=True)
    return found


def lines_of(path: str) -> list[str]:
    """Return the lines of a file."""
    return Path(path).read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
