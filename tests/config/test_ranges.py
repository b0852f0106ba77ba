"""Every number of a recipe has a range, and whatever is within or without is answered at once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt

from mtmoe.config import Recipe, load_recipe
from mtmoe.config.types_in_words import tables_in
from mtmoe.errors import UserError
from mtmoe.model.description import describe_recipe
from mtmoe.planning.devices import gpu_named
from mtmoe.planning.plan import Cluster, make_plan

_MOST_SECONDS = 60.0
_ODD: tuple[Any, ...] = (0, -1, 10**30, -(10**30), 1e308, 5e-324, math.nan, math.inf, -math.inf, "9" * 5000)
# Tables that are absent and have a setting without a default.
_NEEDED = {"model.moe.hierarchy": ["model.moe.hierarchy.groups=2"], "decoding.diverse_beams": ["decoding.beam_size=6"]}


def _numbers() -> Iterator[tuple[str, Any]]:
    """Dotted key and field of each number outside of lists of tables."""

    def of(table: type, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, field in table.model_fields.items():  # type: ignore[attr-defined]
            inner = list(tables_in(field.annotation))
            if inner and "tuple" not in str(field.annotation):
                yield from of(inner[0], f"{prefix}{name}.")
            elif not inner and ("int" in _words(field) or "float" in _words(field)):
                yield f"{prefix}{name}", field

    yield from of(Recipe, "")


def _words(field: Any) -> set[str]:
    return {word.strip("<>' ") for word in str(field.annotation).replace("[", " ").replace(",", " ").split()}


def _bounds(field: Any) -> dict[type, float]:
    found = {}
    metadata = list(field.metadata)
    for argument in getattr(field.annotation, "__args__", ()):
        for part in getattr(argument, "__metadata__", ()):
            metadata += getattr(part, "metadata", [])
    for bound in metadata:
        for kind, name in ((Ge, "ge"), (Gt, "gt"), (Le, "le"), (Lt, "lt")):
            if isinstance(bound, kind):
                found[kind] = getattr(bound, name)
    return found


NUMBERS = dict(_numbers())


def test_all_numbers_are_walked() -> None:
    assert len(NUMBERS) > 70
    assert {"seed", "model.moe.num_experts", "decoding.reranking.candidates", "model.encoder_moe_after"} <= set(NUMBERS)


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_every_number_has_a_least_and_a_greatest_value(key: str) -> None:
    bounds = _bounds(NUMBERS[key])
    assert {Ge, Gt} & set(bounds), key
    assert {Le, Lt} & set(bounds), key


def _values(key: str) -> Iterator[Any]:
    bounds = _bounds(NUMBERS[key])
    for kind in (Ge, Gt, Le, Lt):
        if kind in bounds:
            yield bounds[kind]
            yield bounds[kind] + 1
    yield from _ODD


@pytest.mark.parametrize("key", sorted(NUMBERS))
def test_any_value_of_a_number_is_refused_with_its_name_or_described_and_planned_at_once(key: str) -> None:
    table = key.rpartition(".")[0]
    is_list = "tuple" in str(NUMBERS[key].annotation)
    accepted, refused = set(), {}
    for value in _values(key):
        text = f"[{value}]" if is_list else f"{value}"
        begun = time.process_time()
        try:
            recipe = load_recipe("wmt14-en-fr-32", [*_NEEDED.get(table, []), f"{key}={text}"])
            describe_recipe(recipe)
            make_plan(recipe, Cluster(gpu_named("h200"), 8))
            accepted.add(text)
        except UserError as error:
            refused[text] = str(error)
        assert time.process_time() - begun < _MOST_SECONDS, (key, value)
    names = key.split(".")[-2:]  # of a table that does nothing, the table is named
    assert [problem for problem in refused.values() if not any(name in problem for name in names)] == []
    bounds = _bounds(NUMBERS[key])
    least, most = bounds.get(Ge, bounds.get(Gt)), bounds.get(Le, bounds.get(Lt))
    assert [text for text in accepted if not least <= float(text.strip("[]")) <= most] == []


def test_the_largest_network_that_the_ranges_allow_is_described_and_planned() -> None:
    layers = list(range(1, 101))
    largest = {
        "decoder_layers": 100, "decoder_moe_after": layers, "encoder_moe_after": "[]",
        "width": 65536, "lstm_hidden": 65536, "attention_width": 65536,
        "moe.num_experts": 1 << 20, "moe.expert_hidden": 65536,
    }  # fmt: skip
    overrides = [f"model.{key}={value}" for key, value in largest.items()]
    recipe = load_recipe("wmt14-en-fr-32", [*overrides, "subwords.vocabulary_size=1000000"])
    begun = time.process_time()
    experts = 100 * (1 << 20) * 2 * 65536 * 65536
    assert experts < describe_recipe(recipe).num_parameters < 2 * experts
    assert not make_plan(recipe, Cluster(gpu_named("h200"), 8)).fits
    assert time.process_time() - begun < _MOST_SECONDS
