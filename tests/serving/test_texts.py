"""Plain text: lines are translated, all between them stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mtmoe.documents.tokens import LineTranslation
from mtmoe.serving.texts import PlainText


def test_lines_are_taken_out_and_put_back() -> None:
    text = PlainText("  One.\r\n\r\n\tTwo. \n")
    assert text.lines == ["One.", "Two."]
    assert text.joined([LineTranslation("Un."), LineTranslation("Deux.")]) == "  Un.\r\n\r\n\tDeux. \n"


@given(st.text(alphabet="ab \t\n\r"))
def test_lines_put_back_as_they_were_give_the_text(text: str) -> None:
    parsed = PlainText(text)
    assert parsed.joined(list(map(LineTranslation, parsed.lines))) == text
    assert all(line == line.strip() != "" for line in parsed.lines)
