#!/usr/bin/env python3
"""How well the language of text is identified, of single sentences and of twenty together.

    language_identification.py TEXT

TEXT is a folder with tatoeba-en-de/valid.{en,de}.xz and po-en-de/natural.{en,de}.xz. Of the first 2,000 lines of each
file: the share of single sentences that are surely in the right language, the same of groups of twenty, the sentences
that would be called foreign among those long enough to tell, and how many single sentences a second are looked at.
"""

from __future__ import annotations

import lzma
import sys
import time
from pathlib import Path

from mtmoe.corpus_survey.language_identification import identify, is_in_other_language

NUM_LINES, TOGETHER = 2000, 20
FILES = ("tatoeba-en-de/valid.en", "tatoeba-en-de/valid.de", "po-en-de/natural.en", "po-en-de/natural.de")


def main() -> None:
    """Print a line for each file."""
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if sys.argv[1:2] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    identify(["The model is unpacked before time is taken."])
    print("file", "sentences right", "groups right", "called foreign", "long enough", "sentences/s", sep="\t")
    for name in FILES:
        code = name.rpartition(".")[2]
        with lzma.open(Path(sys.argv[1]) / f"{name}.xz", "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()[:NUM_LINES]
        began = time.process_time()
        right = sum(identify([line]).language == code for line in lines) / len(lines)
        speed = len(lines) / (time.process_time() - began)
        groups = [lines[n : n + TOGETHER] for n in range(0, len(lines), TOGETHER)]
        groups_right = sum(identify(group).language == code for group in groups) / len(groups)
        told = [foreign for line in lines if (foreign := is_in_other_language(line, code)) is not None]
        print(name, f"{right:.4f}", f"{groups_right:.4f}", sum(told), len(told), f"{speed:.0f}", sep="\t", flush=True)


if __name__ == "__main__":
    main()
