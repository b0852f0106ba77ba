"""Results of ``mtmoe bleu``: scores, comparisons between systems, and their tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtmoe.errors import UserError
from mtmoe.languages import Tokeniser

from .bleu_texts import Systems, TestText
from .console import warn, write_data, write_table, write_text
from .lines import read_lines
from .robustness import read_robustness

if TYPE_CHECKING:
    from mtmoe.evaluation.significance import Comparison

_NUM_SAMPLES = 1000

Comet = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], float]


def load_comet_model(model_name: str | None) -> tuple[str, Comet] | None:
    if model_name is None:
        return None
    from mtmoe.evaluation.comet import load_comet

    return model_name, load_comet(model_name)


def measured(test: TestText, systems: Systems, tokeniser: Tokeniser, comet: tuple[str, Comet] | None) -> dict[str, Any]:
    from mtmoe.evaluation.quality import measure_quality
    from mtmoe.evaluation.significance import compare

    translations = {name: translated(test) for name, translated in systems.items()}
    by_comet = {}
    if comet is not None:
        by_comet = {name: {"comet": comet[1](test.source, lines, test.references), "comet_model": comet[0]}
                    for name, lines in translations.items()}  # fmt: skip
    if len(translations) > 1:
        comparison = compare(translations, test.references, num_samples=_NUM_SAMPLES, tokeniser=tokeniser)
        _warn_all(comparison.warnings)
        result = {"test_set": test.name, **_comparison_dict(comparison)}
        for system in result["systems"]:
            system |= by_comet.get(system["system"], {})
        return result
    [(name, lines)] = translations.items()
    quality = measure_quality(lines, test.references, name=name, num_samples=_NUM_SAMPLES, tokeniser=tokeniser)
    _warn_all(quality.warnings)
    return {"test_set": test.name, "system": name, **quality._asdict(), **by_comet.get(name, {})}


def _comparison_dict(comparison: Comparison) -> dict[str, Any]:
    systems = [
        {"system": system.name, "bleu": system.bleu._asdict(), "chrf": system.chrf._asdict()}
        for system in comparison.systems
    ]
    return {**comparison._asdict(), "systems": systems}


def read_results(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what ``--json`` wrote into each file, if the files can be compared.

    Raises:
        UserError: a file is something else, or scores of the same test set have different signatures.
    """
    results = []
    for path in paths:
        try:
            found = json.loads("\n".join(read_lines(path)))
            if not isinstance(found, list):
                raise TypeError
            for result in found:
                list(_rows(result))
                read_robustness(result)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{path}: is not what `mtmoe bleu --json` writes", fix="measure again: mtmoe bleu RUN --json"
            ) from None
        results += [(path, result) for result in found]
    _check_comparable(results)
    return [result for _, result in results]


def _check_comparable(results: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    from mtmoe.evaluation.quality import comparable_signature

    first_of: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path, result in results:
        first_path, first = first_of.setdefault(result["test_set"], (path, result))
        for key in ("bleu_signature", "chrf_signature"):
            here, there = comparable_signature(result[key]), comparable_signature(first[key])
            if here != there:
                raise UserError(
                    f"scores of the test set {result['test_set']} cannot be compared: {path} has {here}, "
                    f"but {first_path} has {there}",
                    fix="measure both with the same version of sacreBLEU and the same references",
                )
        if result["num_sentences"] != first["num_sentences"]:
            raise UserError(
                f"the test set {result['test_set']} has {result['num_sentences']} sentences in {path}, "
                f"but {first['num_sentences']} in {first_path}",
                fix="they are different test sets: compare on the same text",
            )


def _warn_all(warnings: Sequence[str]) -> None:
    for text in warnings:
        warn(text)


def shown(result: Mapping[str, Any]) -> str:
    """Return the score of one system on one test set, for people."""
    lines = [
        f"{result['test_set']}: {result['num_sentences']:,} sentences",
        f"  BLEU  {result['bleu']:6.2f}   {result['bleu_signature']}",
        f"  chrF2 {result['chrf']:6.2f}   {result['chrf_signature']}",
    ]
    if "comet" in result:
        lines.append(f"  COMET {result['comet']:6.4f}   {result['comet_model']}")
    intervals = f"BLEU +- {result['bleu_interval']:.2f}, chrF2 +- {result['chrf_interval']:.2f}"
    lines.append(f"  95 % intervals by bootstrap: {intervals}")
    return "\n".join(lines) + "\n"


class _Row(NamedTuple):
    """The score of one system on one test set."""

    test_set: str
    system: str
    bleu: float
    bleu_interval: float
    bleu_p: float | None
    chrf: float
    chrf_interval: float
    chrf_p: float | None
    comet: float | None

    def cells(self) -> list[str]:
        def chance(p_value: float | None) -> str:
            return "" if p_value is None else f"p = {p_value:.4f}"

        return [
            self.test_set,
            self.system,
            f"{self.bleu:.2f} +- {self.bleu_interval:.2f}",
            chance(self.bleu_p),
            f"{self.chrf:.2f} +- {self.chrf_interval:.2f}",
            chance(self.chrf_p),
            "" if self.comet is None else f"{self.comet:.4f}",
        ]


def _rows(result: Mapping[str, Any]) -> Iterator[_Row]:
    test_set = result["test_set"]
    for key in ("bleu_signature", "chrf_signature", "num_sentences"):
        result[key]
    if "systems" not in result:
        bleu = (result["bleu"], result["bleu_interval"], None)
        chrf = (result["chrf"], result["chrf_interval"], None)
        yield _Row(test_set, result["system"], *bleu, *chrf, result.get("comet"))
        return
    for system in result["systems"]:
        bleu, chrf = (
            (estimate["score"], estimate["interval"], estimate["p_value"])
            for estimate in (system["bleu"], system["chrf"])
        )
        yield _Row(test_set, system["system"], *bleu, *chrf, system.get("comet"))


def show_table(results: Sequence[Mapping[str, Any]]) -> None:
    """Write all systems on all test sets to standard output, with the signatures that reproduce the numbers."""
    table = [row.cells() for result in results for row in _rows(result)]
    columns = ["test set", "system", "BLEU", "", "chrF2", "", "COMET"]
    used = [place for place in range(len(columns)) if any(cells[place] for cells in table)]
    write_table([columns[place] for place in used], [[cells[place] for place in used] for cells in table])
    blocks = []
    for result in results:
        against = f", paired bootstrap against {result['systems'][0]['system']}" if "systems" in result else ""
        blocks.append(
            f"{result['test_set']}: {result['num_sentences']:,} sentences{against}\n"
            f"  BLEU:  {result['bleu_signature']}\n"
            f"  chrF2: {result['chrf_signature']}\n"
        )
    write_data("+-: 95 % interval by bootstrap; p: of such a difference by chance\n")
    write_text("".join(dict.fromkeys(blocks)))
