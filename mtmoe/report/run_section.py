"""One run's own part of the page: its experts, its translations, and its examples through training.

Letters: F bands of frequency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from mtmoe.inference.scoring.calibration import Reliability
from mtmoe.report.charts import Series, heat_map, line_chart
from mtmoe.report.examining.dev_translations import DevTranslations
from mtmoe.report.examining.expert_contexts import ExpertProfile, LayerProfile
from mtmoe.report.examining.frequency_routing import FrequencyRouting
from mtmoe.report.examining.rare_words import LONGEST
from mtmoe.report.maps import labelled_map, reliability_curve
from mtmoe.report.run_history import RunHistory
from mtmoe.report.tables import ABSENT, Table, figure
from mtmoe.training.metrics.records import MOST_SHARES_LISTED

_MOST_STEPS, _MOST_EXAMPLES = 12, 4  # of examples through training
_NUM_MOST_USED = 5


class Examination(NamedTuple):
    """What a run's model was asked.

    profiles: of its layers, by name. next_subwords: how well the probabilities of the likeliest ones agree with the
    references. num_counted: sentences of the training text that words were counted in.
    """

    profiles: Mapping[str, LayerProfile]
    translations: DevTranslations
    next_subwords: Reliability
    num_sentences: int
    num_counted: int
    checkpoint: str


class Routing(NamedTuple):
    """How tokens of different kinds are routed; map and curve may be empty."""

    table: Table
    note: str
    map: Markup
    curve: Markup


class LayerSection(NamedTuple):
    """The experts of one layer of a run."""

    name: str
    maps: Sequence[Markup]
    balance: Markup
    note: str
    routings: Sequence[Routing]
    profiles: Sequence[ExpertProfile]


class RunSection(NamedTuple):
    """One run's own part of the page. curves: of reliability; alignments: pictures."""

    label: str
    layers: Sequence[LayerSection]
    examination: Examination | None
    tables: Sequence[Table]
    curves: Sequence[Markup]
    alignments: Sequence[Markup]
    examples: Sequence[Table]


def run_section(history: RunHistory, examination: Examination | None) -> RunSection:
    """Return the part of a run, with what its model was asked, if it was."""
    profiles = examination.profiles if examination else {}
    layers = [_layer_section(history, layer, profiles.get(layer)) for layer in history.layers or profiles]
    tables, curves, alignments = [], [], []
    if examination is not None:
        tables, curves = _translation_tables(examination), _reliability(examination)
        for it in examination.translations.alignments:
            weights = [[float((i, j) in it.links) for i in range(len(it.source))] for j in range(len(it.translation))]
            label = f"Alignment of “{' '.join(it.translation)}” with “{' '.join(it.source)}”"
            alignments.append(labelled_map(it.translation, it.source, weights, label))
    return RunSection(
        history.label, layers, examination, tables, curves, alignments, examples_through_training(history)
    )


def _translation_tables(examination: Examination) -> list[Table]:
    it = examination.translations
    tables = []
    often = f"times in the training text ({examination.num_counted:,} sentences)"
    for title, of_rows, groups in (
        ("By words of the source", "words", it.groups),
        ("By the rarest word of the source", often, it.by_rarest),
    ):
        if groups:
            rows = [[g.name, f"{g.num_sentences:,}", f"{g.bleu:.2f}", f"{g.chrf:.2f}"] for g in groups]
            tables.append(Table(title, [of_rows, "sentences", "BLEU", "chrF2"], rows))
    if it.recall:
        rows = []
        for recall in it.recall:
            shares = [
                f"{f / e:.1%} of {e:,}" if e else ABSENT for f, e in zip(recall.num_found, recall.num_all, strict=True)
            ]
            rows.append([recall.band, *shares])
        head = [f"the rarest of them: {often}", *(f"{n} in a row" for n in range(1, LONGEST + 1))]
        tables.append(Table("Words of the references that the translations have, too (recall of n-grams)", head, rows))
    return tables


def _reliability(examination: Examination) -> list[Markup]:
    curves = [
        reliability_curve("Next subwords: P of the likeliest, share that is the reference's", examination.next_subwords)
    ]
    if examination.translations.confidence is not None:
        title = "Translations: confidence (fitted to dev text), share that is good"
        curves.append(reliability_curve(title, examination.translations.confidence))
    return curves


def examples_through_training(history: RunHistory) -> list[Table]:
    """Return a table for each example of the validations: what it was translated to at some steps, first and last."""
    lines = [line for line in history.validation if _examples_of(line)]
    number = min(len(lines), _MOST_STEPS)
    places = [round(n * (len(lines) - 1) / max(number - 1, 1)) for n in range(number)]
    texts: dict[tuple[str, str], list[list[str]]] = {}
    for line in (lines[place] for place in places):
        for example in _examples_of(line):
            rows = texts.setdefault((example["source"], example["reference"]), [])
            rows.append([f"step {line['step']:,}", example["translation"]])
    return [
        Table(source, ["", "translation"], [*rows, ["reference", reference]])
        for (source, reference), rows in list(texts.items())[:_MOST_EXAMPLES]
    ]


def _examples_of(line: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the examples of a line of the log, as far as they are such."""
    found = line.get("examples")
    names = ("source", "reference", "translation")
    return [
        it
        for it in (found if isinstance(found, list) else [])
        if isinstance(it, dict) and all(isinstance(it.get(name), str) for name in names)
    ]


def _layer_section(history: RunHistory, layer: str, profile: LayerProfile | None) -> LayerSection:
    key = f"{layer}.token_share"
    lines = [line for line in history.train if isinstance(line.get(key), list)]
    maps = []
    note = ""
    if lines:
        num_experts = len(lines[-1][key])
        lines = [line for line in lines if len(line[key]) == num_experts]
        rows = [[line[key][expert] for line in lines] for expert in range(num_experts)]
        steps = [line["step"] for line in lines]
        maps = [heat_map("Share of the tokens, a row for each expert", rows, steps, 1 / num_experts)]
        note = _balance_note([row[-1] for row in rows])
    else:
        bands = [
            Series(name, history.series(f"{layer}.token_share_{name}"), number)
            for number, name in enumerate(("min", "median", "max"))
        ]
        maps = [line_chart("Share of the tokens: least, median and largest expert", bands)]
    cvs = [
        Series("CV(importance)", history.series(f"{layer}.importance_cv"), 0),
        Series("CV(load)", history.series(f"{layer}.load_cv"), 1),
        Series("CV(tokens)", history.series(f"{layer}.tokens_cv"), 2),
    ]
    routings = [_by_language(history, layer)]
    if profile is not None and profile.by_frequency is not None:
        routings.append(_by_frequency(profile.by_frequency))
    return LayerSection(
        layer,
        maps,
        line_chart("Coefficients of variation", cvs),
        note,
        [routing for routing in routings if routing is not None],
        profile.experts if profile else (),
    )


def _by_language(history: RunHistory, layer: str) -> Routing | None:
    """Return how the dev sets are routed, by the last validation; None where there is but one."""
    line = history.validation[-1] if history.validation else {}
    key = f"{layer}.routing_distance."
    names = [name.removeprefix(key) for name in line if name.startswith(key)]
    if not names:
        return None
    shares = {name: line.get(f"{layer}.token_share.{name}") for name in names}
    rows = [[name, figure(line[f"{key}{name}"]), _most_used(shares[name])] for name in names]
    series = [
        Series(name, history.series(f"{key}{name}", validation=True), number) for number, name in enumerate(names)
    ]
    return Routing(
        Table("Routing by dev set, last validation", ["dev set", "distance", "experts with most of its tokens"], rows),
        "Distance: the share of a set's tokens that would have to go to another expert to be spread as those of all "
        "other sets are.",
        _share_map(names, [shares[name] for name in names], f"Shares of the experts of {layer} by dev set"),
        line_chart("Distance of the dev sets' routing", series),
    )


def _by_frequency(found: FrequencyRouting) -> Routing:
    shares = found.shares_FE.tolist()
    rows = [
        [band, about, f"{number:,}", f"{distance:.3f}", _most_used(of_band)]
        for band, about, number, distance, of_band in zip(
            found.bands_F, found.about_F, found.num_tokens_F, found.distances_F, shares, strict=True
        )
    ]
    head = [
        "subwords of the training text",
        "which",
        "tokens, once for each expert",
        "distance",
        "experts with most of them",
    ]
    return Routing(
        Table("Routing by frequency", head, rows),
        "Each of the first four has about a quarter of the running text. Distance: the share of the tokens that would "
        "have to go to another expert to be spread as all tokens are.",
        _share_map(found.bands_F, shares, "Shares of the experts by the frequency of subwords"),
        Markup(""),
    )


def _most_used(shares: Any) -> str:
    """Return the experts with the largest shares, in words."""
    if not _are_numbers(shares):
        return ABSENT
    order = sorted(range(len(shares)), key=lambda expert: (-shares[expert], expert))[:_NUM_MOST_USED]
    return ", ".join(f"{expert} ({shares[expert]:.1%})" for expert in order if shares[expert] > 0) or "none"


def _share_map(names: Sequence[str], shares: Sequence[Any], label: str) -> Markup:
    """Return a map of shares, in which twice the mean is darkest; nothing of many experts, or where there are none."""
    if not shares or not all(_are_numbers(row) and len(row) <= MOST_SHARES_LISTED for row in shares):
        return Markup("")
    columns = [str(expert) for expert in range(max(map(len, shares)))]
    return labelled_map(names, columns, [[share * len(row) / 2 for share in row] for row in shares], label)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)


def _balance_note(shares: Sequence[float]) -> str:
    """Return in a sentence how evenly tokens are spread."""
    mean = 1 / len(shares)
    entropy = -sum(share * math.log(share) for share in shares if share > 0) / math.log(max(len(shares), 2))
    dead = sum(share == 0 for share in shares)
    loaded = sum(share > 2 * mean for share in shares)
    return (
        f"At the end: {dead} of {len(shares)} experts without a token, {loaded} with more than twice the mean; "
        f"entropy {entropy:.3f} of 1 (evenly spread)."
    )
