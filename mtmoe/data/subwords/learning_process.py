"""SentencePiece's training as a program of its own, which `sentencepiece_model.py` runs, and kills if need be.

The library answers to no signal while it trains, which takes minutes. The program imports nothing of mtmoe, so that it
starts at once. Standard input: a JSON object of options in one line, then each sentence as four bytes of length
(little-endian) and UTF-8; standard output: a JSON object in one line, empty or with the library's ``error``, and the
model. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

LENGTH_BYTES = 4


def learn(sentences: Iterable[str], options: Mapping[str, Any]) -> bytes:
    """Train in this process and return the model.

    Raises:
        RuntimeError, OSError: of the library.
    """
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, **options)
    return model.getvalue()


def framed(sentence: str) -> bytes:
    """Return a sentence as the program reads it."""
    content = sentence.encode("utf-8", "surrogatepass")
    return len(content).to_bytes(LENGTH_BYTES, "little") + content


def _sentences(stream: BinaryIO) -> Iterator[str]:
    while length := stream.read(LENGTH_BYTES):
        num_bytes = int.from_bytes(length, "little")
        content = stream.read(num_bytes)
        if len(length) < LENGTH_BYTES or len(content) < num_bytes:
            raise EOFError("the sentences were cut off")
        yield content.decode("utf-8", "surrogatepass")


def _end_with_parent() -> None:
    """End with the parent, where the system can (Linux): nobody would read the model of a process that was killed."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def main() -> None:
    """Read options and sentences, train, and write the model."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this process
    _end_with_parent()
    with os.fdopen(os.dup(1), "wb") as answer:
        os.dup2(2, 1)  # whatever the library prints is no part of the answer
        options = json.loads(sys.stdin.buffer.readline())
        try:
            model = learn(_sentences(sys.stdin.buffer), options)
        except (RuntimeError, OSError) as error:
            answer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        else:
            answer.write(b"{}\n" + model)


if __name__ == "__main__":
    main()
