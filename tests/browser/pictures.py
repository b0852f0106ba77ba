"""Pictures of the pages for the documentation: python -m tests.browser.pictures REPORT.html EXPLANATION.html DIR."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH = 1280
PICTURES = (
    ("report-curves.png", 0, "document.querySelector('#curves')", 620),
    (
        "report-experts.png",
        0,
        "[...document.querySelectorAll('h4')].find(it => it.textContent === 'decoder.moe1')",
        900,
    ),
    (
        "report-confidence.png",
        0,
        "[...document.querySelectorAll('h4')].find(it => it.textContent === 'Confidence')",
        860,
    ),
    ("explain-page.png", 1, "document.querySelector('main h2')", 720),
)
"""Name, which of the pages, what is at the top, and the height in pixels."""


def main(pages: list[Path], folder: Path) -> None:
    """Take all pictures, in light colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, number, element, height in PICTURES:
            page = browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
            page.goto(pages[number].resolve().as_uri())
            page.evaluate(f"window.scrollTo(0, {element}.getBoundingClientRect().top + scrollY - 12)")
            page.screenshot(path=folder / name)
        browser.close()


if __name__ == "__main__":
    main([Path(sys.argv[1]), Path(sys.argv[2])], Path(sys.argv[3]))
