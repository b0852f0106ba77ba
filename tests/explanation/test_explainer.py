"""Explanations: of the very translation that is given, with gates that sum to 1, of each line by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtmoe.checkpoint import load_model
from mtmoe.data.batches.padding import batch_of
from mtmoe.explanation.ablation import token_log_probabilities_without
from mtmoe.explanation.explainer import Explainer, ExplanationOptions
from mtmoe.explanation.explanation import LineExplanation
from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.translator import Translator
from mtmoe.model.expert_layers import expert_layers
from mtmoe.model.moe.gating import Gate
from tests.explanation.conftest import GATES

LINES = ["Two dogs play in the snow.", "", "The children are waiting for the bus near the market.", "Where?"]
LONG = " ".join(["The children are waiting for the bus near the market."] * 3)


def explained(run: Path, lines: list[str], **options: object) -> list[LineExplanation]:
    return Explainer(run, device="cpu", options=ExplanationOptions(**options)).explain(lines)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", GATES)
def test_what_is_explained_is_what_translate_gives_and_score_finds(gated_run: Callable[[str], Path], kind: str) -> None:
    run = gated_run(kind)
    found = explained(run, LINES, with_ablation=False)
    translations = Translator(run, device="cpu").translate(LINES)
    assert [line.translation for line in found] == translations
    assert [line.parts == () for line in found] == [False, True, False, False]
    scores = score_pairs(load_model(run), LINES, [translation.text for translation in translations])
    for line, score in zip(found, scores, strict=True):
        assert line.log_probability == pytest.approx(score.log_probability, abs=1e-4)
        written = [token.text for part in line.parts for token in part.target]
        assert written == list(line.translation.tokens)
        for part in line.parts:
            for token in part.target:
                assert sum(token.attention) == pytest.approx(1.0, abs=1e-5)
                assert len(token.attention) == len(part.source)
                assert token.text not in [other.text for other in token.alternatives]
                named = math.exp(token.log_probability) + sum(other.probability for other in token.alternatives)
                assert named <= 1.0 + 1e-6
                probabilities = [other.probability for other in token.alternatives]
                assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("kind", GATES)
def test_gates_and_shares_of_a_token_sum_to_one_in_each_layer_that_has_experts_for_it(
    gated_run: Callable[[str], Path], kind: str
) -> None:
    num_tokens = 0
    for line in explained(gated_run(kind), LINES, with_ablation=False):
        for part in line.parts:
            for side, tokens in (("encoder.moe1", part.source), ("decoder.moe1", part.target)):
                for token in tokens:
                    (layer, chosen), *others = token.experts.items()
                    assert layer == side
                    assert not others
                    if kind != "strictly-balanced":  # where a token may have none
                        assert len(chosen) == 2
                    if chosen:
                        num_tokens += 1
                        assert sum(it.gate for it in chosen) == pytest.approx(1.0, abs=1e-6)
                        assert sum(it.share for it in chosen) == pytest.approx(1.0, abs=1e-5)
                        assert [it.gate for it in chosen] == sorted((it.gate for it in chosen), reverse=True)
    assert num_tokens > 20


def test_experts_of_a_token_are_those_that_the_gate_chooses_in_teacher_forcing(
    gated_run: Callable[[str], Path],
) -> None:
    run = gated_run("softmax")
    loaded = load_model(run)
    [line] = explained(run, LINES[2:3], with_ablation=False)
    ids = {piece: number for number, piece in enumerate(loaded.subwords.pieces)}
    source, target = (
        [ids[token] for token in tokens[:-1]] for tokens in (line.translation.source_tokens, line.translation.tokens)
    )
    with torch.inference_mode():
        balances = loaded.model(batch_of([source], [target])).balances
    [part] = line.parts
    for layer, tokens in (("encoder.moe1", part.source), ("decoder.moe1", part.target)):
        counts, importance = [0] * 6, [0.0] * 6
        for token in tokens:
            for it in token.experts[layer]:
                counts[it.expert] += 1
                importance[it.expert] += it.gate
        assert counts == balances[layer].token_counts_E.tolist()
        assert importance == pytest.approx(balances[layer].importance_E.tolist(), abs=1e-5)


def test_other_lines_change_nothing(gated_run: Callable[[str], Path]) -> None:
    together = explained(gated_run("softmax"), LINES)
    for line, with_others in zip(LINES, together, strict=True):
        [alone] = explained(gated_run("softmax"), [line])
        assert alone.translation.text == with_others.translation.text
        assert [it.text for it in alone.without] == [it.text for it in with_others.without]
        for part, other in zip(alone.parts, with_others.parts, strict=True):
            for token, its_like in zip(part.target, other.target, strict=True):
                assert token.log_probability == pytest.approx(its_like.log_probability, abs=1e-5)
                assert token.attention == pytest.approx(its_like.attention, abs=1e-5)
            of_alone, of_other = (
                {(it.layer, it.expert): it.log_probability for it in each.contributions} for each in (part, other)
            )
            assert of_alone == pytest.approx(of_other, abs=1e-4)


def test_a_contribution_is_the_difference_that_a_gate_without_the_expert_makes(
    gated_run: Callable[[str], Path],
) -> None:
    """The slow reference: a network whose gate is another module, which computes eq. 3 from the logits by itself."""
    run = gated_run("softmax")
    [line] = explained(run, LINES[:1])
    loaded = load_model(run)
    [part] = line.parts
    assert {it.layer for it in part.contributions} == {"encoder.moe1", "decoder.moe1"}
    assert max(abs(it.log_probability) for it in part.contributions) > 1e-3
    for it in part.contributions:
        layer = expert_layers(loaded.model)[it.layer]
        whole, layer.gate = layer.gate, _WithoutExpert(layer.gate, it.expert)
        [score] = score_pairs(loaded, LINES[:1], [line.translation.text])
        layer.gate = whole
        assert line.log_probability - score.log_probability == pytest.approx(it.log_probability, abs=1e-4)
        assert sum(it.of_tokens) == pytest.approx(it.log_probability)


class _WithoutExpert(Gate):
    """Softmax over the k largest logits of each token, where that of one expert is -inf; one token at a time."""

    def __init__(self, gate: Gate, expert: int) -> None:
        super().__init__(gate.num_experts, gate.experts_per_token)
        self.original, self.expert = [gate], expert  # in a list, so that it is no submodule

    def forward(self, x_ND: torch.Tensor):
        routing = self.original[0](x_ND)
        tokens, experts, gates = [], [], []
        for token, logits_E in enumerate(x_ND.float() @ self.original[0].gate_DE):
            kept = [int(i) for i in logits_E.topk(self.experts_per_token).indices if int(i) != self.expert]
            total = sum(math.exp(logits_E[i]) for i in kept)
            tokens += [token] * len(kept)
            experts += kept
            gates += [math.exp(logits_E[i]) / total for i in kept]
        pairs = torch.tensor(tokens), torch.tensor(experts), torch.tensor(gates, dtype=torch.float32)
        counts_E = torch.bincount(pairs[1], minlength=self.num_experts)
        return type(routing)(*pairs, None, counts_E, routing.balance)


def test_an_expert_that_was_not_chosen_contributes_nothing(gated_run: Callable[[str], Path]) -> None:
    run = gated_run("softmax")
    [line] = explained(run, ["Where?"])
    loaded = load_model(run)
    [part] = line.parts
    ids = {piece: number for number, piece in enumerate(loaded.subwords.pieces)}
    pair = [ids[t.text] for t in part.source[:-1]], [ids[t.text] for t in part.target[:-1]]
    chosen = {(it.layer, it.expert) for it in part.contributions}
    idle = [(layer, e) for layer in ("encoder.moe1", "decoder.moe1") for e in range(6) if (layer, e) not in chosen]
    assert idle
    whole_T, *others = token_log_probabilities_without(loaded.model, pair, [None, *idle])
    for without_T in others:
        assert torch.equal(without_T, whole_T)


def test_a_line_in_parts_is_explained_part_by_part(gated_run: Callable[[str], Path]) -> None:
    overrides = ["decoding.over_long=split", "decoding.max_source_tokens=40"]
    explainer = Explainer(gated_run("softmax"), device="cpu", overrides=overrides)
    [line] = explainer.explain([LONG])
    assert len(line.parts) > 1
    assert sum(len(part.target) for part in line.parts) == line.translation.num_tokens
    assert line.log_probability == pytest.approx(line.translation.log_probability, abs=1e-4)


def test_the_line_without_an_expert_is_what_the_search_finds_without_it(gated_run: Callable[[str], Path]) -> None:
    run = gated_run("softmax")
    [line] = explained(run, LINES[2:3], num_without=2)
    assert len(line.without) == 2
    sums = {(it.layer, it.expert): it.log_probability for part in line.parts for it in part.contributions}
    assert [abs(it.contribution) for it in line.without] == sorted(map(abs, sums.values()), reverse=True)[:2]
    for it in line.without:
        translator = Translator(run, device="cpu")
        layer = expert_layers(translator.loaded.model)[it.layer]
        layer.gate = _WithoutExpert(layer.gate, it.expert)
        assert translator.translate(LINES[2:3])[0].text == it.text


def test_the_model_is_left_as_it_was(gated_run: Callable[[str], Path]) -> None:
    explainer = Explainer(gated_run("softmax"), device="cpu")
    before = explainer.translator.translate(LINES)
    explainer.explain(LINES)
    assert all(not module._forward_hooks for module in explainer.translator.loaded.model.modules())
    assert explainer.translator.translate(LINES) == before
