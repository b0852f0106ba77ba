#!/usr/bin/env python3
"""Gates at equal operations: dev loss, balance and processor time of a small Multi30k recipe, 600 steps, one seed.

    gates.py WORK TEXT [NAME ...]

TEXT is a folder with Multi30k's {train,val,test_2016_flickr}.{en,de}.xz. The recipe is `multi30k-en-de`, shrunk to
width 128 and 16 experts of 64, of which a token has four: with a shared expert three and that one. Each gate is trained
on one thread, two trainings at a time. NAME: gates to run, instead of all. The table goes to standard output.
"""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

NUM_STEPS = 600
LAST_STEPS = 200
"""Over which the balance is the mean."""
BASE = {
    "seed": 1,
    "model.width": 128,
    "model.moe.num_experts": 16,
    "model.moe.experts_per_token": 4,
    "model.moe.expert_hidden": 64,
    "training.max_steps": NUM_STEPS,
    "training.log_every_steps": 50,
    "training.save_every_steps": NUM_STEPS,
    "training.schedule.warmup_steps": 100,
    "training.validation.every_steps": NUM_STEPS,
    "training.validation.translate_sentences": 0,
    "decoding.diverse_beams.groups": 2,  # so that no faster beam search is looked for at the end
}
BIASED = {"model.moe.choice_bias_rate": 0.001, "model.moe.importance_loss_weight": 0}
SHARED = {"model.moe.experts_per_token": 3, "model.moe.shared_experts": 1}
ENCODER = {"model.decoder_moe_after": []}
GATES: dict[str, dict[str, Any]] = {
    "noisy-top-k": {},
    "noisy-top-k, z-loss 0.001": {"model.moe.z_loss_weight": 0.001},
    "noisy-top-k, 1 of 4 shared": SHARED,
    "softmax": {"model.moe.gate": "softmax"},
    "softmax, bias, no loss": {"model.moe.gate": "softmax", **BIASED},
    "sigmoid": {"model.moe.gate": "sigmoid"},
    "sigmoid, bias, no loss": {"model.moe.gate": "sigmoid", **BIASED},
    "sigmoid, bias, no loss, 1 of 4 shared": {"model.moe.gate": "sigmoid", **BIASED, **SHARED},
    "strictly-balanced": {"model.moe.gate": "strictly-balanced"},
    "dense twin": {"model.moe.kind": "dense"},
    "encoder alone: noisy-top-k": ENCODER,
    "encoder alone: strictly-balanced": {"model.moe.gate": "strictly-balanced", **ENCODER},
    "encoder alone: expert-choice": {"model.moe.gate": "expert-choice", **ENCODER},
}


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
        print(__doc__, file=sys.stdout if sys.argv[1:2] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if sys.argv[1:2] in (["-h"], ["--help"]) else 2)
    work, text = Path(sys.argv[1]), Path(sys.argv[2])
    names = sys.argv[3:] or list(GATES)
    unknown = [name for name in names if name not in GATES]
    if unknown:
        sys.exit(f"no such gate: {', '.join(unknown)}; there are: {', '.join(GATES)}")
    work.mkdir(parents=True, exist_ok=True)
    files = unpack(text, work / "text")
    data = work / "data"
    if not data.exists():
        mtmoe("preprocess", "multi30k-en-de", data, *files)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda name: trained(work, data, name), names))
    print("| gate | dev loss, nats per subword | CV of tokens | dead experts | operations per timestep | CPU minutes |")
    print("|---|---|---|---|---|---|")
    for name, result in zip(names, results, strict=True):
        print(f"| {name} | {' | '.join(result)} |")


def unpack(text: Path, folder: Path) -> list[str]:
    """Write the text as plain files, and return the options that name them."""
    folder.mkdir(exist_ok=True)
    options: list[str] = []
    for option, part in (("--train", "train"), ("--valid", "val"), ("--test", "test_2016_flickr")):
        options.append(option)
        for language in ("en", "de"):
            path = folder / f"{part}.{language}"
            path.write_bytes(lzma.decompress((text / f"{path.name}.xz").read_bytes()))
            options.append(str(path))
    return options


def trained(work: Path, data: Path, name: str) -> list[str]:
    """Train a gate, and return its cells of the table."""
    run = work / "".join(letter if letter.isalnum() else "-" for letter in name)
    changes = [f"{key}={json.dumps(value)}" for key, value in {**BASE, **GATES[name]}.items()]
    options = [word for change in changes for word in ("--set", change)]
    minutes = mtmoe("train", "multi30k-en-de", run, "--data", data, *options) / 60
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    loss = next(line["loss"] for line in reversed(lines) if line["event"] == "validation")
    last = [line for line in lines if line["event"] == "train" and line["step"] > NUM_STEPS - LAST_STEPS]
    variations = [value for line in last for key, value in line.items() if key.endswith(".tokens_cv")]
    variation = f"{sum(variations) / len(variations):.2f}" if variations else "-"
    dead = [value for key, value in last[-1].items() if key.endswith(".dead_experts")]
    described = subprocess.run(
        command("describe", "multi30k-en-de", "--json", *options), capture_output=True, text=True, check=True
    )
    operations = f"{json.loads(described.stdout)['operations']:,}"
    return [f"{loss:.3f}", variation, str(sum(dead)) if dead else "-", operations, f"{minutes:.1f}"]


def command(*words: object) -> list[str]:
    """Return a command line of this installation's mtmoe."""
    return [sys.executable, "-m", "mtmoe", *map(str, words)]


def mtmoe(*words: object) -> float:
    """Run a command on one thread, and return its processor time in seconds."""
    with subprocess.Popen(
        command(*words), env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        told = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command(*words))}\n{told.decode()}")
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
