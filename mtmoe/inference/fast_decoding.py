"""Fast decoding: settings that translate a run faster and lose nothing that its dev set shows, kept in the run.

They are found at the end of a training or when `mtmoe tune-decoding` is called. A translator takes them unless
``decoding.mode = "exact"``, in place of settings that have their defaults.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from mtmoe.checkpoint import ModelSource, RunFiles
from mtmoe.config.settings import Decoding
from mtmoe.inference.compiled.library import best_family
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.json_files import JsonRecord, parse_json

FAST_DECODING_NAME = "fast_decoding.json"
FAST_DECODING_FORMAT_VERSION = 1
FAMILIES_WITH_INT8 = ("avx2", "avx512")
"""Of processors that multiply 8 bits faster than float32 (`mtmoe.inference.compiled`)."""


class FastSettings(JsonRecord):
    """Settings of ``[decoding]`` in place of the defaults; None for those that stay."""

    precision: str | None = None
    early_stopping: str | None = None
    beam_margin: float | None = None

    def chosen(self) -> dict[str, str | float]:
        """Return those that are not None, by name."""
        return {name: value for name, value in self.model_dump().items() if value is not None}

    def __str__(self) -> str:
        """Return them as they are given on the command line."""
        return " ".join(f"decoding.{name}={value}" for name, value in self.chosen().items()) or "as the recipe has it"


class TriedSettings(JsonRecord):
    """What was tried, and the BLEU of the dev set's translations with it."""

    settings: FastSettings
    bleu: float


class FastDecoding(JsonRecord):
    """The content of a run's file ``fast_decoding.json``."""

    format_version: int = FAST_DECODING_FORMAT_VERSION
    checkpoint: str
    """Name of the checkpoint that translated the dev set."""
    num_lines: int
    tried: tuple[TriedSettings, ...]
    """The recipe's own settings first."""
    settings: FastSettings
    """Those that were chosen."""


def save_fast_decoding(run: RunFiles, fast: FastDecoding) -> None:
    """Write it into the run, in place of an earlier one."""
    write_atomically(run.fast_decoding, f"{fast.model_dump_json(indent=1)}\n".encode())


def load_fast_decoding(source: ModelSource) -> FastDecoding | None:
    """Return what a run has; None where it has nothing.

    Raises:
        UserError: the file is damaged.
    """
    content = source.read(FAST_DECODING_NAME)
    if content is None:
        return None
    fix = f"make it anew: mtmoe tune-decoding {shlex.quote(str(source.path))}"
    return parse_json(
        content, source.shown(FAST_DECODING_NAME), FastDecoding, fix=fix, format_version=FAST_DECODING_FORMAT_VERSION
    )


def is_searched_plainly(decoding: Decoding) -> bool:
    """Return whether it is a beam search for the best translation: nothing is drawn, chosen by risk, or kept apart."""
    return not (decoding.sampling or decoding.diverse_beams or decoding.minimum_bayes_risk)


def fast_decoding_of(
    decoding: Decoding, source: ModelSource, overrides: Iterable[str] = (), *, is_compiled: bool
) -> Decoding:
    """Return the settings of a translator on a processor, of which no other model takes part in the search.

    Args:
        decoding: of the recipe, overrides included.
        overrides: ``decoding.key=value``: what they name stays as it is.
        is_compiled: whether the model can be searched with in its compiled form.
    """
    if decoding.mode != "fast" or not is_searched_plainly(decoding):
        return decoding
    fast = load_fast_decoding(source)
    if fast is None:
        return decoding
    given = {override.partition("=")[0].removeprefix("decoding.") for override in overrides}
    chosen = usable(fast.settings, decoding, is_compiled=is_compiled).chosen()
    settings = {name: value for name, value in chosen.items() if name not in given}
    return Decoding.model_validate(decoding.model_dump() | settings)


def usable(settings: FastSettings, decoding: Decoding, *, is_compiled: bool) -> FastSettings:
    """Return of some settings those in whose place the recipe has the default, and that are faster on this machine.

    8 bits are for compiled models alone: those of torch would change the weights that scores are computed with.
    """
    defaults = Decoding()
    left_out = {name for name in settings.chosen() if getattr(decoding, name) != getattr(defaults, name)}
    if not is_compiled or best_family() not in FAMILIES_WITH_INT8:
        left_out.add("precision")
    if decoding.beam_size == 1:
        left_out |= {"early_stopping", "beam_margin"}  # nothing to stop, nor to drop
    return settings.model_copy(update=dict.fromkeys(left_out))
