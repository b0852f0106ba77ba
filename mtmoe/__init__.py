"""mtmoe: machine translation with LSTM and sparsely-gated mixture-of-experts models.

The whole public Python interface::

    recipe = mtmoe.load_recipe("demo")
    translator = mtmoe.Translator("runs/demo")
    translator.translate(["Where is the station?"])

Many tasks at a time::

    async with mtmoe.AsyncTranslator(translator) as shared:
        await shared.translate(["Where is the station?"])

Files, as ``mtmoe translate`` translates them: after an interruption the same call goes on where it was::

    options = mtmoe.TranslationOptions("runs/demo", mtmoe.LINE_FORMATS["json"](mtmoe.FormatOptions(num_best=5)))
    mtmoe.translate_files(options, [Path("text.jsonl")], Path("answers.jsonl"), resume=True)

A program that does nothing else should call ``mtmoe.prepare_for_translation()`` first, as the command does: it sets
what belongs to the whole process (`mtmoe.system.process_settings`) and what nothing else here changes.

Importing this package imports neither torch nor any other heavy package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtmoe.config import Recipe, load_recipe
    from mtmoe.documents.document_jobs import DocumentCounts, DocumentListener, DocumentWishes
    from mtmoe.documents.translate_documents import translate_document, translate_document_content
    from mtmoe.errors import UserError
    from mtmoe.inference.async_translator import AsyncTranslator
    from mtmoe.inference.files.line_formats import LINE_FORMATS, FormatOptions, LineFormat
    from mtmoe.inference.files.translate_files import translate_files
    from mtmoe.inference.files.translate_stream import translate_stream
    from mtmoe.inference.files.translation_options import TranslatedLines, TranslationListener, TranslationOptions
    from mtmoe.inference.requests import Request
    from mtmoe.inference.scoring.rescoring import RescoringRuns
    from mtmoe.inference.translation import Translation
    from mtmoe.inference.translator import Translator
    from mtmoe.system.process_settings import prepare_for_training, prepare_for_translation

__version__ = "0.1.0"
__all__ = [
    "LINE_FORMATS",
    "AsyncTranslator",
    "DocumentCounts",
    "DocumentListener",
    "DocumentWishes",
    "FormatOptions",
    "LineFormat",
    "Recipe",
    "Request",
    "RescoringRuns",
    "TranslatedLines",
    "Translation",
    "TranslationListener",
    "TranslationOptions",
    "Translator",
    "UserError",
    "__version__",
    "load_recipe",
    "prepare_for_training",
    "prepare_for_translation",
    "translate_document",
    "translate_document_content",
    "translate_files",
    "translate_stream",
]  # fmt: skip

_HOMES = {
    "AsyncTranslator": "mtmoe.inference.async_translator",
    "Recipe": "mtmoe.config",
    "load_recipe": "mtmoe.config",
    "DocumentCounts": "mtmoe.documents.document_jobs",
    "DocumentListener": "mtmoe.documents.document_jobs",
    "DocumentWishes": "mtmoe.documents.document_jobs",
    "translate_document": "mtmoe.documents.translate_documents",
    "translate_document_content": "mtmoe.documents.translate_documents",
    "FormatOptions": "mtmoe.inference.files.line_formats",
    "LINE_FORMATS": "mtmoe.inference.files.line_formats",
    "LineFormat": "mtmoe.inference.files.line_formats",
    "TranslatedLines": "mtmoe.inference.files.translation_options",
    "TranslationListener": "mtmoe.inference.files.translation_options",
    "TranslationOptions": "mtmoe.inference.files.translation_options",
    "translate_files": "mtmoe.inference.files.translate_files",
    "translate_stream": "mtmoe.inference.files.translate_stream",
    "prepare_for_training": "mtmoe.system.process_settings",
    "prepare_for_translation": "mtmoe.system.process_settings",
    "RescoringRuns": "mtmoe.inference.scoring.rescoring",
    "Request": "mtmoe.inference.requests",
    "UserError": "mtmoe.errors",
    "Translation": "mtmoe.inference.translation",
    "Translator": "mtmoe.inference.translator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mtmoe' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
