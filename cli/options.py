"""Arguments and options that several commands share: each has one name and one meaning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtmoe.errors import UserError

if TYPE_CHECKING:
    from mtmoe.config import Recipe

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FILE = click.Path(path_type=Path, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


class RealRange(click.FloatRange):
    """A number within bounds. NaN, which click takes to be within any, is refused."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = super().convert(value, parameter, context)
        if math.isnan(number):
            self.fail(f"{value} is no number", parameter, context)
        return number


# Beyond these nobody measures or translates; each bound keeps a misspelt number from taking all memory or all day.
WORKERS = click.IntRange(1, 1024)  # processes of one machine
COLUMN = click.IntRange(1, 10_000)
BEAM = click.IntRange(1, 1000)  # as decoding.beam_size; not imported, so that --help is instant
WIDTH = click.IntRange(8, 65_536)  # as model.width
MOST_EXPERTS = 1 << 20  # as model.moe.num_experts
MOST_SHARED_EXPERTS = 1024  # as model.moe.shared_experts
TOKENS = click.IntRange(1, 1 << 24)  # a million times a sentence, and 17 GB of activations at width 256
DAY = 86_400.0
MOST_WEIGHT = 1e9  # beside it the other's share is not to be seen in float32

recipe_argument = click.argument("recipe_name", metavar="RECIPE")
run_argument = click.argument("run", metavar="RUN", type=DIRECTORY)
MODEL = click.Path(path_type=Path)
"""A run directory, or the file of a package: whoever translates or scores takes either."""
model_argument = click.argument("run", metavar="RUN", type=MODEL)

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Another value for a setting of the recipe, such as training.max_steps=2000. Can be repeated.",
)
decoding_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="decoding.KEY=VALUE",
    help="Another value for a decoding setting, such as decoding.length_alpha=0.6. Can be repeated.",
)
device_option = click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda or cuda:N.  [default: cuda where there is one, else cpu]",
)
devices_option = click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda or cuda:N; for workers several, such as cuda:0,cuda:1.  "
    "[default: cuda where there is one, else cpu]",
)
translators_option = click.option(
    "--workers",
    "num_workers",
    type=WORKERS,
    default=1,
    show_default=True,
    help="Processes that translate; the result does not depend on it.",
)


def devices_of(names: str | None, num_workers: int) -> tuple[str | None, ...]:
    """Return the devices that ``devices_option`` names; None stands for the default device.

    Raises:
        click.UsageError: there are more than workers.
    """
    devices = tuple(names.split(",")) if names else (None,)
    if len(devices) > num_workers:
        raise click.UsageError(f"--device names {len(devices)} devices, but --workers is {num_workers}")
    return devices


checkpoint_option = click.option(
    "--checkpoint",
    default="best",
    show_default=True,
    metavar="NAME",
    help="Checkpoint of the run: best, last, a name in RUN/checkpoints, or the mean of several: last:2, best:3.",
)


class _MemberType(click.ParamType):
    """RUN or RUN:WEIGHT."""

    name = "member"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from mtmoe.inference.requests import Member

        run, colon, weight = str(value).rpartition(":")
        if not colon or Path(value).exists():
            return Member(Path(value))
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if not 0 < number <= MOST_WEIGHT:
            self.fail(
                f"{weight!r} is no weight of {run}: it must be a number above 0, and {MOST_WEIGHT:g} at most",
                parameter,
                context,
            )
        return Member(Path(run), number)


with_option = click.option(
    "--with",
    "ensemble",
    type=_MemberType(),
    multiple=True,
    metavar="RUN[:WEIGHT]",
    help="Another run with the same subwords, together with RUN (an ensemble). Weights count against that of RUN, 1; "
    "a WEIGHT that is not given is 1. Can be repeated.",
)
cache_option = click.option(
    "--cache",
    type=DIRECTORY,
    help="Where downloads are kept.  [default: $MTMOE_CACHE, else ~/.cache/mtmoe]",
)
workers_option = click.option(
    "--workers",
    "num_workers",
    type=WORKERS,
    help="Processes that encode text; the result does not depend on it.  [default: number of CPU cores]",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), help="CPU threads.  [default: as torch chooses]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


subwords_of_option = click.option(
    "--subwords-of",
    metavar="RUN",
    type=DIRECTORY,
    help="Take the vocabulary of this run or data directory, as a language model for it must (translate --lm).",
)


start_option = click.option(
    "--from",
    "start_run",
    metavar="RUN",
    type=DIRECTORY,
    help="Begin with the weights of this run (training.start.run), with its subwords unless "
    "training.start.vocabulary=own.",
)


def own_files_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--train``, ``--valid`` and ``--test``: the user's own files in place of the recipe's text."""
    for part, what in (("test", "test set"), ("valid", "dev set"), ("train", "training text")):
        function = click.option(
            f"--{part}",
            f"{part}_files",
            type=(FILE, FILE),
            multiple=True,
            metavar="SOURCE TARGET",
            help=f"Two aligned text files in place of the recipe's {what}. Can be repeated.",
        )(function)
    return function


def own_recipe(
    recipe_name: str,
    overrides: tuple[str, ...],
    train_files: tuple[tuple[Path, Path], ...] = (),
    valid_files: tuple[tuple[Path, Path], ...] = (),
    test_files: tuple[tuple[Path, Path], ...] = (),
    subwords_of: Path | None = None,
    start_run: Path | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
) -> Recipe:
    """Return the recipe with ``--set``, the user's own files, the vocabulary of another run, its start and the subwords
    of its teachers applied.

    run_dir: the run that is begun, or resumed.

    Raises:
        UserError: as :func:`mtmoe.load_recipe`.
    """
    from mtmoe.config import load_recipe

    if start_run is not None:
        overrides = (*overrides, f"training.start.run={json.dumps(str(start_run.absolute()), ensure_ascii=False)}")
    recipe = load_recipe(recipe_name, overrides)
    if subwords_of is not None and recipe.training.start is not None and recipe.training.start.vocabulary == "same":
        raise click.UsageError(
            "--subwords-of names a vocabulary, but with a start run it is that of the start run; leave --subwords-of "
            "out, or add --set training.start.vocabulary=own"
        )
    recipe = _with_own_files(recipe, recipe_name, train_files, valid_files, test_files, subwords_of)
    if recipe.training.start is not None:
        from mtmoe.training.start.start_recipe import with_text_of_start

        recipe = with_text_of_start(recipe, Path(recipe_name), run_dir, resume=resume)
    if recipe.training.distillation is not None:
        from mtmoe.training.teachers.teacher_subwords import with_subwords_of_teachers

        recipe = with_subwords_of_teachers(recipe, Path(recipe_name), run_dir, resume=resume)
    return recipe


def _with_own_files(
    recipe: Recipe,
    recipe_name: str,
    train_files: tuple[tuple[Path, Path], ...],
    valid_files: tuple[tuple[Path, Path], ...],
    test_files: tuple[tuple[Path, Path], ...],
    subwords_of: Path | None,
) -> Recipe:
    """Return the recipe with the user's own files and the vocabulary of another run in place of its own."""
    from mtmoe.config import recipe_from_dict

    parts = {"train": train_files, "valid": valid_files, "test": test_files}
    if subwords_of is not None:
        from mtmoe.data.subwords.vocabularies import settings_to_take

        settings = recipe.model_dump(mode="json", exclude_none=True)
        recipe = recipe_from_dict(settings | {"subwords": settings_to_take(subwords_of)}, Path(recipe_name))
    if not any(parts.values()):
        return recipe
    if recipe.data.monolingual:
        given = next(part for part, pairs in parts.items() if pairs)
        raise UserError(
            f"--{given} names two files, but {recipe.name} is a language model: it reads text of one language",
            fix=f'write a recipe with extend = "{recipe_name}" and [[data.{given}]] name = "mine", format = "lines", '
            'file.path = "..."',
        )
    settings = recipe.model_dump(mode="json", exclude_none=True)
    for part, pairs in parts.items():
        if pairs:
            settings["data"][part] = _text_sources(pairs)
            settings["data"]["held_out"].pop(f"{part}_pairs", None)  # nothing is held out for it any more
    return recipe_from_dict(settings, Path(recipe_name))


def _text_sources(pairs: tuple[tuple[Path, Path], ...]) -> list[dict[str, Any]]:
    """Return text sources named after their files; paths are absolute, so that a run can be resumed anywhere."""
    sources: list[dict[str, Any]] = []
    for source, target in pairs:
        name = _free_name(source, {taken["name"] for taken in sources})
        files = {
            "source_file": {"path": str(source.absolute())},
            "target_file": {"path": str(target.absolute())},
        }
        sources.append({"format": "text", "name": name, **files})
    return sources


def _free_name(path: Path, taken: set[str]) -> str:
    """Return a source's name that is not taken: the file's up to its first dot, in the letters that names may have."""
    stem = path.name.partition(".")[0]
    name = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem) or "text"
    number = 2
    free = name
    while free in taken:
        free = f"{name}-{number}"
        number += 1
    return free
