"""The examination of a run for a report: its model translates sentences of its dev set, and its gates are watched."""

from __future__ import annotations

from mtmoe.errors import UserError
from mtmoe.inference.translator import Translator
from mtmoe.languages import chosen_tokeniser
from mtmoe.model.translation import TranslationModel
from mtmoe.progress import Progress, silent
from mtmoe.report.examining.dev_translations import examine_translations
from mtmoe.report.examining.expert_contexts import profile_experts
from mtmoe.report.examining.token_calibration import token_reliability
from mtmoe.report.run_history import RunHistory
from mtmoe.report.run_section import Examination
from mtmoe.report.text_facts import subword_times, word_counts


def examine(
    history: RunHistory,
    num_sentences: int,
    checkpoint: str = "best",
    device: str | None = None,
    progress: Progress = silent,
) -> Examination | None:
    """Translate the first sentences of the dev set, and profile the experts on these pairs.

    None for language models, which translate nothing.

    Raises:
        UserError: the run's text is gone, or it has no such checkpoint.
    """
    if history.recipe.data.monolingual:
        return None
    prepared = history.prepared
    if prepared is None:
        raise UserError(f"{history.files.data}: the text of the run is gone", fix="give the run its data again")
    sources, references = prepared.valid_source[:num_sentences], prepared.valid_target[:num_sentences]
    translator = Translator(history.files.directory, device=device, checkpoint=checkpoint)
    translations = translator.translate(sources, with_alignment=True, progress=progress)
    language = history.recipe.data.valid_languages[0]
    tokeniser = chosen_tokeniser(history.recipe.training.validation.bleu_tokeniser, language)
    loaded, corpus = translator.loaded, prepared.valid
    pairs = [(corpus.source(n).tolist(), corpus.target(n).tolist()) for n in range(len(sources))]
    sides = (prepared.train.source_side, prepared.train.target_side)
    counts = [word_counts(prepared.train, side, loaded.subwords) for side in sides]
    calibration = translator.calibration
    found = examine_translations(
        sources,
        references,
        translations,
        tokeniser,
        (counts[0].times, counts[1].times),
        calibration.chrf_threshold if calibration else None,
    )
    model = loaded.model
    assert isinstance(model, TranslationModel)  # the recipe is of translation
    times = (subword_times(sides[0], loaded.subwords.size), subword_times(sides[1], loaded.subwords.size))
    return Examination(
        profile_experts(model, loaded.subwords, pairs, times),
        found,
        token_reliability(model, pairs),
        len(sources),
        counts[0].num_sentences,
        loaded.checkpoint.name,
    )
