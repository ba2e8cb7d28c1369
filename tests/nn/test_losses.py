"""Losses against formulas in numpy and against torch's own."""

import numpy as np
import pytest
import torch

from bert_spacy.nn.losses import DICE_DECAY, Loss, balance, divergence

SCORES = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 3
GOLD = torch.tensor([0, 1, 2, 3, 0, 0, 2])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.double)
TRUTH = torch.tensor([[1.0, 0.0, 1.0, 0.3]] * 7, dtype=torch.double).flatten()
each_weighting = pytest.mark.parametrize("weights", [None, WEIGHTS])


def softmax(scores):
    shares = np.exp(scores - scores.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def dice(p, y):
    decayed = (1 - p) ** DICE_DECAY * p
    return 1 - (2 * decayed * y + 1) / (decayed + y + 1)


@each_weighting
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_a_mean_over_rows_by_the_weight_of_their_class(weights, smoothing):
    found = Loss(label_smoothing=smoothing).exclusive(SCORES, GOLD, weights)
    goal = np.eye(4)[GOLD.numpy()] * (1 - smoothing) + smoothing / 4
    losses = -(goal * np.log(softmax(SCORES.numpy()))).sum(1)
    alpha = 1.0 if weights is None else WEIGHTS.numpy()[GOLD.numpy()]
    assert float(found) == pytest.approx(float(np.mean(alpha * losses)))
    if weights is None:
        plain = torch.nn.functional.cross_entropy(SCORES, GOLD, label_smoothing=smoothing)
        torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("gold", [0, 1])
def test_with_smoothing_a_large_weight_of_another_class_leaves_the_best_answer(gold):
    weights = torch.tensor([0.5, 50.0], dtype=torch.double)
    goal = torch.full((1, 2), 0.05, dtype=torch.double)
    goal[0, gold] = 0.95
    scores = goal.log().requires_grad_()
    Loss(label_smoothing=0.1).exclusive(scores, torch.tensor([gold]), weights).backward()
    assert scores.grad.abs().max() < 1e-12
    score = (goal[0, 1:] / goal[0, :1]).log().requires_grad_()
    truth = torch.tensor([float(gold)], dtype=torch.double)
    Loss(label_smoothing=0.1).independent(score, truth, weights[1:]).backward()
    assert score.grad.abs().max() < 1e-12


@each_weighting
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_follows_its_formula(weights, gamma):
    found = Loss("focal", focal_gamma=gamma).exclusive(SCORES, GOLD, weights)
    p = softmax(SCORES.numpy())[np.arange(7), GOLD.numpy()]
    alpha = 1.0 if weights is None else WEIGHTS.numpy()[GOLD.numpy()]
    assert float(found) == pytest.approx(float(np.mean(-alpha * (1 - p) ** gamma * np.log(p))))
    if gamma == 0:
        assert float(found) == pytest.approx(float(Loss().exclusive(SCORES, GOLD, weights)))


@each_weighting
def test_dice_loss_follows_its_formula(weights):
    found = Loss("dice").exclusive(SCORES, GOLD, weights)
    losses = dice(softmax(SCORES.numpy()), np.eye(4)[GOLD.numpy()]).sum(1)
    alpha = 1.0 if weights is None else WEIGHTS.numpy()[GOLD.numpy()]
    assert float(found) == pytest.approx(float(np.mean(alpha * losses)))


@each_weighting
@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "dice"])
def test_losses_of_independent_labels_follow_their_formulas(weights, kind):
    weight = None if weights is None else weights.repeat(7)
    scores = SCORES.flatten()
    found = Loss(kind).independent(scores, TRUTH, weight)
    p, y = 1 / (1 + np.exp(-scores.numpy())), TRUTH.numpy()
    w = 1.0 if weight is None else weight.numpy()
    if kind == "dice":
        wanted = dice(p, y) * (1 + y * (w - 1))
    else:
        gamma = 2.0 if kind == "focal" else 0.0
        wanted = -w * y * (1 - p) ** gamma * np.log(p) - (1 - y) * p**gamma * np.log(1 - p)
    assert float(found) == pytest.approx(float(wanted.mean()))


def test_smoothing_of_independent_labels_mixes_in_a_half():
    found = Loss(label_smoothing=0.2).independent(SCORES.flatten(), TRUTH)
    p, y = 1 / (1 + np.exp(-SCORES.flatten().numpy())), TRUTH.numpy() * 0.8 + 0.1
    assert float(found) == pytest.approx(float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p))))


@pytest.mark.parametrize("loss", [Loss("focal", focal_gamma=0.5), Loss("focal"), Loss("dice")])
def test_sure_answers_have_finite_slopes_and_right_ones_cost_less(loss):
    scores = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    right = loss.exclusive(scores, torch.tensor([0, 1]))
    wrong = loss.exclusive(scores, torch.tensor([1, 0]))
    alone = loss.independent(scores.flatten(), torch.tensor([1.0, 0.0, 0.0, 1.0]))
    (right + wrong + alone).backward()
    assert scores.grad.isfinite().all()
    assert bool(right < wrong)


def test_balanced_weights_give_each_class_the_same_total_and_rows_a_mean_of_one():
    counts = torch.tensor([6.0, 3.0, 0.0, 1.0])
    weights = balance(counts)
    totals = weights * counts
    assert totals.tolist() == pytest.approx([10 / 3, 10 / 3, 0.0, 10 / 3])
    assert float(totals.sum() / counts.sum()) == pytest.approx(1.0)
    assert float(weights[2]) == 1.0


def test_divergence_is_the_mean_of_both_directions():
    first, second = torch.log_softmax(SCORES, 1), torch.log_softmax(SCORES.flip(1), 1)
    p, q = first.exp().numpy(), second.exp().numpy()
    wanted = np.mean(
        [(np.sum(a * np.log(a / b)) + np.sum(b * np.log(b / a))) / 2 for a, b in zip(p, q)]
    )
    assert float(divergence(first, second)) == pytest.approx(float(wanted))
    assert float(divergence(first, first)) == 0.0


@pytest.mark.parametrize(
    "settings, code",
    [
        ({"kind": "hinge"}, "B140.*hinge"),
        ({"label_smoothing": 1.0}, "B141.*label_smoothing"),
        ({"label_smoothing": -0.1}, "B141"),
        ({"kind": "focal", "label_smoothing": 0.1}, "B141"),
        ({"focal_gamma": -1.0}, "B141.*focal_gamma"),
        ({"focal_gamma": float("nan")}, "B141"),
    ],
)
def test_settings_out_of_range_are_refused(settings, code):
    with pytest.raises(ValueError, match=code):
        Loss(**settings)
