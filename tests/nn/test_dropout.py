"""Fast dropout against the same sums written out, with the mask that was drawn."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.nn.functional import dropout, scaled_dot_product_attention

from bert_spacy.nn.dropout import draw_kept, fast_dropout
from bert_spacy.nn.encoder import load_encoder

from ..tiny import ARCHITECTURES
from ..util import gradients

CPU = torch.device("cpu")
RATE = 0.3
KEPT = 1 - RATE


def seeded(function, *args, **kwargs):
    torch.manual_seed(5)
    with fast_dropout(CPU):
        return function(*args, **kwargs)


def drawn(shape, dtype=torch.float64):
    torch.manual_seed(5)
    return draw_kept(shape, RATE).to(dtype) / KEPT


def heads(n_pieces=6, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, n_pieces, 2, 4)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).transpose(1, 2).requires_grad_()
        for _ in range(3)
    ]


def reference(q, k, v, bias=0.0, scale=0.5):
    weights = torch.softmax(q @ k.transpose(2, 3) * scale + bias, -1)
    return weights * drawn(weights.shape, q.dtype) @ v


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_mask_keeps_its_share(rate):
    torch.manual_seed(0)
    kept = draw_kept((1000, 401), rate)
    assert kept.shape == (1000, 401) and kept.dtype == torch.bool
    deviation = np.sqrt(rate * (1 - rate) / kept.numel())
    assert abs(1 - float(kept.double().mean()) - rate) < 5 * deviation + 1e-5
    columns = kept.double().view(-1, 401).mean(0)  # no lane of the 64 bits stands out
    assert float((columns - (1 - rate)).abs().max()) < 6 * np.sqrt(rate * (1 - rate) / 1000)


def test_mask_follows_the_seed_of_torch():
    first, again = drawn((7, 3)), drawn((7, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_kept((7, 3), RATE))
    assert draw_kept((0, 3), RATE).shape == (0, 3)


def test_dropout_and_its_gradient():
    x = torch.randn(50, 7, dtype=torch.float64, requires_grad=True)
    out = seeded(dropout, x, RATE, True)
    mask = drawn(x.shape)
    torch.testing.assert_close(out, x * mask)
    grad = torch.randn_like(out)
    out.backward(grad)
    torch.testing.assert_close(x.grad, grad * mask)


@pytest.mark.parametrize("kind", ["none", "bool", "float", "row"])
def test_attention_and_its_gradients(kind):
    q, k, v = heads()
    allowed = torch.rand(3, 1, 6, 6) > 0.4
    allowed[..., 0] = True
    if kind == "row":
        allowed = allowed[:, :, :1]
    bias = torch.zeros(allowed.shape, dtype=q.dtype).masked_fill(~allowed, -torch.inf)
    given = {"none": None, "bool": allowed}.get(kind, bias)
    out = seeded(scaled_dot_product_attention, q, k, v, attn_mask=given, dropout_p=RATE)
    wanted = reference(q, k, v, 0.0 if kind == "none" else bias)
    torch.testing.assert_close(out, wanted)
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, (q, k, v), grad)
    for a, b in zip(found, torch.autograd.grad(wanted, (q, k, v), grad)):
        torch.testing.assert_close(a, b)


def test_attention_takes_a_scale():
    q, k, v = heads()
    out = seeded(scaled_dot_product_attention, q, k, v, dropout_p=RATE, scale=0.1)
    torch.testing.assert_close(out, reference(q, k, v, scale=0.1))


def test_attention_in_autocast_computes_in_bfloat16():
    q, k, v = heads(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = seeded(scaled_dot_product_attention, q, k, v, dropout_p=RATE)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), reference(q, k, v), atol=0.05, rtol=0.05)
    out.sum().backward()
    assert q.grad.dtype == torch.float32


def test_attention_in_bfloat16_without_dropout():
    q, k, v = heads(dtype=torch.float32)
    mask = torch.zeros(3, 1, 1, 6).masked_fill(torch.rand(3, 1, 1, 6) > 0.7, -torch.inf)
    mask[..., 0] = 0
    grad = torch.randn(q.shape)
    wanted = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    slow = "_scaled_dot_product_flash_attention_for_cpu"
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.profiler.profile() as seen:
        out = seeded(scaled_dot_product_attention, q, k, v, attn_mask=mask)
    assert out.dtype == torch.bfloat16
    assert not any(slow in event.key for event in seen.key_averages())
    torch.testing.assert_close(out.float(), wanted, atol=0.03, rtol=0.03)
    found = torch.autograd.grad(out, (q, k, v), grad.bfloat16())
    for a, b in zip(found, torch.autograd.grad(wanted, (q, k, v), grad)):
        torch.testing.assert_close(a, b, atol=0.06, rtol=0.06)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("low", [-torch.inf, torch.finfo(torch.float32).min])
def test_a_row_without_any_key_stays_finite(dtype, low):
    q, k, v = heads(dtype=torch.float32)
    mask = torch.zeros(3, 1, 6, 6)
    mask[0, :, 2] = low
    q, k, v = (x.detach().to(dtype).requires_grad_() for x in (q, k, v))
    out = seeded(scaled_dot_product_attention, q, k, v, attn_mask=mask, dropout_p=RATE)
    out.float().sum().backward()
    assert all(bool(x.isfinite().all()) for x in (out, q.grad, k.grad, v.grad))


def test_the_rest_is_left_to_torch():
    q, k, v = heads()
    attend = scaled_dot_product_attention
    for settings in ({}, {"is_causal": True, "dropout_p": RATE}, {"dropout_p": 1e-9}):
        found = seeded(attend, q, k, v, **settings)
        torch.manual_seed(5)
        assert torch.equal(found, attend(q, k, v, **settings))
    x = torch.ones(100)
    for rate, training in ((RATE, False), (0.0, True), (1.0, True)):
        assert torch.equal(seeded(dropout, x, rate, training), dropout(x, rate, training))
    assert type(fast_dropout(torch.device("cuda"))).__name__ == "nullcontext"


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_architecture_learns_with_it(tiny_folder, kind, monkeypatch):
    encoder = load_encoder(str(tiny_folder(kind)), local=True).train()
    encoder.set_dropout(RATE)
    ids = torch.randint(5, 40, (4, 9))
    mask = (torch.arange(9) < torch.tensor([[9], [7], [3], [1]])).long()

    def run():
        encoder.zero_grad()
        torch.manual_seed(3)
        hidden, _ = encoder(ids, mask, torch.zeros_like(ids))
        (hidden[mask.bool()] ** 2).sum().backward()
        return hidden.detach(), gradients(encoder)

    (hidden, grads), (again, _) = run(), run()
    assert torch.equal(hidden, again)
    assert not torch.equal(hidden, encoder.eval()(ids, mask, torch.zeros_like(ids))[0])
    encoder.train()
    monkeypatch.setattr("bert_spacy.nn.encoder.fast_dropout", lambda device: nullcontext())
    plain, plain_grads = run()
    assert not torch.equal(hidden, plain)  # other draws, so it was at work
    assert grads.keys() == plain_grads.keys()
