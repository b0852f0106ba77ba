"""Pairs out of data sets that the ``datasets`` library can load, from the hub or from a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtmoe.config.settings import HuggingFaceSource
from mtmoe.data.raw.sentence_pairs import BadLine, Pair
from mtmoe.errors import Unreachable, UserError
from mtmoe.languages import covers, same_language
from mtmoe.system.home_directory import expanded

if TYPE_CHECKING:  # fetching.py, by which a Reading locates files, asks this module what the hub has
    from mtmoe.data.raw.formats.reading import Reading

_ROWS_PER_READ = 1000


def is_on_the_hub(source: HuggingFaceSource) -> bool:
    """Tell whether the data set is fetched from the hub (and not a directory of this machine)."""
    return not expanded(source.dataset).is_dir()


def hub_cache(source: HuggingFaceSource) -> Path:
    """Return the directory in which the ``datasets`` library keeps its copy of a data set of the hub."""
    home = os.environ.get("HF_HOME") or expanded("~/.cache/huggingface")
    datasets_home = os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets"
    return Path(datasets_home) / source.dataset.replace("/", "___")


def read_hugging_face(source: HuggingFaceSource, reading: Reading) -> Iterator[Pair]:
    """Stream the rows of the data set; a row without text on a side is left out."""
    data, dataset = reading.data, load(source)
    columns = _columns_of(dataset, source)
    target_key = _key(source.target_key, data.target_language, columns)
    # Text of one language is its own source here, and has none when it leaves `read_pairs`.
    keys = (target_key if data.monolingual else _key(source.source_key, data.source_language, columns), target_key)
    for key in keys:
        if _top(key, columns) not in columns:
            raise _no_such_column(source, key, columns)
    dataset = dataset.select_columns(sorted({_top(key, columns) for key in keys}))
    num_rows = 0
    for batch in _batches(dataset, source):
        sides = [_column(batch, key, source, columns) for key in keys]
        for number, texts in enumerate(zip(*sides, strict=True), start=num_rows + 1):
            if isinstance(texts[0], str) and isinstance(texts[1], str):
                yield Pair(*texts)
            else:
                reading.on_bad_line(BadLine(source.dataset, number, "a side is not text"))
        num_rows += len(sides[0])
    if num_rows == 0:
        raise UserError(f"data set {source.dataset}: split {source.split!r} is empty", fix="name another split")


def load(source: HuggingFaceSource) -> Any:
    """Return the split as a ``datasets.Dataset`` or, when streaming, an ``IterableDataset``."""
    import datasets  # takes more than a second, and most runs never need it

    directory = expanded(source.dataset)
    with _library_errors(source), _no_progress_bars(datasets):
        if (directory / "state.json").is_file():
            return _checked(datasets.load_from_disk(str(directory)), source)
        if (directory / "dataset_dict.json").is_file():
            return _split_of(datasets.load_from_disk(str(directory)), source)
        return datasets.load_dataset(
            str(directory) if directory.is_dir() else source.dataset,
            source.subset or None,
            split=source.split,
            revision=source.revision or None,
            streaming=source.streaming,
        )


def splits_of(source: HuggingFaceSource) -> tuple[str, ...]:
    """Return the names of all splits of a data set in a directory of this machine."""
    import datasets

    directory = expanded(source.dataset)
    with _library_errors(source), _no_progress_bars(datasets):
        if (directory / "state.json").is_file():
            return (source.split,)
        if (directory / "dataset_dict.json").is_file():
            return tuple(datasets.load_from_disk(str(directory)))
        return tuple(datasets.get_dataset_split_names(str(directory), source.subset or None))


def _checked(dataset: Any, source: HuggingFaceSource) -> Any:
    """Refuse to ask a directory that holds one split for another one."""
    if dataset.split is not None and str(dataset.split) != source.split:
        raise UserError(
            f"{source.dataset}: holds the split {str(dataset.split)!r} alone, but split = {source.split!r}",
            fix="name the directory of that split, or save all splits as one DatasetDict",
        )
    if source.subset:
        raise UserError(
            f"{source.dataset}: holds one split of one data set, so that subset = {source.subset!r} does nothing",
            fix="leave subset out",
        )
    return dataset


def _split_of(splits: Any, source: HuggingFaceSource) -> Any:
    if source.split not in splits:
        raise UserError(
            f"data set {source.dataset} has no split {source.split!r}", fix=f"its splits: {', '.join(splits)}"
        )
    return splits[source.split]


@contextmanager
def _library_errors(source: HuggingFaceSource) -> Iterator[None]:
    """Turn what the library, or the layer below it, raises into one kind of error for the user."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        kind = Unreachable if is_on_the_hub(source) else UserError
        raise kind(f"data set {source.dataset} cannot be loaded: {reason}", fix=_way_out(source)) from error


def _way_out(source: HuggingFaceSource) -> str:
    if not is_on_the_hub(source):
        return "check subset and split, and that the directory holds a data set"
    return (
        "check the name, subset and split, and that the hub can be reached; or name a local copy instead: a "
        "directory as `dataset` in the recipe, or text files with --train, --valid and --test"
    )


@contextmanager
def _no_progress_bars(datasets: Any) -> Iterator[None]:
    """Keep the library from writing to the terminal of whoever uses it."""
    were_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            datasets.enable_progress_bars()


def _columns_of(dataset: Any, source: HuggingFaceSource) -> dict[str, list[str]]:
    """Return column names, each with the keys inside it (empty for flat text)."""
    with _library_errors(source):
        if dataset.features is None:  # a stream that does not know them before its first row
            row: dict[str, Any] = next(iter(dataset), {})
            return {name: list(value) if isinstance(value, dict) else [] for name, value in row.items()}
        return {name: _keys_inside(feature) for name, feature in dataset.features.items()}


def _keys_inside(feature: Any) -> list[str]:
    languages = getattr(feature, "languages", None)
    if languages:
        return list(languages)
    return list(feature) if isinstance(feature, dict) else []


def _key(key: str, language: str, columns: dict[str, list[str]]) -> str:
    if key:
        return key
    inside = columns.get("translation")
    names = columns if inside is None else inside
    # A column of exactly that name, else the one that means the same language: zh for zho, zh-CN for zh.
    alike = [name for name in names if same_language(name, language)]
    alike += [name for name in names if covers(language, name) or covers(name, language)]
    name = language if language in names or not alike else alike[0]
    return name if inside is None else f"translation.{name}"


def _top(key: str, columns: dict[str, list[str]]) -> str:
    return key if key in columns else key.split(".")[0]


def _no_such_column(source: HuggingFaceSource, key: str, columns: dict[str, list[str]]) -> UserError:
    found = [name if not inside else f"{name}.{{{','.join(inside)}}}" for name, inside in columns.items()]
    return UserError(
        f"data set {source.dataset} has no column {key!r}",
        fix=f"its columns: {', '.join(found)}; set source_key and target_key in the recipe",
    )


def _batches(dataset: Any, source: HuggingFaceSource) -> Iterator[dict[str, list[Any]]]:
    batches = dataset.iter(batch_size=_ROWS_PER_READ)
    while True:
        with _library_errors(source):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _column(
    batch: dict[str, list[Any]], key: str, source: HuggingFaceSource, columns: dict[str, list[str]]
) -> list[Any]:
    top = _top(key, columns)
    values = batch[top]
    for part in key[len(top) + 1 :].split(".") if key != top else []:
        if any(isinstance(value, dict) and part not in value for value in values):
            raise _no_such_column(source, key, columns)
        values = [value[part] if isinstance(value, dict) else None for value in values]
    return values
