"""One SentencePiece model for both languages: training it, and text to ids and back.

The model normalises nothing: text is cleaned before (:mod:`mtmoe.data.cleaning.rules`), so that decoding gives back
exactly what was encoded. The one exception is SentencePiece's own mark U+2581, which comes back as a space.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, Literal

import sentencepiece

from mtmoe.config.settings import Subwords
from mtmoe.data.subwords import learning_process as subword_learning
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_files import write_atomically
from mtmoe.system.readable_files import read_bytes
from mtmoe.vocabulary import BOS, EOS, PAD, UNK

# Part of the recipe in all but name: sums over threads are rounded in their order, so another number of
# threads gives other bytes, whatever the machine has.
_NUM_TRAINING_THREADS = 8
# SentencePiece silently skips longer lines; cleaning has already dropped what is too long.
_MAX_SENTENCE_BYTES = 1 << 20
_TOO_LARGE = re.compile(r"Vocabulary size too high [^<]*+<= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars. \d+ vs (\d+)")
# The library has one seed for the whole process; a thread reads it when it first draws.
_sampling_lock = threading.Lock()


class VocabularySizeError(UserError):
    """A text gives no vocabulary of the size that was asked for. nearest: the one next to it that it may give."""

    def __init__(self, problem: str, *, fix: str, nearest: int) -> None:
        super().__init__(problem, fix=fix)
        self.nearest = nearest


def train_subwords(
    sentences: Iterable[str],
    settings: Subwords,
    model_path: Path,
    seed: int,
    progress: Progress = silent,
) -> None:
    """Write the model that :func:`learned_subwords` returns to ``model_path``; raise as it does."""
    write_atomically(model_path, learned_subwords(sentences, settings, seed, progress))


def learned_subwords(sentences: Iterable[str], settings: Subwords, seed: int, progress: Progress = silent) -> bytes:
    """Return a model trained on at most ``settings.sample_sentences`` of the sentences.

    The sample is uniform over all sentences; the same sentences, settings and seed give the same bytes.

    Raises:
        VocabularySizeError: the text is too small, or its characters too many, for ``vocabulary_size``.
        UserError: there is no text, or the library cannot learn from it.
    """
    sample = sample_sentences(sentences, settings.sample_sentences, seed)
    progress("subwords", 0, len(sample), "sentences")
    if not sample:
        raise UserError("there is no text to train subwords on", fix="check the recipe's data.train")
    num_sentences = len(sample)
    options = {
        "model_type": settings.algorithm,
        "vocab_size": settings.vocabulary_size,
        "byte_fallback": settings.byte_fallback,
        "character_coverage": settings.character_coverage,
        "user_defined_symbols": list(settings.user_symbols),
        "pad_id": PAD,
        "unk_id": UNK,
        "bos_id": BOS,
        "eos_id": EOS,
        "normalization_rule_name": "identity",
        "max_sentence_length": _MAX_SENTENCE_BYTES,
        "num_threads": _NUM_TRAINING_THREADS,
        "minloglevel": 2,
    }
    try:
        model = _learned(sample, options)
    except (RuntimeError, OSError) as error:
        raise _explained(str(error), settings, num_sentences) from None
    progress("subwords", num_sentences, num_sentences, "sentences")
    return model


def _learned(sample: list[str], options: dict[str, Any]) -> bytes:
    """Return the model, trained by a process that is killed when this one is interrupted; the sample is emptied.

    Raises:
        RuntimeError: what the library says.
        UserError: the process was killed.
    """
    # -P: what is imported does not depend on where the program lies.
    command = [sys.executable, "-P", subword_learning.__file__]
    with tempfile.TemporaryFile() as complaints:
        try:
            process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=complaints)
        except OSError:  # no program, no memory or no descriptors for it: then in this process
            return subword_learning.learn(sample, options)
        with process:
            try:
                return _answer(process, sample, options, complaints)
            finally:
                process.kill()


def _answer(
    process: subprocess.Popen[bytes], sample: list[str], options: dict[str, Any], complaints: IO[bytes]
) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stream:  # it may have ended: its answer says why
        stream.write(json.dumps(options).encode() + b"\n")
        for sentence in sample:
            stream.write(subword_learning.framed(sentence))
    sample.clear()  # now it is there, and need not be here
    answer, _, model = process.stdout.read().partition(b"\n")
    status = process.wait()
    if status == 0 and answer:
        problem = json.loads(answer).get("error")
        if problem is not None:
            raise RuntimeError(problem)
        return model
    if status < 0:
        raise UserError(
            f"the process that learns subwords was ended by signal {-status}, perhaps for want of memory",
            fix="lower subwords.sample_sentences, or use a machine with more memory",
        )
    complaints.seek(0)
    last = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    raise RuntimeError(f"status {status}: {''.join(last)}")


def sample_sentences(sentences: Iterable[str], num_wanted: int, seed: int) -> list[str]:
    """Return ``num_wanted`` of the sentences, each set of them equally likely; all, in order, if there are fewer.

    Memory is bounded by the sample (Li's reservoir algorithm L: it draws per replacement, not per sentence).
    """
    generator = random.Random(f"subwords {seed}")
    iterator = iter(sentences)
    sample = list(itertools.islice(iterator, num_wanted))
    if len(sample) < num_wanted:
        return sample
    weight = 1.0
    num_to_skip = -1
    for sentence in iterator:
        if num_to_skip < 0:
            weight *= (1.0 - generator.random()) ** (1.0 / num_wanted)
            # The largest of the sample's uniform numbers: how long until a sentence's falls below it.
            num_to_skip = _geometric(generator, weight)
        if num_to_skip == 0:
            sample[generator.randrange(num_wanted)] = sentence
        num_to_skip -= 1
    return sample


def _geometric(generator: random.Random, probability: float) -> int:
    """Number of failures before the first success."""
    if probability >= 1.0:
        return 0
    return math.floor(math.log(1.0 - generator.random()) / math.log1p(-probability))


def _explained(message: str, settings: Subwords, num_sentences: int) -> UserError:
    size = settings.vocabulary_size
    if largest := _TOO_LARGE.search(message):
        return VocabularySizeError(
            f"subwords.vocabulary_size = {size} is too large for this text: its {num_sentences} sentences "
            f"give at most {largest[1]} subwords",
            fix=f"set subwords.vocabulary_size to {largest[1]} or less, or train on more text",
            nearest=int(largest[1]),
        )
    if smallest := _TOO_SMALL.search(message):
        return VocabularySizeError(
            f"subwords.vocabulary_size = {size} is too small: the special symbols, bytes and single characters "
            f"of this text alone are {smallest[1]}",
            fix=f"set subwords.vocabulary_size above {smallest[1]}{_fewer_characters(settings)}",
            nearest=int(smallest[1]) + 1,
        )
    return UserError(
        f"SentencePiece could not train {size} subwords on {num_sentences} sentences: {message}",
        fix="check the recipe's [subwords]",
    )


def _fewer_characters(settings: Subwords) -> str:
    """Return the advice that is left for a text of many characters."""
    return ", or subwords.character_coverage to 0.9995 or so" if settings.character_coverage > 0.9995 else ""


class SubwordModel:
    """A trained model. Pickled by its path, so that worker processes can be given one; with its content, if that came
    from elsewhere."""

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        """Load the model file.

        Args:
            content: of the file, where it has been read, or is part of another.

        Raises:
            UserError: when there is no such file, or it is no SentencePiece model with this project's special ids.
        """
        self.path, self._given = Path(path), content
        if content is None:
            if not self.path.exists():
                raise UserError(f"{self.path}: no such subword model", fix="run `mtmoe preprocess` first")
            content = read_bytes(self.path)
        try:
            self._processor = sentencepiece.SentencePieceProcessor()
            self._processor.LoadFromSerializedProto(content)  # the constructor would pass over an empty one
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"{self.path}: not a SentencePiece model ({error})",
                fix="remove the directory and run `mtmoe preprocess` again",
            ) from None
        found = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos"))
        if found != (PAD, UNK, BOS, EOS):
            raise UserError(
                f"{self.path}: ids of pad, unk, bos, eos are {found}, but must be {(PAD, UNK, BOS, EOS)}",
                fix="use a model that `mtmoe preprocess` trained",
            )

    @classmethod
    def load(cls, path: str | Path) -> SubwordModel:
        """Load a model: the same as the constructor, for those who read ``load`` more easily."""
        return cls(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (SubwordModel, (self.path, self._given))

    @property
    def size(self) -> int:
        """Number of subwords, special and byte symbols included."""
        number: int = self._processor.get_piece_size()
        return number

    @property
    def pieces(self) -> list[str]:
        """Return every subword, by id."""
        return [self._processor.id_to_piece(i) for i in range(self.size)]

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text's most likely segmentation, without special ids."""
        numbers: list[int] = self._processor.encode(text)
        return numbers

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode each text as :meth:`encode` does, on the calling thread's core alone."""
        return self._processor.encode(list(texts), num_threads=1) if texts else []

    def spell(self, pieces: Sequence[str]) -> list[list[int]]:
        """Return the ids that this model makes of each subword of another model: no space is put in front of it."""
        inside_a_word = sentencepiece.SentencePieceProcessor()
        inside_a_word.LoadFromSerializedProto(self._processor.serialized_model_proto())
        inside_a_word.override_normalizer_spec(add_dummy_prefix=False, remove_extra_whitespaces=False)
        return inside_a_word.encode(list(pieces), num_threads=1) if pieces else []

    def decode(self, ids: Sequence[int]) -> str:
        """Return text of the ids; special ids give nothing."""
        text: str = self._processor.decode([int(i) for i in ids])
        return text

    def decode_batch(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Decode each row as :meth:`decode` does."""
        return self._processor.decode([[int(i) for i in row] for row in ids], num_threads=1) if ids else []

    def sample_batch(self, texts: Sequence[str], alpha: float, seed: int) -> list[list[int]]:
        """Draw a segmentation of each text (subword regularisation; dropout of merges for bpe).

        The draw depends on the texts, alpha and seed alone, not on what was drawn before or beside it.

        Raises:
            UserError: this version of SentencePiece cannot do that.
        """
        if not texts:
            return []
        _check_that_draws_repeat()
        # SentencePiece's generator belongs to the thread and takes the seed when it is first used: a fresh
        # thread is the only way to begin its stream anew. Its largest seed means "from the clock".
        with _sampling_lock, ThreadPoolExecutor(max_workers=1) as fresh_thread:
            sentencepiece.set_random_generator_seed(seed % ((1 << 32) - 1))
            drawn = fresh_thread.submit(
                self._processor.encode,
                list(texts),
                enable_sampling=True,
                alpha=alpha,
                nbest_size=-1,
                num_threads=1,
            )
            result: list[list[int]] = drawn.result()
            return result


def _check_that_draws_repeat() -> None:
    """Refuse versions from 0.2.2 on: in these every process has other draws of the same seed (0.2.3 was looked at), no
    resumed training would be what it was, and processes that train together would each have another batch."""
    version = sentencepiece.__version__
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= (0, 2, 2):
        raise UserError(
            f"training.subword_sampling needs draws that can be repeated, which SentencePiece {version} has not",
            fix="pip install 'sentencepiece<0.2.2'",
        )


def sentences_of(pairs: Iterable[tuple[str, str]], side: Literal["both", "source", "target"]) -> Iterator[str]:
    """Return the sentences of one side, or of both, pair by pair: what a shared model is trained on."""
    for source, target in pairs:
        if side != "target":
            yield source
        if side != "source":
            yield target
