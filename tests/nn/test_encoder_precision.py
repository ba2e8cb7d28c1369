"""bfloat16 where the device has it, float32 and one warning where it has not."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from bert_spacy.nn import encoder

CPU = torch.device("cpu")


def test_autocast_runs_in_bfloat16_where_supported(monkeypatch):
    monkeypatch.setattr(encoder, "has_bfloat16", lambda device_type: True)
    with encoder.autocast(True, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with encoder.autocast(False, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_without_bfloat16_it_computes_in_float32_and_says_so_once(monkeypatch):
    monkeypatch.setattr(encoder, "has_bfloat16", lambda device_type: False)
    encoder.warn_no_bfloat16.cache_clear()
    with pytest.warns(UserWarning, match=r"\[BW100\]"), encoder.autocast(True, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with encoder.autocast(True, CPU):
            pass


@pytest.mark.parametrize(
    ("machine", "native", "expected"),
    [("x86_64", False, False), ("AMD64", True, True), ("aarch64", False, True)],
)
def test_emulated_bfloat16_is_none(monkeypatch, machine, native, expected):
    # oneDNN says yes to every AVX-512, also where it emulates.
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(encoder.platform, "machine", lambda: machine)
    assert encoder.has_bfloat16("cpu") is expected


def test_a_torch_without_onednn_has_no_bfloat16_on_the_cpu(monkeypatch):
    monkeypatch.setattr(encoder.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert encoder.has_bfloat16("cpu") is False


def test_a_gpu_that_emulates_bfloat16_has_none(monkeypatch):
    # By default torch says yes to a GPU of before Ampere too.
    asked = lambda including_emulation=True: including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", asked)
    assert encoder.has_bfloat16("cuda") is False


def test_a_device_without_autocast_has_no_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device_type: False)
    assert encoder.has_bfloat16("mps") is False
