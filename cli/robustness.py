"""``mtmoe bleu --perturb``: test sets as people type them, and the table of their scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtmoe.languages import Tokeniser

from .bleu_texts import Systems, TestText
from .console import write_data, write_table, write_text

if TYPE_CHECKING:
    from mtmoe.config.settings import Data
    from mtmoe.evaluation.robustness import PerturbedQuality, Robustness

_KEY = "robustness"
"""Of the results of ``bleu --json``."""


def chosen_kinds(text: str | None) -> tuple[str, ...]:
    """Return the kinds that ``--perturb`` names, each once.

    Raises:
        UserError: there is no such kind.
    """
    if text is None:
        return ()
    from mtmoe.evaluation.perturbed_tests import all_kinds, kind_names

    kinds: list[str] = []
    for kind in map(str.strip, text.split(",")):
        if kind != "all":
            kind_names(kind)
        kinds += all_kinds() if kind == "all" else [kind]
    return tuple(dict.fromkeys(kinds))


def with_robustness(
    results: Sequence[dict[str, Any]],
    tests: Sequence[TestText],
    tokenisers: Sequence[Tokeniser],
    systems: Systems,
    data: Data,
    kinds: Sequence[str],
    seed: int,
) -> list[dict[str, Any]]:
    """Return the results, one a test set, each with what the one system makes of its perturbed text."""
    from mtmoe.evaluation.robustness import measure_robustness

    [translated] = systems.values()
    measured = []
    for result, test, tokeniser in zip(results, tests, tokenisers, strict=True):

        def translate(kind: str, lines: Sequence[str], test: TestText = test) -> Sequence[str]:
            return translated(test._replace(name=f"{test.name}, {kind}", source=list(lines)))

        robustness = measure_robustness(
            kinds, test.source, test.references, data, translate, tokeniser=tokeniser, seed=seed
        )
        measured.append({**result, _KEY: robustness.model_dump()})
    return measured


def read_robustness(result: Mapping[str, Any]) -> Robustness | None:
    """Return what a result of ``bleu --json`` tells of perturbed text; None if that was not measured.

    Raises:
        ValueError: it is no such thing.
    """
    if _KEY not in result:
        return None
    from mtmoe.evaluation.robustness import Robustness

    return Robustness.model_validate_json(json.dumps(result[_KEY]))


def show_robustness(results: Sequence[Mapping[str, Any]]) -> None:
    """Write a table for each test set whose perturbed text was measured, with the signatures behind it."""
    for result in results:
        robustness = read_robustness(result)
        if robustness is None:
            continue
        write_text(f"\n{result['test_set']}, as people type it (seed {robustness.seed})\n")
        write_table(["text", "BLEU", "change", "chrF2", "change", "loops", "kept"], list(map(_cells, robustness.kinds)))
        write_data("change: against clean; kept: of inserted items; BLEU and chrF2: without them\n")
        for name, key in (("BLEU", "bleu_signature"), ("chrF2", "chrf_signature")):
            for signature in dict.fromkeys(getattr(row, key) for row in robustness.kinds):
                mark = "*" if "case:lc" in signature else " "
                write_text(f"{mark} {name + ':':6} {signature}\n")


def _cells(row: PerturbedQuality) -> list[str]:
    is_clean = row.kind == "clean"
    return [
        f"{row.kind}{'*' if 'case:lc' in row.bleu_signature else ''}",
        f"{row.bleu:5.2f}",
        "" if is_clean else f"{row.bleu_change:+6.2f}",
        f"{row.chrf:5.2f}",
        "" if is_clean else f"{row.chrf_change:+6.2f}",
        f"{row.num_loops:,}",
        "" if row.kept_share is None else f"{row.kept_share:.1%}",
    ]
