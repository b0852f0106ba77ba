"""Generated fragments: no tag is lost, doubled or within a word. `python -m tests.campaign.documents` has many more."""

from __future__ import annotations

import pytest

from tests.documents.generated import KINDS, problems_of
from tests.documents.made_up_translations import as_it_is


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12))
def test_a_generated_fragment_keeps_its_markup(kind: str, seed: int) -> None:
    assert list(problems_of(kind, f"ci {seed}")) == []


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("html", b"</b>", b""),
        ("html", b"<b ", b"x<b "),
        ("html", b"<b id", b"<b di"),
        ("xliff", b"<source>", b"<source>x"),
    ],
)
def test_what_is_spoiled_is_seen(kind: str, old: bytes, new: bytes) -> None:
    generate, check = KINDS[kind]
    fragment = next(each for each in map(generate, map(str, range(100))) if old in each.content)
    assert list(check(fragment, fragment.content.replace(old, new, 1), as_it_is))
