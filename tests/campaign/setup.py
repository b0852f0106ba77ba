"""What is sound, for a campaign to spoil: text, a recipe, data, and runs of a few steps, made once."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

from tests import forked

_WORDS = ("the", "a", "man", "woman", "dog", "cat", "red", "house", "walks", "runs", "sees", "sleeps", "today")
_TABLES = """
[subwords]
vocabulary_size = 280
[model]
width = 16
tied_embeddings = "none"
encoder_moe_after = [1]
moe = { num_experts = 4, expert_hidden = 8 }
[training]
max_steps = 4
batch_tokens = 200
max_tokens_per_sentence = 50
log_every_steps = 2
save_every_steps = 2
keep_last = 2
precision = "fp32"
validation = { every_steps = 2, translate_sentences = 2 }
[decoding]
max_length_ratio = 1.0
"""
_LANGUAGE_MODEL = """
name = "tiny-lm"
task = "language-model"
[data]
target_language = "en"
train = [{{ name = "train", format = "lines", file.path = "{0}/train.en" }}]
valid = [{{ name = "valid", format = "lines", file.path = "{0}/valid.en" }}]
test = [{{ name = "test", format = "lines", file.path = "{0}/test.en" }}]
[subwords]
vocabulary_size = 280
[model]
width = 16
[training]
max_steps = 2
batch_tokens = 200
precision = "fp32"
validation = {{ every_steps = 2, metric = "perplexity", translate_sentences = 0 }}
"""


class Sound:
    """A directory with ``train.en`` and the like, ``tiny.toml``, ``data``, ``run`` and ``lm``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.recipe, self.data, self.run, self.lm = (place / name for name in ("tiny.toml", "data", "run", "lm"))

    def make(self) -> Sound:
        """Write the text and run the commands; some seconds of one core."""
        self.place.mkdir(parents=True, exist_ok=True)
        generator = random.Random(1)
        for part, num_pairs in (("train", 200), ("valid", 6), ("test", 8)):
            sources = [[generator.choice(_WORDS) for _ in range(generator.randint(5, 9))] for _ in range(num_pairs)]
            for language, lines in (("en", sources), ("fr", [source[::-1] for source in sources])):
                text = "".join(" ".join(line) + f" {part}\n" for line in lines)
                (self.place / f"{part}.{language}").write_text(text, encoding="utf-8")
        self.recipe.write_text(recipe_text(self.place), encoding="utf-8")
        (self.place / "lm.toml").write_text(_LANGUAGE_MODEL.format(self.place), encoding="utf-8")
        self._command("preprocess", self.recipe, self.data, "--workers", "1")
        self._command("train", self.recipe, self.run, "--data", self.data)
        self._command("train", self.place / "lm.toml", self.lm)
        return self

    def digests(self) -> dict[str, str]:
        """Return a hash of every file: no command of a campaign may change one."""
        return {
            path.relative_to(self.place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.place.rglob("*"))
            if path.is_file() and path.name != ".lock"
        }

    def _command(self, *arguments: str | Path) -> None:
        done = forked.run_command(*arguments, environment={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.status:
            raise RuntimeError(f"mtmoe {' '.join(map(str, arguments))} ends with status {done.status}:\n{done.stderr}")


def recipe_text(place: Path) -> str:
    """Return the tiny recipe for the text in ``place``."""
    lines = ['name = "tiny"', "[data]", 'source_language = "en"', 'target_language = "fr"']
    for part in ("train", "valid", "test"):
        lines += [f"[[data.{part}]]", 'format = "text"', f'name = "{part}"']
        lines += [f'source_file.path = "{place}/{part}.en"', f'target_file.path = "{place}/{part}.fr"']
    return "\n".join(lines) + _TABLES
