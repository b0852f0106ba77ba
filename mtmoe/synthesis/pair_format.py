"""Pair format: a line of text becomes a pair with its translation, as a row of columns that `[[data.train]]` reads."""

from __future__ import annotations

from typing import Any

from mtmoe.data.cleaning.normal_form import normalise_line
from mtmoe.evaluation.sentence_quality import SentenceQuality, sentence_bleu, sentence_chrf
from mtmoe.inference.files.line_formats import FormatOptions, LineFormat, ParsedLine
from mtmoe.inference.requests import Request
from mtmoe.inference.translation import Translation
from mtmoe.languages import has_spaces, tokeniser_of
from mtmoe.synthesis.noise import noised
from mtmoe.synthesis.reference_lines import ReferenceLines
from mtmoe.synthesis.synthesis_options import SynthesisOptions

_COLUMNS = ("source", "target", "score", "log_probability", "num_tokens")


class PairFormat(LineFormat):
    """A sentence a line in; source, target and scores, with tabs between, out."""

    name = "pairs"

    def __init__(self, options: SynthesisOptions, language: str, num_best: int) -> None:
        """
        Args:
            language: of what is made.
            num_best: candidates of a line; 1 without a reference.

        Raises:
            UserError: the language's tokeniser of BLEU is not installed.
        """
        super().__init__(FormatOptions(with_scores=True, num_best=num_best))
        self._synthesis = options
        self._with_spaces = has_spaces(language)
        self._references = ReferenceLines(options.reference) if options.reference else None
        self._utility: SentenceQuality | None = None
        if options.reference:
            self._utility = sentence_chrf() if options.utility == "chrf" else sentence_bleu(tokeniser_of(language))

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns, in their order."""
        utility = (self._synthesis.utility,) if self._utility else ()
        return (*_COLUMNS, *utility, "suspicions")

    def identity(self) -> dict[str, Any]:
        """Return what the bytes of a row depend on besides the translations."""
        options = self._synthesis
        identity: dict[str, Any] = {"origin": options.origin, "method": options.method, "tag": options.tag}
        if options.method == "noised-beam":
            identity |= {"noise": options.noise._asdict(), "seed": options.seed}
        if self._utility:
            identity |= {"candidates": self.options.num_best}
        return {**identity, "columns": list(self.columns)}

    def read(self, line: str, number: int) -> ParsedLine:
        return ParsedLine(Request(line, number=number), self._references.line(number) if self._references else None)

    def write(self, line: ParsedLine, translation: Translation) -> str:
        options, request = self._synthesis, line.request
        chosen, utility = self._chosen(translation, line.carried)
        made = normalise_line(chosen.text)
        made = noised(made, options.noise, options.seed, request.number, with_spaces=self._with_spaces)
        given = normalise_line(request.text)
        source, target = (made, given) if options.makes_source else (given, made)
        if options.tag and source:
            source = f"{options.tag} {source}"
        columns = [source, target, f"{chosen.score:.4f}", f"{chosen.log_probability:.4f}", str(chosen.num_tokens)]
        if self._utility:
            columns.append("" if utility is None else f"{utility:.2f}")
        return "\t".join([*columns, ",".join(chosen.suspicions)]) + "\n"

    def _chosen(self, translation: Translation, reference: str | None) -> tuple[Translation, float | None]:
        """Return the translation that is most like the reference, the likeliest of equals, and how like it is."""
        if not self._utility or not reference or not reference.strip():
            return translation, None
        candidates = (translation, *translation.alternatives)
        utilities = [self._utility(candidate.text, reference) for candidate in candidates]
        best = max(range(len(candidates)), key=utilities.__getitem__)
        return candidates[best], utilities[best]
