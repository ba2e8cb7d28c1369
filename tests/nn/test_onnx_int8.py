"""Int8 models for onnxruntime stay near float, and pieces do not disturb each other."""

from dataclasses import replace

import pytest
import torch

from bert_spacy.nn import onnx_int8
from bert_spacy.nn.blocks import read_stack
from bert_spacy.nn.encoder import load_encoder
from bert_spacy.nn.onnx import OnnxRunner, export_onnx
from bert_spacy.nn.onnx_int8 import open_int8, quantize_onnx
from bert_spacy.nn.quantize import measure_ranges

from ..tiny import ARCHITECTURES
from .test_onnx import REASON, exported, windows  # noqa: F401

pytest.importorskip("onnxruntime", reason=REASON)
onnx = pytest.importorskip("onnx", reason=REASON)


def distance(got, want, mask):
    real = mask.bool()
    return float((got[real] - want[real]).norm() / want[real].norm())


def spiky_encoder(folder):
    """Return an encoder with outliers in a channel of the norms, as trained ones have them."""
    encoder = load_encoder(str(folder), local=True)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if parameter.dim() == 2 and "embedding" not in name:
                parameter.mul_(10)
            if name.endswith("LayerNorm.weight"):
                parameter[3] = 40
    return encoder


def ranges_of(encoder):
    batches = [windows(6, 40) for _ in range(8)]  # enough to meet most pieces
    if not encoder.has_types:
        batches = [(ids, mask, None) for ids, mask, _ in batches]
    return measure_ranges(encoder.model, read_stack(encoder.model), batches)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_int8_is_near_float(exported, tmp_path, kind):  # noqa: F811
    path = tmp_path / "int8.onnx"
    quantize_onnx(exported(kind), path)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "MatMulIntegerToFloat" in kinds
    ids, mask, types = windows(4, 20)
    want, _ = OnnxRunner(exported(kind)).run(ids, mask, types)
    got, _ = open_int8(path).run(ids, mask, types)
    assert 0 < distance(got, want, mask) < 0.03


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_processor_without_vnni_does_not_overflow(exported, tmp_path, monkeypatch, kind):  # noqa: F811
    quantize_onnx(exported(kind), tmp_path / "int8.onnx")
    given = windows(4, 20)
    monkeypatch.setattr(onnx_int8, "has_vnni", lambda: False)
    got, _ = open_int8(tmp_path / "int8.onnx").run(*given)
    want, _ = OnnxRunner(exported(kind)).run(*given)
    assert 0 < distance(got, want, given[1]) < 0.03


def test_every_layer_of_a_known_family_is_in_int8(exported, tmp_path):  # noqa: F811
    quantize_onnx(exported("bert"), tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 8 and "MatMul" not in kinds
    weights = {x.name for x in graph.initializer if x.data_type == onnx.TensorProto.INT8}
    assert weights == {f"blocks.{i}.{p}.int8" for i in (0, 1) for p in ("qkv", "out", "up", "down")}
    assert not {f"blocks.0.{part}" for part in ("qkv", "down")} & {
        x.name for x in graph.initializer
    }


def test_ranges_bring_int8_nearer(bert, tmp_path):
    encoder = spiky_encoder(bert)
    export_onnx(encoder, tmp_path / "fp32.onnx")
    quantize_onnx(tmp_path / "fp32.onnx", tmp_path / "without.onnx")
    quantize_onnx(tmp_path / "fp32.onnx", tmp_path / "with.onnx", ranges_of(encoder))
    ids, mask, types = windows(6, 30)
    with torch.no_grad():
        want, _ = encoder(ids, mask, types)
    errors = {
        name: distance(open_int8(tmp_path / f"{name}.onnx").run(ids, mask, types)[0], want, mask)
        for name in ("without", "with")
    }
    assert errors["with"] < errors["without"] / 1.5, errors


@pytest.mark.parametrize("kind", ["albert", "distilbert"])
def test_ranges_of_other_families_fit(tiny_folder, exported, tmp_path, kind):  # noqa: F811
    encoder = load_encoder(str(tiny_folder(kind)), local=True)
    quantize_onnx(exported(kind), tmp_path / "int8.onnx", ranges_of(encoder))
    ids, mask, types = windows()
    with torch.no_grad():
        want, _ = encoder(ids, mask, types)
    got, _ = open_int8(tmp_path / "int8.onnx").run(ids, mask, types)
    assert distance(got, want, mask) < 0.03


def test_a_window_does_not_depend_on_those_beside_it(bert, tmp_path):
    export_onnx(spiky_encoder(bert), tmp_path / "fp32.onnx")
    quantize_onnx(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    runner = open_int8(tmp_path / "int8.onnx")
    ids, mask, types = windows(4, 20)
    together, _ = runner.run(ids, mask, types)
    for row in range(4):
        n = int(mask[row].sum())
        part = (x[row : row + 1, :n].contiguous() for x in (ids, mask, types))
        alone, _ = runner.run(*part)
        torch.testing.assert_close(alone[0], together[row, :n], atol=1e-4, rtol=1e-4)


def test_ranges_of_another_encoder_are_refused(bert, exported, tmp_path):  # noqa: F811
    good = ranges_of(load_encoder(str(bert), local=True))
    broken = good[0].up.clone()
    broken[2] = float("nan")
    wrong = {
        "narrow": [replace(good[0], qkv=torch.ones(8)), good[1]],
        "few": good[:1],
        "nan": [replace(good[0], up=broken), good[1]],
        "zero": [replace(good[0], out=torch.zeros(16)), good[1]],
    }
    for ranges in wrong.values():
        with pytest.raises(ValueError, match=r"\[B124\].*'blocks\.[01]\..*16 finite"):
            quantize_onnx(exported("bert"), tmp_path / "int8.onnx", ranges)
    assert not list(tmp_path.iterdir())


def test_model_without_products_is_refused(tmp_path):
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "small",
        [value("x", onnx.TensorProto.FLOAT, [2])],
        [value("y", onnx.TensorProto.FLOAT, [2])],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "relu.onnx")
    with pytest.raises(ValueError, match=r"\[B123\].*relu\.onnx"):
        quantize_onnx(tmp_path / "relu.onnx", tmp_path / "int8.onnx")


def test_damaged_source_is_named(exported, tmp_path):  # noqa: F811
    path = tmp_path / "fp32.onnx"
    path.write_bytes(exported("bert").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"\[B122\].*fp32\.onnx"):
        quantize_onnx(path, tmp_path / "int8.onnx")
