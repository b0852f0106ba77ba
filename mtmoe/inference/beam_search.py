"""Beam search with GNMT's score (Wu et al. 2016, section 7; spec 7.6).

::

    s(Y, X) = log P(Y|X) / lp(Y) + cp(X; Y)
    lp(Y)   = ((5 + |Y|) / 6) ^ alpha
    cp      = beta * sum over source positions i of log(min(sum over target positions j of p_ij, 1))

What the paper leaves open is decided here: |Y| counts EOS; i runs over all real source positions, EOS
included, never over padding; a position without any attention costs log(1e-6) and not infinity.

Letters: B sentences of the call, A sentences still searched, W beam, X live hypotheses of all of them
(rows of the decoder, sorted by sentence, then by rank), C ways to extend one, F hypotheses that end now,
S source positions, V vocabulary.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mtmoe.config.settings import Decoding
from mtmoe.errors import UserError
from mtmoe.inference.batching import batches_by_length
from mtmoe.progress import Progress, silent
from mtmoe.vocabulary import BOS, EOS, NUM_SPECIAL

COVERAGE_FLOOR = 1e-6
"""Least attention that a source position counts with, so that its logarithm stays finite."""


class SearchModel(Protocol):
    """What the search needs of a model. Row x of every argument and result belongs together."""

    def encode(self, source_BS: Tensor, source_lengths_B: Tensor) -> Any:
        """Whatever the decoder needs to know of the source."""

    def initial_state(self, memory: Any) -> Any:
        """A state with ``select(indices_X)``, which repeats, reorders and drops rows."""

    def decode_step(self, tokens_X: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        """Logits [X, V] of the next token, attention [X, S] of this step (0 at padding), next state."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search; the meaning of each field is in :class:`mtmoe.config.settings.Decoding`."""

    beam_size: int
    length_alpha: float
    coverage_beta: float
    prune_margin: float
    max_length_ratio: float
    max_length_extra: int
    num_best: int = 1
    """Hypotheses wanted of each sentence; pruning may leave fewer. The first does not depend on it."""
    keep_attention: bool = False
    """Whether hypotheses carry their attention."""

    def __post_init__(self) -> None:
        if self.num_best < 1 or self.beam_size < 1:
            raise ValueError(f"num_best = {self.num_best} and beam_size = {self.beam_size} must be at least 1")
        if self.num_best > self.beam_size:
            raise UserError(
                f"num_best = {self.num_best} is more than decoding.beam_size = {self.beam_size}",
                fix=f"search with a beam of at least {self.num_best}, or ask for at most {self.beam_size}",
            )

    @classmethod
    def from_settings(cls, decoding: Decoding, *, num_best: int = 1, keep_attention: bool = False) -> SearchOptions:
        """The options that a recipe's ``[decoding]`` table states."""
        return cls(
            beam_size=decoding.beam_size,
            length_alpha=decoding.length_alpha,
            coverage_beta=decoding.coverage_beta,
            prune_margin=decoding.prune_margin,
            max_length_ratio=decoding.max_length_ratio,
            max_length_extra=decoding.max_length_extra,
            num_best=num_best,
            keep_attention=keep_attention,
        )

    def max_length(self, num_source_subwords: int) -> int:
        """Longest translation in subwords, EOS not counted; at least 1."""
        return max(1, int(self.max_length_ratio * num_source_subwords) + self.max_length_extra)


class SearchTask(NamedTuple):
    """What is asked of the translation of one source; by default nothing. Ids are subwords without special symbols.

    prefix_ids: how it must begin. phrases_ids: sequences, each of which must occur in it somewhere.
    number: of the source in all of the input; with the seed it decides what is drawn, if anything is.
    """

    prefix_ids: tuple[int, ...] = ()
    phrases_ids: tuple[tuple[int, ...], ...] = ()
    number: int = 0


class Hypothesis(NamedTuple):
    """One way to translate a sentence, complete."""

    ids: tuple[int, ...]
    """Subwords without BOS and EOS."""
    log_probability: float
    """log P(Y|X), natural logarithm, EOS included."""
    score: float
    """GNMT's s(Y, X), which ranks."""
    token_log_probabilities: tuple[float, ...]
    """One for each subword, then EOS's."""
    cut_off: bool
    """The greatest length was reached and EOS forced, though the model found another symbol likelier."""
    attention: Tensor | None = None
    """[T, S], float32 on the CPU: what each subword, then EOS, attended to in the source, EOS included. Kept only
    when it is asked for."""


NOTHING = Hypothesis((), 0.0, 0.0, (), False)
"""The translation of a source without subwords, for which nothing is computed."""


def length_penalty(num_tokens: Any, alpha: float) -> Any:
    """GNMT's lp for a number (or array of numbers) of target tokens, EOS counted."""
    return ((5.0 + num_tokens) / 6.0) ** alpha


def coverage_penalty(coverage_XS: Tensor, is_real_XS: Tensor, beta: float) -> Tensor:
    """GNMT's cp [X] from the attention that each source position has received in all."""
    covered_XS = coverage_XS.clamp(COVERAGE_FLOOR, 1.0).log()
    return beta * (covered_XS * is_real_XS).sum(dim=-1)


def search_all(
    model: SearchModel,
    sources: Sequence[Sequence[int]],
    options: SearchOptions,
    *,
    batch_tokens: int,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
    tasks: Sequence[SearchTask] | None = None,
) -> list[list[Hypothesis]]:
    """Search for every source, in batches of similar length; results in the order of ``sources``.

    Args:
        sources: subword ids without special symbols; one without ids gives ``[NOTHING]``.
        batch_tokens: source tokens of a batch times beam size, padding included.
        device: where the model is.
    """
    if any(task.prefix_ids or task.phrases_ids for task in tasks or ()):
        raise UserError("prefixes and phrases cannot be searched for yet", fix="leave them out")
    results = [[NOTHING] for _ in sources]
    worded = [index for index, source in enumerate(sources) if len(source)]
    done = len(sources) - len(worded)
    batches = batches_by_length([sources[index] for index in worded], batch_tokens // options.beam_size)
    for indices, source_BS, lengths_B in batches:
        found = beam_search(model, source_BS.to(device), lengths_B.to(device), options)
        for index, hypotheses in zip(indices, found, strict=True):
            results[worded[index]] = hypotheses
        done += len(indices)
        progress("translate", done, len(sources), "sentences")
    return results


@torch.inference_mode()
def beam_search(
    model: SearchModel, source_BS: Tensor, source_lengths_B: Tensor, options: SearchOptions
) -> list[list[Hypothesis]]:
    """Search for the hypotheses with the highest GNMT score.

    At each step, the candidates of a sentence are the extensions of its live hypotheses that are at most
    ``prune_margin`` less likely than the likeliest extension of the same hypothesis (GNMT's first pruning).
    Of the ``beam_size`` likeliest candidates those that are EOS are finished; the ``beam_size`` likeliest
    others live on. (All candidates of a step have one length, so dividing by lp would not reorder them; the
    coverage of an unfinished sentence says nothing, so it counts from EOS on.)

    A finished hypothesis that scores more than ``prune_margin`` below the best one is dropped (GNMT's second
    pruning), and so is a live one of which no ending could score higher than that. A sentence is done, and
    leaves the batch, when ``beam_size`` finished hypotheses are kept, when no live one could still enter the
    ``num_best``, or at the latest at the greatest length, where every live hypothesis ends in EOS at the
    probability that the model gives to it. PAD, UNK and BOS are never produced, though their probability is
    not given to the others: log-probabilities are those of the model. With a beam of 1 this is greedy search.

    Args:
        model: in evaluation mode, on the device of the tensors.
        source_BS: int64, EOS after each sentence, then PAD.
        source_lengths_B: int64, EOS counted.

    Returns:
        For each sentence 1 to ``num_best`` hypotheses, best first.

    Raises:
        UserError: the model's output is not a number.
    """
    live = _Live.start(model, source_BS, source_lengths_B)
    finished = _Finished(live.source_lengths_X.cpu().numpy(), options)
    history: list[_Step] = []
    while len(live.sentences_X):
        logits_XV, attention_XS, state = model.decode_step(live.tokens_X, live.state)
        live = live._replace(state=state, coverage_XS=live.coverage_XS + attention_XS)
        extensions = _extensions(logits_XV.float(), live, options)
        is_last_X = finished.max_lengths_B[live.sentences_X] == len(history)
        scores_XC = _pruned(extensions, is_last_X, options.prune_margin) + live.log_probabilities_X[:, None]
        ending, going_on = _chosen(scores_XC, live.sentences_X, options.beam_size)
        finished.add(ending, extensions, scores_XC, live.sentences_X, num_tokens=len(history) + 1)
        going_on = finished.still_hopeful(going_on, scores_XC, live.sentences_X)
        history.append(_Step.taken(going_on, extensions, attention_XS.cpu() if options.keep_attention else None))
        live = live.advance(going_on, scores_XC, history[-1].tokens_X)
    return finished.results(history)


class _Places(NamedTuple):
    """Chosen cells of an [X, C] array."""

    rows: np.ndarray
    columns: np.ndarray


class _Extensions(NamedTuple):
    """Ways to extend each live hypothesis: column 0 is EOS, then come the likeliest words, best first."""

    tokens_XC: np.ndarray
    log_probabilities_XC: np.ndarray
    coverage_penalty_X: np.ndarray


class _Live(NamedTuple):
    """The hypotheses that are being extended."""

    sentences_X: np.ndarray
    log_probabilities_X: np.ndarray
    tokens_X: Tensor
    coverage_XS: Tensor
    source_lengths_X: Tensor
    state: Any

    @classmethod
    def start(cls, model: SearchModel, source_BS: Tensor, source_lengths_B: Tensor) -> _Live:
        num_sentences = len(source_BS)
        return cls(
            sentences_X=np.arange(num_sentences),
            log_probabilities_X=np.zeros(num_sentences),
            tokens_X=torch.full_like(source_lengths_B, BOS),
            coverage_XS=torch.zeros(source_BS.shape, device=source_BS.device),
            source_lengths_X=source_lengths_B,
            state=model.initial_state(model.encode(source_BS, source_lengths_B)),
        )

    def advance(self, places: _Places, scores_XC: np.ndarray, tokens_X: np.ndarray) -> _Live:
        device = self.tokens_X.device
        moved = self
        if not np.array_equal(places.rows, np.arange(len(self.sentences_X))):  # else nothing moves: greedy search
            rows_X = torch.from_numpy(places.rows).to(device)
            moved = self._replace(
                coverage_XS=self.coverage_XS[rows_X],
                source_lengths_X=self.source_lengths_X[rows_X],
                state=self.state.select(rows_X),
            )
        return moved._replace(
            sentences_X=self.sentences_X[places.rows],
            log_probabilities_X=scores_XC[places],
            tokens_X=torch.from_numpy(tokens_X).to(device),
        )


class _Step(NamedTuple):
    """How the live hypotheses of a step came from those before."""

    parents_X: np.ndarray
    tokens_X: np.ndarray
    log_probabilities_X: np.ndarray
    attention_XS: Tensor | None

    @classmethod
    def taken(cls, places: _Places, extensions: _Extensions, attention_XS: Tensor | None) -> _Step:
        tokens_X, log_probabilities_X = extensions.tokens_XC[places], extensions.log_probabilities_XC[places]
        return cls(places.rows, tokens_X, log_probabilities_X, attention_XS)


def _extensions(logits_XV: Tensor, live: _Live, options: SearchOptions) -> _Extensions:
    """The ``beam_size`` likeliest words of each row, and EOS; bookkeeping is on the CPU from here on."""
    num_words = min(options.beam_size, logits_XV.shape[1] - NUM_SPECIAL)
    log_probabilities_XV = logits_XV.log_softmax(dim=-1)
    best_XW, words_XW = log_probabilities_XV[:, NUM_SPECIAL:].topk(num_words, dim=-1)
    log_probabilities_XC = torch.cat([log_probabilities_XV[:, EOS : EOS + 1], best_XW], dim=-1)
    positions_S = torch.arange(live.coverage_XS.shape[1], device=logits_XV.device)
    is_real_XS = positions_S < live.source_lengths_X[:, None]
    extensions = _Extensions(
        tokens_XC=np.pad(words_XW.cpu().numpy() + NUM_SPECIAL, ((0, 0), (1, 0)), constant_values=EOS),
        log_probabilities_XC=log_probabilities_XC.cpu().numpy().astype(np.float64),
        coverage_penalty_X=coverage_penalty(live.coverage_XS, is_real_XS, options.coverage_beta).cpu().numpy(),
    )
    if np.isnan(extensions.log_probabilities_XC).any():
        raise UserError(
            "the model's output is not a number (NaN), so nothing can be translated with it",
            fix="training went wrong before this checkpoint was saved: choose an earlier one",
        )
    return extensions


def _pruned(extensions: _Extensions, is_last_X: np.ndarray, margin: float) -> np.ndarray:
    """Log-probabilities [X, C], -inf where GNMT's first pruning or the greatest length forbids the extension."""
    kept_XC = extensions.log_probabilities_XC.copy()
    kept_XC[kept_XC < kept_XC.max(axis=1, keepdims=True) - margin] = -np.inf
    kept_XC[is_last_X] = -np.inf
    kept_XC[is_last_X, 0] = extensions.log_probabilities_XC[is_last_X, 0]
    return kept_XC


def _chosen(scores_XC: np.ndarray, sentences_X: np.ndarray, beam_size: int) -> tuple[_Places, _Places]:
    """Places of the candidates that end, and of those that live on, sorted by sentence, then best first."""
    sentences_A, group_X = np.unique(sentences_X, return_inverse=True)
    rank_X = np.arange(len(sentences_X)) - np.searchsorted(sentences_X, sentences_A)[group_X]
    num_columns = scores_XC.shape[1]
    scores_AWC = np.full((len(sentences_A), beam_size, num_columns), -np.inf)
    scores_AWC[group_X, rank_X] = scores_XC
    rows_AW = np.zeros((len(sentences_A), beam_size), dtype=np.int64)
    rows_AW[group_X, rank_X] = np.arange(len(sentences_X))

    # At most beam_size candidates are EOS, so that many more are enough.
    flat = scores_AWC.reshape(len(sentences_A), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * beam_size]
    is_allowed = np.take_along_axis(flat, order, axis=1) > -np.inf
    is_eos = order % num_columns == 0
    is_ending = is_allowed & is_eos & (np.arange(order.shape[1]) < beam_size)
    is_going_on = is_allowed & ~is_eos
    is_going_on &= is_going_on.cumsum(axis=1) <= beam_size

    def places(is_chosen: np.ndarray) -> _Places:
        groups = np.nonzero(is_chosen)[0]
        return _Places(rows_AW[groups, order[is_chosen] // num_columns], order[is_chosen] % num_columns)

    return places(is_ending), places(is_going_on)


class _Ending(NamedTuple):
    """A finished hypothesis, not yet spelt out: it extends row ``parent`` of the step before with EOS."""

    score: float
    log_probability: float
    num_tokens: int
    parent: int
    eos_log_probability: float
    cut_off: bool


class _Finished:
    """The finished hypotheses of each sentence, best first, and what they rule out."""

    def __init__(self, source_lengths_B: np.ndarray, options: SearchOptions) -> None:
        self.options = options
        self.source_lengths_B = source_lengths_B
        self.max_lengths_B = np.array([options.max_length(int(length) - 1) for length in source_lengths_B])
        self.endings_B: list[list[_Ending]] = [[] for _ in source_lengths_B]
        self.best_B = np.full(len(source_lengths_B), -np.inf)
        self.to_beat_B = np.full(len(source_lengths_B), -np.inf)
        """Score of the last of the num_best, once there are so many; +inf for a sentence that is done."""

    def add(
        self,
        places: _Places,
        extensions: _Extensions,
        scores_XC: np.ndarray,
        sentences_X: np.ndarray,
        num_tokens: int,
    ) -> None:
        """Take in the hypotheses that EOS ends at ``places``, and drop those far below the best."""
        likeliest_X = extensions.log_probabilities_XC.argmax(axis=1)
        for row in places.rows:
            sentence = sentences_X[row]
            log_probability = float(scores_XC[row, 0])
            penalty = length_penalty(num_tokens, self.options.length_alpha)
            ending = _Ending(
                score=float(log_probability / penalty + extensions.coverage_penalty_X[row]),
                log_probability=log_probability,
                num_tokens=num_tokens,
                parent=int(row),
                eos_log_probability=float(extensions.log_probabilities_XC[row, 0]),
                cut_off=bool(num_tokens > self.max_lengths_B[sentence] and likeliest_X[row] != 0),
            )
            bisect.insort(self.endings_B[sentence], ending, key=lambda ending: -ending.score)
        for sentence in np.unique(sentences_X[places.rows]):
            self._rule_out(sentence)

    def _rule_out(self, sentence: int) -> None:
        endings = self.endings_B[sentence]
        best = endings[0].score
        while endings[-1].score < best - self.options.prune_margin:
            endings.pop()
        self.best_B[sentence] = best
        if len(endings) >= self.options.beam_size:
            self.to_beat_B[sentence] = np.inf
        elif len(endings) >= self.options.num_best:
            self.to_beat_B[sentence] = endings[self.options.num_best - 1].score

    def still_hopeful(self, places: _Places, scores_XC: np.ndarray, sentences_X: np.ndarray) -> _Places:
        """Those of the live hypotheses at ``places`` that are worth extending.

        What a hypothesis can reach at most: it stays as likely, becomes as long as can be, covers everything.
        """
        sentences = sentences_X[places.rows]
        num_tokens = self.max_lengths_B[sentences] + 1
        reachable = scores_XC[places] / length_penalty(num_tokens, self.options.length_alpha)
        highest_B = np.full(len(self.best_B), -np.inf)
        np.maximum.at(highest_B, sentences, reachable)
        # A sentence goes on as a whole: fewer live hypotheses would let others in, and the best translation
        # would depend on num_best.
        is_open = highest_B[sentences] > self.to_beat_B[sentences]
        is_near = reachable >= self.best_B[sentences] - self.options.prune_margin
        return _Places(places.rows[is_open & is_near], places.columns[is_open & is_near])

    def results(self, history: list[_Step]) -> list[list[Hypothesis]]:
        num_best = self.options.num_best
        places = zip(self.endings_B, self.source_lengths_B.tolist(), strict=True)
        return [[_spelt_out(ending, history, length) for ending in endings[:num_best]] for endings, length in places]


def _spelt_out(ending: _Ending, history: list[_Step], source_length: int) -> Hypothesis:
    attention = []
    ids: list[int] = []
    log_probabilities = [ending.eos_log_probability]
    row = ending.parent
    last = history[ending.num_tokens - 1].attention_XS
    if last is not None:
        attention.append(last[row, :source_length].float())
    for step in reversed(history[: ending.num_tokens - 1]):
        ids.append(int(step.tokens_X[row]))
        log_probabilities.append(float(step.log_probabilities_X[row]))
        row = step.parents_X[row]
        if step.attention_XS is not None:
            attention.append(step.attention_XS[row, :source_length].float())
    return Hypothesis(
        ids=tuple(reversed(ids)),
        log_probability=ending.log_probability,
        score=ending.score,
        token_log_probabilities=tuple(reversed(log_probabilities)),
        cut_off=ending.cut_off,
        attention=torch.stack(attention[::-1]) if attention else None,
    )
