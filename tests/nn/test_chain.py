"""The rescaled sums against the sums on logarithms."""

import math

import numpy as np
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
