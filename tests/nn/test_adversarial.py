"""Moved weights and summed gradients against sums written out."""

import pytest
import torch
from torch import nn

from bert_spacy.nn.adversarial import Adversary


class Words(nn.Module):
    """A bag of words with a layer on top."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.norm, self.top = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 3)

    @property
    def word_embeddings(self):
        return self.table.weight

    def loss(self, ids):
        return (self.top(self.norm(self.table(ids).mean(0))) ** 3).sum()


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def grads(module):
    return {name: p.grad.clone() for name, p in module.named_parameters()}


IDS = torch.tensor([1, 2, 2, 5])


@pytest.mark.parametrize(
    "kind, epsilon", [("fgm", None), ("fgm", 0.3), ("awp", None), ("awp", 0.2)]
)
def test_gradients_of_both_passes_add_up_and_weights_come_back(kind, epsilon):
    module, other = Words(), Words()
    other.loss(IDS).backward()
    first = grads(other)
    with torch.no_grad():
        for name, p in other.named_parameters():
            g = first[name].double()
            if kind == "fgm" and name == "table.weight":
                p += ((epsilon or 1.0) * g / (g**2).sum().sqrt()).float()
            elif kind == "awp" and name in ("table.weight", "top.weight"):
                length = (epsilon or 0.01) * (p.double() ** 2).sum().sqrt()
                p += (length * g / (g**2).sum().sqrt()).float()
    other.zero_grad()
    other.loss(IDS).backward()
    second = grads(other)
    before = state(module)
    earlier = {name: torch.ones_like(p) for name, p in module.named_parameters()}
    for name, p in module.named_parameters():
        p.grad = earlier[name].clone()
    loss = module.loss(IDS)
    Adversary(kind, epsilon).learn(module, loss.backward, lambda: module.loss(IDS).backward())
    for name, found in grads(module).items():
        wanted = 1 + first[name] + second[name]
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5, msg=name)
    assert all(torch.equal(before[name], value) for name, value in state(module).items())


@pytest.mark.parametrize("factor", [0.0, float("nan")])
def test_without_a_direction_nothing_moves(factor):
    module, seen = Words(), []
    before = state(module)
    loss = module.loss(IDS) * factor
    Adversary("awp").learn(module, loss.backward, lambda: seen.append(state(module)))
    assert len(seen) == 1
    assert all(torch.equal(before[name], value) for name, value in seen[0].items())


def test_weights_come_back_when_the_second_pass_fails():
    module = Words()
    before = state(module)
    with pytest.raises(ZeroDivisionError):
        Adversary("fgm").learn(module, module.loss(IDS).backward, lambda: 1 / 0)
    assert all(torch.equal(before[name], value) for name, value in state(module).items())


@pytest.mark.parametrize("kind, epsilon", [("pgd", 1.0), ("fgm", 0.0), ("awp", float("nan"))])
def test_unknown_kinds_and_distances_are_refused(kind, epsilon):
    with pytest.raises(ValueError, match=rf"B142.*{kind}"):
        Adversary(kind, epsilon)


def test_an_encoder_with_nothing_to_move_is_refused():
    module = Words()
    module.table.weight.requires_grad_(False)
    with pytest.raises(ValueError, match="B143.*'fgm'"):
        Adversary("fgm").find_targets(module)
    assert Adversary("awp").find_targets(module) == [module.top.weight]
    with pytest.raises(ValueError, match="B143"):
        Adversary("fgm").find_targets(nn.Linear(2, 2))
    module.requires_grad_(False)
    with pytest.raises(ValueError, match="B143.*'awp'"):
        Adversary("awp").find_targets(module)
