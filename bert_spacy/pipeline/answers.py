"""From start and end scores to answers and how probable each is, for many Docs at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..layers.qa import SpanScores
from ..text.windows import pack_windows
from ..text.words import whole_words
from ..types import Ints, concat_ranges

# Most pieces in an answer of few but very long tokens: bounds the table of spans.
MAX_PIECES = 256
# Most cells of a table, unless a single Doc needs more.
TABLE_CELLS = 2**22
# Answers that share this part of the characters of both are the same one, cut differently.
SAME_PLACE = 0.5
# How many spans are looked at first, for each answer that is asked for.
FIRST_LOOK = 16

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The answers to one question.

    answers (list[dict]): "text", "start", "end" (characters of the context), "score" and
        "probability"; that of the best single span first, as SQuAD wants it, so a later one
        that stands in several places may be more probable.
    gap (float): Score of "no answer" less that of the best span; -inf where there is always
        an answer.
    null_probability (float): Probability of "no answer".
    """

    answers: list[dict[str, Any]]
    gap: float
    null_probability: float


@dataclass(frozen=True)
class SpanTable:
    """The distribution over all spans of some contexts, and "no answer" beside them.

    An answer is a text. Its probability is the sum over all spans that read so when they are
    widened to whole words, wherever they stand, as any of them is the same answer.

    edges (Tensor): Scores of all pieces as the first and as the last one of an answer; -inf for
        those that can't be, and for padding. Shape (G, N, 2).
    total (Tensor): Score of the answer from piece p to piece p + k. Shape (G, N, W).
    null (Tensor): Start and end score of "no answer"; -inf where there is always an answer.
        Shape (G, 2).
    temperature (float): Scores of answers and of none are divided by it.
    """

    edges: Tensor
    total: Tensor
    null: Tensor
    temperature: float

    @cached_property
    def best(self) -> Tensor:
        """Score of the best span of each Doc; -inf where there is none. Shape (G,)."""
        return self.total.amax(dim=(1, 2))

    @cached_property
    def log_mass(self) -> Tensor:
        """Log of the sum over all spans and "no answer", in double. Shape (G,)."""
        # The largest is taken out before the sum, which keeps float32 exact enough.
        top = torch.maximum(self.best, self.null.sum(1)).clamp(min=torch.finfo(torch.float32).min)
        shares = torch.exp((self.total - top[:, None, None]) / self.temperature)
        null = torch.exp((self.null.sum(1) - top) / self.temperature).double()
        sums = shares.sum(dim=2).double().sum(dim=1) + null
        return torch.log(sums) + top.double() / self.temperature

    @cached_property
    def null_probability(self) -> Tensor:
        """Probability of "no answer". Shape (G,)."""
        return torch.exp(self.null.sum(1).double() / self.temperature - self.log_mass)

    @cached_property
    def edge_mass(self) -> Tensor:
        """Log of the sum over first pieces times that over last pieces. Shape (G,)."""
        return torch.logsumexp(torch.cat([self.null[:, None], self.edges], 1), 1).sum(1)

    def sum_blocks(self, rows: Ints, first: Ints, last: Ints) -> Floats:
        """Return the probability of all spans between ranges of first and of last pieces.

        rows (Ints): A Doc for each block. Shape (B,).
        first, last (Ints): First and end (exclusive) of its ranges. Shape (B, 2).
        RETURNS (Floats): Shape (B,).
        """
        width = self.total.shape[2]
        counts = np.maximum(first[:, 1] - first[:, 0], 0)
        every = np.repeat(np.arange(len(rows)), counts)
        starts = concat_ranges(first[:, 0], first[:, 0] + counts)
        total = np.zeros(len(rows))
        # A word may have very many pieces.
        step = max(1, TABLE_CELLS // width)
        for at in range(0, len(starts), step):
            block, start = (x[at : at + step] for x in (every, starts))
            low = np.clip(last[block, 0] - start, 0, width)
            high = np.clip(last[block, 1] - start, low, width)
            block, start = (np.repeat(x, high - low) for x in (block, start))
            index = (torch.from_numpy(x) for x in (rows[block], start, concat_ranges(low, high)))
            scores = self.total[tuple(index)].double() / self.temperature
            shares = torch.exp(scores - self.log_mass[torch.from_numpy(rows[block])]).numpy()
            total += np.bincount(block, weights=shares, minlength=len(rows))
        return total


def find_answers(
    contexts: Sequence[tuple[str, int] | None],
    scores: SpanScores,
    *,
    most_tokens: int,
    n_best: int,
    knows_null: bool,
    temperature: float = 1.0,
) -> list[Found | None]:
    """Find the best answers of a batch.

    One softmax runs over all spans of all windows of a question, and "no answer". Answers that
    mostly overlap with a better one are left out, and their probability goes to none other, as
    they are other texts.

    contexts (Sequence[tuple[str, int] | None]): Text of each Doc, and where its context begins;
        None for a Doc without a question.
    scores (SpanScores): Of the batch, on the CPU.
    most_tokens (int): Longest answer, in tokens, before it is widened.
    n_best (int): Most answers.
    knows_null (bool): Whether there may be no answer.
    temperature (float): See `SpanTable`.
    RETURNS (list[Found | None]): For each Doc; None without a piece that may begin an answer.
    """
    found: list[Found | None] = [None] * len(contexts)
    asked = np.array([context is not None for context in contexts], dtype=bool)
    for docs, table in _make_tables(scores, asked, most_tokens, knows_null, temperature):
        given = ((i, contexts[i]) for i in docs)
        readers = [_Reader(context, scores, i) for i, context in given if context is not None]
        _choose(table, readers, n_best)
        answers = _describe(table, readers)
        gaps = (table.null.sum(1) - table.best).tolist()
        null, best = table.null_probability.tolist(), table.best.tolist()
        for row, i in enumerate(docs):
            if best[row] > -np.inf:
                found[i] = Found(answers[row], gaps[row], null[row])
    return found


def _make_tables(
    scores: SpanScores, asked: Bools, most_tokens: int, knows_null: bool, temperature: float
) -> Iterator[tuple[Ints, SpanTable]]:
    """Yield Docs of similar length that have a question and a context, and their table."""
    counts = np.diff(scores.offsets)
    n = len(scores.piece_token)
    # Pieces of white space between tokens begin and end no answer.
    outside = torch.from_numpy(scores.piece_token < 0)
    edges = scores.scores.masked_fill(outside[:, None], -torch.inf)
    token = np.maximum.accumulate(scores.piece_token)
    reach = np.searchsorted(token, token + most_tokens) - np.arange(n)
    reach = np.minimum(reach, np.repeat(scores.offsets[1:], counts) - np.arange(n))
    width = min(int(reach.max(initial=1)), max(MAX_PIECES, 2 * most_tokens))
    reach = np.minimum(reach, width)
    null = scores.null if knows_null else scores.null.new_full(scores.null.shape, -torch.inf)
    for docs in pack_windows(counts, max(1, TABLE_CELLS // width), np.inf):
        docs = docs[asked[docs] & (counts[docs] > 0)]
        if not len(docs):
            continue
        rows = torch.from_numpy(concat_ranges(scores.offsets[docs], scores.offsets[docs + 1]))
        size = torch.from_numpy(counts[docs])
        mask = torch.arange(int(size.max()))[None] < size[:, None]
        padded = edges.new_full((*mask.shape, 2), -torch.inf)
        padded[mask] = edges[rows]
        limit = torch.zeros(mask.shape, dtype=torch.int64)
        limit[mask] = torch.from_numpy(reach)[rows]
        wide = min(width, int(limit.max()))
        ends = torch.nn.functional.pad(padded[..., 1], (0, wide - 1), value=-torch.inf)
        total = padded[..., 0, None] + ends.unfold(1, wide, 1)
        total.masked_fill_(torch.arange(wide) >= limit[..., None], -torch.inf)
        yield docs, SpanTable(padded, total, null[torch.from_numpy(docs)], temperature)


def _choose(table: SpanTable, readers: Sequence["_Reader"], n_best: int) -> None:
    """Offer the spans of each Doc to its reader, best first, until it has enough."""
    part, wide = table.total.flatten(1), table.total.shape[2]
    pending, k = np.arange(len(readers)), FIRST_LOOK * n_best
    while len(pending):
        values, index = part.topk(min(k, part.shape[1]))
        first = torch.div(index, wide, rounding_mode="floor")
        spans = zip(values.numpy(), first.numpy(), (first + index % wide).numpy())
        enough = [readers[int(at)].take(*row, n_best) for at, row in zip(pending, spans)]
        # Rarely are so many of the best spans the same answer.
        again = ~(np.array(enough) | (values[:, -1] == -torch.inf).numpy())
        pending, part = pending[again], part[torch.from_numpy(again)]  # a copy
        for at, row in zip(pending, part):
            readers[int(at)].hide(row.view(-1, wide))
        k *= 8


def _describe(table: SpanTable, readers: Sequence["_Reader"]) -> list[list[dict[str, Any]]]:
    """Return what each reader chose, with its probability."""
    chosen = [(row, *item) for row, reader in enumerate(readers) for item in reader.chosen]
    blocks, owner = [], []
    for at, (row, a, b, _) in enumerate(chosen):
        found = readers[row].find(readers[row].text[a:b])
        blocks += [(row, *block) for block in found]
        owner += [at] * len(found)
    rows, *bounds = np.array(blocks, dtype=np.int64).reshape(-1, 5).T
    sums = table.sum_blocks(rows, np.stack(bounds[:2], 1), np.stack(bounds[2:], 1))
    shares = np.bincount(np.array(owner, dtype=np.int64), sums, len(chosen)).clip(max=1.0)
    norm = table.edge_mass.tolist()
    answers: list[list[dict[str, Any]]] = [[] for _ in readers]
    for (row, a, b, score), probability in zip(chosen, shares.tolist()):
        reader = readers[row]
        answers[row].append(
            {
                "text": reader.text[a:b],
                "start": a - reader.base,
                "end": b - reader.base,
                "score": math.exp(score - norm[row]),
                "probability": probability,
            }
        )
    return answers


class _Reader:
    """Reads spans of pieces as answers of one Doc."""

    def __init__(self, context: tuple[str, int], scores: SpanScores, i: int):
        low, high = scores.offsets[i], scores.offsets[i + 1]
        self.text, self.base = context
        start, end = whole_words(self.text)
        # Where an answer begins whose first piece is this one; where one ends.
        # Pieces of white space, which begin none, may stand behind the last character.
        self.start = start[np.minimum(scores.piece_start[low:high], len(self.text) - 1)]
        self.end = end[np.maximum(scores.piece_end[low:high] - 1, 0)]
        self.chosen: list[tuple[int, int, float]] = []
        self.seen: set[tuple[int, int]] = set()

    def take(self, values: Floats, first: Ints, last: Ints, n_best: int) -> bool:
        """Choose among further spans, best first; say whether there are enough now."""
        n = np.count_nonzero(values > -np.inf)
        starts, ends = self.start[first[:n]].tolist(), self.end[last[:n]].tolist()
        self.seen = set(zip(starts, ends))
        for value, a, b in zip(values.tolist(), starts, ends):
            if a < b and not any(self._is_same(a, b, c, d) for c, d, _ in self.chosen):
                self.chosen.append((a, b, value))
                if len(self.chosen) == n_best:
                    return True
        return False

    def hide(self, total: Tensor) -> None:
        """Take out of a table, shape (P, W), all spans that are read as what was seen last."""
        for start, end in self.seen:
            a, b = self.start.searchsorted((start, start + 1)).tolist()
            c, d = self.end.searchsorted((end, end + 1)).tolist()
            last = torch.arange(a, b)[:, None] + torch.arange(total.shape[1])
            total[a:b].masked_fill_((last >= c) & (last < d), -torch.inf)

    def find(self, text: str) -> list[tuple[int, int, int, int]]:
        """Return the ranges of first and last pieces of all answers with a text."""
        found, at = [], self.base - 1
        while (at := self.text.find(text, at + 1)) >= 0:
            a, b = self.start.searchsorted((at, at + 1)).tolist()
            c, d = self.end.searchsorted((at + len(text), at + len(text) + 1)).tolist()
            if a < b and c < d:
                found.append((a, b, c, d))
        return found

    def _is_same(self, a: int, b: int, c: int, d: int) -> bool:
        common = min(b, d) - max(a, c)
        return common >= SAME_PLACE * (max(b, d) - min(a, c)) or (
            b - a == d - c and self.text[a:b] == self.text[c:d]
        )
