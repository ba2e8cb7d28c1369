"""Losses of distillation against sums worked out by hand."""

import itertools

import numpy as np
import pytest
import torch

from bert_spacy.nn.crf import LinearChainCRF
from bert_spacy.nn.distill import (
    LayerTeacher,
    LayerWeights,
    Projections,
    pick_layers,
    soft_labels_loss,
    soft_loss,
)
from bert_spacy.nn.encoder import load_encoder


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def batch():
    ids = torch.tensor([[2, 50, 51, 52, 3], [2, 60, 3, 0, 0]])
    return ids, (ids > 0).long(), torch.zeros_like(ids)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_loss_is_the_divergence(temperature):
    rng = np.random.default_rng(0)
    ours, goal = rng.normal(size=(2, 4, 3)) * 3
    p, q = softmax(goal / temperature), softmax(ours / temperature)
    expected = (p * np.log(p / q)).sum(1).mean() * temperature**2
    found = soft_loss(torch.tensor(ours), torch.tensor(goal), temperature)
    np.testing.assert_allclose(float(found), expected, rtol=1e-9)


def test_soft_loss_passes_over_what_is_impossible():
    ours = torch.tensor([[0.5, -1.0, float("-inf")]], requires_grad=True)
    goal = torch.tensor([[1.0, 0.0, float("-inf")]])
    p, q = softmax(np.array([1.0, 0.0])), softmax(np.array([0.5, -1.0]))
    loss = soft_loss(ours, goal)
    loss.backward()
    np.testing.assert_allclose(loss.item(), (p * np.log(p / q)).sum(), rtol=1e-4)
    np.testing.assert_allclose(ours.grad[0, :2], q - p, atol=1e-6)
    assert ours.grad[0, 2] == 0


def test_soft_labels_loss_is_a_mean_over_labels():
    rng = np.random.default_rng(0)
    ours, goal = rng.normal(size=(2, 4, 3))
    p, q = (1 / (1 + np.exp(-x)) for x in (goal, ours))
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    found = soft_labels_loss(torch.tensor(ours), torch.tensor(goal))
    np.testing.assert_allclose(float(found), expected, rtol=1e-9)


def make_crf(seed: int) -> LinearChainCRF:
    torch.manual_seed(seed)
    allowed = torch.ones(3, 3).bool()
    allowed[0, 2] = False
    crf = LinearChainCRF(3, allowed, torch.tensor([True, True, False])).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def enumerate_paths(crf, emissions, temperature):
    rows = []
    for path in itertools.product(range(3), repeat=len(emissions)):
        if path[0] == 2 or (0, 2) in zip(path, path[1:]):
            continue
        score = crf.start[path[0]] + crf.end[path[-1]] + sum(e[t] for e, t in zip(emissions, path))
        score = score + sum(crf.transitions[a, b] for a, b in zip(path, path[1:]))
        rows.append(score / temperature)
    return torch.log_softmax(torch.stack(rows), 0)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_of_chains_by_enumeration(temperature):
    student, teacher = make_crf(1), make_crf(2)
    lengths = [4, 1, 0, 2]
    mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
    ours = torch.randn(4, 4, 3, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(4, 4, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.zeros((), dtype=torch.float64)
    for i, n in enumerate(lengths):
        if n == 0:
            continue  # it counts in the mean, and its one path is certain for both
        p = enumerate_paths(teacher, goal[i, :n], temperature).detach()
        q = enumerate_paths(student, ours[i, :n], temperature)
        expected = expected + (p.exp() * (p - q)).sum() / len(lengths)
    inputs = [ours, *student.parameters()]
    wanted = torch.autograd.grad(expected, inputs)
    found = student.divergence(ours, mask, teacher, goal, temperature)
    torch.testing.assert_close(found, expected)
    found.backward()
    for x, gradient in zip(inputs, wanted, strict=True):
        torch.testing.assert_close(x.grad, gradient)
    assert all(x.grad is None for x in (goal, *teacher.parameters()))


def test_divergence_from_itself_is_nothing():
    crf = make_crf(3)
    emissions = torch.randn(2, 3, 3, dtype=torch.float64)
    mask = torch.tensor([[True] * 3, [False] * 3])
    assert abs(crf.divergence(emissions, mask, crf, emissions).item()) < 1e-12
    with pytest.raises(ValueError, match="B117"):
        crf.divergence(emissions, mask, crf, emissions, 0.0)


@pytest.mark.parametrize(
    ("n_source", "n_wanted", "how", "expected"),
    [
        (6, 3, "uniform", [2, 4, 6]),
        (4, 3, "uniform", [2, 3, 4]),
        (12, 4, "uniform", [3, 6, 9, 12]),
        (6, 3, "last", [4, 5, 6]),
        (2, 2, "uniform", [1, 2]),
    ],
)
def test_layers_are_picked(n_source, n_wanted, how, expected):
    assert pick_layers(n_source, n_wanted, how) == expected


@pytest.mark.parametrize("kind", ["bert", "albert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("probabilities", [False, True])
def test_an_encoder_has_nothing_to_learn_from_itself(tiny_folder, kind, probabilities):
    student, teacher = (load_encoder(str(tiny_folder(kind)), local=True) for _ in range(2))
    weights = LayerWeights(probabilities=probabilities)
    taught = LayerTeacher(student, teacher, [1, 2], weights)
    hidden, _ = taught.run(*batch())
    torch.testing.assert_close(hidden, student(*batch())[0])
    assert float(taught.take_loss().detach()) == 0
    # With layers in another order there is.
    other = LayerTeacher(student, teacher, [2, 1], weights)
    other.run(*batch())
    assert other.take_loss() > 0


@pytest.mark.parametrize("part", ["embedding", "hidden", "attention", "probabilities"])
def test_each_part_by_hand(tiny_folder, part):
    student, teacher = (load_encoder(str(tiny_folder(x)), local=True) for x in ("bert", "electra"))
    off = {"embedding": 0.0, "hidden": 0.0, "attention": 0.0}
    projections = None
    on = {part: 0.5}
    if part == "probabilities":
        on = {"attention": 0.5, "probabilities": True}
    elif part != "attention":
        projections = Projections(16, 16)
    taught = LayerTeacher(student, teacher, [2], LayerWeights(**{**off, **on}), 3.0, projections)
    ids, mask, types = batch()
    taught.run(ids, mask, types)
    found = taught.take_loss()
    states = [
        x.model.eval()(
            input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True
        ).hidden_states
        for x in (student, teacher)
    ]
    total = 0.0
    for row, length in enumerate((5, 3)):
        a, b = ([s[row, :length].detach().double() for s in x] for x in states)
        if part in ("attention", "probabilities"):
            ours = scores_by_hand(student.model.encoder.layer[0].attention.self, a[0])
            goal = scores_by_hand(teacher.model.encoder.layer[1].attention.self, b[1])
            if part == "probabilities":
                ours, goal = ours.softmax(-1), goal.softmax(-1)
        else:
            at, goal_at = (0, 0) if part == "embedding" else (1, 2)
            weight = getattr(projections, part).weight.detach().double()
            ours, goal = a[at] @ weight.T, b[goal_at]
        total += float(((ours - goal) ** 2).mean()) / 2
    np.testing.assert_allclose(float(found.detach()), 3.0 * 0.5 * total, rtol=1e-4)
    assert taught.value == float(found.detach())


def scores_by_hand(attention, states):
    rows = []
    q, k = (
        states @ x.weight.detach().double().T + x.bias.detach().double()
        for x in (attention.query, attention.key)
    )
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        rows.append(q[:, part] @ k[:, part].T / 8**0.5)
    return torch.stack(rows)


def test_nothing_of_a_run_is_left_for_the_next(tiny_folder):
    student, teacher = (load_encoder(str(tiny_folder(x)), local=True) for x in ("bert", "electra"))
    taught = LayerTeacher(student, teacher, [1, 2], LayerWeights())
    taught.run(*batch())
    first = taught.take_loss()
    student(*batch())
    teacher(*batch())
    taught.run(*batch())
    torch.testing.assert_close(taught.take_loss(), first)


def test_the_teacher_learns_nothing_and_has_no_dropout(tiny_folder):
    student, teacher = (load_encoder(str(tiny_folder(x)), local=True) for x in ("bert", "electra"))
    taught = LayerTeacher(student, teacher, [1, 2], LayerWeights())
    losses = []
    for _ in range(2):
        teacher.train()
        taught.run(*batch())
        losses.append(taught.take_loss())
    torch.testing.assert_close(*losses)
    losses[0].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad is not None for p in student.parameters())


def test_attention_that_cannot_be_compared(tiny_folder):
    bert, modern = (load_encoder(str(tiny_folder(x)), local=True) for x in ("bert", "modernbert"))
    with pytest.raises(ValueError, match="B727.*ModernBert"):
        LayerTeacher(bert, modern, [1, 2], LayerWeights())
    LayerTeacher(bert, modern, [1, 2], LayerWeights(attention=0.0)).run(*batch())
    other = load_encoder(str(tiny_folder("bert")), local=True)
    other.model.config.num_attention_heads = 4
    with pytest.raises(ValueError, match="B727.*2 heads"):
        LayerTeacher(bert, other, [1, 2], LayerWeights())
    other.model.config.num_attention_heads = 2
    teacher = LayerTeacher(bert, other, [1, 2], LayerWeights())
    teacher._taps[0]._parts.pop()
    teacher._taps[0]._parts.pop()
    with pytest.raises(ValueError, match="B727.*1 layers"):
        teacher.run(*batch())
