"""The encoded corpus: written, opened, and refused when it is damaged."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtmoe.config.settings import Subwords
from mtmoe.data.prepared import corpus as corpora
from mtmoe.data.prepared import encoding
from mtmoe.data.prepared.corpus import CorpusWriter, ParallelCorpus, Part, chunk_of
from mtmoe.data.prepared.encoding import encode_corpus
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, sentences_of, train_subwords
from mtmoe.errors import UserError

FILES = ("corpus.json", "source.ids.bin", "source.offsets.npy", "target.ids.bin", "target.offsets.npy")


def write(directory, pairs, vocabulary_size=1000, parts=()):
    with CorpusWriter(directory, vocabulary_size) as writer:
        writer.write(chunk_of([source for source, _ in pairs], [target for _, target in pairs]))
        writer.finish(parts or [Part("all", 1.0, len(pairs))])
    return ParallelCorpus(directory)


def some_pairs(num_pairs=400):
    generator = random.Random(4)
    words = ["".join(generator.choices("abdeghiklmnorstu", k=generator.randint(2, 7))) for _ in range(100)]
    sentence = lambda: " ".join(generator.choices(words, k=generator.randint(3, 12)))  # noqa: E731
    return [(sentence(), sentence()) for _ in range(num_pairs)]


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "subwords.model"
    train_subwords(sentences_of(some_pairs(), "both"), Subwords(vocabulary_size=350), path, seed=1)
    return SubwordModel(path)


@pytest.fixture
def small_chunks(monkeypatch):
    """Let little text occupy many workers."""
    monkeypatch.setattr(encoding, "PAIRS_PER_CHUNK", 20)
    monkeypatch.setattr(encoding, "CHUNKS_BEFORE_WORKERS", 2)


SENTENCES = st.lists(st.integers(0, 999), max_size=6)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), max_size=8), st.integers(0, 8))
def test_what_is_written_is_read_back(tmp_path_factory, pairs, cut):
    directory = tmp_path_factory.mktemp("corpus") / "c"
    with CorpusWriter(directory, 1000) as writer:
        for chunk in (pairs[:cut], pairs[cut:]):
            writer.write(chunk_of([source for source, _ in chunk], [target for _, target in chunk]))
        writer.finish([Part("all", 1.0, len(pairs))])
    corpus = ParallelCorpus(directory)
    assert [(corpus.source(i).tolist(), corpus.target(i).tolist()) for i in range(len(corpus))] == pairs
    assert corpus.source_lengths.tolist() == [len(source) for source, _ in pairs]
    assert corpus.target_lengths.tolist() == [len(target) for _, target in pairs]
    assert corpus.num_source_tokens == sum(len(source) for source, _ in pairs)
    assert corpus.num_target_tokens == sum(len(target) for _, target in pairs)


@pytest.mark.parametrize(("vocabulary_size", "bytes_per_id"), [(65_536, 2), (65_537, 4)])
def test_ids_take_two_bytes_as_long_as_they_fit(tmp_path, vocabulary_size, bytes_per_id):
    largest = vocabulary_size - 1
    corpus = write(tmp_path / "c", [([largest, 5], [largest])], vocabulary_size)
    assert corpus.source(0).tolist() == [largest, 5]
    assert (tmp_path / "c" / "source.ids.bin").stat().st_size == 2 * bytes_per_id


def test_lengths_do_not_depend_on_the_blocks_in_which_they_are_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "LENGTHS_PER_BLOCK", 3)
    pairs = [([7] * n, [7] * (9 - n)) for n in range(8)]
    corpus = write(tmp_path / "c", pairs)
    assert corpus.source_lengths.tolist() == list(range(8))
    assert corpus.target_lengths.dtype == np.int32


def test_parts_are_kept(tmp_path):
    parts = [Part("a", 1.0, 2), Part("b", 0.25, 1)]
    assert write(tmp_path / "c", [([4], [5])] * 3, parts=parts).parts == tuple(parts)


def test_a_corpus_larger_than_memory_opens_at_once(tmp_path):
    num_pairs, num_tokens = 36_000_000, 1_000_000_000
    for side in ("source", "target"):
        with (tmp_path / f"{side}.offsets.npy").open("wb") as file:
            header = {"descr": "<i8", "fortran_order": False, "shape": (num_pairs + 1,)}
            np.lib.format.write_array_header_1_0(file, header)
            file.seek(8 * num_pairs, os.SEEK_CUR)  # a hole, which reads as zeros
            np.array([num_tokens]).tofile(file)
        with (tmp_path / f"{side}.ids.bin").open("wb") as file:
            file.truncate(2 * num_tokens)
    about = {"format_version": 2, "id_type": "<u2", "vocabulary_size": 32_000, "num_pairs": num_pairs}
    about |= {"num_source_tokens": num_tokens, "num_target_tokens": num_tokens}
    about |= {"parts": [{"name": "all", "weight": 1.0, "num_pairs": num_pairs}]}
    (tmp_path / "corpus.json").write_text(json.dumps(about))
    before, begin = _resident_bytes(), time.process_time()
    corpus = ParallelCorpus(tmp_path)
    assert corpus.source(17).tolist() == []
    assert time.process_time() - begin < 1
    assert _resident_bytes() - before < 50e6
    assert len(corpus) == num_pairs


def _resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ------------------------------------------------------------------------------------------------- writing


def test_an_error_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="id 1000 is not of a vocabulary"):
        write(tmp_path / "c", [([4], [5]), ([1000], [5])])
    assert not list(tmp_path.iterdir())


def test_a_corpus_that_was_not_finished_leaves_nothing(tmp_path):
    with CorpusWriter(tmp_path / "c", 1000) as writer:
        writer.write(chunk_of([[4]], [[5]]))
    assert not list(tmp_path.iterdir())


def test_misuse_of_the_writer_is_told(tmp_path):
    with CorpusWriter(tmp_path / "c", 1000) as writer:
        with pytest.raises(ValueError, match="1 sources, but 2 targets"):
            writer.write(chunk_of([[4]], [[5], [6]]))
        with pytest.raises(ValueError, match="id 1000 is not of a vocabulary of 1000"):
            writer.write(chunk_of([[4]], [[1000]]))
        with pytest.raises(ValueError, match="do not add up to 0 pairs"):
            writer.finish([Part("all", 1.0, 3)])


def test_a_corpus_is_not_written_over_another(tmp_path):
    write(tmp_path / "c", [([4], [5])])
    with pytest.raises(FileExistsError, match="a new directory"):
        write(tmp_path / "c", [([4], [5])])


# ------------------------------------------------------------------------------------------------ encoding


def test_encoding_keeps_the_order_of_the_pairs(tmp_path, subwords):
    pairs = some_pairs()
    corpus = encode_corpus(iter(pairs), subwords.path, tmp_path / "c")
    assert len(corpus) == len(pairs)
    assert corpus.vocabulary_size == subwords.size
    for i in (0, 199, 399):
        assert (subwords.decode(corpus.source(i)), subwords.decode(corpus.target(i))) == pairs[i]


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path, subwords, small_chunks):
    for num_workers in (0, 1, 2):
        encode_corpus(iter(some_pairs()), subwords.path, tmp_path / str(num_workers), num_workers=num_workers)
    for name in FILES:
        contents = {(tmp_path / str(num_workers) / name).read_bytes() for num_workers in (0, 1, 2)}
        assert len(contents) == 1, name


def test_text_is_read_only_a_little_ahead_of_what_is_written(tmp_path, subwords, small_chunks):
    num_read = 0
    largest_lead = 0

    def pairs():
        nonlocal num_read
        for pair in some_pairs():
            num_read += 1
            yield pair

    def progress(stage, done, total, unit):
        nonlocal largest_lead
        largest_lead = max(largest_lead, num_read - done)

    encode_corpus(pairs(), subwords.path, tmp_path / "c", num_workers=2, progress=progress)
    assert largest_lead <= 20 * (2 * 2 + 1)


def test_a_killed_worker_is_an_error_and_leaves_nothing(tmp_path, subwords, small_chunks):
    def pairs():
        for number, pair in enumerate(some_pairs()):
            if number == 200:
                for process in multiprocessing.active_children():
                    os.kill(process.pid, signal.SIGKILL)
            yield pair

    with pytest.raises(UserError, match=r"one of the 2 encoding processes was killed.*\nuse fewer workers"):
        encode_corpus(pairs(), subwords.path, tmp_path / "c", num_workers=2)
    assert not list(tmp_path.iterdir())


def test_progress_ends_with_all_pairs(tmp_path, subwords):
    calls = []
    encode_corpus(some_pairs(10), subwords.path, tmp_path / "c", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("encode", 10, 10, "pairs")


# ------------------------------------------------------------------------------------------------- opening


def test_a_directory_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not an encoded corpus \(it has no corpus\.json\)"):
        ParallelCorpus(tmp_path)


@pytest.mark.parametrize("name", ["source.ids.bin", "target.ids.bin"])
def test_ids_that_were_cut_short_are_refused(tmp_path, name):
    write(tmp_path / "c", [([4, 5], [6, 7])])
    os.truncate(tmp_path / "c" / name, 3)
    with pytest.raises(UserError, match=rf"{name}: 3 bytes, but 4 were written; it was cut short"):
        ParallelCorpus(tmp_path / "c")


def test_offsets_that_were_cut_short_are_refused(tmp_path):
    write(tmp_path / "c", [([4, 5], [6, 7])])
    path = tmp_path / "c" / "source.offsets.npy"
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(UserError, match=r"source\.offsets\.npy: damaged: mmap length"):
        ParallelCorpus(tmp_path / "c")


def test_offsets_of_another_corpus_are_refused(tmp_path):
    write(tmp_path / "a", [([4, 5], [6, 7])])
    write(tmp_path / "b", [([4], [6])])
    write(tmp_path / "c", [([4, 5], [6, 7])] * 2)
    for other, message in (("b", "goes from 0 to 1, but there are 2 ids"), ("c", r"shape \(3,\), .* 1 pairs")):
        (tmp_path / "a" / "source.offsets.npy").write_bytes((tmp_path / other / "source.offsets.npy").read_bytes())
        with pytest.raises(UserError, match=message):
            ParallelCorpus(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path / "c", [([4], [6])])
    (tmp_path / "c" / "target.ids.bin").unlink()
    with pytest.raises(UserError, match=r"target\.ids\.bin: cannot be read"):
        ParallelCorpus(tmp_path / "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"corpus\.json: damaged: Invalid JSON"),
        ("[]", r"corpus\.json: damaged: Input should be an object"),
        ('{"format_version": 1}', "format version 1, but this mtmoe reads version 2"),
    ],
)
def test_another_format_is_refused(tmp_path, content, message):
    write(tmp_path / "c", [([4], [6])])
    (tmp_path / "c" / "corpus.json").write_text(content)
    with pytest.raises(UserError, match=message):
        ParallelCorpus(tmp_path / "c")
