"""Figures of ``mtmoe bench translate`` from made-up times; the command itself is run in tests/cli."""

from __future__ import annotations

import pytest

from mtmoe.benchmark import translation_speed as module
from mtmoe.benchmark.translation_speed import Measurement, SpeedTest, cases_of, run_translation_benchmark
from mtmoe.errors import UserError

LINES = ("a b c d", "", "e f g h", " ", "i j k l")


def speed_test(sources=LINES) -> SpeedTest:
    return SpeedTest("run", "best", "cpu", 1, (), sources, 2)


class InThisProcess:
    """A pool whose cases take times that were made up, round after round."""

    def __init__(self, seconds: dict[tuple[str, ...], list[float]]) -> None:
        self.seconds = {settings: iter(times) for settings, times in seconds.items()}
        self.order: list[tuple[str, ...]] = []

    def Pool(self, *args, **kwargs):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def apply(self, function, arguments):
        assert function is module.measure_case
        _, settings = arguments
        self.order.append(settings)
        seconds = next(self.seconds[settings])
        latencies = tuple(float(number) for number in range(20, 0, -1))
        return Measurement(seconds, seconds / 2, 60, latencies, int(1e6 * seconds), LINES)


def test_cases_are_measured_in_turn_and_their_figures_are_medians_over_the_rounds(monkeypatch):
    cases = cases_of([("decoding.beam_size", ["1", "5"])])
    assert cases == [("decoding.beam_size=1",), ("decoding.beam_size=5",)]
    context = InThisProcess({cases[0]: [1.0, 2.0, 4.0], cases[1]: [3.0, 3.0, 6.0]})
    monkeypatch.setattr(module.multiprocessing, "get_context", lambda method: context)
    first, second = run_translation_benchmark(speed_test(), cases, list(LINES), num_rounds=3)
    assert context.order == cases * 3
    assert (first.settings, first.sentences_per_second, first.target_tokens_per_second) == (cases[0], 1.5, 30.0)
    assert (first.over_first, second.over_first) == (1.0, pytest.approx(2 / 3))  # of 1/3, 2/3, 4/6
    assert (first.latency_p50_ms, first.latency_p95_ms) == (10.0, 19.0)
    assert (first.cpu_seconds, second.cpu_seconds) == (1.0, 1.5)
    assert second.peak_bytes == 6_000_000
    assert first.bleu == pytest.approx(100)
    assert first.bleu_signature.startswith("nrefs:1|case:mixed")


def test_settings_that_vary_together_are_measured_in_all_combinations():
    varied = [("decoding.beam_size", ["1", "5"]), ("decoding.precision", ["fp32", "bf16"])]
    assert [" ".join(case) for case in cases_of(varied)] == [
        "decoding.beam_size=1 decoding.precision=fp32",
        "decoding.beam_size=1 decoding.precision=bf16",
        "decoding.beam_size=5 decoding.precision=fp32",
        "decoding.beam_size=5 decoding.precision=bf16",
    ]
    assert cases_of([]) == [()]


def test_text_without_a_word_is_an_error():
    with pytest.raises(UserError, match="no line with text to translate"):
        run_translation_benchmark(speed_test(("", " ")), [()], None)
