"""Dynamic evaluation: the paper's rule, computed slowly, and nothing of the text that is still to come."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtmoe.checkpoint import LoadedLanguageModel
from mtmoe.config import recipe_from_dict
from mtmoe.data.batches.running_text import RunningText
from mtmoe.data.prepared.preparation import open_prepared, prepare
from mtmoe.errors import UserError
from mtmoe.inference.scoring import running_text_reader
from mtmoe.inference.scoring.dynamic_evaluation import root_mean_squares, training_text
from mtmoe.inference.scoring.language_model_scoring import score_text
from mtmoe.model.language_model import LanguageModel
from mtmoe.vocabulary import EOS
from tests.inference.scoring.memories import counting_model, dev_lines, prepared_counting
from tests.toy import counting_settings

DYNAMIC: dict[str, Any] = {
    "segment_tokens": 3, "learning_rate": 0.01, "decay": 0.02, "epsilon": 1e-3, "statistics_batches": 4,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "experts": {},
    "tied": {"tied_embeddings": "all"},
    "projected": {"lstm_hidden": 32},
    "no experts": {"decoder_moe_after": [], "moe": {}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_counting(tmp_path_factory.mktemp("counting"))


def usual_of(loaded: LoadedLanguageModel, data: Path) -> Any:
    assert loaded.recipe.scoring.dynamic is not None
    return root_mean_squares(loaded.model, training_text(loaded, data), loaded.recipe.scoring.dynamic)


def scores(loaded: LoadedLanguageModel, lines: list[str], usual: Any) -> list[float]:
    return [score.log_probability for score in score_text(loaded, lines, usual=usual)]


def mean_loss(model: LanguageModel, tokens_BT: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Of the last tokens of each row given those before them: word by word."""
    losses = []
    for position in range(tokens_BT.shape[1] - 1):
        logits_BV, state = model.decode_step(tokens_BT[:, position], state)
        log_BV = (logits_BV if logits_BV.dtype == torch.float64 else logits_BV.double()).log_softmax(1)
        losses.append(-log_BV.gather(1, tokens_BT[:, position + 1, None]))
    return torch.cat(losses), state.detached()


def slow_usual(loaded: LoadedLanguageModel, data: Path) -> dict[str, Tensor]:
    """For four batches, each of as many places of the text as hold a segment, at most 100."""
    text, model = RunningText(open_prepared(data).train), copy.deepcopy(loaded.model)
    num_rows = min(100, text.num_tokens // 3)
    distance, state = text.num_tokens // num_rows, model.initial_state(num_rows)
    squares = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for number in range(4):
        rows = [range(row * distance + 3 * number - 1, row * distance + 3 * number + 3) for row in range(num_rows)]
        tokens = [[int(text.tokens(torch.tensor([place]).numpy())[0]) for place in row] for row in rows]
        losses, state = mean_loss(model, torch.tensor(tokens), state)
        model.zero_grad()
        losses.mean().backward()
        for name, parameter in model.named_parameters():
            squares[name] += (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad) ** 2 / 4
    return {name: of_name.sqrt() for name, of_name in squares.items()}


def slow_scores(loaded: LoadedLanguageModel, tokens: list[int], usual: dict[str, Tensor]) -> list[float]:
    """log P of each token: weights that are changed one by one, as the equation says."""
    model, found, state = copy.deepcopy(loaded.model), [], loaded.model.initial_state(1)
    trained = {name: p.detach().clone() for name, p in model.named_parameters()}
    mean = torch.cat([r.flatten() for r in usual.values()]).mean()
    for begin in range(0, len(tokens), 3):
        segment = [tokens[begin - 1] if begin else EOS, *tokens[begin : begin + 3]]
        losses, state = mean_loss(model, torch.tensor([segment]), state)
        found += (-losses[:, 0]).tolist()
        model.zero_grad()
        losses.mean().backward()
        with torch.no_grad():
            for name, w in model.named_parameters():
                g = torch.zeros_like(w) if w.grad is None else w.grad
                r = usual[name]
                back = torch.minimum(torch.ones_like(r), 0.02 * r / mean) * (trained[name] - w)
                w.copy_(w - 0.01 * g / (r + 1e-3) + back)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_the_papers_rule(data: Path, name: str) -> None:
    loaded = counting_model(data, {"dynamic": DYNAMIC}, **MODELS[name])
    usual = usual_of(loaded, data)
    slow = slow_usual(loaded, data)
    assert usual.keys() == slow.keys()
    for key, of_key in usual.items():
        assert torch.allclose(of_key, slow[key], rtol=1e-4, atol=1e-9), key
    lines = dev_lines(data)[:12]
    ids = [[*loaded.vocabulary.encode(line), EOS] for line in lines]
    expected = slow_scores(loaded, list(itertools.chain(*ids)), slow)
    ends = list(itertools.accumulate(len(of_line) for of_line in ids))
    by_line = [sum(expected[end - len(of_line) : end]) for of_line, end in zip(ids, ends, strict=True)]
    # Logits are float32, whatever the weights are.
    assert scores(loaded, lines, usual) == pytest.approx(by_line, rel=2e-5, abs=2e-5)
    assert scores(loaded, lines, usual)[-1] != pytest.approx(
        scores(counting_model(data, {}, **MODELS[name]), lines, None)[-1], rel=1e-3
    )


def test_without_a_learning_rate_it_is_the_static_score_to_the_bit(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dynamic = counting_model(data, {"dynamic": DYNAMIC | {"learning_rate": 0.0}})
    lines = dev_lines(data)
    found = scores(dynamic, lines, usual_of(dynamic, data))
    static = counting_model(data, {})
    assert found == pytest.approx(scores(static, lines, None), abs=1e-5)
    monkeypatch.setattr(running_text_reader, "TOKENS_AT_ONCE", 3)  # sums in the same order
    assert found == scores(static, lines, None)


def test_it_learns_and_the_models_weights_stay(data: Path) -> None:
    loaded = counting_model(data, {"dynamic": DYNAMIC | {"learning_rate": 0.003}})
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    lines = dev_lines(data)
    usual = usual_of(loaded, data)
    learned = scores(loaded, lines, usual)
    assert sum(learned) > sum(scores(counting_model(data, {}), lines, None)) + 10
    assert learned == scores(loaded, lines, usual), "another text begins with the trained weights"
    for name, parameter in loaded.model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_what_comes_later_changes_nothing(data: Path) -> None:
    loaded = counting_model(data, {"dynamic": DYNAMIC, "cache": {"size_tokens": 20, "theta": 0.5, "weight": 0.2}})
    usual = usual_of(loaded, data)
    lines = dev_lines(data)
    others = [*lines[:10], *(["tree"] * 20)]
    assert lines[10:] != others[10:]
    assert scores(loaded, lines, usual)[:10] == pytest.approx(scores(loaded, others, usual)[:10], abs=1e-12)
    changed = [*lines[:3], "cat cat cat", *lines[4:10]]
    assert scores(loaded, changed, usual)[4:] != pytest.approx(scores(loaded, lines[:10], usual)[4:], abs=1e-4)


def test_windows_of_lines_do_not_cut_segments(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mtmoe.inference.scoring import language_model_scoring

    loaded = counting_model(data, {"dynamic": DYNAMIC})
    usual, lines = usual_of(loaded, data), dev_lines(data)
    whole = scores(loaded, lines, usual)
    monkeypatch.setattr(language_model_scoring, "WINDOW_LINES", 2)
    assert scores(loaded, lines, usual) == whole


def test_the_text_of_another_model_is_refused(data: Path, tmp_path: Path) -> None:
    loaded = counting_model(data, {"dynamic": DYNAMIC})
    settings = counting_settings(tmp_path)
    settings["subwords"]["vocabulary_size"] -= 2
    recipe = recipe_from_dict(settings, tmp_path / "other.toml")
    prepare(recipe, tmp_path / "data", tmp_path / "cache")
    with pytest.raises(UserError, match="is not the vocabulary that the model was trained with") as error:
        training_text(loaded, tmp_path / "data")
    assert "--data" in str(error.value)
    with pytest.raises(ValueError, match="root mean squares"):
        list(score_text(loaded, ["one"]))
