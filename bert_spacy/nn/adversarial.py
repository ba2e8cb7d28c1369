"""Adversarial training: a second pass with weights moved to where the loss is higher."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Errors

# How far each kind moves weights where nothing else is said.
EPSILONS = {"fgm": 1.0, "awp": 0.01}


class Adversary:
    """Moves weights up the gradient for a second pass, and puts them back bit for bit.

    kind (str): "fgm" moves the word embeddings, all as one, by `epsilon`; "awp" moves each weight
        matrix by `epsilon` times its own norm. Biases and normalisation stay.
    epsilon (float | None): How far, above 0; None for 1.0 with "fgm" and 0.01 with "awp".
    RAISES (ValueError): B142 for an unknown kind or a distance out of range.
    SOURCE: Miyato et al. (2017), with the table of embeddings moved in place of each text's own;
        Wu et al. (2020), with one step.
    """

    def __init__(self, kind: str, epsilon: float | None = None):
        if kind not in EPSILONS or not (epsilon is None or 0 < epsilon < math.inf):
            allowed = ["none", *EPSILONS]
            raise ValueError(Errors.B142.format(kind=kind, epsilon=epsilon, allowed=allowed))
        self.kind = kind
        self.epsilon = EPSILONS[kind] if epsilon is None else epsilon

    def list_targets(self, encoder: Any) -> list[nn.Parameter]:
        """Return the weights that are moved, perhaps none.

        encoder (Module): Has `word_embeddings`, if there are such.
        RETURNS (list[Parameter]): Those that learn.
        """
        if self.kind == "fgm":
            table = getattr(encoder, "word_embeddings", None)
            found = [] if table is None else [table]
        else:
            found = [p for p in encoder.parameters() if p.dim() > 1]
        return [p for p in found if p.requires_grad]

    def find_targets(self, encoder: Any) -> list[nn.Parameter]:
        """Return the weights that are moved.

        encoder (Module): See `list_targets`.
        RETURNS (list[Parameter]): Those that learn.
        RAISES (ValueError): B143 if there are none.
        """
        found = self.list_targets(encoder)
        if not found:
            raise ValueError(Errors.B143.format(kind=self.kind))
        return found

    def learn(
        self, encoder: nn.Module, first: Callable[[], object], second: Callable[[], object]
    ) -> None:
        """Add the gradients of two passes to those that are there.

        encoder (Module): The encoder.
        first (Callable): The backward pass of a batch. Its gradient alone says where to move.
        second (Callable): Runs the batch again, forward and backward, with moved weights.
        RAISES (ValueError): B143 if there is nothing to move.
        """
        targets = self.find_targets(encoder)
        learning = [p for p in encoder.parameters() if p.requires_grad]
        earlier = [p.grad for p in learning]
        for p in learning:
            p.grad = None
        first()
        steps = [(p, self._find_step(p)) for p in targets if p.grad is not None]
        kept = [p.detach().clone() for p, _ in steps]
        try:
            with torch.no_grad():
                for p, step in steps:
                    p.add_(step)
            second()
        finally:
            with torch.no_grad():
                for (p, _), values in zip(steps, kept):
                    p.copy_(values)
        for p, grad in zip(learning, earlier):
            if grad is not None:
                p.grad = grad if p.grad is None else grad.add_(p.grad)

    def _find_step(self, p: nn.Parameter) -> Tensor:
        grad = p.grad if p.grad is not None else torch.zeros_like(p)
        size = grad.norm()
        length = self.epsilon * (p.detach().norm() if self.kind == "awp" else 1.0)
        # Without a direction nothing is moved.
        return torch.where((size > 0) & size.isfinite(), grad * (length / size), 0.0)
