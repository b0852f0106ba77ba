"""The page: sections from histories and examinations, put into one HTML file by a template that escapes everything."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from mtmoe.config.settings import Settings
from mtmoe.report.charts import Series, line_chart
from mtmoe.report.data_tables import data_tables
from mtmoe.report.run_history import RunHistory
from mtmoe.report.run_section import Examination, run_section
from mtmoe.report.tables import ABSENT, Table, figure
from mtmoe.report.templates import templates

_RELOAD_SECONDS = 15

CURVES = (
    ("Loss (nats per target token)", "loss", False, True),
    ("Dev BLEU", "bleu", False, None),
    ("Length of the dev translations (1: of the references)", "length_ratio", False, None),
    ("Learning rate", "learning_rate", False, False),
    ("Gradient norm before clipping", "gradient_norm", True, False),
    ("Target tokens per second", "target_tokens_per_second", False, False),
    ("Auxiliary losses", "auxiliary_loss", False, False),
    ("Divergence from the teachers (nats per target token)", "teacher_loss", False, False),
    ("Divergence of two readings (nats per target token)", "consistency_loss", False, False),
    ("Attention from the guiding alignment (nats per target token)", "alignment_loss", False, False),
)
"""Title, key of the log, whether the axis is logarithmic, and which lines have it: False: of training, None: of
validation, True: both."""

_OF_SOME_RUNS = ("teacher_loss", "consistency_loss", "alignment_loss", "length_ratio")
"""Keys that logs have with some settings alone; where no run has one, there is no chart."""

TABLE_6 = (
    ("importance_cv", "CV(importance)"),
    ("load_cv", "CV(load)"),
    ("max_over_mean_load", "max / mean load"),
    ("max_over_mean_tokens", "max / mean tokens"),
    ("dead_experts", "experts without a token"),
)
"""Columns of the paper's Table 6, as the log has them for each layer."""


def report_page(
    histories: Sequence[RunHistory],
    examinations: Mapping[str, Examination],
    version: str,
    *,
    is_trained: bool = False,
) -> str:
    """Return the page. Nothing in it tells of the day on which it was made: the same runs give the same bytes.

    Args:
        examinations: by the labels of runs; there need not be one of each.
        version: of mtmoe.
        is_trained: whether the training goes on, so that the page has to say how old it is, and loads itself anew.
    """
    title = " and ".join(history.label for history in histories)
    page = templates().get_template("page.html.jinja")
    return page.render(
        title=title,
        version=version,
        fresh=_freshness(histories) if is_trained else None,
        alarms=[(history.label, history.alarms) for history in histories],
        overview=overview(histories),
        tables=[settings_table(histories), *data_tables(histories)],
        curves=list(filter(None, _curves(histories))),
        experts=balance_table(histories),
        entropies=_entropies(histories),
        runs=[run_section(history, examinations.get(history.label)) for history in histories],
        damaged=[(history.label, history.num_damaged_lines) for history in histories if history.num_damaged_lines],
    )


class Freshness(NamedTuple):
    """How far a training is. seconds: since 1970, of its last line, 0 without any; reload_seconds: when the page loads
    itself anew."""

    text: str
    seconds: float
    reload_seconds: int


def _freshness(histories: Sequence[RunHistory]) -> Freshness:
    last = max((history.last_time or 0.0 for history in histories), default=0.0)
    return Freshness("; ".join(_last_line(history) for history in histories), last, _RELOAD_SECONDS)


# -------------------------------------------------------------------------------------------------- overview


def overview(histories: Sequence[RunHistory]) -> Table:
    """Return what each run is, and how far it came."""
    columns = [_overview(history) for history in histories]
    rows = [[key, *(column[key] for column in columns)] for key in columns[0]]
    return Table("What the runs are", ["", *(history.label for history in histories)], rows)


def _overview(history: RunHistory) -> dict[str, str]:
    recipe, moe = history.recipe, history.recipe.model.moe
    validation = history.validation[-1] if history.validation else {}
    best = ABSENT
    if {"best_value", "metric", "best_step"} <= validation.keys():
        best = f"{validation['best_value']:.2f} ({validation['metric']}) at step {validation['best_step']:,}"
    layers = len(recipe.model.encoder_moe_after) + len(recipe.model.decoder_moe_after)
    has_experts = moe is not None and moe.kind != "dense" and layers
    shared = f" and {moe.shared_experts} shared" if moe.shared_experts else ""
    start = history.manifest.start
    return {
        "recipe": recipe.name,
        "about": recipe.about.description or ABSENT,
        "languages": recipe.data.languages,
        "parameters": f"{history.description.num_parameters:,}",
        "operations per timestep": f"{history.description.operations:,}",
        "experts": f"{layers} x {moe.num_experts}, {moe.experts_per_token} a token{shared}" if has_experts else "none",
        "steps": f"{history.train[-1]['step']:,} of {recipe.training.max_steps:,}" if history.train else ABSENT,
        "last line of the log": _last_line(history),
        "minutes, first to last line of the log": f"{history.seconds / 60:.1f}",
        "precision": recipe.training.precision,
        "best validation": best,
        "BLEU signature": str(validation.get("bleu_signature", ABSENT)),
        "began with": f"{start.run}, {', '.join(start.checkpoints)}" if start else "random weights",
        "text (digest)": history.prepared.manifest.digest[:16] if history.prepared else "gone",
        "vocabulary (SHA-256)": next(iter(history.manifest.files.values()))[:16],
    }


def _last_line(history: RunHistory) -> str:
    """Return ``step 300, 2026-11-30 18:46:12 UTC``."""
    if history.last_time is None:
        return "none yet"
    step = max(line["step"] for line in (*history.train[-1:], *history.validation[-1:]))
    at = datetime.datetime.fromtimestamp(history.last_time, datetime.UTC)
    return f"step {step:,}, {at:%Y-%m-%d %H:%M:%S} UTC"


def settings_table(histories: Sequence[RunHistory]) -> Table:
    """Return the settings that are not as by default in one of the runs; those that differ first."""
    changed = [dict(_flat("", _settings_of(history.recipe))) for history in histories]
    values = [dict(_flat("", _settings_of(history.recipe, defaults=True))) for history in histories]
    keys = sorted({key for settings in changed for key in settings})
    rows = []
    for key in keys:
        cells = [
            settings.get(key, f"{every[key]} (default)" if key in every else ABSENT)
            for settings, every in zip(changed, values, strict=True)
        ]
        rows.append([key, *cells])
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    return Table("Settings that are not as by default", ["setting", *(history.label for history in histories)], rows)


def _settings_of(recipe: Settings, *, defaults: bool = False) -> dict[str, Any]:
    settings: dict[str, Any] = recipe.model_dump(mode="json", exclude_defaults=not defaults, exclude={"about", "name"})
    return settings


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
    elif isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(f"{prefix}[{number}]", inner)
    else:
        yield prefix, str(value)


# ---------------------------------------------------------------------------------------------------- curves


def _curves(histories: Sequence[RunHistory]) -> Iterator[Markup]:
    for title, key, is_logarithmic, where in CURVES:
        series = []
        for number, history in enumerate(histories):
            if where is not None:
                name = f"{history.label}, training" if where else history.label
                series.append(Series(name, history.series(key), number))
            if where is not False:
                name = f"{history.label}, dev" if where else history.label
                series.append(Series(name, history.series(key, validation=True), number, is_dashed=bool(where)))
        if key not in _OF_SOME_RUNS or any(one.points for one in series):
            yield line_chart(title, series, is_logarithmic=is_logarithmic)


# --------------------------------------------------------------------------------------------------- experts


def balance_table(histories: Sequence[RunHistory]) -> Table | None:
    """Return the columns of the paper's Table 6 at the end of each training; None without experts."""
    rows = [
        [f"{history.label}, {layer}", *(figure(history.train[-1].get(f"{layer}.{key}")) for key, _ in TABLE_6)]
        for history in histories
        for layer in history.layers
    ]
    head = ["layer", *(title for _, title in TABLE_6)]
    return Table("Balance of the experts, last line of the log", head, rows) if rows else None


def _entropies(histories: Sequence[RunHistory]) -> Markup:
    """Return how evenly each layer's tokens are spread, over the steps."""
    series = [
        Series(f"{history.label}, {layer}", points, number)
        for number, (history, layer, points) in enumerate(
            (history, layer, history.series(f"{layer}.token_entropy"))
            for history in histories
            for layer in history.layers
        )
    ]
    return line_chart("Entropy of the experts' shares, 1 is evenly spread", series)
