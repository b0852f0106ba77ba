"""A SentencePiece model from elsewhere, tried where it can do no harm: in a child process with bounds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from mtmoe.errors import UserError
from mtmoe.system.readable_files import read_bytes

_MOST_SECONDS = 60
_MOST_MEMORY_BYTES = 4 << 30
# Every symbol is spelt and decoded, and text of several scripts encoded: what SentencePiece reads lazily, too.
_TRIAL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import sentencepiece
model = sentencepiece.SentencePieceProcessor()
model.LoadFromSerializedProto(sys.stdin.buffer.read())
size = model.get_piece_size()
pieces = [model.id_to_piece(i) for i in range(size)]
text = "".join(pieces)
for sample in ("The old dog, 1234!", "Où est la gare ?", "東京 \\u0928\\u092e \\U0001f600 \\x7f", text[:20000], " "):
    model.decode(model.encode(sample))
    model.encode(sample, enable_sampling=True, alpha=0.1, nbest_size=-1)
model.decode([[i] for i in range(size)])
"""


def check_in_child_process(path: Path, content: bytes | None = None) -> None:
    """Load and use the model in a child process of its own, which may die of it.

    Args:
        content: of the file, if it has been read.

    Raises:
        UserError: it cannot be read, or the child process was ended by it, did not end, or refused it.
    """
    content = read_bytes(path) if content is None else content
    command = [sys.executable, "-I", "-c", _TRIAL, str(_MOST_MEMORY_BYTES)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _refused(path, f"it was not loaded within {_MOST_SECONDS} s") from None
    if done.returncode < 0:
        raise _refused(path, f"loading it ends in {signal.Signals(-done.returncode).name}")
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise _refused(path, last[0] if last else f"loading it ends with status {done.returncode}")


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: not a sound SentencePiece model ({reason})", fix="name a model that `mtmoe preprocess` trained"
    )
