"""Test sets that everybody reports: sacreBLEU fetches them, checks their MD5 sums and keeps them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.errors import UserError
from mtmoe.languages import parse_direction, same_language


class PublicTestSet(NamedTuple):
    """Files of one test set in one direction."""

    source: Path
    references: tuple[Path, ...]


def public_test_set(name: str, language_pair: str) -> PublicTestSet:
    """Find a test set in sacreBLEU's directory ($SACREBLEU, else ~/.sacrebleu), or fetch it first.

    Args:
        name: such as ``wmt14/full``; ``sacrebleu --list`` has all.
        language_pair: source and target language, such as ``en-de``, in any spelling.

    Raises:
        UserError: there is no such test set, not in this direction, or it cannot be fetched.
    """
    from sacrebleu.dataset import DATASETS

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3)
        raise UserError(
            f"sacreBLEU has no test set {name!r}",
            fix=f"did you mean {' or '.join(near)}?" if near else "`sacrebleu --list` names all",
        )
    test_set: Any = DATASETS[name]
    wanted = language_pair
    language_pair = next((pair for pair in test_set.langpairs if pair == wanted or _is_same(pair, wanted)), "")
    if not language_pair:
        pairs = ", ".join(sorted(test_set.langpairs))
        raise UserError(f"the test set {name} is not there for {wanted!r}", fix=f"it is there for: {pairs}")
    try:
        source, references = test_set.get_source_file(language_pair), test_set.get_reference_files(language_pair)
    # sacreBLEU leaves with sys.exit when what was sent is damaged, and raises what it likes.
    except (SystemExit, Exception) as error:
        raise UserError(
            f"the test set {name} could not be fetched from {' or '.join(test_set.data)}: {error}",
            fix="where there is no network, copy the directory ~/.sacrebleu of another machine, or name one by "
            f"$SACREBLEU; if a damaged file is to blame, remove {test_set._outdir}",
        ) from None
    return PublicTestSet(Path(source), tuple(map(Path, references)))


def _is_same(pair: str, wanted: str) -> bool:
    """Tell whether two directions are the same, however they are written (en-zh, en-zho)."""
    return all(map(same_language, parse_direction(pair), parse_direction(wanted)))
