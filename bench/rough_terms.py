#!/usr/bin/env python3
"""Rough list of terms from a test set, and how many of them a translation has.

    rough_terms.py list SOURCE REFERENCE > TERMS                  a TSV file: a word and its translation
    rough_terms.py count TERMS SOURCE REFERENCE TRANSLATION       terms in the translation

For each source word of 4 letters or more that at most 20 lines have, the list has the reference word that goes with it
most: the largest Dice coefficient of the lines that have either, if it is above 0.55.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

MIN_LETTERS = 4
MAX_LINES = 20
MIN_DICE = 0.55


def main() -> None:
    """Run the command that the arguments name."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["list"] and len(arguments) == 3:
        for word, translation in terms_of(*map(lines_of, arguments[1:])):
            print(word, translation, sep="\t")
    elif arguments[:1] == ["count"] and len(arguments) == 5:
        terms = [tuple(line.split("\t")) for line in lines_of(arguments[1])]
        num_occurrences, num_in_reference, num_in_all, num_in_both = counts(terms, *map(lines_of, arguments[2:]))
        print(f"in the output, of all {num_occurrences}: {num_in_all}")
        print(f"in the output, of the {num_in_reference} that the reference has: {num_in_both}")
    else:
        print(__doc__, file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)


def lines_of(path: str) -> list[str]:
    """Return the lines of a UTF-8 file, without their ends."""
    return Path(path).read_text(encoding="utf-8").split("\n")[:-1]


def words_of(line: str) -> set[str]:
    """Return the words of a line in lower case."""
    return set(re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", line.lower()))


def terms_of(sources: list[str], references: list[str]) -> list[tuple[str, str]]:
    """Return the words of the sources with the word of the references that goes with each most."""
    lines_with_source: dict[str, set[int]] = defaultdict(set)
    lines_with_target: Counter[str] = Counter()
    targets = [words_of(line) for line in references]
    for number, line in enumerate(sources):
        for word in words_of(line):
            lines_with_source[word].add(number)
        lines_with_target.update(targets[number])
    terms = []
    for word, numbers in sorted(lines_with_source.items()):
        if len(word) < MIN_LETTERS or len(numbers) > MAX_LINES:
            continue
        together = Counter(target for number in numbers for target in targets[number])
        dice = {target: 2 * num / (len(numbers) + lines_with_target[target]) for target, num in together.items()}
        if dice:
            best = max(sorted(dice), key=dice.__getitem__)
            if dice[best] > MIN_DICE:
                terms.append((word, best))
    return terms


def counts(
    terms: list[tuple[str, ...]], sources: list[str], references: list[str], translations: list[str]
) -> tuple[int, int, int, int]:
    """Return occurrences of terms: in the sources, also in the reference, in the translation, in all three."""
    num_occurrences = num_in_reference = num_in_all = num_in_both = 0
    for source, reference, translation in zip(sources, references, translations, strict=True):
        source_words, reference_words, translated = words_of(source), words_of(reference), words_of(translation)
        for word, target in terms:
            if word in source_words:
                num_occurrences += 1
                num_in_reference += target in reference_words
                num_in_all += target in translated
                num_in_both += target in reference_words and target in translated
    return num_occurrences, num_in_reference, num_in_all, num_in_both


if __name__ == "__main__":
    main()
