"""What ``decoding.copied`` can name, and what it means."""

from __future__ import annotations

import re
from collections.abc import Sequence

PATTERNS = {
    "urls": r"https?://[^\s<>\"]*[\w/]",
    "emails": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "tags": r"</?[A-Za-z][^<>]*>",
    "braces": r"\$?\{\{?[^{}\s]*\}?\}",
    "printf": r"%(?:\(\w+\)|\d+\$)?[-+#0]*\d*(?:\.\d+)?[sdifgxu](?!\w)",
    "numbers": r"(?<!\w)\d+(?:[.,:]\d+)*(?!\w)",
}
"""Regular expressions by name. White space in a line is single spaces when they are looked for."""


def copied_pattern(names: Sequence[str]) -> re.Pattern[str]:
    """What any of the names means; a name is one of ``PATTERNS`` or a regular expression between slashes.

    Raises:
        ValueError: what is wrong with a name.
    """
    parts = []
    for name in names:
        if name in PATTERNS:
            parts.append(PATTERNS[name])
            continue
        if not (len(name) > 2 and name[0] == name[-1] == "/"):
            known = ", ".join(PATTERNS)
            raise ValueError(f"copied: {name!r} is none of {known}, nor a regular expression between slashes")
        try:
            found = re.compile(name[1:-1])
        except re.error as error:
            raise ValueError(f"copied: {name} is no regular expression: {error}") from None
        if found.groups:
            raise ValueError(f"copied: {name} has a group; write (?:...) for (...)")
        if found.search(""):
            raise ValueError(f"copied: {name} matches the empty text")
        parts.append(name[1:-1])
    return re.compile("|".join(f"(?:{part})" for part in parts))
