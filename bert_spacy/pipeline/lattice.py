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
Bools = NDArray[np.bool_]
# Tags of some entities, and which must not stand after and before each.
Way = tuple[Ints, Bools, Bools]


class Spans(NamedTuple):
    """Entities as positions among all tokens with pieces, Doc after Doc; each of shape (S,)."""

    start: Ints
    end: Ints  # exclusive
    label: Ints

    def select(self, index: NDArray) -> "Spans":
        """Return some of them."""
        return Spans(*(part[index] for part in self))


class Given(NamedTuple):
    """What is known of some tokens before the tagger decides on the others.

    allowed (NDArray): True where a token may have a tag, bool. Shape (N, L).
    is_fixed (NDArray): True where a token's tag is given, bool. Shape (N,).
    """

    allowed: Bools
    is_fixed: Bools


@dataclass(frozen=True)
class Lattice:
    """The distribution over the taggings of some Docs.

    scores (TagScores): From the model, of Docs that have tokens.
    crf (LinearChainCRF | None): None where each token has a softmax of its own. There, and where a
        CRF allows every step, tags that make no legal sequence are read as `tags_to_spans` repairs
        them.
    scheme (str): "bio", "bioes" or "biox".
    n_labels (int): Number of entity labels.
    temperature (float): All scores are divided by it.
    given (Given | None): Everything here is said on condition that this holds; entities that are
        given are not among those that are found.
    """

    scores: TagScores
    crf: LinearChainCRF | None
    scheme: str
    n_labels: int
    temperature: float = 1.0
    given: Given | None = None

    @cached_property
    def offsets(self) -> Ints:
        """Where the tokens of each Doc begin, and their number. Shape (D + 1,)."""
        return np.concatenate(([0], np.cumsum(self.scores.lengths)))

    def read_spans(self, tags: Ints) -> Spans:
        """Return the entities of tags (N,) that are not given, in order."""
        return self._leave_given(
            Spans(*tags_to_spans(tags, self.n_labels, self.scheme, self.offsets))
        )

    def doc_of(self, spans: Spans) -> Ints:
        """Return the Doc of each entity. Shape (S,)."""
        return np.searchsorted(self.offsets, spans.start, side="right") - 1

    def decode(self) -> Ints:
        """Return the best tags of all tokens. Shape (N,)."""
        if self.crf is None and self.given is None:
            return self.scores.emissions.argmax(dim=1).cpu().numpy()
        best, _ = self._chain.decode(self._padded, self._mask, self._allowed)
        return best[self._mask].cpu().numpy()

    def decode_k_best(self, k: int) -> tuple[list[Ints], Floats]:
        """Return the k best taggings of each Doc and their probabilities, best first.

        k (int): Taggings of a Doc. Where there are fewer, the probability of the rest is 0.
        RETURNS (tuple[list[Ints], Floats]): For each rank the tags of all tokens, shape (N,);
            and the probabilities, shape (D, k).
        """
        # In double, so that the difference from the mass of all keeps digits.
        mask = self._mask.cpu()
        allowed = None if self._allowed is None else self._allowed.cpu()
        tags, scores = self._chain.decode_k_best(self._padded.cpu().double(), mask, k, allowed)
        mass = torch.from_numpy(self._posterior.log_mass)
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
        doc = self.doc_of(spans)
        place = spans.start - self.offsets[doc]
        first = 1 + spans.label * len(PREFIXES[self.scheme])
        size = spans.end - spans.start
        total = np.zeros(len(size))
        for tags, stop, avoid in self._ways(size, first, is_whole):
            runs = TagRuns(doc, place, tags, size, stop, avoid)
            total += np.exp(self._posterior.score_runs(runs))
        return total.clip(max=1.0)

    def search(self, lowest: float) -> tuple[Spans, Floats]:
        """Find all entities that are probable enough, overlapping ones too.

        lowest (float): Smallest probability, above 0.
        RETURNS (tuple[Spans, Floats]): The entities, sorted by start, and their probabilities.
        """
        width = len(PREFIXES[self.scheme])
        table = self._marginals[:, 1:].reshape(-1, self.n_labels, width).sum(2)
        if self.given is not None:
            table[self.given.is_fixed] = 0.0
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

    def _leave_given(self, spans: Spans) -> Spans:
        return spans if self.given is None else spans.select(~self.given.is_fixed[spans.start])

    def _ways(self, size: Ints, first: Ints, is_whole: bool) -> Iterator[Way]:
        """Yield the ways to write entities of some sizes whose labels have these B tags."""
        ends = np.cumsum(size)
        starts, lasts = ends - size, ends - 1
        single = size == 1
        has_ends = PREFIXES[self.scheme] == "BIES"
        columns = np.arange(self.scores.emissions.shape[1])
        none = np.zeros((len(size), len(columns)), dtype=bool)
        before = columns - first[:, None]
        is_open = (before == 0) | (before == 1)
        goes_on = (before == 1) | (before == 2) if has_ends else before == 1
        # An I or E opens an entity unless one of its label is open before it.
        is_free = bool(self._chain.transitions_mask.all())
        for opens in ("B", "I") if is_free else ("B",):
            avoid = none if opens == "B" else is_open
            tags = np.repeat(first + 1, size)
            tags[starts] = first + (opens == "I")
            if not is_whole:
                yield tags, none, avoid
                continue
            if has_ends:
                closed = tags.copy()
                closed[lasts] = first + 2
                closed[starts[single]] = first[single] + (3 if opens == "B" else 2)
                yield closed, none, avoid
            if is_free or not has_ends:
                yield tags, goes_on, avoid

    @cached_property
    def _marginals(self) -> Floats:
        return np.concatenate(self._posterior.marginals())

    @cached_property
    def _posterior(self) -> Posterior:
        return self._chain.posterior(self._padded, self._mask, self.temperature, self._allowed)

    @cached_property
    def _chain(self) -> LinearChainCRF:
        # Tokens on their own are a chain whose transitions say nothing.
        emissions = self.scores.emissions
        return self.crf or LinearChainCRF(emissions.shape[1]).to(emissions.device)

    @cached_property
    def _mask(self) -> Tensor:
        return make_mask(self.scores.lengths, self.scores.emissions.device)

    @cached_property
    def _allowed(self) -> Tensor | None:
        if self.given is None:
            return None
        return pad(torch.from_numpy(self.given.allowed).to(self._mask.device), self._mask)

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
