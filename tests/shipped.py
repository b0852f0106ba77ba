"""Shipped recipes for tests that take their time for each."""

from __future__ import annotations

import functools

from mtmoe.config import load_recipe, shipped_families, shipped_recipes


@functools.cache
def recipes_of_all_kinds() -> tuple[str, ...]:
    """Return all shipped recipes but those members of families whose network and training another member has, too."""
    members = {member for family in shipped_families().values() for member in family.members}
    kinds: dict[str, str] = {}
    for name in sorted(members):
        kinds.setdefault(load_recipe(name).model_dump_json(include={"subwords", "model", "training"}), name)
    return tuple(sorted([*(set(shipped_recipes()) - members), *kinds.values()]))
