"""Fused inference against plain Transformers, and its int8 against the same sums by hand."""

import pytest
import torch
from transformers import AutoModel

from bert_spacy.nn import fused, quantize
from bert_spacy.nn.blocks import read_stack
from bert_spacy.nn.encoder import has_bfloat16
from bert_spacy.nn.fused import FusedEncoder, _Int8Linear
from bert_spacy.nn.quantize import measure_ranges

from .test_blocks import KINDS, windows

needs_fused = pytest.mark.skipif(not fused.is_available(), reason="oneDNN's kernels are not here")
needs_bfloat16 = pytest.mark.skipif(
    not (fused.is_available() and has_bfloat16("cpu")), reason="no bfloat16 in this processor"
)
needs_int8 = pytest.mark.skipif(not fused.is_int8_available(), reason="no VNNI in this processor")


def load(tiny_folder, kind):
    """Return a tiny model, its stack, and windows for it with the wanted states."""
    model = AutoModel.from_pretrained(tiny_folder(kind)).eval()
    ids, mask, types = windows(kind in ("bert", "albert", "electra"))
    extra = {} if types is None else {"token_type_ids": types}
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask, **extra)
    return model, read_stack(model), (ids, mask, types), wanted


def error(got, wanted, mask):
    """Return the relative error of hidden states of real pieces."""
    got, wanted = got[mask.bool()], wanted[mask.bool()]
    return float((got - wanted).norm() / wanted.norm())


@needs_fused
@pytest.mark.parametrize("flash_from", [1, 9, 384])
@pytest.mark.parametrize("at_once", [1, 500_000])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_equals_the_model(tiny_folder, monkeypatch, kind, at_once, flash_from):
    monkeypatch.setattr(fused, "FLASH_FROM", flash_from)
    monkeypatch.setattr(fused, "SCORES_AT_ONCE", at_once)
    model, stack, given, wanted = load(tiny_folder, kind)
    with torch.no_grad():
        hidden, pooled = FusedEncoder(model, stack)(*given)
    real = given[1].bool()
    torch.testing.assert_close(hidden[real], wanted.last_hidden_state[real], atol=1e-5, rtol=1e-5)
    if pooled is not None:
        torch.testing.assert_close(pooled, wanted.pooler_output, atol=1e-5, rtol=1e-5)
    assert (pooled is None) == (getattr(model, "pooler", None) is None)


@needs_bfloat16
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_near_the_model(tiny_folder, kind):
    model, stack, given, wanted = load(tiny_folder, kind)
    with torch.no_grad():
        hidden, _ = FusedEncoder(model, stack, torch.bfloat16)(*given)
    assert hidden.dtype == torch.float32
    assert 0 < error(hidden, wanted.last_hidden_state, given[1]) < 0.05


@needs_int8
@pytest.mark.parametrize("long", [1, 96])
@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near_the_model(tiny_folder, monkeypatch, kind, long):
    monkeypatch.setattr(fused, "LONG", long)
    monkeypatch.setattr(quantize, "OUTLIER_STEP", 1)
    monkeypatch.setattr(quantize, "OUTLIER_SHARE", 0.1)
    model, stack, given, wanted = load(tiny_folder, kind)
    ranges = measure_ranges(model, stack, [given])
    assert len(ranges[0].outliers) == 3
    with torch.no_grad():
        encoder = FusedEncoder(model, stack, ranges=ranges)
        hidden, _ = encoder(*given)
        alone, _ = encoder(*(None if x is None else x[2:] for x in given))
    assert 0 < error(hidden, wanted.last_hidden_state, given[1]) < 0.1
    # Ranges are fixed, so a window does not feel its neighbours.
    torch.testing.assert_close(alone, hidden[2:], atol=1e-3, rtol=1e-3)


@needs_int8
def test_int8_linear_maps_add_up_whole_numbers():
    weight, bias = torch.randn(24, 40), torch.randn(24)
    linear = _Int8Linear(weight, bias, zero=3)
    x = torch.randint(0, 256, (5, 40), dtype=torch.uint8)
    whole = torch.round(weight / linear.scale[:, None])
    wanted = (x.double() - 3) @ whole.double().T * linear.scale + bias
    torch.testing.assert_close(
        linear.plain(x, torch.float32).double(), wanted, atol=1e-3, rtol=1e-5
    )
    other = torch.randn(5, 24)
    torch.testing.assert_close(
        linear.added(x, other).double(), wanted + other, atol=1e-3, rtol=1e-5
    )
    rounded = linear.activated(x, "relu", scale=2.0, zero=7).double()
    assert (rounded - (wanted.clamp(min=0) / 2 + 7).clamp(max=255)).abs().max() <= 0.5 + 1e-3


def test_without_the_kernels_nothing_claims_to_be_available(monkeypatch):
    monkeypatch.setattr(fused, "is_x86", lambda: False)
    assert not fused.is_available() and not fused.is_int8_available()


def test_avx512_alone_is_no_vnni_in_an_older_torch(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_vnni_supported", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_cpu_support_avx512_vnni", lambda: False, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not fused.has_vnni()
