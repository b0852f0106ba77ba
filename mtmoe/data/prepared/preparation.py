"""From a recipe to a data directory: read, clean, split, learn subwords, encode.

    manifest.json          what it was made of, hashes and counts; written last
    origin.json            the recipe's table `data`: where the text came from
    report.json            what cleaning and splitting did, source by source
    subwords.model         or words.txt, the vocabulary
    lexicon.safetensors    likely target subwords of each source subword (not of text of one language)
    translation_table.safetensors    how likely each of them is, for guided alignment (likewise)
    source_words.tsv       words of the source side, with their numbers (where the language has a dictionary)
    train/, valid/         encoded corpora
    text/valid.source, text/valid.target, text/test/NAME.source, text/test/NAME.target

Text of one language is pairs with empty sources; text/ has its target sides alone.
Text is one sentence a line and only a newline ends a line. A directory is built out of sight and moved to its place
when it is complete: a DATA_DIR with a manifest is finished, always.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtmoe.config import Recipe
from mtmoe.config.settings import Source
from mtmoe.data.cleaning.contamination_gate import ContaminationGate
from mtmoe.data.cleaning.held_out_split import split_by_components
from mtmoe.data.cleaning.language_tokens import (
    balanced_by_temperature,
    language_tokens,
    with_tag,
    with_token,
    without_tag,
)
from mtmoe.data.cleaning.long_sentences import longest_sentences, pair_lengths
from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.data.cleaning.rules import DROPS, Cleaner
from mtmoe.data.prepared import manifest as manifests
from mtmoe.data.prepared.corpus import Part
from mtmoe.data.prepared.data_directory import HELD_OUT_TEST, Prepared, open_prepared
from mtmoe.data.prepared.encoding import encode_corpus
from mtmoe.data.prepared.lexicon import LEXICON_NAME, learn_lexicon, save_lexicon
from mtmoe.data.prepared.replay import REPLAY, ReplayedText, open_replay
from mtmoe.data.prepared.source_words import SOURCE_WORDS_NAME, count_words, save_source_words
from mtmoe.data.prepared.spool import Spool
from mtmoe.data.prepared.translation_table import (
    TRANSLATION_TABLE_NAME,
    learn_translation_table,
    save_translation_table,
)
from mtmoe.data.raw.sentence_pairs import INVALID_UTF8, TOO_LONG, BadLine, OnBadLine, Pair
from mtmoe.data.raw.sources import read_pairs
from mtmoe.data.subwords.sentencepiece_model import sentences_of
from mtmoe.data.subwords.vocabularies import load_vocabulary, make_vocabulary, take_vocabulary, vocabulary_file
from mtmoe.data.word_dictionaries import has_dictionary
from mtmoe.errors import UserError
from mtmoe.progress import Progress, silent
from mtmoe.system.atomic_directory import built_directory, check_writable, completed, holds_something
from mtmoe.system.atomic_files import opened_atomically

__all__ = ["HELD_OUT_TEST", "Preparation", "Prepared", "open_prepared", "prepare"]

_MANIFEST = "manifest.json"
_PAIRS_PER_CALL = 10_000
_MOST_LINES_TOLD = 10
# What str.splitlines would end a line at.
_SPACE_FOR_SEPARATOR = str.maketrans(dict.fromkeys("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", " "))


class Preparation(NamedTuple):
    """What :func:`prepare` came to."""

    prepared: Prepared
    reused: bool


def prepare(
    recipe: Recipe, data_dir: Path, cache: Path, *, num_workers: int = 1, progress: Progress = silent
) -> Preparation:
    """Make the data directory of a recipe, or find that it is there already.

    Raises:
        UserError: for a problem in the text or the settings, and when ``data_dir`` holds something else.
    """
    data_dir = Path(os.path.abspath(data_dir))
    completed(data_dir, last=_MANIFEST)
    _check_place(data_dir)
    replayed = open_replay(recipe.data)
    ingredients = manifests.ingredients_of(recipe, cache, progress)
    if replayed is not None:
        ingredients["data.replay.digest"] = replayed.digest
    if holds_something(data_dir):
        return Preparation(_same_or_error(data_dir, ingredients), reused=True)
    with built_directory(data_dir, last=_MANIFEST) as directory:
        _Builder(recipe, directory, cache, num_workers, progress, replayed).build(ingredients)
    return Preparation(open_prepared(data_dir), reused=False)


def _check_place(data_dir: Path) -> None:
    """Complain before hours of work about what can be seen at once."""
    if data_dir.exists() and not data_dir.is_dir():
        raise UserError(f"{data_dir}: is a file, not a directory", fix="name a new directory")
    if holds_something(data_dir) and not (data_dir / _MANIFEST).is_file():
        raise UserError(
            f"{data_dir}: is not empty and holds no prepared data (no manifest.json)",
            fix="name a new or an empty directory",
        )
    if not holds_something(data_dir):
        check_writable(data_dir)


def _same_or_error(data_dir: Path, ingredients: manifests.Ingredients) -> Prepared:
    prepared = open_prepared(data_dir)
    found = manifests.differences(prepared.manifest.ingredients, ingredients)
    if found:
        raise UserError(
            f"{data_dir}: holds data of another recipe or of other text: {manifests.summary(found)}",
            fix="name a new directory, or remove this one first",
        )
    return prepared


# -------------------------------------------------------------------------------------------------- steps


class _TrainText(NamedTuple):
    """What stands in the spool, and what a split held out of it."""

    parts: list[Part]
    valid: list[Pair]
    test: list[Pair]

    @property
    def num_pairs(self) -> int:
        return sum(part.num_pairs for part in self.parts)


class _Builder:
    """The steps of one preparation, inside the directory that is being built."""

    def __init__(
        self,
        recipe: Recipe,
        directory: Path,
        cache: Path,
        num_workers: int,
        progress: Progress,
        replayed: ReplayedText | None = None,
    ) -> None:
        self.recipe, self.directory, self.cache, self.replayed = recipe, directory, cache, replayed
        self.num_workers, self.progress = num_workers, progress
        self.spool = Spool(directory / "train.spool")
        self.report: dict[str, Any] = {"train": {}, "valid": {}, "test": {}}
        self.num_read = 0
        self.direction_of: dict[int, str] = {}  # by the identity of a pair, where a split mixes them

    def build(self, ingredients: manifests.Ingredients) -> None:
        """Fill the directory."""
        data = self.recipe.data
        tests = {} if data.test == "split" else self._read_held_out("test", data.test)
        valid_sets = {} if data.valid == "split" else self._read_held_out("valid", data.valid)
        old_valid_sets, old_tests = self._replayed_held_out()
        held_out = itertools.chain(
            *(s for sets in (valid_sets, tests, old_valid_sets, old_tests) for s in sets.values())
        )
        train = self._read_train(ContaminationGate(held_out, either_way=data.multilingual is not None))
        # The tokens come last of all: cleaning and splitting look at sentences as they stand.
        valid_sets = self._with_tokens(data.valid, valid_sets, train.valid) | old_valid_sets
        tests = self._with_tokens(data.test, tests, train.test) | old_tests
        valid = [pair for pairs in valid_sets.values() for pair in pairs]
        if not valid:
            raise UserError("data.valid names no source: there is no dev set", fix='name one, or set it to "split"')
        write = _write_monolingual_text if data.monolingual else _write_text
        write(self.directory / "text", "valid", valid)
        for name, pairs in tests.items():
            write(self.directory / "text" / "test", name, pairs)
        self._encode(train, valid, [Part(name, 1.0, len(pairs)) for name, pairs in valid_sets.items()])
        self._report_longest("valid", valid_sets)
        self._report_longest("test", tests)
        self.spool.remove()
        _write_json(self.directory / "report.json", self.report)
        self._write_manifest(
            ingredients, {"train": train.num_pairs, "valid": len(valid)}, {n: len(p) for n, p in tests.items()}
        )

    def _read_held_out(self, part: str, sources: Sequence[Source]) -> dict[str, list[Pair]]:
        """Read the pairs of each dev or test set as they stand: none is dropped, and rows without one are told."""
        sets = {}
        for source in sources:
            bad_lines: list[BadLine] = []
            sets[source.name] = list(self._counted(source, functools.partial(_refuse, bad_lines)))
            self.report[part][source.name] = {
                "pairs": len(sets[source.name]),
                "unreadable": len(bad_lines),
                "first_unreadable": [f"line {line}: {problem}" for _, line, problem in bad_lines[:_MOST_LINES_TOLD]],
            }
        self.progress("read", self.num_read, self.num_read, "pairs")
        return sets

    def _replayed_held_out(self) -> tuple[dict[str, list[Pair]], dict[str, list[Pair]]]:
        """Return the dev set and the test sets of the replayed text, by name."""
        if self.replayed is None:
            return {}, {}
        found = {REPLAY: self.replayed.valid()}, self.replayed.tests()
        for part, sets in zip(("valid", "test"), found, strict=True):
            self.report[part] |= {name: {"pairs": len(pairs)} for name, pairs in sets.items()}
        return found

    def _report_longest(self, part: str, sets: Mapping[str, list[Pair]]) -> None:
        vocabulary = load_vocabulary(vocabulary_file(self.directory))
        for name, pairs in sets.items():
            normal = (Pair(normalise_line(source), normalise_line(target)) for source, target in pairs)
            longest = longest_sentences(pair_lengths(normal, vocabulary))
            self.report[part].setdefault(name, {})["longest"] = [sentence._asdict() for sentence in longest]

    def _counted(self, source: Source, on_bad_line: OnBadLine) -> Iterator[Pair]:
        for pair in read_pairs(source, self.recipe.data, self.cache, on_bad_line, self.progress):
            self.num_read += 1
            if self.num_read % _PAIRS_PER_CALL == 0:
                self.progress("read", self.num_read, None, "pairs")
            yield pair

    def _read_train(self, contamination_gate: ContaminationGate) -> _TrainText:
        """Clean the training text into the spool."""
        data = self.recipe.data
        cleaner = Cleaner(data.cleaning, contamination_gate, monolingual=data.monolingual)
        splitting = "split" in (data.valid, data.test)
        train = _TrainText([], [], [])
        if splitting:  # what a model made is read after it, and without what is held out
            train = self._split(*self._read_to_split([source for source in data.train if not source.is_made], cleaner))
            for pair in (*train.valid, *train.test):
                contamination_gate.add(pair)
        for source in data.train:
            if source.is_made or not splitting:
                pairs = (with_tag(pair, source.tag) for pair in self._cleaned(source, cleaner))
                num_pairs = self.spool.write(with_token(pair, source.direction) for pair in pairs)
                train.parts.append(Part(source.name, source.weight, num_pairs))
                self.report["train"][source.name] = dict(cleaner.report)
        self.progress("read", self.num_read, self.num_read, "pairs")
        if self.replayed is not None and train.num_pairs:
            cleaner.new_report()
            num_pairs = self.spool.write(cleaner.clean(self.replayed.train()))
            train.parts.append(Part(REPLAY, self.replayed.weight, num_pairs))
            self.report["train"][REPLAY] = dict(cleaner.report)
        self.spool.close()
        if not train.num_pairs:
            raise _nothing_left(self.report["train"])
        _check_every_direction(data.train, train.parts, self.report["train"])
        if data.multilingual is not None and data.multilingual.temperature != 1:
            direction_of = {source.name: source.direction for source in data.train}
            directions = [direction_of[part.name] for part in train.parts]
            balanced = balanced_by_temperature(train.parts, directions, data.multilingual.temperature)
            train = train._replace(parts=balanced)
        return train

    def _cleaned(self, source: Source, cleaner: Cleaner) -> Iterator[Pair]:
        """Yield the pairs of a source that keep all rules, without tag and token."""
        cleaner.new_report()
        pairs = self._counted(source, cleaner.count_bad_line)
        return cleaner.clean((without_tag(pair, source.tag) for pair in pairs), source.direction)

    def _read_to_split(self, sources: Sequence[Source], cleaner: Cleaner) -> tuple[list[Pair], list[Part]]:
        """Read the sources that dev or test sets are held out of, into memory."""
        kept: list[Pair] = []
        parts = []
        for source in sources:
            num_pairs = _extend(kept, self._cleaned(source, cleaner))
            if source.direction:
                self.direction_of |= {id(pair): source.direction for pair in kept[len(kept) - num_pairs :]}
            parts.append(Part(source.name, source.weight, num_pairs))
            self.report["train"][source.name] = dict(cleaner.report)
        return kept, parts

    def _with_tokens(
        self, sources: Sequence[Source] | str, sets: Mapping[str, list[Pair]], split: Sequence[Pair]
    ) -> dict[str, list[Pair]]:
        """Put language tokens in front of dev or test sets, by name, in their order.

        What was split off is a set, or one for each direction.
        """
        if isinstance(sources, str):
            directions = dict.fromkeys(sorted(self.direction_of.get(id(pair), "") for pair in split))
            return {
                f"{HELD_OUT_TEST}-{direction}" if direction else HELD_OUT_TEST: [
                    with_token(pair, direction) for pair in split if self.direction_of.get(id(pair), "") == direction
                ]
                for direction in directions
            }
        return {s.name: [with_token(pair, s.direction) for pair in sets[s.name]] for s in sources}

    def _split(self, pairs: list[Pair], parts: list[Part]) -> _TrainText:
        data = self.recipe.data
        num_valid = data.held_out.valid_pairs if data.valid == "split" else 0
        num_test = data.held_out.test_pairs if data.test == "split" else 0
        directions = [self.direction_of[id(pair)] for pair in pairs] if self.direction_of else ()
        split = split_by_components(pairs, num_valid, num_test, self.recipe.seed, directions=directions)
        self.report["split"] = split.report
        self.spool.write(with_token(pair, self.direction_of.get(id(pair), "")) for pair in split.train)
        return _TrainText(_remaining_parts(parts, pairs, split.train), split.valid, split.test)

    def _encode(self, train: _TrainText, valid: Sequence[Pair], valid_parts: Sequence[Part]) -> None:
        settings = self.recipe.subwords
        tokens = (*language_tokens(self.recipe.data), *self.recipe.data.tags)
        if settings.file:
            model_path = take_vocabulary(settings, tokens, self.directory)
        else:
            symbols = tuple(dict.fromkeys((*settings.user_symbols, *tokens)))
            settings = settings.model_copy(update={"user_symbols": symbols})
            sides = "target" if self.recipe.data.monolingual else settings.extended_by
            sentences = sentences_of(self.spool, sides)
            model_path = make_vocabulary(sentences, settings, self.directory, self.recipe.seed, self.progress)
        corpus = encode_corpus(
            self.spool,
            model_path,
            self.directory / "train",
            parts=train.parts,
            num_workers=self.num_workers,
            progress=self.progress,
        )
        if not self.recipe.data.monolingual:
            save_lexicon(self.directory / LEXICON_NAME, learn_lexicon(corpus, self.progress))
            table = learn_translation_table(corpus, self.progress)
            save_translation_table(self.directory / TRANSLATION_TABLE_NAME, table)
        data = self.recipe.data
        if data.multilingual is None and has_dictionary(data.source_language):
            counts = count_words(source for source, _ in self.spool)
            save_source_words(self.directory / SOURCE_WORDS_NAME, counts)
        normal = (Pair(normalise_line(source), normalise_line(target)) for source, target in valid)
        apart = data.multilingual is not None or (len(valid_parts) > 1 and not data.monolingual)
        encode_corpus(normal, model_path, self.directory / "valid", parts=valid_parts if apart else ())

    def _write_manifest(
        self, ingredients: manifests.Ingredients, num_pairs: dict[str, int], num_test_pairs: dict[str, int]
    ) -> None:
        manifest = {
            "format_version": manifests.FORMAT_VERSION,
            "digest": manifests.digest_of(ingredients),
            "ingredients": ingredients,
            "versions": manifests.versions(),
            "num_pairs": num_pairs,
            "test_sets": num_test_pairs,
            "outputs": manifests.output_hashes(self.directory),
        }
        # Where the text lay is no part of what was made of it: kept apart, so that all else has the same bytes.
        _write_json(self.directory / "origin.json", self.recipe.data.model_dump(mode="json", exclude={"augmentation"}))
        _write_json(self.directory / _MANIFEST, manifest)


def _refuse(bad_lines: list[BadLine], bad_line: BadLine) -> None:
    if bad_line.problem in (INVALID_UTF8, TOO_LONG):
        raise UserError(
            f"{bad_line.file}:{bad_line.line}: {bad_line.problem}; sentences of dev and test text are never left out",
            fix="correct the line",
        )
    bad_lines.append(bad_line)


def _extend(kept: list[Pair], pairs: Iterable[Pair]) -> int:
    num_before = len(kept)
    kept.extend(pairs)
    return len(kept) - num_before


def _remaining_parts(parts: Sequence[Part], pairs: Sequence[Pair], train: Sequence[Pair]) -> list[Part]:
    """Return the parts of ``pairs`` after a split left ``train`` of them, in the same order."""
    remaining = []
    part_ends = itertools.accumulate(part.num_pairs for part in parts)
    position = num_before = 0
    for part, end in zip(parts, part_ends, strict=True):
        # Equal pairs may be of several parts; the very same object is of one.
        for pair in itertools.islice(pairs, end - part.num_pairs, end):
            if position < len(train) and train[position] is pair:
                position += 1
        remaining.append(part._replace(num_pairs=position - num_before))
        num_before = position
    return remaining


def _check_every_direction(
    sources: Sequence[Source], parts: Sequence[Part], reports: Mapping[str, Mapping[str, int]]
) -> None:
    """Raise UserError for a direction of a multilingual recipe of which no pair is left."""
    num_pairs = {part.name: part.num_pairs for part in parts}
    for direction in dict.fromkeys(source.direction for source in sources if source.direction):
        of_direction = [source.name for source in sources if source.direction == direction]
        if not sum(num_pairs[name] for name in of_direction):
            problem = _nothing_left({name: reports[name] for name in of_direction}).problem
            names = ", ".join(of_direction)
            raise UserError(
                f"direction {direction} ({names}): {problem}",
                fix="check its files and the rules of data.cleaning, or leave the direction out",
            )


def _nothing_left(reports: Mapping[str, Mapping[str, int]]) -> UserError:
    num_read = sum(report["read"] for report in reports.values())
    dropped = {rule: sum(report[rule] for report in reports.values()) for rule in DROPS}
    told = ", ".join(f"{count} {rule.replace('_', ' ')}" for rule, count in dropped.items() if count)
    return UserError(
        f"no pair of the {num_read} that were read is left to train on ({told or 'nothing was read'})",
        fix="check the files of data.train and the rules of data.cleaning",
    )


# -------------------------------------------------------------------------------------------------- files


def _write_text(directory: Path, name: str, pairs: Sequence[Pair]) -> None:
    """Write sources in the form in which they are translated; references as they are, but each on one line."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_lines(directory / f"{name}.source", (normalise_line(source) for source, _ in pairs))
    _write_lines(directory / f"{name}.target", (target.translate(_SPACE_FOR_SEPARATOR) for _, target in pairs))


def _write_monolingual_text(directory: Path, name: str, pairs: Sequence[Pair]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    _write_lines(directory / f"{name}.target", (target.translate(_SPACE_FOR_SEPARATOR) for _, target in pairs))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with opened_atomically(path) as file:
        file.writelines(f"{line}\n".encode() for line in lines)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    _write_lines(path, [json.dumps(content, indent=2, ensure_ascii=False)])
