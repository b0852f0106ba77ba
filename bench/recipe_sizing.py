#!/usr/bin/env python3
"""BLEU of hand-made settings and of those that the rules of `mtmoe init` choose, on equal text and equal time.

    recipe_sizing.py WORK TEXT PAIRS MINUTES [NAME ...]

TEXT is a folder with tatoeba-en-de/{train,valid,test}.{en,de}.xz. PAIRS of its training pairs are drawn at random (the
same ones every time); dev and test set are the first 500 of its dev and 1,000 of its test pairs. Each setting is
trained on one thread for as many steps as MINUTES of processor time hold, by its own processor time a step, which is
measured first: other work on the machine changes nothing. NAME: settings to run, instead of all; `rules` are those that
the rules choose, and `rules+dense` the same with what `dense` changes. A line for each setting goes to
WORK/results.jsonl and to standard output.
"""

from __future__ import annotations

import json
import lzma
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WARMUP_STEPS, MEASURED_STEPS = 10, 40
NUM_VALIDATIONS = 5
BASE = {
    "subwords.vocabulary_size": 2000,
    "model.width": 256,
    "model.encoder_layers": 2,
    "model.decoder_layers": 2,
    "model.encoder_bottom": "sum",
    "model.output_attention": True,
    "model.tied_embeddings": "none",
    "model.dropout": 0.3,
    "model.encoder_moe_after": [1],
    "model.decoder_moe_after": [1],
    "model.moe.num_experts": 16,
    "model.moe.experts_per_token": 2,
    "model.moe.expert_hidden": 256,
    "training.batch_tokens": 1000,
    "training.learning_rate": 2.5e-3,
    "training.clip_norm": 1.0,
    "training.schedule.kind": "cosine",
    "decoding.length_alpha": 1.0,
    "decoding.coverage_beta": 0.0,
}
RULES = "rules"
SETTINGS: dict[str, dict[str, Any]] = {
    "base": {},
    "vocabulary-1000": {"subwords.vocabulary_size": 1000},
    "vocabulary-4000": {"subwords.vocabulary_size": 4000},
    "dropout-0.1": {"model.dropout": 0.1},
    "dropout-0.5": {"model.dropout": 0.5},
    "batch-500": {"training.batch_tokens": 500},
    "batch-2000": {"training.batch_tokens": 2000},
    "width-128": {"model.width": 128, "model.moe.expert_hidden": 128},
    "width-384": {"model.width": 384, "model.moe.expert_hidden": 384},
    "one-layer": {"model.encoder_layers": 1, "model.decoder_layers": 2},
    "dense": {"model.moe.kind": "dense"},
    "experts-8-of-32": {
        "model.moe.num_experts": 32, "model.moe.experts_per_token": 8, "model.moe.expert_hidden": 128
    },
}  # fmt: skip


def main() -> None:
    """Run the settings one after the other."""
    if len(sys.argv) < 5 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if sys.argv[1:2] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    work, text, num_pairs, minutes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the commands
    write_text(text / "tatoeba-en-de", work / "text", num_pairs)
    for name in sys.argv[5:] or [*SETTINGS, RULES]:
        start, _, change = name.rpartition("+")
        chosen = chosen_by_rules(work, num_pairs, minutes) if RULES in (start, change) else {}
        chosen |= SETTINGS.get(change, {})
        result = measured(work, name, BASE | chosen, minutes)
        line = json.dumps({"pairs": num_pairs, "minutes_wanted": minutes, **result, "settings": chosen})
        print(line, flush=True)
        with (work / "results.jsonl").open("a", encoding="utf-8") as results:
            results.write(line + "\n")


def write_text(origin: Path, folder: Path, num_pairs: int) -> None:
    """Write the drawn training pairs, the dev and the test set into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        sides = []
        for code in ("en", "de"):
            with lzma.open(origin / f"{part}.{code}.xz", "rt", encoding="utf-8") as file:
                sides.append(file.read().splitlines())
        pairs = list(zip(*sides, strict=True))
        if part == "train":
            pairs = random.Random(1).sample(pairs, num_pairs)
        else:
            pairs = pairs[: {"valid": 500, "test": 1000}[part]]
        for number, code in enumerate(("en", "de")):
            lines = "".join(f"{pair[number]}\n" for pair in pairs)
            (folder / f"{part}.{code}").write_text(lines, encoding="utf-8")


def chosen_by_rules(work: Path, num_pairs: int, minutes: float) -> dict[str, Any]:
    """Return what the rules choose for this text and time; the speed is that of one thread's processor time."""
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.recipe_sizing import sizing_rules as rules

    results = work / "results.jsonl"
    earlier = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for result in earlier:
        if result["name"] == RULES:  # the speed of this machine is not measured twice
            before: dict[str, Any] = result["settings"]
            return dict(before)
    alphabet = len(set((work / "text" / "train.en").read_text() + (work / "text" / "train.de").read_text()))
    chosen: dict[str, Any] = {
        "subwords.vocabulary_size": rules.vocabulary_size(num_pairs, alphabet, minutes, "cpu"),
        **shape_settings(rules.MEDIUM),
    }
    for trial in range(2):  # the shape is chosen by the speed of another one, and then has a speed of its own
        folder = work / f"rules-trial-{trial}"
        folder.mkdir()
        recipe, data = folder / "trial.toml", folder / "data"
        recipe.write_text(recipe_text(BASE | chosen, work / "text", 1000), encoding="utf-8")
        mtmoe("preprocess", recipe, data)
        seconds, tokens_of_step = processor_seconds_of_step(recipe, data)
        text_tokens = float(open_prepared(data).train.num_target_tokens)
        steps = rules.choose_steps(60 * minutes, seconds, text_tokens / tokens_of_step)
        chosen |= shape_settings(rules.choose_shape(text_tokens, tokens_of_step / seconds * 60 * minutes))
        chosen |= {
            "training.batch_tokens": rules.batch_tokens(text_tokens, "cpu"),
            "model.dropout": rules.dropout(steps.epochs),
        }
    return chosen


def shape_settings(shape: Any) -> dict[str, Any]:
    """Return the settings of a `sizing_rules.Shape`."""
    return {
        "model.width": shape.width,
        "model.encoder_layers": shape.layers,
        "model.decoder_layers": shape.layers,
        "model.moe.kind": shape.kind,
        "model.moe.num_experts": shape.num_experts,
        "model.moe.experts_per_token": shape.experts_per_token,
        "model.moe.expert_hidden": shape.expert_hidden,
        "training.learning_rate": shape.learning_rate,
    }


def recipe_text(settings: dict[str, Any], text: Path, num_steps: int) -> str:
    """Return the recipe of some settings, for so many steps."""
    lines = ['data.source_language = "en"', 'data.target_language = "de"']
    for key, value in settings.items():
        lines.append(f"{key} = {json.dumps(value)}")
    every = max(num_steps // NUM_VALIDATIONS, 1)
    lines += [
        f"training.max_steps = {num_steps}",
        f"training.schedule.warmup_steps = {max(1, num_steps // 12)}",
        f"training.validation.every_steps = {every}",
        "training.validation.translate_sentences = 200",
        f"training.save_every_steps = {every}",
    ]
    for part in ("train", "valid", "test"):
        lines += [f"[[data.{part}]]", f'name = "{part}"', 'format = "text"']
        lines += [f'source_file.path = "{text}/{part}.en"', f'target_file.path = "{text}/{part}.de"']
    return "\n".join(lines) + "\n"


def measured(work: Path, name: str, settings: dict[str, Any], minutes: float) -> dict[str, Any]:
    """Train and score one setting."""
    folder = work / name
    folder.mkdir()
    recipe, data, run = folder / f"{name}.toml", folder / "data", folder / "run"
    recipe.write_text(recipe_text(settings, work / "text", 1000), encoding="utf-8")
    mtmoe("preprocess", recipe, data)
    seconds, _ = processor_seconds_of_step(recipe, data)
    num_steps = round(60 * minutes / seconds)
    recipe.write_text(recipe_text(settings, work / "text", num_steps), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    mtmoe("train", recipe, run, "--data", data)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(mtmoe("bleu", run, "--json"))
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "name": name, "steps": num_steps, "seconds_per_step": round(seconds, 4), "minutes": round(spent / 60, 2),
        "bleu": report[0]["bleu"], "bleu_interval": report[0]["bleu_interval"], "chrf": report[0]["chrf"],
    }  # fmt: skip


def processor_seconds_of_step(recipe_path: Path, data: Path) -> tuple[float, float]:
    """Return the processor time of a training step on one thread, in seconds, and its target tokens."""
    import torch

    from mtmoe.config import load_recipe
    from mtmoe.data.prepared.data_directory import open_prepared
    from mtmoe.data.subwords.vocabularies import load_vocabulary
    from mtmoe.system.process_settings import prepare_for_training
    from mtmoe.training.metrics.expert_usage import ExpertUsage
    from mtmoe.training.step import Stepper
    from mtmoe.training.trainer import batch_stream

    prepare_for_training(torch.device("cpu"))
    recipe, prepared = load_recipe(recipe_path), open_prepared(data)
    vocabulary = load_vocabulary(prepared.subwords_path)
    stepper = Stepper(recipe, vocabulary.size, torch.device("cpu"))
    batches = batch_stream(recipe, prepared, vocabulary).batches()
    began, num_tokens = 0.0, 0
    for step in range(WARMUP_STEPS + MEASURED_STEPS):
        if step == WARMUP_STEPS:
            began, num_tokens = time.process_time(), 0
        batch = next(batches)[0]
        num_tokens += int(batch.target_lengths_B.sum())
        stepper([batch], ExpertUsage())
    return (time.process_time() - began) / MEASURED_STEPS, num_tokens / MEASURED_STEPS


def mtmoe(*words: object) -> str:
    """Run a command and return what it writes to standard output."""
    program = Path(sys.executable).parent / "mtmoe"
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
