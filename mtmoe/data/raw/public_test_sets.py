"""Test sets that everybody reports: sacreBLEU fetches them, checks their MD5 sums and keeps them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.config.settings import Data, SacrebleuSource
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
    test_set, language_pair = _found(name, language_pair)
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


def test_set_of_source(source: SacrebleuSource, data: Data) -> PublicTestSet:
    """Find or fetch the test set that a source of a recipe names, in its own direction or in that of the recipe.

    Raises:
        UserError: as of :func:`public_test_set`.
    """
    return public_test_set(source.test_set, direction_of_source(source, data))


def direction_of_source(source: SacrebleuSource, data: Data) -> str:
    """Return the direction of a source, such as ``en-de``."""
    return source.direction or f"{data.source_language}-{data.target_language}"


def public_test_set_directory(name: str) -> Path:
    """Return the directory in which sacreBLEU keeps a test set, whether it is there yet or not.

    Raises:
        UserError: there is no such test set.
    """
    return Path(_data_set(name)._outdir)


def public_test_set_is_there(name: str, language_pair: str) -> bool:
    """Return whether sacreBLEU has the test set already, so that nothing needs to be fetched.

    Raises:
        UserError: there is no such test set, or not in this direction.
    """
    test_set, language_pair = _found(name, language_pair)
    fields = test_set.fieldnames(language_pair)
    return all(Path(test_set._get_txt_file_path(language_pair, field)).is_file() for field in fields)


def _data_set(name: str) -> Any:
    """Return sacreBLEU's own object of the test set."""
    from sacrebleu.dataset import DATASETS

    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3)
        raise UserError(
            f"sacreBLEU has no test set {name!r}",
            fix=f"did you mean {' or '.join(near)}?" if near else "`sacrebleu --list` names all",
        )
    return DATASETS[name]


def _found(name: str, wanted: str) -> tuple[Any, str]:
    """Return the test set, and its own spelling of the direction."""
    test_set = _data_set(name)
    language_pair = next((pair for pair in test_set.langpairs if pair == wanted or _is_same(pair, wanted)), "")
    if not language_pair:
        pairs = ", ".join(sorted(test_set.langpairs))
        raise UserError(f"the test set {name} is not there for {wanted!r}", fix=f"it is there for: {pairs}")
    return test_set, language_pair


def _is_same(pair: str, wanted: str) -> bool:
    """Tell whether two directions are the same, however they are written (en-zh, en-zho)."""
    return all(map(same_language, parse_direction(pair), parse_direction(wanted)))
