"""Tables of a run's text: what became of it, lengths, and subwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from mtmoe.data.prepared.data_directory import Prepared
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.data.subwords.vocabularies import load_vocabulary
from mtmoe.errors import UserError
from mtmoe.report.run_history import RunHistory
from mtmoe.report.tables import Table
from mtmoe.report.text_facts import lengths_of, open_corpus, subword_facts


def data_tables(histories: Sequence[RunHistory]) -> list[Table]:
    """Return what became of the text of each run."""
    tables = []
    for history in histories:
        if history.prepared is None:
            continue
        manifest, report = history.prepared.manifest, history.prepared.report
        rules = sorted({rule for counts in report.train.values() for rule in counts})
        rows = [[rule.replace("_", " "), *(_count(c, rule) for c in report.train.values())] for rule in rules]
        tables.append(Table(f"Training text of {history.label}: pairs by rule", ["", *report.train], rows))
        sets = {f"{part} text": number for part, number in manifest.num_pairs.items()}
        sets |= {f"test set {name}": number for name, number in manifest.test_sets.items()}
        rows = [[name, f"{number:,}"] for name, number in sets.items()]
        tables.append(Table(f"Text of {history.label}", ["", "pairs"], rows))
        with contextlib.suppress(UserError):  # which says more of a damaged file, when it is used
            tables += _subword_tables(history, history.prepared)
    return tables


def _count(counts: Mapping[str, int], rule: str) -> str:
    """Return how many pairs a rule concerned, with their share of those that were read."""
    number, read = counts.get(rule, 0), counts.get("read", 0)
    return f"{number:,} ({number / read:.2%})" if number and read and rule != "read" else f"{number:,}"


def _subword_tables(history: RunHistory, prepared: Prepared) -> Iterator[Table]:
    corpora = {"training": open_corpus(prepared, "train"), "dev": open_corpus(prepared, "valid")}
    sides = {
        f"{part}, {name}": side
        for part, corpus in corpora.items()
        for name, side in (("source", corpus.source_side), ("target", corpus.target_side))
    }
    rows = []
    for name, side in sides.items():
        found = lengths_of(side)
        if found is not None:
            number = f"{found.num_sentences:,}"
            number += f" ({found.num_counted:,} counted)" if found.num_counted < found.num_sentences else ""
            figures = (found.mean, found.median, found.most_of_95, found.most_of_99, found.longest)
            rows.append([name, number, *(f"{figure:,.4g}" for figure in figures)])
    head = ["", "sentences", "mean", "median", "95 % have at most", "99 % have at most", "longest"]
    yield Table(f"Lengths of the sentences of {history.label}, in subwords", head, rows)
    vocabulary = load_vocabulary(history.files.subwords)
    if not isinstance(vocabulary, SubwordModel) or prepared.data_settings.monolingual:
        return
    texts = {"dev, source": prepared.valid_source, "dev, target": prepared.valid_target}
    rows = []
    for name, text in texts.items():
        facts = subword_facts(text, sides[name], vocabulary.pieces)
        share = facts.num_bytes_or_unknown / max(facts.num_subwords, 1)
        rows.append([name, f"{facts.num_words:,}", f"{facts.num_subwords:,}", f"{facts.per_word:.2f}", f"{share:.3%}"])
    head = ["", "words", "subwords", "subwords a word", "single bytes or unknown"]
    yield Table(f"Subwords of {history.label}, vocabulary of {vocabulary.size:,}", head, rows)
