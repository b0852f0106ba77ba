#!/usr/bin/env python3
"""Memory that a large translation memory takes to be translated as a document.

    document_memory.py RUN MEGABYTES [--translated SHARE] [--in DIRECTORY]

Writes a TMX of about so many megabytes with inline tags, in RUN's languages. SHARE of its units have a translation
already, which stays. Translates the others with mtmoe.translate_document and a stand-in for RUN's model, which puts
capitals: what is measured is the document, not the search. Prints the circumstances: sizes, units, lines, processor
seconds, and the resident memory of the process before and at its largest. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

UNIT = """<tu tuid="{n}" creationdate="20260101T000000Z"><prop type="x-project">Manual {n}</prop>
  <tuv xml:lang="{source}"><seg>Press the <bpt i="1">&lt;b&gt;</bpt>button {n}<ept i="1">&lt;/b&gt;</ept> on the left, \
and wait until the lamp is green.</seg></tuv>{more}
</tu>
"""
TRANSLATED = """
  <tuv xml:lang="{target}"><seg>Appuyez sur le bouton {n} à gauche, et attendez que le voyant soit vert.</seg></tuv>"""


def write_memory(path: Path, num_bytes: int, share: float, source: str, target: str) -> int:
    """Write a TMX; return the number of its units."""
    number = written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(f'<tmx version="1.4"><header srclang="{source}"/>\n<body>\n')
        while written < num_bytes:
            is_translated = number * 7919 % 1000 < 1000 * share
            more = TRANSLATED.format(n=number, target=target) if is_translated else ""
            written += file.write(UNIT.format(n=number, source=source, more=more))
            number += 1
        file.write("</body>\n</tmx>\n")
    return number


def peak_megabytes() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("megabytes", type=float)
    parser.add_argument("--translated", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--in", dest="directory", type=Path, default=None, metavar="DIRECTORY")
    arguments = parser.parse_args()

    import mtmoe
    from mtmoe.checkpoint import open_model
    from mtmoe.inference import translator

    class Capitals:
        """Stands for the model."""

        def __init__(self, run: Path, **_: Any) -> None:
            pass

        def translate(self, requests: Sequence[mtmoe.Request], num_best: int, **_: Any) -> list[mtmoe.Translation]:
            words = [request.text.upper().split() for request in requests]
            return [
                mtmoe.Translation(" ".join(each), alignment=tuple((i, i) for i in range(len(each)))) for each in words
            ]

    translator.Translator = Capitals  # type: ignore[assignment, misc]
    data = open_model(arguments.run).recipe().data
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        source, output = Path(folder, "source.tmx"), Path(folder, "output.tmx")
        num_bytes = round(arguments.megabytes * 1e6)
        languages = data.source_language, data.target_language
        num_units = write_memory(source, num_bytes, arguments.translated, *languages)
        options = mtmoe.TranslationOptions(arguments.run)
        before, begun = peak_megabytes(), time.process_time()
        done = mtmoe.translate_document(options, source, output)
        print(f"{os.cpu_count()} cores; mtmoe {mtmoe.__version__}")
        print(f"{source.stat().st_size / 1e6:.1f} MB in, {output.stat().st_size / 1e6:.1f} MB out")
        print(f"{num_units:,} units, {done.num_lines:,} lines: {time.process_time() - begun:.1f} processor seconds")
        print(f"resident memory: {before:.0f} MB before, at most {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
