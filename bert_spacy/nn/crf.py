"""Linear-chain CRF: exact likelihood, likelihood of partial gold, marginals and Viterbi decoding.

A path of n tags scores start[y1] + sum of emissions + sum of transitions[y, y'] + end[yn], and its
probability is exp(score) over the sum of all paths. Constraints are scores of -inf, so that they
hold exactly. An empty sequence has one path, the empty one, with probability 1.

This file holds the parameters, the checks and what a path is worth; the recursions over positions
are in `chain`, `spans`, `viterbi` and `kbest`.
"""

import torch
from torch import Tensor, nn

from ..errors import Errors
from .chain import LogMass, find_expectations, find_marginals
from .kbest import find_k_best_paths
from .sequences import NEG_INF, check_array
from .spans import Posterior
from .viterbi import find_best_paths


class LinearChainCRF(nn.Module):
    """Score tag sequences by emissions and learned transitions, under hard constraints.

    n_tags (int): Number of tags L.
    transitions_mask (Tensor | None): True at [i, j] where tag j may follow tag i, bool. None
        allows all. Shape (L, L).
    start_mask (Tensor | None): True where a sequence may start with the tag. Shape (L,).
    end_mask (Tensor | None): True where a sequence may end with the tag. Shape (L,).
    RAISES (ValueError): B112 a mask has another dtype or shape; B116 number of tags.

    All methods take emissions (B, T, L) of any float dtype, finite within the mask, and a
    left-aligned bool mask (B, T); rows without any token are allowed. Scores come back in float32,
    or float64 for float64 emissions, also under autocast. Gradients are first order only.

    SOURCE: Lafferty et al. (2001), Conditional random fields.
    """

    def __init__(
        self,
        n_tags: int,
        transitions_mask: Tensor | None = None,
        start_mask: Tensor | None = None,
        end_mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        limit = torch.iinfo(torch.int16).max
        if not 1 <= n_tags <= limit:
            raise ValueError(Errors.B116.format(n_tags=n_tags, limit=limit))
        self.n_tags = n_tags
        self.transitions = nn.Parameter(torch.zeros(n_tags, n_tags))
        self.start = nn.Parameter(torch.zeros(n_tags))
        self.end = nn.Parameter(torch.zeros(n_tags))
        masks = {
            "transitions_mask": (transitions_mask, (n_tags, n_tags)),
            "start_mask": (start_mask, (n_tags,)),
            "end_mask": (end_mask, (n_tags,)),
        }
        for name, (mask, shape) in masks.items():
            value = torch.ones(shape, dtype=torch.bool) if mask is None else mask
            check_array(name, value, torch.bool, shape)
            self.register_buffer(name, value.clone(), persistent=False)

    transitions_mask: Tensor
    start_mask: Tensor
    end_mask: Tensor

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Compute the log-likelihood of the given tag paths.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        tags (Tensor): Gold tag ids, int64, ignored where mask is False. Shape (B, T).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        RETURNS (Tensor): Natural-log likelihood per sequence; 0 for an empty one. Shape (B,).
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B112, B114 tags; B115 the gold
            path breaks a constraint.

        SOURCE: Lafferty et al. (2001), section 3.
        """
        emissions, lengths = self._prepare(emissions, mask)
        check_array("tags", tags, torch.int64, tuple(mask.shape))
        tags = tags.masked_fill(~mask, 0)
        self._check_tags(tags, mask)
        total = self._log_mass(emissions, lengths)
        gold = self._score_paths(emissions, tags, mask, total.dtype)
        return (gold - total).to(emissions.dtype)

    def log_likelihood_partial(
        self, emissions: Tensor, allowed: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the log-probability that the path stays within the allowed tags.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        allowed (Tensor): True for each tag the gold admits, bool; all True where gold is missing,
            ignored where mask is False. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        RETURNS (tuple[Tensor, Tensor]): Natural-log probability per sequence, shape (B,), and
            whether any legal path stays within the allowed tags, bool, shape (B,). Where none
            does, the probability is reported as 0 without a gradient.
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B112 allowed.

        SOURCE: Tsuboi et al. (2008), Training conditional random fields using incomplete
        annotations, eq. 3.
        """
        inside, lengths = self._prepare(emissions, mask, allowed)
        emissions, _ = self._prepare(emissions, mask)
        # One run over (2B, T, L) takes as many steps as one over (B, T, L).
        both = self._log_mass(torch.cat([inside, emissions]), lengths.repeat(2))
        gold, total = both.chunk(2)
        is_possible = gold > NEG_INF
        value = torch.where(is_possible, gold - total, 0.0)
        return value.to(emissions.dtype), is_possible

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Compute the log of the summed exponential scores of all legal paths.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        RETURNS (Tensor): Log-partition in nats; 0 for an empty sequence, -inf if the constraints
            leave no path of this length. Shape (B,).
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask.

        SOURCE: Lafferty et al. (2001), section 3.
        """
        emissions, lengths = self._prepare(emissions, mask)
        return self._log_mass(emissions, lengths).to(emissions.dtype)

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Compute the exact probability of each tag at each position, without gradients.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        RETURNS (Tensor): Probabilities; 0 where masked. Shape (B, T, L).
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask.

        SOURCE: Rabiner (1989), A tutorial on hidden Markov models, section III.A.
        """
        emissions, lengths = self._prepare(emissions, mask)
        return find_marginals(emissions, lengths, *self._constrained_scores())

    def divergence(
        self,
        emissions: Tensor,
        mask: Tensor,
        teacher: "LinearChainCRF",
        teacher_emissions: Tensor,
        temperature: float = 1.0,
    ) -> Tensor:
        """Compute how far the distribution over paths is from that of a teacher.

        The divergence of Kullback and Leibler of all paths, teacher first. As a path's score is a
        sum over positions, the teacher's marginals of tags and of pairs of tags are all it takes.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        teacher (LinearChainCRF): A chain of the same tags and constraints; it gets no gradient.
        teacher_emissions (Tensor): Its scores. Shape (B, T, L).
        temperature (float): All scores of both are divided by it.
        RETURNS (Tensor): Mean over the sequences, in nats. Shape ().
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B117 temperature.
        """
        if not 0 < temperature < float("inf"):
            raise ValueError(Errors.B117.format(value=temperature))
        emissions, lengths = self._prepare(emissions, mask)
        with torch.no_grad():
            given, _ = teacher._prepare(teacher_emissions, mask)
            scores = [part / temperature for part in teacher._constrained_scores()]
            mass, unary, pairs = find_expectations(given / temperature, lengths, *scores)
            first = unary[:, 0].sum(0) if unary.shape[1] else unary.sum((0, 1))
            last = unary.gather(
                1, (lengths - 1).clamp(min=0)[:, None, None].expand_as(unary[:, :1])
            )
            parts = (unary, pairs, first, last.sum((0, 1)))
            own = (given, teacher.transitions, teacher.start, teacher.end)
            entropy = mass.sum() - sum(
                (share * part.to(share.dtype)).sum() / temperature
                for share, part in zip(parts, own)
            )
        scores = [part / temperature for part in self._constrained_scores()]
        total = LogMass.apply(emissions / temperature, lengths, *scores).sum()
        ours = (emissions, self.transitions, self.start, self.end)
        expected = sum(
            (share * part.to(share.dtype)).sum() / temperature for share, part in zip(parts, ours)
        )
        return ((total - expected) - entropy).to(emissions.dtype) / max(len(mask), 1)

    @torch.no_grad()
    def posterior(
        self,
        emissions: Tensor,
        mask: Tensor,
        temperature: float = 1.0,
        allowed: Tensor | None = None,
    ) -> Posterior:
        """Compute the distribution over paths, which knows any stretch of tags, without gradients.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        temperature (float): All scores are divided by it; above 1 flattens the distribution.
        allowed (Tensor | None): False for each tag that a position cannot have, bool; ignored where
            mask is False. None allows all. Shape (B, T, L).
        RETURNS (Posterior): Gives marginals and log-probabilities of stretches.
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B112 allowed; B117 temperature.
        """
        emissions, lengths = self._prepare(emissions, mask, allowed)
        if not 0 < temperature < float("inf"):
            raise ValueError(Errors.B117.format(value=temperature))
        return Posterior(emissions, lengths, *self._constrained_scores(), temperature)

    @torch.no_grad()
    def decode_k_best(
        self, emissions: Tensor, mask: Tensor, k: int, allowed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the k best legal paths of each sequence.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        k (int): Paths per sequence, 1 or more.
        allowed (Tensor | None): False for each tag that a position cannot have, bool; ignored where
            mask is False. None allows all. Shape (B, T, L).
        RETURNS (tuple[Tensor, Tensor]): Tag ids, best path first, int64, 0 where masked, shape
            (B, k, T), and unnormalised log-scores, shape (B, k). A score of -inf says that there
            are fewer legal paths; its tags mean nothing then.
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B112 allowed.

        SOURCE: Seshadri & Sundberg (1994), List Viterbi decoding algorithms with applications
        (the parallel algorithm).
        """
        emissions, lengths = self._prepare(emissions, mask, allowed)
        return find_k_best_paths(emissions, lengths, *self._constrained_scores(), k)

    @torch.no_grad()
    def decode(
        self, emissions: Tensor, mask: Tensor, allowed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the best legal path of each sequence.

        emissions (Tensor): Scores per position, float. Shape (B, T, L).
        mask (Tensor): True on real tokens, bool, left-aligned. Shape (B, T).
        allowed (Tensor | None): False for each tag that a position cannot have, bool; ignored where
            mask is False. None allows all. Shape (B, T, L).
        RETURNS (tuple[Tensor, Tensor]): Tag ids, int64, 0 where masked, shape (B, T), and the
            unnormalised log-score of each path, shape (B,). A score of -inf says that the
            constraints leave no path of this length; its tags mean nothing then.
        RAISES (ValueError): B110, B111 emissions; B112, B113 mask; B112 allowed.

        SOURCE: Viterbi (1967), Error bounds for convolutional codes.
        """
        emissions, lengths = self._prepare(emissions, mask, allowed)
        return find_best_paths(emissions, lengths, *self._constrained_scores())

    @torch.no_grad()
    def set_scores(self, transitions: Tensor, start: Tensor, end: Tensor) -> None:
        """Put other scores in place of those that were learned; shapes (L, L), (L,), (L,)."""
        self.transitions.copy_(transitions)
        self.start.copy_(start)
        self.end.copy_(end)

    def _constrained_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give transitions, start and end with -inf for what is not allowed."""
        return (
            self.transitions.masked_fill(~self.transitions_mask, NEG_INF),
            self.start.masked_fill(~self.start_mask, NEG_INF),
            self.end.masked_fill(~self.end_mask, NEG_INF),
        )

    def _log_mass(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Give the log-partition in the working dtype, so that differences of it keep digits."""
        return LogMass.apply(emissions, lengths, *self._constrained_scores())

    def _score_paths(
        self, emissions: Tensor, tags: Tensor, mask: Tensor, dtype: torch.dtype
    ) -> Tensor:
        """Sum the scores along given legal paths; the masks play no part."""
        unary = emissions.gather(2, tags[..., None])[..., 0].to(dtype)  # (B, T)
        pairs = tags[:, :-1] * self.n_tags + tags[:, 1:]  # (B, T - 1)
        # index_select has a much faster backward than indexing with two tensors.
        binary = self.transitions.to(dtype).flatten().index_select(0, pairs.flatten())
        binary = binary.view_as(pairs).masked_fill(~mask[:, 1:], 0.0)
        first, last = _take_ends(tags, mask)
        ends = self.start.to(dtype)[first] + self.end.to(dtype)[last]
        ends = ends.masked_fill(~mask.any(1), 0.0)
        return unary.masked_fill(~mask, 0.0).sum(1) + binary.sum(1) + ends

    def _prepare(
        self, emissions: Tensor, mask: Tensor, allowed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Check emissions and masks; give emissions with zeros where masked, and lengths."""
        shape = tuple(emissions.shape)
        if len(shape) != 3 or shape[2] != self.n_tags or not emissions.is_floating_point():
            message = Errors.B110.format(n_tags=self.n_tags, dtype=emissions.dtype, shape=shape)
            raise ValueError(message)
        check_array("mask", mask, torch.bool, shape[:2])
        gaps = (mask[:, 1:] & ~mask[:, :-1]).any(1)
        if gaps.any():
            raise ValueError(Errors.B113.format(row=int(gaps.int().argmax())))
        if emissions.dtype != torch.float64:
            emissions = emissions.float()
        emissions = emissions.masked_fill(~mask[..., None], 0.0)
        if not emissions.isfinite().all():
            raise ValueError(Errors.B111)
        if allowed is not None:
            check_array("allowed tags", allowed, torch.bool, shape)
            emissions = emissions.masked_fill(~allowed & mask[..., None], NEG_INF)
        return emissions, mask.sum(1)

    def _check_tags(self, tags: Tensor, mask: Tensor) -> None:
        """Refuse tags that do not exist and paths that break a constraint."""
        unknown = (tags < 0) | (tags >= self.n_tags)
        if unknown.any():
            row = int(unknown.any(1).int().argmax())
            tag = int(tags[unknown][0])
            values = {"tag": tag, "row": row, "n_tags": self.n_tags, "max_tag": self.n_tags - 1}
            raise ValueError(Errors.B114.format(**values))
        first, last = _take_ends(tags, mask)
        illegal = mask.any(1) & ~(self.start_mask[first] & self.end_mask[last])
        steps = self.transitions_mask[tags[:, :-1], tags[:, 1:]]  # (B, T - 1)
        illegal |= (mask[:, 1:] & ~steps).any(1)
        if illegal.any():
            raise ValueError(Errors.B115.format(row=int(illegal.int().argmax())))


def _take_ends(tags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the first and last tag of each sequence (B,), 0 for an empty one."""
    if tags.shape[1] == 0:
        return tags.sum(1), tags.sum(1)
    last = (mask.sum(1) - 1).clamp(min=0)
    return tags[:, 0], tags.gather(1, last[:, None])[:, 0]
