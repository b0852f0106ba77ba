"""Real sentences through a mixture of experts: nothing depends on the batch, on the order or on what came before.

The sentences are those of ../shared/data beside the project (or above it); without them these tests are skipped.
"""

from __future__ import annotations

import lzma
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mtmoe.inference.scoring.forced_decoding import score_pairs
from mtmoe.inference.search.source_batching import pad_with_eos
from mtmoe.inference.text.lines import decode_line
from mtmoe.inference.translation import Translation
from mtmoe.inference.translator import Translator
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL
from tests.inference.conftest import untrained_run

_PLACES = [parent / "shared" / "data" / "tatoeba-en-de" for parent in Path(__file__).resolve().parents[2].parents]
PLACE = next((place for place in _PLACES if place.is_dir()), None)
pytestmark = pytest.mark.skipif(PLACE is None, reason="there is no ../shared/data/tatoeba-en-de with real sentences")

NUM_SENTENCES = 400  # there are 2,000
GATES: dict[str, dict[str, Any]] = {
    "noisy-top-k": {"gate": "noisy-top-k"},
    "strictly-balanced": {"gate": "strictly-balanced", "load_loss_weight": 0.0},
}


def lines_of(language: str) -> list[str]:
    assert PLACE is not None
    with lzma.open(PLACE / f"test.{language}.xz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()[:NUM_SENTENCES]


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return lines_of("en")


@pytest.fixture(scope="module", params=GATES)
def translator(request: Any, sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """An untrained mixture model with subwords of the real text."""
    run = untrained_run(
        tmp_path_factory.mktemp(request.param),
        [*sentences, *lines_of("de")],
        seed=8,
        subwords={"vocabulary_size": 800},
        model={
            "width": 32,
            "tied_embeddings": "none",
            "encoder_moe_after": [1],
            "decoder_moe_after": [1],
            "moe": {"num_experts": 8, "experts_per_token": 2, "expert_hidden": 32, **GATES[request.param]},
        },
        decoding={"beam_size": 2, "max_length_ratio": 1.0, "max_length_extra": 0, "batch_tokens": 4096},
    )
    return Translator(run, device="cpu")


@pytest.fixture(scope="module")
def together(translator: Translator, sentences: list[str]) -> list[Translation]:
    """All at once."""
    found = translator.translate(sentences)
    assert len({translation.text for translation in found}) > 100  # else the tests would show little
    return found


def assert_same(translator: Translator, found: Sequence[Translation], expected: Sequence[Translation]) -> None:
    # This model knows nothing, and with this gate a sentence comes to -263, where float32 has steps of 3e-5. Others
    # come to -42, of which products in another order (AVX2) change the third step: 1.0015e-5.
    relative = 1e-7 if translator.loaded.recipe.model.moe.gate == "strictly-balanced" else 2.5e-7
    assert [t.text for t in found] == [t.text for t in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5, rel=relative)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-5, rel=relative)


@pytest.mark.parametrize(("batch", "num_sentences"), [(1, 15), (7, 105), (64, 400)])
def test_a_batch_of_any_size_gives_the_same_translations_to_the_last_character(
    translator: Translator, sentences: list[str], together: list[Translation], batch: int, num_sentences: int
) -> None:
    found: list[Translation] = []
    for begin in range(0, num_sentences, batch):
        found += translator.translate(sentences[begin : begin + batch])
    assert_same(translator, found[:num_sentences], together[:num_sentences])


def test_any_order_gives_the_same_translations(
    translator: Translator, sentences: list[str], together: list[Translation]
) -> None:
    order = random.Random(1).sample(range(len(sentences)), len(sentences))
    found = translator.translate([sentences[index] for index in order])
    assert_same(translator, found, [together[index] for index in order])


def test_what_translating_reports_is_the_score_of_its_text(
    translator: Translator, sentences: list[str], together: list[Translation]
) -> None:
    texts = [translation.text for translation in together[:200]]
    scores = list(score_pairs(translator.loaded, sentences[:200], texts))
    assert [score.num_tokens for score in scores] == [translation.num_tokens for translation in together[:200]]
    for score, translation in zip(scores, together, strict=False):
        assert score.log_probability == pytest.approx(translation.log_probability, abs=1e-4)


def test_a_beam_of_one_is_greedy_search(translator: Translator, sentences: list[str]) -> None:
    run = translator.loaded.checkpoint.path.parents[1]
    # This untrained model goes round in circles, which greedy search knows nothing of.
    narrow = Translator(run, device="cpu", overrides=["decoding.beam_size=1", "decoding.no_loops=false"])
    model, subwords = narrow.loaded.model, narrow.loaded.subwords
    for line, found in zip(sentences[:20], narrow.translate(sentences[:20]), strict=True):
        source = subwords.encode(line)
        ids: list[int] = []
        with torch.inference_mode():
            state = model.initial_state(model.encode(*pad_with_eos([source])))
            token = BOS
            while len(ids) < len(source):
                hidden_XD, _, state = model.decode_step(torch.tensor([token]), state)
                logits_V = model.project(hidden_XD)[0]
                logits_V[[place for place in range(NUM_SPECIAL) if place != EOS]] = -torch.inf
                token = int(logits_V.argmax())
                if token == EOS:
                    break
                ids.append(token)
        assert decode_line(ids, subwords) == found.text


_TRANSLATE_AND_WEIGH = """
import sys
from pathlib import Path
import torch
from mtmoe.inference.translator import Translator

torch.set_num_threads(1)
translator = Translator(sys.argv[1], device="cpu", overrides=["decoding.beam_size=1"])
lines = [f"{number} dogs" for number in range(1024)]
for _ in range(int(sys.argv[2])):
    for _ in translator.stream(lines):
        pass
    status = Path("/proc/self/status").read_text().split()
    print(status[status.index("VmRSS:") + 1], flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory")
def test_many_sentences_take_the_memory_of_few(run_directory: Path) -> None:
    command = [sys.executable, "-c", _TRANSLATE_AND_WEIGH, str(run_directory), "6"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kilobytes = [int(line) for line in output.split()]
    assert len(kilobytes) == 6
    assert kilobytes[-1] - kilobytes[0] < 50_000
