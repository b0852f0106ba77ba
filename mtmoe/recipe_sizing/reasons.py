"""Why each setting of a sized recipe is as it is, in a sentence: the comments of the recipe."""

from __future__ import annotations

from mtmoe.corpus_survey.survey import Survey
from mtmoe.languages import tokeniser_of
from mtmoe.recipe_sizing.recipe_settings import Choice
from mtmoe.recipe_sizing.sizing import Sizing
from mtmoe.recipe_sizing.sizing_rules import Shape
from mtmoe.recipe_sizing.start_choice import StartChoice


def heading(survey: Survey, sizing: Sizing, minutes: float) -> str:
    """Return what the recipe is, for its first lines. Names of files stand in the recipe, not here."""
    return (
        f"Written by `mtmoe init`: {survey.languages.source} to {survey.languages.target}, {survey.num_usable:,} pairs "
        f"that can be used, {minutes:g} minutes of training on {sizing.speed.hardware}. Change what you like: "
        "`mtmoe settings` explains every setting."
    )


def reasons_of(survey: Survey, sizing: Sizing) -> dict[str, str]:
    """Return a comment for each setting that was chosen, by its dotted key."""
    choice = sizing.choice
    reasons = {
        "data.valid": _sets(choice),
        "data.held_out": _held_out(choice, survey),
        "data.cleaning.max_characters": f"Longer sentences are left out; 99.9 % have at most "
        f"{max(side.most for side in survey.lengths):,} characters.",
        "data.cleaning.max_length_ratio": "So are pairs of which one side is so many times longer (+10 characters on "
        f"both); 99.5 % have at most {survey.length_ratio:.2g}.",
        "data.cleaning.on_invalid_utf8": "Lines that are no text are left out and counted; else they would stop the "
        "preparation.",
        "data.augmentation": "Some training pairs are changed to what people type: small letters, typos, no full "
        "stops, two sentences in a line. Without this table the text is learned as it stands.",
        "subwords.vocabulary_size": "It grows with the text: each subword must be met often enough to be learned.",
        "subwords.character_coverage": _coverage(survey, choice),
        "model.width": _width(sizing),
        "model.encoder_moe_after": _experts(choice.shape),
        "model.dropout": f"The more often the text is seen, the more; here about {choice.steps.epochs:.2g} times.",
        "training.max_steps": _steps(sizing),
        "training.batch_tokens": _batch(choice, sizing.expected.gpu_bytes > 0),
        "training.guided_alignment": "Attention is taught where words come from, by a table of translations that "
        "preprocessing learns from this text: short trainings are better by it.",
        "training.validation.bleu_tokeniser": _tokeniser(survey),
    }
    return reasons if choice.start is None else reasons | _reasons_of_start(choice.start)


def _experts(shape: Shape) -> str:
    if shape.kind == "dense":
        return (
            "A dense network after the first layer of each side: in so short a training each of several experts would "
            "read too little. Experts pay with more minutes."
        )
    return (
        f"{shape.num_experts} experts after the first layer of each side; each token goes to "
        f"{shape.experts_per_token} of them."
    )


def _reasons_of_start(start: StartChoice) -> dict[str, str]:
    direction = f"{start.languages.source} to {start.languages.target}"
    subwords = "Its subwords are kept, and those of the new language are added; each begins as what it is spelled with."
    if start.vocabulary == "same":
        subwords = "Its subwords are kept, and the new text is spelled with them."
    return {
        "model": "As in the start run, whose weights it begins with.",
        "model.width": "",
        "model.encoder_moe_after": "",
        **_rate(start),
        "training.start": f"The weights of a run that translates {direction}. {subwords}",
        "data.replay": f"So much of the start run's {start.num_old_pairs:,} pairs is read beside the new text in each "
        "epoch, so that the model does not forget what it knows.",
        "training.start.interpolation": "In the end weights between the start's and the trained ones are kept, as near "
        "to these as they can be while the old text's dev set loses so much BLEU at most.",
    }


def _rate(start: StartChoice) -> dict[str, str]:
    if start.vocabulary == "extended":
        return {}
    return {"training.learning_rate": "A fifth of the start run's: with a large one it forgets what it knows."}


def _sets(choice: Choice) -> str:
    both = "Dev set (it tells which checkpoint is best) and test set (it measures)"
    if choice.valid_pairs and choice.test_pairs:
        return f"{both} are held out of the text: no sentence of theirs stands in what is trained on."
    if not choice.valid_pairs and not choice.test_pairs:
        return f"{both} are the data set's own."
    held_out, own = ("first", "second") if choice.valid_pairs else ("second", "first")
    return f"{both}: the {held_out} is held out of the text, the {own} is the data set's own."


def _held_out(choice: Choice, survey: Survey) -> str:
    shares = [_share(number, survey) for number in (choice.valid_pairs, choice.test_pairs) if number]
    return f"{' and '.join(shares)} of the pairs."


def _share(number: int, survey: Survey) -> str:
    return f"{100 * number / survey.num_usable:.2g} %"


def _coverage(survey: Survey, choice: Choice) -> str:
    if choice.character_coverage == 1.0:
        return f"All {survey.alphabet.size:,} characters of the text get a symbol."
    return "The rarest characters are spelled as bytes, which leaves more room for words."


def _width(sizing: Sizing) -> str:
    return f"Width and layers make {sizing.speed.num_parameters / 1e6:.1f} million parameters."


def _steps(sizing: Sizing) -> str:
    steps, speed = sizing.choice.steps, sizing.speed
    measured = f"{speed.seconds_per_step:.2g} seconds a step were measured"
    if steps.limited_by == "time":
        return f"As many steps as fit into the time: {measured}. The text is seen {steps.epochs:.2g} times."
    return f"{steps.epochs:.0f} times through the text; more would be learning by heart. {measured.capitalize()}."


def _batch(choice: Choice, on_gpu: bool) -> str:
    if on_gpu:
        return "Large enough to keep a GPU at work."
    return f"Small batches learn more from the same text; {choice.batch_tokens} tokens are some hundred words."


def _tokeniser(survey: Survey) -> str:
    usual = tokeniser_of(survey.languages.target)
    return (
        f"BLEU of single characters, because {usual} is not installed. With it (pip install "
        f"'sacrebleu[{usual.partition('-')[0]}]') remove this line."
    )
