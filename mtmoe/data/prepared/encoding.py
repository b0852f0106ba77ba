"""Text to an encoded corpus, with as many processes as there are cores."""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mtmoe.data.prepared.corpus import CorpusWriter, EncodedChunk, ParallelCorpus, Part, chunk_of
from mtmoe.data.subwords.vocabularies import Vocabulary, load_vocabulary
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent

PAIRS_PER_CHUNK = 4096
# To start a process takes as long as to encode about so many chunks.
CHUNKS_BEFORE_WORKERS = 64


def encode_corpus(
    pairs: Iterable[tuple[str, str]],
    subword_model_path: str | Path,
    directory: str | Path,
    *,
    parts: Sequence[Part] = (),
    num_workers: int = 1,
    progress: Progress = silent,
) -> ParallelCorpus:
    """Encode the pairs and write them as a corpus, in order; the bytes do not depend on ``num_workers``.

    Args:
        pairs: read as they are needed; a bounded number of chunks is in memory.
        parts: consecutive stretches of the pairs; none means one part of all.
        num_workers: processes that encode; 0 and 1 encode in this process.
    """
    total = sum(part.num_pairs for part in parts) or None
    model = load_vocabulary(Path(subword_model_path))
    with CorpusWriter(directory, model.size) as writer:
        for chunk in _encoded_chunks(pairs, model, num_workers):
            writer.write(chunk)
            progress("encode", writer.num_pairs, total, "pairs")
        writer.finish(parts or [Part("all", 1.0, writer.num_pairs)])
    progress("encode", writer.num_pairs, writer.num_pairs, "pairs")
    return ParallelCorpus(directory)


def _encoded_chunks(pairs: Iterable[tuple[str, str]], model: Vocabulary, num_workers: int) -> Iterator[EncodedChunk]:
    iterator = iter(pairs)
    chunks = iter(lambda: list(itertools.islice(iterator, PAIRS_PER_CHUNK)), [])
    num_alone = CHUNKS_BEFORE_WORKERS if num_workers > 1 else None
    for chunk in itertools.islice(chunks, num_alone):
        yield _encode_chunk(model, chunk)
    first = next(chunks, None)
    if first is not None:
        yield from _encoded_by_workers(itertools.chain([first], chunks), model, num_workers)


def _encoded_by_workers(
    chunks: Iterable[Sequence[tuple[str, str]]], model: Vocabulary, num_workers: int
) -> Iterator[EncodedChunk]:
    # spawn, not fork: the parent may hold threads (torch, datasets), and a forked lock never opens.
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers, multiprocessing.get_context("spawn"), _start_worker, (model,)
    )
    waiting: deque[concurrent.futures.Future[EncodedChunk]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_encode_in_worker, chunk))
            if len(waiting) > 2 * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            f"one of the {num_workers} encoding processes was killed, perhaps for want of memory",
            fix="use fewer workers; one worker encodes without further processes",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _encode_chunk(model: Vocabulary, pairs: Sequence[tuple[str, str]]) -> EncodedChunk:
    return chunk_of(model.encode_batch([s for s, _ in pairs]), model.encode_batch([t for _, t in pairs]))


_worker_model: Vocabulary | None = None


def _start_worker(model: Vocabulary) -> None:
    global _worker_model
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends the workers
    _worker_model = model


def _encode_in_worker(pairs: Sequence[tuple[str, str]]) -> EncodedChunk:
    if _worker_model is None:
        raise RuntimeError("the worker was not started")
    return _encode_chunk(_worker_model, pairs)
