"""Activation memory of each stage: bytes kept from its forward to its backward pass, and bytes needed for a moment.

The sums follow the code of the layers, tensor by tensor. tests/planning compares them with what autograd keeps.
Letters as in the code: P positions with padding, N tokens, D width, H hidden units, M pairs of a token and an expert.
"""

from __future__ import annotations

from typing import NamedTuple

from mtmoe.config import Recipe
from mtmoe.config.settings import MixtureOfExpertsSettings
from mtmoe.model.moe.gating.grouped_rows import num_tiles
from mtmoe.model.moe.grouped_experts import MOST_GROUPS, experts_at_once
from mtmoe.planning.stages import Stage
from mtmoe.planning.workload import STREAM_BYTES, Layout, Workload

_INDEX = 8  # bytes of an int64
# Rows of hidden activations that a CPU keeps for each pair: experts are padded to equal numbers of rows, and what is
# set aside beyond them is never touched.
_PADDED_ROWS = 1.125
_CUDNN_UNITS = 6  # numbers that cuDNN reserves for each unit and position: four gates, cell and output (assumed)


class Activations(NamedTuple):
    """Bytes of one stage. kept: until its backward pass. forward and backward: on top, while the pass runs."""

    kept: float
    forward: float = 0.0
    backward: float = 0.0


def activations_of(stage: Stage, recipe: Recipe, work: Workload, layout: Layout) -> Activations:
    """Return the activation memory of a stage on one process. The output has a function of its own."""
    model = recipe.model
    positions, tokens = work.positions(stage.side), work.tokens(stage.side)
    masks = 1 if model.dropout else 0
    small, width = layout.element_bytes, model.width
    if stage.kind == "embedding":
        return Activations(positions * (_INDEX + masks * width * STREAM_BYTES), positions * width * STREAM_BYTES)
    if stage.kind == "lstm":
        return _lstm(stage, recipe, positions, work, layout)
    if stage.kind == "attention":
        return _attention(stage, recipe, work, small)
    if stage.kind == "gate":
        return _gate(model.moe, width, tokens, layout)
    if stage.kind == "experts":
        return _experts(model.moe, width, masks, tokens, layout, recipe.training.gradient_accumulation > 1)
    if stage.kind == "shared experts":
        hidden = model.moe.shared_experts * model.moe.expert_hidden
        cast = width if small != STREAM_BYTES else 0  # the input is that of the experts beside them
        return Activations(tokens * small * (hidden + cast), tokens * small * width, tokens * small * (hidden + width))
    assert stage.kind == "dense", stage.kind
    hidden = model.moe.dense_hidden
    kept = tokens * small * (hidden * model.moe.dense_layers + (2 + masks) * width)
    return Activations(kept, 0.0, tokens * small * (2 * hidden + width))


def _lstm(stage: Stage, recipe: Recipe, positions: float, work: Workload, layout: Layout) -> Activations:
    """Return the activation memory of an LSTM layer."""
    model, small = recipe.model, layout.element_bytes
    hidden = model.lstm_units
    width = model.width
    is_half = stage.name in ("encoder 1 forward", "encoder 1 backward") and model.encoder_bottom == "concatenate"
    if is_half:
        width, hidden = width // 2, hidden // 2
    masks = (1 if model.dropout else 0) * width
    projected = hidden != width
    length = work.source_length if stage.side == "source" else work.target_length
    if stage.looped or (projected and layout.on_cpu):
        # A step keeps three gates, the candidate, the cell, its tanh and the output of the units.
        units = 7.0 * hidden * (STREAM_BYTES if stage.looped else small)
        # A round of the Mogrifier keeps what it gates by, the gate's sigmoid, twice that, and what it gates.
        units += STREAM_BYTES * model.mogrifier_rounds * 2.0 * (stage.input_width + width)
        kept = units + small * (stage.input_width + width + masks)
    elif layout.on_cpu:
        kept = small * (stage.input_width + width + masks + _onednn_units(stage.input_width, hidden, length))
    else:
        kept = small * (stage.input_width + width + masks + _CUDNN_UNITS * hidden)
    passing = small * (4 * hidden + stage.input_width)
    return Activations(positions * kept, positions * passing, positions * passing)


def _onednn_units(input_width: int, hidden: int, length: float) -> float:
    """Return the floats of oneDNN's workspace for one position of a row of ``length``, as torch 2.13 reports it.

    They are the gates twice, the cells, and six kinds of states that are as wide as the wider of input and output.
    """
    steps = 1 + 1 / max(1.0, length)
    states = 6 * _leading_dimension(max(input_width, hidden)) + 1.1 * _leading_dimension(hidden)
    return 2 * _leading_dimension(4 * hidden) + steps * states


def _leading_dimension(width: int) -> int:
    """Return the row size that oneDNN uses for this width: it keeps rows off multiples of a kilobyte."""
    return width + 16 if width % 256 == 0 else width


def _attention(stage: Stage, recipe: Recipe, work: Workload, small: int) -> Activations:
    """Return the activation memory of an attention."""
    model = recipe.model
    width, hidden = model.width, model.attention_units
    source, target = work.positions("source"), work.positions("target")
    scores = target * work.source_length
    recurrent = model.attention_context != "parallel" and stage.name == "attention"
    kept = target * small * (width + hidden) + scores * (STREAM_BYTES + (small if small != STREAM_BYTES else 0))
    kept += scores if recurrent else 0  # a mask of the padding for each step
    if model.attention == "additive":
        kept += scores * hidden * small
    else:
        kept += target * small * hidden
    if stage.name == "attention":
        kept += source * small * (width + hidden)
    else:
        kept += target * small * (width + (width if model.dropout else 0))
    passing = scores * STREAM_BYTES * 2 + (scores * hidden * small if model.attention == "additive" else 0)
    return Activations(kept, passing, passing)


# ------------------------------------------------------------------------------------------------ mixtures of experts


def _gate(moe: MixtureOfExpertsSettings, width: int, tokens: float, layout: Layout) -> Activations:
    """Return the activation memory of a gate, with one level or two."""
    k = moe.top_k_in_group
    if moe.hierarchy is None:
        kept = STREAM_BYTES * width + _level(moe, moe.num_experts, k)
        return Activations(tokens * kept, tokens * moe.num_experts * 12, tokens * moe.num_experts * 12)
    groups, k1 = moe.hierarchy.groups, moe.hierarchy.groups_per_token
    experts_per_group, groups_here = moe.num_experts // groups, groups // layout.expert_processes
    row = STREAM_BYTES * width + _level(moe, experts_per_group, k) + 4 * _INDEX
    kept = tokens * (STREAM_BYTES * width + _level(moe, groups, k1) + k1 * row)
    matrix = STREAM_BYTES * width * experts_per_group
    passing = tokens * k1 * (width * STREAM_BYTES + experts_per_group * 12)
    if moe.gate == "noisy-top-k":
        matrix *= 2
        # Both matrices of every group side by side, and the second one's products.
        kept += matrix * groups_here + tokens * k1 * STREAM_BYTES * experts_per_group
    # A GPU copies a group's matrix for each of its tiles, of which there are gradients, too.
    is_tiled = not layout.on_cpu and not (moe.has_thresholds and layout.num_processes == 1)
    copies = num_tiles(tokens * k1, groups_here) * matrix if is_tiled else 0.0
    return Activations(kept, passing + copies, passing + matrix * groups_here + 2 * copies)


def _level(moe: MixtureOfExpertsSettings, choices: int, k: int) -> float:
    """Return the bytes that the choice among so many experts or groups keeps for each row."""
    of_z = STREAM_BYTES * (choices + 1) if moe.z_loss_weight else 0.0  # the logits, and the logarithm of their sum
    if moe.has_thresholds:
        return 17.0 * choices + 2 * _INDEX * k + 6 + of_z
    best = _INDEX * (k + 1) + STREAM_BYTES * k
    if moe.gate == "noisy-top-k":
        return 21.0 * choices + best + of_z
    if moe.gate == "softmax" and not moe.choice_bias_rate:
        return best + of_z
    logits = max(of_z, STREAM_BYTES * choices)  # of which those of the chosen experts are taken
    return logits + best + STREAM_BYTES * 3 * k


def _experts(
    moe: MixtureOfExpertsSettings, width: int, masks: int, tokens: float, layout: Layout, adds: bool
) -> Activations:
    """Return the activation memory of the experts, rows from and to other processes included."""
    small, hidden = layout.element_bytes, moe.expert_hidden
    pairs = tokens * moe.experts_per_token
    padded = pairs * (_PADDED_ROWS if layout.on_cpu else 1.0)
    kept = tokens * small * (1 + masks) * width + pairs * (4 * _INDEX + STREAM_BYTES)
    if not moe.recompute_experts:
        kept += padded * hidden * small
    exchanged = 0.0
    if layout.expert_processes > 1:
        # Rows that arrive for the experts here, and outputs that come back, as many as leave. To groups go fewer, which
        # their gate keeps already, and outputs are only added up.
        arriving = pairs if moe.hierarchy is None else tokens * moe.hierarchy.groups_per_token
        copies = 2 if moe.hierarchy is None else 0
        exchanged = arriving * (copies * width * small + 7 * _INDEX + STREAM_BYTES)
    weights = _cast_weights(moe, width, layout)
    forward = padded * small * (2 * width + (hidden if moe.recompute_experts and not layout.on_cpu else 0)) + weights
    again = hidden if moe.recompute_experts else 0
    rows, gradients = 3 * width, 0.0
    if not layout.on_cpu:
        # Of one slice a row of outputs' gradients and one of hidden units'; of several, those of the slice beside them.
        rows = width + hidden + again
        if adds or layout.experts_here > MOST_GROUPS:
            matrix = width * hidden * small
            at_once = min(layout.experts_here, experts_at_once(matrix, pairs * (width + hidden) * small))
            gradients = at_once * matrix
            rows = rows if at_once == layout.experts_here else max(3 * width + 2 * hidden, 5 * width)
    backward = padded * small * rows + max(weights, gradients)
    return Activations(kept + exchanged, forward, backward)


def _cast_weights(moe: MixtureOfExpertsSettings, width: int, layout: Layout) -> float:
    """Return the bytes of one weight matrix of all local experts in the narrow type; 0 where nothing is cast.

    A GPU casts a whole matrix of all experts of a process at a time, or gets its gradient in the narrow type.
    """
    if layout.on_cpu or layout.element_bytes == STREAM_BYTES:
        return 0.0
    return float(layout.experts_here * width * moe.expert_hidden * layout.element_bytes)
