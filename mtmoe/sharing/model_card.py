"""Model card: what whoever gets a model must know, in Markdown with the front matter of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from mtmoe.checkpoint.packages.package_manifest import Member
from mtmoe.checkpoint.packages.package_writing import PackedModel
from mtmoe.config import Recipe, recipe_to_toml
from mtmoe.config.settings import HuggingFaceSource, Source
from mtmoe.sharing.dev_quality import DevQuality

_STORED = {
    "int8": "8 bits with a scale for each row (gates and vectors in float32)",
    "bf16": "bfloat16 (gates and vectors in float32)",
    "fp32": "float32, as they were trained",
}


class CardFacts(NamedTuple):
    """What a card tells. before: the quality of the run; after: that of these weights. num_pairs: of the training text,
    None where it is not there any more. license: an identifier of SPDX, or empty."""

    recipe: Recipe
    model: PackedModel
    num_parameters: int
    members: Mapping[str, Member]
    before: DevQuality | None
    after: DevQuality | None
    num_pairs: int | None
    license: str


def model_card(facts: CardFacts) -> str:
    """Return the card."""
    parts = (_summary, _use, _data, _quality, _training, _limits, _files)
    return "\n".join(
        ["---", _front_matter(facts).strip(), "---", "", *(line for part in parts for line in part(facts))]
    )


def _front_matter(facts: CardFacts) -> str:
    recipe, after = facts.recipe, facts.after
    is_translation = recipe.task == "translation"
    results = []
    if after is not None:
        for kind, name, value in (("bleu", "BLEU", after.bleu), ("chrf", "chrF2", after.chrf)):
            results.append(
                EvalResult(
                    task_type="translation",
                    dataset_type="dev-set",
                    dataset_name="the dev set of the training",
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(value, 2),
                )
            )
    data = ModelCardData(
        language=list(recipe.data.language_codes),
        license=facts.license or "unknown",
        library_name="mtmoe",
        pipeline_tag="translation" if is_translation else "text-generation",
        tags=["mtmoe", "lstm", *(["mixture-of-experts"] if recipe.has_experts else []), *_translation_tag(recipe)],
        datasets=_hub_data_sets(recipe) or None,
        metrics=["bleu", "chrf"] if is_translation else ["perplexity"],
        model_name=recipe.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _translation_tag(recipe: Recipe) -> Sequence[str]:
    return ["translation"] if recipe.task == "translation" else []


def _hub_data_sets(recipe: Recipe) -> list[str]:
    """Return the names of the data sets that are on the hub; files have none there."""
    names = [source.dataset for source in recipe.data.train if isinstance(source, HuggingFaceSource)]
    return list(dict.fromkeys(names))


def _summary(facts: CardFacts) -> Iterator[str]:
    recipe = facts.recipe
    what = "Language model" if recipe.task == "language-model" else "Translation model"
    kind = "LSTM with a sparsely-gated mixture of experts" if recipe.has_experts else "LSTM"
    yield f"# {recipe.name}"
    yield ""
    yield f"{what} ({recipe.data.languages}): {kind}, {facts.num_parameters:,} parameters."
    if recipe.about.description:
        yield f"{recipe.about.description}."
    yield f"Its weights are stored in {_STORED[facts.model.precision]}."
    yield ""


def _use(facts: CardFacts) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```sh"
    if facts.recipe.task == "language-model":
        yield "mtmoe score model.mtmoe text.txt"
    else:
        yield "mtmoe translate model.mtmoe < text.txt"
        yield "mtmoe serve model.mtmoe"
    yield "```"
    yield ""
    if facts.recipe.task == "translation":
        yield "```python"
        yield "import mtmoe"
        yield ""
        yield 'translator = mtmoe.Translator("model.mtmoe")'
        yield 'texts = [translation.text for translation in translator.translate(["..."])]'
        yield "```"
        yield ""


def _data(facts: CardFacts) -> Iterator[str]:
    yield "## Training text"
    yield ""
    yield "| name | from | licence |"
    yield "|---|---|---|"
    for source in facts.recipe.data.train:
        yield f"| {source.name} | {_origin(source)} | {_cell(source.license) or 'not stated in the recipe'} |"
    yield ""
    if facts.num_pairs is not None:
        yield f"{facts.num_pairs:,} pairs of lines after cleaning."
        yield ""
    if not facts.license:
        yield "No licence of the weights was stated. The licences of the text above may bind whoever uses them."
        yield ""


def _origin(source: Source) -> str:
    settings = source.model_dump(mode="json")
    if isinstance(source, HuggingFaceSource):
        return _cell(f"{source.dataset} {source.subset}".strip())
    found = [_place(value) for value in settings.values() if isinstance(value, dict) and "sha256" in value]
    written = "" if source.origin == "human" else f" ({source.origin})"
    return _cell(", ".join(found) or settings.get("test_set", source.format)) + written


def _place(file: dict[str, Any]) -> str:
    name = file["url"] or file["wheel"] or f"{file['path']} (a file of whoever trained it)"
    pinned = file["member_sha256"] or file["sha256"]
    return f"{name}, SHA-256 {pinned}" if pinned else name


def _cell(text: str) -> str:
    """Return text that stays in its cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _quality(facts: CardFacts) -> Iterator[str]:
    yield "## Quality"
    yield ""
    before, after = facts.before, facts.after
    if before is None or after is None:
        yield "Not measured when the package was made."
    else:
        yield f"On the dev set of the training, {after.num_sentences:,} sentences, by beam search:"
        yield ""
        yield "| weights | BLEU | chrF2 |"
        yield "|---|---|---|"
        yield f"| as trained, float32 | {before.bleu:.2f} | {before.chrf:.2f} |"
        yield f"| as in this package, {facts.model.precision} | {after.bleu:.2f} | {after.chrf:.2f} |"
        yield ""
        yield f"Signatures: `{after.bleu_signature}`, `{after.chrf_signature}`."
        yield ""
        yield "The dev set has chosen the checkpoint, so that other text of the kind may come out a little worse."
    for result in facts.recipe.about.results:
        if result.bleu is not None:
            yield ""
            yield (
                f"The recipe tells of an earlier training: BLEU {result.bleu:.2f} on {result.test_set} "
                f"(`{result.signature}`, commit {result.commit})."
            )
    yield ""


def _training(facts: CardFacts) -> Iterator[str]:
    names = ", ".join(checkpoint.name for checkpoint in facts.model.checkpoints)
    mean = "the mean of " if len(facts.model.checkpoints) > 1 else ""
    yield "## Training"
    yield ""
    yield f"Trained with mtmoe, by `recipe.toml` of the package; packaged by mtmoe {facts.model.mtmoe_version}."
    yield f"Weights of {mean}{names}; their digest in float32 is `{facts.model.weights_digest}`."
    yield ""
    yield "<details><summary>The recipe</summary>"
    yield ""
    yield "```toml"
    yield recipe_to_toml(facts.recipe).strip()
    yield "```"
    yield ""
    yield "</details>"
    yield ""


def _limits(facts: CardFacts) -> Iterator[str]:
    yield "## Limits"
    yield ""
    if facts.recipe.task == "translation":
        yield "- It translates sentence by sentence, and knows nothing of the sentences before."
        yield "- It is at its best with text like its training text; what is far from it may come out fluent and wrong."
        yield "- Names, numbers and negations can be wrong or missing. A person should read what matters."
    yield "- It has learned from its training text whatever bias that has."
    yield ""


def _files(facts: CardFacts) -> Iterator[str]:
    yield "## Files of the package"
    yield ""
    yield "| file | bytes | SHA-256 |"
    yield "|---|---|---|"
    for name, member in facts.members.items():
        yield f"| {name} | {member.num_bytes:,} | `{member.sha256}` |"
    yield ""
    yield "A package is a zip archive of these files and `manifest.json`. Nothing in it is pickled or run."
    yield ""
