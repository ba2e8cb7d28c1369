"""What a student learns from a teacher: losses on layers, attention and scores (TinyBERT)."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import Errors
from .encoder import TransformerEncoder

# How the models of the BERT family call the two linear maps whose product is the attention.
_QUERY, _KEY = re.compile(r"(^|\.)(query|q_lin)$"), re.compile(r"(^|\.)(key|k_lin)$")


def soft_loss(scores: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the divergence of a softmax from that of a teacher.

    scores (Tensor): Scores of the student; -inf for what is impossible. Shape (N, L).
    teacher (Tensor): Those of the teacher, with the same places at -inf. Shape (N, L).
    temperature (float): Both are divided by it, and the loss is multiplied by its square, so that
        gradients keep their size.
    RETURNS (Tensor): Mean of Kullback and Leibler's divergence, teacher first, in nats. Shape ().

    SOURCE: Hinton et al. (2015), Distilling the knowledge in a neural network, section 2.
    """
    possible = teacher > float("-inf")
    goal = torch.log_softmax(teacher / temperature, 1)
    ours = torch.log_softmax(scores / temperature, 1)
    gap = torch.where(possible, goal - ours, 0.0)  # -inf less -inf has no value
    return (goal.exp() * gap).sum() / max(len(scores), 1) * temperature**2


def soft_labels_loss(scores: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the same for labels that do not exclude each other.

    scores (Tensor): Scores before the sigmoid. Shape (N, L).
    teacher (Tensor): Those of the teacher. Shape (N, L).
    temperature (float): As in `soft_loss`.
    RETURNS (Tensor): Mean over Docs and labels. Shape ().
    """
    ours, goal = (
        torch.stack([x, torch.zeros_like(x)], -1).flatten(0, 1) for x in (scores, teacher)
    )
    return soft_loss(ours, goal, temperature)


def pick_layers(n_source: int, n_wanted: int, how: str) -> list[int]:
    """Choose layers evenly spread, the last among them, or the last ones.

    n_source (int): Layers there are.
    n_wanted (int): Layers to choose, 1 to n_source.
    how (str): "uniform" or "last".
    RETURNS (list[int]): Numbers from 1 on, rising.

    SOURCE: Jiao et al. (2020), TinyBERT, section 4.3 (mapping functions).
    """
    if how == "last":
        return list(range(n_source - n_wanted + 1, n_source + 1))
    return [-(-k * n_source // n_wanted) for k in range(1, n_wanted + 1)]


@dataclass(frozen=True)
class LayerWeights:
    """How much each part of the loss on layers counts; 0 leaves it out.

    embedding (float): Output of the embeddings.
    hidden (float): Output of each layer.
    attention (float): Attention in each layer.
    probabilities (bool): Compare attention after the softmax, not before.
    """

    embedding: float = 1.0
    hidden: float = 1.0
    attention: float = 1.0
    probabilities: bool = False


class Projections(nn.Module):
    """Learned maps from the student's width to the teacher's.

    width (int): Of the student.
    teacher_width (int): Of the teacher.
    """

    def __init__(self, width: int, teacher_width: int):
        super().__init__()
        self.embedding = nn.Linear(width, teacher_width, bias=False)
        self.hidden = nn.Linear(width, teacher_width, bias=False)


class LayerTeacher:
    """Runs a student while it trains and compares its layers with a teacher's.

    It stands in for the encoder, so that the loss reaches the student with the gradients of
    the heads, in one backward pass.

    student (TransformerEncoder): The encoder that learns.
    teacher (TransformerEncoder): Its teacher, for the same pieces; it is not changed.
    layers (Sequence[int]): For each layer of the student the number of the teacher's, from 1.
    weights (LayerWeights): Parts of the loss.
    scale (float): The loss is multiplied by it.
    projections (Projections | None): Maps between the widths, None where they agree.
    RAISES (ValueError): B727 if the attention cannot be compared.
    """

    def __init__(
        self,
        student: TransformerEncoder,
        teacher: TransformerEncoder,
        layers: Sequence[int],
        weights: LayerWeights,
        scale: float = 1.0,
        projections: Projections | None = None,
    ):
        self.student, self.teacher = student, teacher
        self.layers, self.weights, self.scale = layers, weights, scale
        self.projections = projections
        self.value = 0.0
        self._losses: list[Tensor] = []
        self._n_windows = 0
        self._taps = [_AttentionTap(x.model) for x in (student, teacher) if weights.attention]
        heads = [tap.n_heads for tap in self._taps]
        if len(set(heads)) > 1:
            reason = f"the student has {heads[0]} heads and the teacher {heads[1]}"
            raise ValueError(Errors.B727.format(reason=reason))

    def run(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run both on padded windows; see `TransformerEncoder.forward`."""
        hidden, pooled, ours = self._states(self.student, ids, mask, types, 0)
        with torch.no_grad():
            _, _, goal = self._states(self.teacher.eval(), ids, mask, types, 1)
        with torch.autocast(ids.device.type, enabled=False):
            self._losses.append(self._compare(ours, goal, mask) * len(ids))
        self._n_windows += len(ids)
        return hidden, pooled

    def take_loss(self) -> Tensor:
        """Return the mean over all windows since the last call.

        RETURNS (Tensor): The loss. Shape ().
        RAISES (ValueError): B728 if it is no finite number.
        """
        loss = self.scale * torch.stack(self._losses).sum() / self._n_windows
        self._losses, self._n_windows = [], 0
        self.value = float(loss.detach())
        if not math.isfinite(self.value):
            raise ValueError(Errors.B728.format(value=self.value))
        return loss

    def _states(
        self, encoder: TransformerEncoder, ids: Tensor, mask: Tensor, types: Tensor, which: int
    ) -> tuple[Tensor, Tensor | None, tuple[Sequence[Tensor], list[Tensor]]]:
        if not self._taps:
            last, pooled, states = encoder.run_layers(ids, mask, types)
            return last, pooled, (states, [])
        with self._taps[which] as tap:
            last, pooled, states = encoder.run_layers(ids, mask, types)
        return last, pooled, (states, tap.scores(len(states) - 1))

    def _compare(self, ours: Any, goal: Any, mask: Tensor) -> Tensor:
        (states, attention), (goal_states, goal_attention) = ours, goal
        weights, maps = self.weights, self.projections
        share = mask.float() / mask.sum(1, keepdim=True).clamp(min=1) / len(mask)  # (B, P)
        total = share.new_zeros(())
        if weights.embedding:
            first = states[0] if maps is None else maps.embedding(states[0])
            total = total + weights.embedding * _distance(first, goal_states[0], share)
        for at, number in enumerate(self.layers):
            if weights.hidden:
                state = states[at + 1] if maps is None else maps.hidden(states[at + 1])
                total = total + weights.hidden * _distance(state, goal_states[number], share)
            if weights.attention:
                pair = (attention[at], goal_attention[number - 1])
                if weights.probabilities:
                    pair = (_softmax(pair[0], mask), _softmax(pair[1], mask))
                total = total + weights.attention * _attention_distance(*pair, mask)
        return total


def _distance(state: Tensor, goal: Tensor, share: Tensor) -> Tensor:
    """Return the squared error, a mean over width, pieces and windows. (B, P, H) each."""
    return ((state.float() - goal.float()).pow(2).mean(2) * share).sum()


def _attention_distance(ours: Tensor, goal: Tensor, mask: Tensor) -> Tensor:
    """Return the squared error, a mean over pairs of real pieces and over heads."""
    real = mask.bool()
    pairs = real[:, None, :, None] & real[:, None, None, :]
    gap = (ours - goal).masked_fill(~pairs, 0.0).pow(2).sum((1, 2, 3))  # (B,)
    return (gap / (mask.sum(1) ** 2).clamp(min=1)).mean() / ours.shape[1]


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.masked_fill(~mask.bool()[:, None, None], torch.finfo(scores.dtype).min).softmax(3)


class _AttentionTap:
    """Reads attention scores from the queries and keys of all layers of a model.

    Models differ in whether and how they give attention; the fast kernels never do. Queries and
    keys pass through linear maps in all of them.
    """

    def __init__(self, model: Any):
        self.n_heads = int(getattr(model.config, "num_attention_heads", 0) or 0)
        self._queries: list[Tensor] = []
        self._keys: list[Tensor] = []
        self._parts = []
        for name, module in model.named_modules():
            for pattern, found in ((_QUERY, self._queries), (_KEY, self._keys)):
                if pattern.search(name):
                    self._parts.append((module, found))
        if not self._parts or not self.n_heads:
            reason = f"queries and keys of a {type(model).__name__} are not known"
            raise ValueError(Errors.B727.format(reason=reason))
        self._hooks: list[Any] = []

    def __enter__(self) -> "_AttentionTap":
        for module, found in self._parts:

            def keep(_: Any, __: Any, output: Tensor, found: list[Tensor] = found) -> None:
                found.append(output)

            self._hooks.append(module.register_forward_hook(keep))
        return self

    def __exit__(self, *error: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def scores(self, n_layers: int) -> list[Tensor]:
        """Return scores before the softmax for each layer, and forget them. (B, heads, P, P)."""
        pairs = list(zip(self._queries, self._keys))
        self._queries.clear()
        self._keys.clear()
        if len(pairs) != n_layers:
            reason = f"{len(pairs)} layers of attention were found, and there are {n_layers}"
            raise ValueError(Errors.B727.format(reason=reason))
        with torch.autocast(pairs[0][0].device.type, enabled=False):
            return [self._product(query.float(), key.float()) for query, key in pairs]

    def _product(self, query: Tensor, key: Tensor) -> Tensor:
        heads = [x.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for x in (query, key)]
        return heads[0] @ heads[1].transpose(2, 3) / heads[0].shape[3] ** 0.5
