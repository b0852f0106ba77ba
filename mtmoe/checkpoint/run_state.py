"""Run state: the schemas of a checkpoint's state.json and of the run's manifest.json."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mtmoe.system.json_files import JsonRecord

_Count = Annotated[int, Field(ge=0, le=1 << 53)]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{32,64}$")]
_FileName = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]


class RunVersion(JsonRecord):
    """The format of a run, which its manifest.json states whatever else that format has."""

    format_version: int


class StartRecord(JsonRecord):
    """The run whose weights this one began with. ``checkpoints``: those of a mean, else one; ``weights_digest``: of
    the weights that were read. The other three are sentences for people: what they were taken over for, what began
    anew beside them, and the layers that stay as they are."""

    run: str
    checkpoints: Annotated[tuple[_FileName, ...], Field(min_length=1)]
    weights_digest: _Hash
    taken_over: tuple[str, ...]
    new: tuple[str, ...]
    frozen: tuple[str, ...] = ()


class TeacherRecord(JsonRecord):
    """A run that teaches this one. ``checkpoints`` and ``weights_digest``: as of :class:`StartRecord`."""

    run: str
    checkpoints: Annotated[tuple[_FileName, ...], Field(min_length=1)]
    weights_digest: _Hash


class SurgeryRecord(JsonRecord):
    """How ``mtmoe experts`` made the weights of a run from those of another.

    ``operation``: prune, merge or grow. ``weights_digest``: of the weights that were read, of ``checkpoints`` (those of
    a mean, else one). ``why``: a sentence for people. ``layers``: for each expert of each layer the numbers of the old
    experts that it is made of.
    """

    operation: Literal["prune", "merge", "grow"]
    run: str
    checkpoints: Annotated[tuple[_FileName, ...], Field(min_length=1)]
    weights_digest: _Hash
    why: str
    layers: dict[str, tuple[tuple[_Count, ...], ...]]


class RunManifest(JsonRecord):
    """The small files that belong to a run's weights, with the SHA-256 of each, by name; where the weights began, if
    not at random; who teaches, in the order of ``training.distillation.teachers``; and what they were made of, where
    ``mtmoe experts`` made them."""

    files: dict[_FileName, _Hash]
    start: StartRecord | None = None
    teachers: tuple[TeacherRecord, ...] = ()
    surgery: SurgeryRecord | None = None


class CheckpointState(JsonRecord):
    """What every checkpoint says of itself, averages too.

    ``weights_digest``: of what one process wrote; empty for a sharded checkpoint. ``best``: (step, value) of the
    validations so far, the best first. ``has_weights_alone``: no training goes on from it. ``trained_share``: of
    weights between those of step 0 and the trained ones, how near they are to these; such a checkpoint is the best one.
    """

    step: _Count
    weights_digest: _Hash | None = None
    averaged: tuple[str, ...] = ()
    best: tuple[tuple[_Count, float], ...] = ()
    has_weights_alone: bool = False
    trained_share: Annotated[float, Field(gt=0, le=1)] | None = None


class LossScale(JsonRecord):
    """The state of ``torch.amp.GradScaler`` (fp16)."""

    scale: Annotated[float, Field(ge=0)]
    growth_factor: float
    backoff_factor: float
    growth_interval: int
    growth_tracker: Annotated[int, Field(alias="_growth_tracker")]


class OptimizerState(JsonRecord):
    """Plain numbers of the optimizer. ``loss_scale``: None in every precision but fp16."""

    num_updates: _Count
    loss_scale: LossScale | None = None


class LayerUsageState(JsonRecord):
    """Sums over the batches of a layer since the last line of metrics; see ``training/metrics/expert_usage.py``."""

    tokens: tuple[_Count, ...]
    num_batches: _Count
    figures: dict[str, float]
    losses: dict[str, float]


class ExpertUsageState(JsonRecord):
    """The sums of all MoE layers, by name."""

    layers: dict[str, LayerUsageState]


class WindowState(JsonRecord):
    """Sums since the last line of metrics; see ``training/metrics/metrics_window.py``."""

    loss_sum: float
    norm_sum: float
    auxiliary_sum: float
    teacher_sum: float = 0.0
    consistency_sum: float = 0.0
    alignment_sum: float = 0.0
    num_loss_tokens: _Count
    num_applied: _Count
    num_target_tokens: _Count
    num_source_tokens: _Count
    num_padded_tokens: _Count
    num_steps: _Count
    seconds: Annotated[float, Field(ge=0)]
    expert_usage: ExpertUsageState


class TrainingState(CheckpointState):
    """What training goes on from, beside the tensors. ``position``: epoch and batch that are next, from 0.
    ``training_digest``: as ``weights_digest``."""

    training_digest: _Hash | None = None
    position: tuple[_Count, _Count]
    metric: str
    validations_without_progress: _Count
    steps_not_finite: _Count
    num_skipped_steps: _Count
    num_out_of_memory_steps: _Count
    optimizer: OptimizerState
    window: WindowState
