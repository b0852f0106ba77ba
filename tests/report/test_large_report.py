"""A long training of many experts has a page of bounded size, made in bounded time."""

from __future__ import annotations

import json
import random
import time

import numpy as np

from mtmoe.checkpoint import load_model
from mtmoe.inference.translation import Translation
from mtmoe.report.examining.dev_translations import examine_translations
from mtmoe.report.examining.expert_contexts import profile_experts
from mtmoe.report.examining.token_calibration import token_reliability
from mtmoe.report.page import report_page
from mtmoe.report.run_history import read_histories
from mtmoe.report.run_section import Examination
from tests.html_pages import checked
from tests.inference.conftest import SENTENCES, untrained_run

NUM_STEPS, NUM_EXPERTS, NUM_SENTENCES = 10_000, 256, 200
MOST_BYTES, MOST_SECONDS = 3_000_000, 20.0
LAYERS = ("encoder.moe1", "decoder.moe1")


def long_log() -> str:
    """A line each step, and a validation each 100 steps."""
    rng, lines = random.Random(1), []
    for step in range(1, NUM_STEPS + 1):
        line = {"event": "train", "step": step, "time_seconds": 1.8e9 + step, "loss": 3 + rng.random()}
        line |= {
            key: rng.random()
            for key in ("learning_rate", "gradient_norm", "target_tokens_per_second", "auxiliary_loss")
        }
        for layer in LAYERS:
            for key in ("importance_cv", "load_cv", "tokens_cv", "max_over_mean_load", "max_over_mean_tokens"):
                line[f"{layer}.{key}"] = rng.random()
            for key in ("token_entropy", "token_share_min", "token_share_median", "token_share_max"):
                line[f"{layer}.{key}"] = rng.random()
            line[f"{layer}.dead_experts"] = 0
        lines.append(line)
        if step % 100 == 0:
            examples = [{"source": "a " * 40, "reference": "b " * 40, "translation": f"{step} " * 40}] * 2
            lines.append({"event": "validation", "step": step, "loss": 3.0, "bleu": 1.0, "examples": examples})
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_long_training_of_many_experts_has_a_small_page_in_short_time(tmp_path) -> None:
    model = {
        "width": 16,
        "tied_embeddings": "none",
        "encoder_moe_after": [1],
        "decoder_moe_after": [1],
        "moe": {"num_experts": NUM_EXPERTS, "expert_hidden": 8, "gate": "softmax"},
    }
    run = untrained_run(tmp_path, SENTENCES, model=model)
    (run / "metrics.jsonl").write_text(long_log(), encoding="utf-8")
    loaded = load_model(run)
    rng = random.Random(1)
    words = " ".join(SENTENCES).split()
    texts = [" ".join(rng.choices(words, k=12)) for _ in range(NUM_SENTENCES)]
    pairs = [(loaded.subwords.encode(text), loaded.subwords.encode(text[::-1])) for text in texts]
    times_V = np.arange(loaded.subwords.size)

    began = time.process_time()
    (history,) = read_histories([run])
    translations = examine_translations(
        texts, texts, [Translation(text, num_tokens=9) for text in texts], "13a", ({}, {})
    )
    profiles = profile_experts(loaded.model, loaded.subwords, pairs, (times_V, times_V))
    reliability = token_reliability(loaded.model, pairs)
    examination = Examination(profiles, translations, reliability, NUM_SENTENCES, 9, "best")
    page = report_page([history], {history.label: examination}, "1")
    seconds = time.process_time() - began

    checked(page)
    assert page.count("<summary>Expert ") == NUM_EXPERTS * len(LAYERS)
    assert sum(map(len, (expert.contexts for profile in profiles.values() for expert in profile.experts))) > 1000
    assert len(page.encode()) < MOST_BYTES, len(page.encode())
    assert seconds < MOST_SECONDS, seconds
