"""Ranges of int8: outliers are found, scales fit, and files bring them back."""

import pytest
import torch
from transformers import AutoModel

from bert_spacy.nn.blocks import read_stack
from bert_spacy.nn.extras import RANGES_FILE, Extras, load_extras, save_extras
from bert_spacy.nn.quantize import ZERO, _cut, _round_weight, _smooth, measure_ranges

from .test_blocks import windows


@pytest.fixture
def ranges(bert):
    model = AutoModel.from_pretrained(bert).eval()
    return measure_ranges(model, read_stack(model), [windows(), windows()])


def rounding_error(rows, weight, scale):
    whole = torch.round(rows / scale).clamp(-ZERO, 255 - ZERO)
    wanted = rows @ weight.T
    return float((whole @ _round_weight(weight * scale).T - wanted).norm() / wanted.norm())


def test_scales_for_each_channel_beat_one_scale():
    rows, weight = torch.randn(400, 32), torch.randn(16, 32)
    rows[:, 5] *= 60  # an outlier channel, as encoders have them
    most = rows.abs().amax(0)
    one = torch.full((32,), float(most.max()) / 127)
    chosen = _smooth(rows, most, weight)
    assert rounding_error(rows, weight, chosen) < rounding_error(rows, weight, one) / 4


def test_range_of_a_gelu_keeps_its_negative_side():
    rows = torch.nn.functional.gelu(torch.randn(500, 24) * 2)
    scale, zero = _cut(rows, torch.randn(8, 24))
    assert -zero * scale == pytest.approx(float(rows.min()), abs=scale)
    assert (255 - zero) * scale <= float(rows.max()) + scale


def test_ranges_are_the_same_twice_and_cover_every_layer(bert, ranges):
    model = AutoModel.from_pretrained(bert).eval()
    torch.manual_seed(0)
    again = measure_ranges(model, read_stack(model), [windows(), windows()])
    assert len(ranges) == len(again) == 2
    for one, other in zip(ranges, again):
        assert torch.equal(one.qkv, other.qkv) and one.down_zero == other.down_zero
        assert one.qkv.shape == (16,) and (one.qkv > 0).all()


def test_files_bring_ranges_and_models_back(tmp_path, ranges):
    source = tmp_path / "somewhere.onnx"
    source.write_bytes(b"model")
    save_extras(Extras(ranges, {"fp32": source}), tmp_path)
    found = load_extras(tmp_path)
    assert found.onnx["fp32"].read_bytes() == b"model" and "int8" not in found.onnx
    for one, other in zip(ranges, found.ranges):
        for key, tensor in one.to_tensors().items():
            assert torch.equal(tensor, other.to_tensors()[key]), key
    assert load_extras(tmp_path / "nothing").ranges is None


@pytest.mark.parametrize("content", [b"", b"no safetensors"])
def test_damaged_ranges_are_reported(tmp_path, content):
    (tmp_path / RANGES_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"\[B132\]"):
        load_extras(tmp_path)


def test_ranges_that_miss_a_field_are_reported(tmp_path, ranges):
    from safetensors.torch import load_file, save_file

    save_extras(Extras(ranges), tmp_path)
    tensors = load_file(tmp_path / RANGES_FILE)
    tensors.pop("1.up")
    save_file(tensors, tmp_path / RANGES_FILE)
    with pytest.raises(ValueError, match=r"\[B132\]"):
        load_extras(tmp_path)
