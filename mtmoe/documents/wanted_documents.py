"""What is wanted of documents: wishes, as the run that translates can fulfil them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mtmoe.data.cleaning.language_tokens import language_token
from mtmoe.documents.document import DocumentOptions
from mtmoe.documents.document_jobs import DocumentWishes
from mtmoe.documents.translation_memory import TranslationMemory
from mtmoe.errors import UserError
from mtmoe.languages import Direction, normal_code, parse_direction, same_language

if TYPE_CHECKING:
    from mtmoe.config.settings import Data


class WantedOfDocuments(NamedTuple):
    """What is translated of documents; the token that a multilingual run reads in front of a line, else empty; and
    translations that are known."""

    options: DocumentOptions
    token: str = ""
    memory: TranslationMemory | None = None


def wanted_of_documents(run: object, data: Data, wishes: DocumentWishes) -> WantedOfDocuments:
    """Return what is translated of documents by a run.

    Args:
        run: its name, for errors. data: of its recipe.

    Raises:
        UserError: the run has several directions and none is named, or it has another one; no such memory.
    """
    source, target, token = _direction(run, data, wishes.direction)
    options = DocumentOptions(source, target, wishes.parts, wishes.retranslate, wishes.column)
    memory = TranslationMemory.of_tmx(wishes.memory, source, target) if wishes.memory else None
    return WantedOfDocuments(options, token, memory)


def _direction(run: object, data: Data, direction: str | None) -> tuple[str, str, str]:
    """Return the languages, and the token."""
    if data.multilingual is None:
        own = f"{data.source_language}-{data.target_language}"
        if direction is not None and not _same(parse_direction(direction), parse_direction(own)):
            raise UserError(f"--direction {direction}: {run} translates {own}", fix="leave it out")
        return data.source_language, data.target_language, ""
    trained = sorted({source.direction for source in data.train if source.direction})
    if direction is None:
        raise UserError(f"{run} translates in several directions", fix=f"--direction, one of {', '.join(trained)}")
    wanted = parse_direction(direction)
    found = next((each for each in trained if _same(parse_direction(each), wanted)), None)
    if found is None:
        raise UserError(f"--direction {direction}: {run} does not translate so", fix=f"one of {', '.join(trained)}")
    return normal_code(wanted.source), normal_code(wanted.target), language_token(found)


def _same(one: Direction, other: Direction) -> bool:
    return same_language(one.source, other.source) and same_language(one.target, other.target)
