"""Checks of HTML pages: tags are closed in order; identifiers and addresses are told."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "br", "rect", "line", "path", "polyline", "circle"}


class _Checker(HTMLParser):
    """Notes tags that are closed in the wrong order, identifiers, and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.ids: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids.add(values.get("id") or "")
        self.addresses += [value for name in ("href", "src") if (value := values.get(name))]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"{tag} at {self.getpos()}")


def checked(page: str) -> _Checker:
    """Return what was found in a page."""
    checker = _Checker()
    checker.feed(page)
    assert checker.problems == []
    assert checker.open == []
    return checker
