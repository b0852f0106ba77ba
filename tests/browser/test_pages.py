"""The pages of `mtmoe report` and `mtmoe explain` in a real browser: without errors, accessible, and not too wide.

These need Chromium and `pip install playwright axe-playwright-python`. Elsewhere they are skipped.
"""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtmoe.checkpoint import load_model
from mtmoe.explanation.explainer import Explainer
from mtmoe.explanation.page import explanation_page
from mtmoe.inference.translation import Translation
from mtmoe.report.examining.dev_translations import examine_translations
from mtmoe.report.examining.expert_contexts import profile_experts
from mtmoe.report.examining.token_calibration import token_reliability
from mtmoe.report.page import report_page
from mtmoe.report.run_history import RunHistory, read_histories
from mtmoe.report.run_section import Examination
from tests.inference.conftest import SENTENCES, untrained_run

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
EVIL = "<script>document.title = 'run'</script> & \"so on\""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with experts on both sides, a long log, and an alarm."""
    moe = {"num_experts": 8, "expert_hidden": 16, "gate": "softmax"}
    sides = {"encoder_moe_after": [1], "decoder_moe_after": [1]}
    model = {"width": 16, "tied_embeddings": "none", **sides, "moe": moe}
    directory = untrained_run(tmp_path_factory.mktemp("browser"), SENTENCES, model=model)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log()), encoding="utf-8")
    return directory


def log() -> Iterator[dict[str, Any]]:
    """Lines of a training of two languages."""
    for step in range(10, 401, 10):
        line: dict[str, Any] = {"event": "train", "step": step, "time_seconds": 1.8e9 + step, "loss": 5 - step / 200}
        for layer in ("encoder.moe1", "decoder.moe1"):
            line |= {f"{layer}.{key}": 0.1 + step / 1000 for key in ("importance_cv", "load_cv", "tokens_cv")}
            line |= {f"{layer}.token_share": [0.125] * 8, f"{layer}.token_entropy": 0.99, f"{layer}.dead_experts": 0}
        yield line
        if step % 100 == 0:
            line = {"event": "validation", "step": step, "loss": 4.0, "bleu": step / 50}
            line["examples"] = [{"source": EVIL, "reference": EVIL, "translation": f"{EVIL} {step}"}]
            for name in ("de", EVIL):
                line |= {f"encoder.moe1.token_share.{name}": [0.125] * 8, f"encoder.moe1.routing_distance.{name}": 0.1}
            yield line
    yield {"event": "alarm", "step": 400, "alarm": "leak", "text": EVIL}


def whole_report(history: RunHistory) -> str:
    """A page with everything that can be on it."""
    loaded = load_model(history.files.directory)
    words = " ".join(SENTENCES).split()
    texts = [" ".join(words[n % 30 :][:9]) for n in range(40)]
    pairs = [(loaded.subwords.encode(text), loaded.subwords.encode(text)) for text in texts]
    made = [
        Translation(text, num_tokens=9, confidence=n / 40, alignment=((0, 0), (1, 2))) for n, text in enumerate(texts)
    ]
    times_V = np.full(loaded.subwords.size, 3)
    examination = Examination(
        profile_experts(loaded.model, loaded.subwords, pairs, (times_V, times_V)),
        examine_translations(texts, [EVIL, *texts[1:]], made, "13a", ({"Two": 5}, {"Two": 50}), 50.0),
        token_reliability(loaded.model, pairs),
        len(texts),
        100,
        "best",
    )
    return report_page([history], {history.label: examination}, "1")


def opened(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str]]:
    """A tab with the page, and what its console says."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.clock.install()
    page.goto(path.as_uri())
    return page, told


@pytest.fixture(scope="module")
def pages(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report, the page of a training that goes on, and an explanation."""
    (history,) = read_histories([run])
    lines = list(Explainer(run, device="cpu").explain([*SENTENCES[:2], EVIL]))
    texts = {
        "report": whole_report(history),
        "watched": report_page([history], {}, "1", is_trained=True),
        "explanation": explanation_page(lines, "run", "best", "1", with_ablation=True),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "watched", "explanation"])
def test_a_page_has_no_error_is_accessible_and_fits(
    browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    page, told = opened(browser, pages[name], width, scheme)
    found = axe.Axe().run(page).response
    assert len(found["passes"]) > 20
    assert [(it["id"], it["nodes"][0]["html"]) for it in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.title() != "run"
    assert told == []
    page.context.close()


def test_a_curve_is_zoomed_by_dragging_and_shown_whole_by_a_double_click(browser: Any, pages: dict[str, Path]) -> None:
    page, _ = opened(browser, pages["report"], 1280, "light")
    ticks = page.locator(".chart").first.locator(".tick.x")
    assert ticks.all_text_contents() == ["10", "205", "400"]
    zoom(page)
    assert [int(text) for text in ticks.all_text_contents()] == pytest.approx([107.5, 205, 302.5], abs=2)
    page.locator(".sensor").first.dblclick()
    assert ticks.all_text_contents() == ["10", "205", "400"]
    page.context.close()


def zoom(page: Any) -> None:
    """Drag across the middle half of the first curve."""
    page.locator(".sensor").first.scroll_into_view_if_needed()
    box = page.locator(".sensor").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + 20)
    page.mouse.up()


def test_a_watched_page_says_how_old_it_is_and_loads_itself_anew_unless_it_is_zoomed(
    browser: Any, run: Path, pages: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    shutil.copy(pages["watched"], path)
    page, told = opened(browser, path, 1280, "light")
    page.clock.set_fixed_time(datetime.datetime.fromtimestamp(1.8e9 + 400 + 90, datetime.UTC))
    page.reload()
    assert "Last line of the log: step 400, 2027-01-15 08:06:40 UTC (90 seconds ago)" in page.inner_text("#fresh")
    page.clock.resume()
    zoom(page)
    path.write_text(path.read_text(encoding="utf-8").replace("Training goes on", "Loaded anew"), encoding="utf-8")
    page.clock.run_for(40_000)
    assert "Training goes on" in page.inner_text("#fresh")
    page.locator(".sensor").first.dblclick()
    with page.expect_navigation():
        page.clock.run_for(16_000)
    assert "Loaded anew" in page.inner_text("#fresh")
    assert told == []
    page.context.close()
