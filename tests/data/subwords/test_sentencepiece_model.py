"""Training the subword model, and text to ids and back."""

import contextlib
import json
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtmoe.config.settings import Subwords
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.subwords import learning_process as subword_learning
from mtmoe.data.subwords.sentencepiece_model import SubwordModel, sample_sentences, sentences_of, train_subwords
from mtmoe.errors import UserError
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL, PAD, UNK


def some_text(num_sentences=400, seed=0):
    generator = random.Random(seed)
    words = ["".join(generator.choices("abdeghiklmnorstuäöé", k=generator.randint(2, 7))) for _ in range(200)]
    return [" ".join(generator.choices(words, k=generator.randint(3, 12))) for _ in range(num_sentences)]


def train(path, sentences=None, *, seed=1, **changes):
    train_subwords(sentences or some_text(), Subwords(**{"vocabulary_size": 400} | changes), path, seed)
    return SubwordModel(path)


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def model(request, tmp_path_factory):
    return train(tmp_path_factory.mktemp("model") / "subwords.model", algorithm=request.param)


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_the_same_text_and_seed_give_the_same_bytes_wherever_they_are_written(tmp_path, algorithm):
    first, second = tmp_path / "one.model", tmp_path / "elsewhere.model"
    train(first, algorithm=algorithm, sample_sentences=200)
    train(second, algorithm=algorithm, sample_sentences=200)
    assert first.read_bytes() == second.read_bytes()


def test_another_seed_learns_from_another_sample(tmp_path):
    train(tmp_path / "a", seed=1, sample_sentences=200)
    train(tmp_path / "b", seed=2, sample_sentences=200)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=60))
def test_decoding_gives_back_what_was_encoded(model, text):
    text = normalise_line(text).replace("\u2581", "")
    ids = model.encode(text)
    assert model.decode(ids) == text
    assert all(NUM_SPECIAL <= i < model.size for i in ids)


def test_text_that_spells_special_symbols_is_only_text(model):
    for text in ("<s>", "</s> a", "<pad>", "<unk>", "<0x41>"):
        assert model.decode(model.encode(text)) == text
        assert not set(model.encode(text)) & {PAD, UNK, BOS, EOS}


def test_special_ids_decode_to_nothing(model):
    ids = model.encode("abd ehg")
    assert model.decode([BOS, *ids, EOS, PAD, PAD]) == "abd ehg"


def test_a_character_that_training_did_not_see_is_spelled_in_bytes(model):
    pieces = model.pieces
    assert [pieces[i] for i in model.encode("葉")][-3:] == ["<0xE8>", "<0x91>", "<0x89>"]


def test_without_byte_fallback_an_unseen_character_is_unknown(tmp_path):
    model = train(tmp_path / "m", byte_fallback=False, vocabulary_size=150)
    assert UNK in model.encode("葉")


def test_user_symbols_are_never_split(tmp_path):
    model = train(tmp_path / "m", user_symbols=("<2de>", "<a,b>"))
    pieces = model.pieces
    assert "<2de>" in [pieces[i] for i in model.encode("<2de> abd")]
    assert "<a,b>" in [pieces[i] for i in model.encode("abd<a,b>ehg")]


def test_a_batch_is_encoded_and_decoded_as_its_sentences_alone(model):
    texts = [*some_text(20, seed=5), ""]
    ids = model.encode_batch(texts)
    assert ids == [model.encode(text) for text in texts]
    assert model.decode_batch(ids) == texts
    assert model.encode_batch([]) == model.decode_batch([]) == []


def test_the_error_for_too_large_a_vocabulary_names_the_largest_that_works(tmp_path):
    path = tmp_path / "subwords.model"
    with pytest.raises(UserError, match=r"vocabulary_size = 90000 is too large .* 400 sentences") as error:
        train(path, vocabulary_size=90_000)
    assert not list(tmp_path.iterdir())
    largest = int(error.value.problem.split()[-2])
    assert f"subwords.vocabulary_size to {largest} or less" in error.value.fix
    assert train(path, vocabulary_size=largest).size == largest
    with pytest.raises(UserError, match="too large"):
        train(path, vocabulary_size=largest + 1)


def test_the_error_for_too_small_a_vocabulary_names_what_the_characters_take(tmp_path):
    with pytest.raises(UserError, match=r"vocabulary_size = 100 is too small: .* alone are 2\d\d"):
        train(tmp_path / "m", vocabulary_size=100)


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no text to train subwords on"):
        train_subwords(iter([]), Subwords(), tmp_path / "m", seed=1)


def test_training_says_nothing_on_the_terminal(tmp_path, capfd):
    train(tmp_path / "m")
    with pytest.raises(UserError):
        train(tmp_path / "n", vocabulary_size=90_000)
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------------------------ sampling


def test_a_drawn_segmentation_spells_the_same_text_in_other_pieces(model):
    texts = some_text(50, seed=3)
    drawn = model.sample_batch(texts, alpha=0.2, seed=1)
    assert model.decode_batch(drawn) == texts
    assert sum(d != e for d, e in zip(drawn, model.encode_batch(texts), strict=True)) > 5


def test_a_draw_depends_on_its_seed_alone(model):
    texts = some_text(50, seed=3)
    first = model.sample_batch(texts, alpha=0.2, seed=7)
    other = model.sample_batch(texts, alpha=0.2, seed=8)
    model.sample_batch(texts[:9], alpha=0.5, seed=9)
    assert model.sample_batch(texts, alpha=0.2, seed=7) == first
    assert other != first


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_every_process_has_the_same_draws(tmp_path, algorithm):
    model = train(tmp_path / "subwords.model", algorithm=algorithm)
    texts = some_text(50, seed=3)
    program = (
        "import json, sys; from mtmoe.data.subwords.sentencepiece_model import SubwordModel; "
        "print(json.dumps(SubwordModel(sys.argv[1]).sample_batch(json.loads(sys.argv[2]), 0.2, 7)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "subwords.model"), json.dumps(texts)]
    other = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == model.sample_batch(texts, alpha=0.2, seed=7)


@pytest.mark.parametrize("version", ["0.2.2", "0.2.3", "1.0.0rc1"])
def test_a_sentencepiece_whose_draws_cannot_be_repeated_is_an_error(model, monkeypatch, version):
    monkeypatch.setattr(sentencepiece, "__version__", version)
    with pytest.raises(UserError, match=rf"which SentencePiece {version} has not\npip install 'sentencepiece<0.2.2'"):
        model.sample_batch(["a"], alpha=0.2, seed=7)


def test_the_seed_that_sentencepiece_takes_for_the_clock_is_never_used(model):
    texts = some_text(50, seed=3)
    for seed in (2**32 - 1, 2**40 + 17):
        assert model.sample_batch(texts, alpha=0.2, seed=seed) == model.sample_batch(texts, alpha=0.2, seed=seed)


def test_the_sample_of_a_short_text_is_all_of_it_in_order():
    assert sample_sentences(iter("abc"), 5, seed=1) == ["a", "b", "c"]
    assert sample_sentences(iter("abc"), 3, seed=1) == ["a", "b", "c"]


def test_every_sentence_is_equally_likely_to_be_in_the_sample():
    counts = Counter(s for seed in range(3000) for s in sample_sentences(map(str, range(30)), 6, seed))
    # 600 expected each, with a standard deviation of 22.
    assert len(counts) == 30
    assert all(490 < count < 710 for count in counts.values()), counts


def test_a_sentence_is_not_in_the_sample_twice():
    for seed in range(200):
        assert len(set(sample_sentences(map(str, range(50)), 10, seed))) == 10


@pytest.mark.parametrize(("side", "expected"), [("both", "abcd"), ("source", "ac"), ("target", "bd")])
def test_one_side_of_pairs_is_learned_from_or_both(side, expected):
    assert list(sentences_of([("a", "b"), ("c", "d")], side)) == list(expected)


# ------------------------------------------------------------------------------------------------- loading


def test_a_model_travels_to_another_process(model):
    assert pickle.loads(pickle.dumps(model)).encode("abd ehg") == model.encode("abd ehg")


def test_a_missing_model_is_an_error_that_names_it(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.model: no such subword model"):
        SubwordModel.load(tmp_path / "nowhere.model")


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x00" * 100])
def test_a_damaged_model_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.model: not a SentencePiece model"):
        SubwordModel.load(path)


def test_a_model_with_other_special_ids_is_refused(tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(some_text()), model_prefix=str(tmp_path / "other"), vocab_size=150, minloglevel=2
    )
    with pytest.raises(UserError, match=r"ids of pad, unk, bos, eos are \(-1, 0, 1, 2\), but must be \(0, 1, 2, 3\)"):
        SubwordModel(tmp_path / "other.model")


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_a_process_of_its_own_learns_the_bytes_that_are_learned_here(tmp_path, algorithm, monkeypatch):
    text = [*some_text(), "a\nb", "\u4f60\u597d \U0001f600", ""]
    train(tmp_path / "apart", text, algorithm=algorithm)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no such program"))
    train(tmp_path / "here", text, algorithm=algorithm)
    assert (tmp_path / "apart").read_bytes() == (tmp_path / "here").read_bytes()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_learning_ends_at_once_when_it_is_interrupted_and_leaves_no_process(tmp_path, number, status):
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(200_000)]
    lines = [" ".join(words[i : i + 8]) for i in range(0, len(words), 8)]
    for language in ("en", "de"):
        (tmp_path / f"t.{language}").write_text("".join(f"{line} {language}\n" for line in lines))
    files = [str(tmp_path / "t.en"), str(tmp_path / "t.de")]
    command = [sys.executable, "-m", "mtmoe", "preprocess", "multi30k-en-de", str(tmp_path / "data")]
    for part in ("train", "valid", "test"):
        command += [f"--{part}", *files]
    command += ["--set", "data.cleaning.remove_test_overlap=false", "--set", "subwords.vocabulary_size=16000"]
    of_others = _processor_seconds_of_ended()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        learner = _wait_for_child(process)
        time.sleep(1.5)  # the sentences have been sent, and it learns
        assert Path(f"/proc/{learner}").exists()
        before = _processor_seconds(process.pid) + _processor_seconds(learner)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (status, "interrupted" if status == 130 else "terminated")
    # Learning would have gone on for much longer. Of the processor, since the machine has other work.
    assert _processor_seconds_of_ended() - of_others - before < 3
    assert not Path(f"/proc/{learner}").exists()
    assert not (tmp_path / "data").exists()


def _processor_seconds(process) -> float:
    user, kernel = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")


def _processor_seconds_of_ended() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _wait_for_child(process):
    """Number of the process that learns."""
    for _ in range(600):
        for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"learning_process" in Path(f"/proc/{number}/cmdline").read_bytes():
                    return number
        time.sleep(0.1)
    raise AssertionError("no process learns subwords")


def test_a_learner_that_is_killed_is_an_error_that_says_what_may_help(tmp_path, monkeypatch):
    (tmp_path / "killed.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(subword_learning, "__file__", str(tmp_path / "killed.py"))
    with pytest.raises(UserError, match="ended by signal 9, perhaps for want of memory") as caught:
        train(tmp_path / "model")
    assert "subwords.sample_sentences" in caught.value.fix
