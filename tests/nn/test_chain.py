"""The rescaled sums against the sums on logarithms."""

import math

import numpy as np
import pytest
import torch

from bert_spacy.nn import chain
from bert_spacy.nn.crf import LinearChainCRF
from bert_spacy.nn.sequences import Batch


def test_sums_near_the_edge_of_the_scaled_range(monkeypatch):
    """Whichever way the scaled sums leave their range, forward or backward, the result is exact."""
    generator = torch.Generator().manual_seed(6)
    ways = []
    expect = chain.LogChain.expect

    def expect_and_note(self, weight):
        ways[-1] = "backward"
        return expect(self, weight)

    for _ in range(100):
        shapes = ((2, 4, 3), (3, 3), (3,), (3,))
        scores = [torch.rand(s, generator=generator, dtype=torch.float64) * 100 for s in shapes]
        scores[0] *= 2.5
        for score in scores:
            score[torch.rand(score.shape, generator=generator) < 0.25] = -math.inf
        batch = Batch(scores[0], torch.tensor([4, 2]))
        steps = [score.numpy() for score in scores[1:]]
        logs = chain.LogChain(batch, *steps)
        weight = torch.rand(2, generator=generator, dtype=torch.float64).numpy()
        expected = logs.expect(weight)
        scaled = chain.ScaledChain(batch, *steps)
        ways.append("scaled" if scaled.is_exact else "forward")
        if scaled.is_exact:
            np.testing.assert_allclose(scaled.log_mass, logs.log_mass)
            with monkeypatch.context() as patch:
                patch.setattr(chain.LogChain, "expect", expect_and_note)
                for mine, other in zip(scaled.expect(weight), expected):
                    np.testing.assert_allclose(mine, other, rtol=1e-7, atol=1e-7)
    assert set(ways) == {"scaled", "forward", "backward"}


@pytest.mark.parametrize("limit", [0, chain.DOT_LIMIT])
def test_products_by_torch_and_by_numpy(monkeypatch, limit):
    monkeypatch.setattr(chain, "DOT_LIMIT", limit)
    rng = np.random.default_rng(0)
    left, right, out = rng.random((5, 7)).T, rng.random((5, 3)), np.full((9, 3), np.nan)
    chain._multiply(left, right, out=out[:7])
    np.testing.assert_allclose(out[:7], np.einsum("ij,jk->ik", left, right))
    assert np.isnan(out[7:]).all()


def test_both_recursions_agree_on_long_sequences(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    emissions = torch.randn((2, 400, 9), generator=generator) * 4
    mask = torch.arange(400) < torch.tensor([[400], [250]])
    crf = LinearChainCRF(9)
    leaf = emissions.clone().requires_grad_()
    scaled = crf.log_partition(leaf, mask)
    scaled.sum().backward()
    monkeypatch.setattr(chain, "EMISSION_SHARE", -1.0)
    other = emissions.clone().requires_grad_()
    logs = crf.log_partition(other, mask)
    logs.sum().backward()
    torch.testing.assert_close(scaled, logs)
    torch.testing.assert_close(leaf.grad, other.grad)
    torch.testing.assert_close(leaf.grad, crf.marginals(emissions, mask))


def test_a_transition_that_underflows_counts_where_no_path_goes_around_it():
    crf = LinearChainCRF(2, start_mask=torch.tensor([True, False])).double()
    crf.transitions.data[0, 1] = -800.0
    emissions = torch.zeros(1, 20, 2, dtype=torch.float64)
    emissions[0, 1:, 1] = 60.0
    mask = torch.ones(1, 20, dtype=torch.bool)
    # From tag 0 to tag 1 at once; any other path has less than exp(-60) of its mass.
    expected = torch.tensor([19 * 60.0 - 800], dtype=torch.float64)
    torch.testing.assert_close(crf.log_partition(emissions, mask), expected)
    torch.testing.assert_close(crf.decode(emissions, mask)[1], expected)
