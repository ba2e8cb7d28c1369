"""Losses of classifiers: cross-entropy, focal and dice, with weights and label smoothing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import Errors

LOSSES = ("cross_entropy", "focal", "dice")
# Exponent of the decay (1 - p) of a probability in the dice loss. With 1 a sure and wrong
# answer would cost what a sure and right one costs, so nothing could be learnt.
DICE_DECAY = 0.01
# Added to both sides of the dice coefficient, so that negatives count.
DICE_SMOOTH = 1.0


@dataclass(frozen=True)
class Loss:
    """How a classifier measures its error.

    kind (str): "cross_entropy", "focal" or "dice".
    label_smoothing (float): Share of the gold that is spread over all labels, 0 to below 1;
        of cross-entropy alone.
    focal_gamma (float): How far the focal loss turns away from easy texts, 0 or more; with 0
        it is cross-entropy.
    RAISES (ValueError): B140 for an unknown loss; B141 for a setting out of range.
    """

    kind: str = "cross_entropy"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise ValueError(Errors.B140.format(value=self.kind, allowed=list(LOSSES)))
        for name, value, allowed, is_good in (
            (
                "label_smoothing",
                self.label_smoothing,
                "0 to below 1, and 0 unless loss = 'cross_entropy'",
                self.label_smoothing == 0
                or (0 < self.label_smoothing < 1 and self.kind == "cross_entropy"),
            ),
            (
                "focal_gamma",
                self.focal_gamma,
                "a finite number, 0 or more",
                self.focal_gamma >= 0 and math.isfinite(self.focal_gamma),
            ),
        ):
            if not is_good:
                raise ValueError(Errors.B141.format(name=name, value=value, allowed=allowed))

    def exclusive(self, scores: Tensor, gold: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of rows that have one class each.

        scores (Tensor): Before the softmax. Shape (N, L).
        gold (Tensor): Numbers of the classes, int64. Shape (N,).
        weights (Tensor | None): How much a row of each class counts; the mean is over rows,
            not over weights, so that what a row counts is the same in any batch. Shape (L,).
        RETURNS (Tensor): A scalar.
        SOURCE: focal: Lin et al. (2017), eq. 5; dice: Li et al. (2020), section 3.4, each class
            against the others.
        """
        if self.kind == "cross_entropy":
            # The weights stay out of it: torch's own would count what smoothing gives to a class
            # by the weight of that class, and a rare one would be the best answer to any text.
            losses = functional.cross_entropy(
                scores, gold, reduction="none", label_smoothing=self.label_smoothing
            )
        elif self.kind == "focal":
            of_gold = torch.log_softmax(scores, 1).gather(1, gold[:, None])[:, 0]
            losses = -self._focus(of_gold) * of_gold
        else:
            hits = functional.one_hot(gold, scores.shape[1]).to(scores)
            losses = _dice(torch.softmax(scores, 1), hits).sum(1)
        return losses.mean() if weights is None else (losses * weights[gold]).mean()

    def independent(self, scores: Tensor, gold: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of labels that do not exclude each other.

        scores (Tensor): Before the sigmoid. Shape (N,).
        gold (Tensor): Probability of each being true, 0..1. Shape (N,).
        weights (Tensor | None): How much it counts that each is true; that it is not
            counts 1. Smoothing changes neither. Shape (N,).
        RETURNS (Tensor): A scalar.
        """
        yes, no = functional.logsigmoid(scores), functional.logsigmoid(-scores)
        true, false = gold if weights is None else gold * weights, 1 - gold
        if self.kind == "cross_entropy":
            spread = self.label_smoothing / 2
            right, wrong = true * yes + false * no, true * no + false * yes
            return -((1 - spread) * right + spread * wrong).mean()
        if self.kind == "focal":
            return -(true * self._focus(yes) * yes + false * self._focus(no) * no).mean()
        return (_dice(yes.exp(), gold) * (true + false)).mean()

    def _focus(self, logs: Tensor) -> Tensor:
        # (1 - p) ** gamma. Below an exponent of 1 its slope is infinite at p = 1.
        rest = -torch.expm1(logs)
        return rest.clamp(min=torch.finfo(rest.dtype).tiny) ** self.focal_gamma


PLAIN = Loss()


def _dice(shares: Tensor, gold: Tensor) -> Tensor:
    """Return 1 - the self-adjusting dice coefficient of each probability."""
    decayed = (1 - shares).clamp(min=torch.finfo(shares.dtype).tiny) ** DICE_DECAY * shares
    return 1 - (2 * decayed * gold + DICE_SMOOTH) / (decayed + gold + DICE_SMOOTH)


def balance(counts: Tensor) -> Tensor:
    """Return weights of classes that make all of them count the same in total.

    counts (Tensor): Rows of each class. Shape (L,).
    RETURNS (Tensor): Their mean over the rows is 1; a class without rows gets 1. Shape (L,).
    """
    there = counts > 0
    weights = counts.sum() / (there.sum() * counts)
    return torch.where(there, weights, torch.ones_like(weights))


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Return the symmetric Kullback-Leibler divergence of two predictions, mean over rows.

    first (Tensor): Logarithms of probabilities, each row adds up to 1. Shape (N, L).
    second (Tensor): The same, with -inf where the first has it. Shape (N, L).
    RETURNS (Tensor): Half of KL(first, second) + KL(second, first), a scalar.
    """
    possible = first > -torch.inf
    first, second = first.where(possible, 0.0), second.where(possible, 0.0)
    return ((first.exp() - second.exp()) * (first - second)).sum(1).mean() / 2
