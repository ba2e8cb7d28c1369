"""What tag scores say about tags, entities and whole taggings of a batch of Docs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..layers.ner import TagScores
from ..nn.crf import LinearChainCRF
from ..nn.spans import Posterior, TagRuns
from ..text.tags import PREFIXES, tags_to_spans
from ..text.windows import pack_windows
from ..types import Ints, concat_ranges

# Most padded tokens in one call of the CRF.
CRF_BUDGET = 65536

Floats = NDArray[np.float64]


class Spans(NamedTuple):
    """Entities as positions among all tokens with pieces, Doc after Doc; each of shape (S,)."""

    start: Ints
    end: Ints  # exclusive
    label: Ints

    def select(self, index: NDArray) -> "Spans":
        """Return some of them."""
        return Spans(*(part[index] for part in self))


@dataclass(frozen=True)
class Lattice:
    """The distribution over the taggings of some Docs.

    scores (TagScores): From the model, of Docs that have tokens.
    crf (LinearChainCRF | None): None where each token has a softmax of its own; tags that make no
        legal sequence are then read as `tags_to_spans` repairs them.
    scheme (str): "bio" or "bioes".
    n_labels (int): Number of entity labels.
    temperature (float): All scores are divided by it.
    """

    scores: TagScores
    crf: LinearChainCRF | None
    scheme: str
    n_labels: int
    temperature: float = 1.0

    @cached_property
    def offsets(self) -> Ints:
        """Where the tokens of each Doc begin, and their number. Shape (D + 1,)."""
        return np.concatenate(([0], np.cumsum(self.scores.lengths)))

    def read_spans(self, tags: Ints) -> Spans:
        """Return the entities of tags (N,), in order."""
        return Spans(*tags_to_spans(tags, self.n_labels, self.scheme, self.offsets))

    def doc_of(self, spans: Spans) -> Ints:
        """Return the Doc of each entity. Shape (S,)."""
        return np.searchsorted(self.offsets, spans.start, side="right") - 1

    def decode(self) -> Ints:
        """Return the best tags of all tokens. Shape (N,)."""
        if self.crf is None:
            return self.scores.emissions.argmax(dim=1).cpu().numpy()
        best, _ = self.crf.decode(self._padded, self._mask)
        return best[self._mask].cpu().numpy()

    def decode_k_best(self, k: int) -> tuple[list[Ints], Floats]:
        """Return the k best taggings of each Doc and their probabilities, best first.

        k (int): Taggings of a Doc. Where there are fewer, the probability of the rest is 0.
        RETURNS (tuple[list[Ints], Floats]): For each rank the tags of all tokens, shape (N,);
            and the probabilities, shape (D, k).
        """
        # In double, so that the difference from the mass of all keeps digits.
        mask = self._mask.cpu()
        tags, scores = self._chain.decode_k_best(self._padded.cpu().double(), mask, k)
        mass = self._posterior.log_mass[self._posterior.column].cpu().double()
        shares = torch.exp(scores / self.temperature - mass[:, None])
        return [tags[:, i][mask].numpy() for i in range(k)], shares.clamp(max=1.0).numpy()

    def marginals(self) -> Floats:
        """Return the probability of each tag at each token. Shape (N, L)."""
        return self._marginals

    def score(self, spans: Spans, *, is_whole: bool = True) -> Floats:
        """Return the probability of each entity with just these bounds and this label.

        spans (Spans): Any spans that lie within their Docs.
        is_whole (bool): If False, of all entities that begin there and reach at least one token
            further than their last tag here, or could: an upper bound for longer ones.
        RETURNS (Floats): Shape (S,).
        """
        if self.crf is None:
            return np.exp(self._score_alone(spans, is_whole))
        doc = self.doc_of(spans)
        first = 1 + spans.label * len(PREFIXES[self.scheme])
        stop = first + 1 if self.scheme == "bio" and is_whole else np.full_like(first, -1)
        size = spans.end - spans.start
        tags = self._run_tags(size, first, is_whole)
        parts = (doc, spans.start - self.offsets[doc], tags, size, stop)
        device = self.scores.emissions.device
        runs = TagRuns(*(torch.from_numpy(part).to(device) for part in parts))
        return self._posterior.score_runs(runs).double().exp().clamp(max=1.0).cpu().numpy()

    def search(self, lowest: float) -> tuple[Spans, Floats]:
        """Find all entities that are probable enough, overlapping ones too.

        lowest (float): Smallest probability, above 0.
        RETURNS (tuple[Spans, Floats]): The entities, sorted by start, and their probabilities.
        """
        width = len(PREFIXES[self.scheme])
        table = self._marginals[:, 1:].reshape(-1, self.n_labels, width).sum(2)
        start, label = np.nonzero(table >= lowest)
        bounds = self.offsets[np.searchsorted(self.offsets, start, side="right")]
        reach, found, values = Spans(start, start + 1, label), [], []
        while len(reach.start):
            value = self.score(reach)
            good = value >= lowest
            found.append(reach.select(good))
            values.append(value[good])
            # Those that begin at a token and reach another one exclude each other, so that few
            # are probable enough, and the sum of all this is in proportion to the text.
            on = (reach.end < bounds) & (self.score(reach, is_whole=False) >= lowest)
            reach, bounds = reach.select(on), bounds[on]
            reach = reach._replace(end=reach.end + 1)
        if not found:
            return reach, np.zeros(0)
        spans = Spans(*map(np.concatenate, zip(*found)))
        order = np.argsort(spans.start, kind="stable")
        return spans.select(order), np.concatenate(values)[order]

    def _run_tags(self, size: Ints, first: Ints, is_whole: bool) -> Ints:
        """Return the tags of entities of some sizes whose labels have these B tags."""
        ends = np.cumsum(size)
        tags = np.repeat(first + 1, size)
        tags[ends - size] = first
        if self.scheme == "bioes" and is_whole:
            tags[ends - 1] = first + np.where(size == 1, 3, 2)
        return tags

    def _score_alone(self, spans: Spans, is_whole: bool) -> Floats:
        """Return log-probabilities where every token has a softmax of its own."""
        table = self._marginals
        n = len(table)
        width = len(PREFIXES[self.scheme])
        tags = table[:, 1:].reshape(n, self.n_labels, width).transpose(2, 0, 1)
        begin, inside = tags[0], tags[1]
        last, single = (tags[2], tags[3]) if width == 4 else (np.zeros_like(begin),) * 2
        # An I or E opens an entity unless one of its label is open before it.
        is_open = np.concatenate([np.zeros((1, self.n_labels)), (begin + inside)[:-1]])[:n]
        is_open[self.offsets[:-1]] = 0.0
        goes_on = np.concatenate([(inside + last)[1:], np.zeros((1, self.n_labels))])[:n]
        goes_on[self.offsets[1:] - 1] = 0.0
        opening = begin + inside * (1 - is_open)
        closed = single + last * (1 - is_open)
        start, end, label = spans
        with np.errstate(divide="ignore"):
            if not is_whole:
                sums = np.log(opening[start, label])
                return sums + self._sum_inside(inside, start + 1, end, label)
            stop = 1 - goes_on
            alone = np.log(closed + opening * stop)[start, label]
            sums = np.log(opening[start, label]) + np.log(last + inside * stop)[end - 1, label]
            sums += self._sum_inside(inside, start + 1, end - 1, label)
        return np.where(end - start == 1, alone, sums)

    def _sum_inside(self, inside: Floats, start: Ints, end: Ints, label: Ints) -> Floats:
        """Sum the logs of inside tags over positions [start, end) of each entity."""
        size = np.maximum(end - start, 0)
        rows = concat_ranges(start, end)
        each = np.repeat(np.arange(len(size)), size)
        sums = np.zeros(len(size))
        np.add.at(sums, each, np.log(inside[rows, label[each]]))
        return sums

    @cached_property
    def _marginals(self) -> Floats:
        table = self._posterior.marginals().double()
        return table[self._mask].cpu().numpy()

    @cached_property
    def _posterior(self) -> Posterior:
        return self._chain.posterior(self._padded, self._mask, self.temperature)

    @cached_property
    def _chain(self) -> LinearChainCRF:
        # Tokens on their own are a chain whose transitions say nothing.
        emissions = self.scores.emissions
        return self.crf or LinearChainCRF(emissions.shape[1]).to(emissions.device)

    @cached_property
    def _mask(self) -> Tensor:
        return make_mask(self.scores.lengths, self.scores.emissions.device)

    @cached_property
    def _padded(self) -> Tensor:
        return pad(self.scores.emissions, self._mask)


def split_scores(scores: TagScores) -> Iterator[tuple[Ints, TagScores]]:
    """Yield groups of Docs of similar length that have tokens, and their scores.

    Shorter sequences cost the CRF nothing beside longer ones but memory, so the
    groups are as large as that allows.

    scores (TagScores): Of a batch.
    YIELDS (tuple[Ints, TagScores]): Numbers of the Docs, and their scores in this order.
    """
    offsets = np.concatenate(([0], np.cumsum(scores.lengths)))
    for docs in pack_windows(scores.lengths, CRF_BUDGET, np.inf):
        docs = docs[scores.lengths[docs] > 0]
        if not len(docs):
            continue
        rows = concat_ranges(offsets[docs], offsets[docs + 1])
        index = torch.from_numpy(rows).to(scores.emissions.device)
        yield docs, TagScores(scores.emissions[index], scores.lengths[docs], scores.tokens[rows])


def make_mask(lengths: Ints, device: torch.device) -> Tensor:
    """Return True on the tokens of left-aligned sequences. Shape (B, T)."""
    sizes = torch.from_numpy(np.asarray(lengths)).to(device)
    return torch.arange(int(lengths.max()), device=device)[None] < sizes[:, None]


def pad(packed: Tensor, mask: Tensor) -> Tensor:
    """Lay packed rows (N, ...) out as (B, T, ...), zeros where the mask is False."""
    padded = packed.new_zeros((*mask.shape, *packed.shape[1:]))
    padded[mask] = packed
    return padded
