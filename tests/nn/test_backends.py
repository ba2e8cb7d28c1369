"""Which backend predicts, what is said where one is missing, and what learning undoes."""

import warnings

import pytest
import torch

from bert_spacy.nn import backends
from bert_spacy.nn.backends import count_changes, make_predictor
from bert_spacy.nn.blocks import read_stack
from bert_spacy.nn.encoder import load_encoder
from bert_spacy.nn.extras import Extras
from bert_spacy.nn.fused import is_int8_available
from bert_spacy.nn.onnx import OnnxRunner
from bert_spacy.nn.quantize import measure_ranges

from .test_blocks import windows


@pytest.fixture
def encoder(bert):
    backends._warn.cache_clear()
    return load_encoder(str(bert), local=True)


@pytest.fixture
def extras(encoder):
    return Extras(measure_ranges(encoder.model, read_stack(encoder.model), [windows()]))


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_prediction_is_exact_unless_asked_otherwise(encoder, extras, backend, precision):
    predictor = make_predictor(encoder, backend, precision, extras)
    assert predictor.name == "torch fp32"
    ids, mask, types = windows()
    with torch.no_grad():
        got, wanted = predictor.run(ids, mask, types), encoder(ids, mask, types)
    torch.testing.assert_close(got[0][mask.bool()], wanted[0][mask.bool()], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got[1], wanted[1], atol=1e-5, rtol=1e-5)


def test_other_architectures_run_by_their_own_modules(tiny_folder):
    encoder = load_encoder(str(tiny_folder("modernbert")), local=True)
    ids, mask, _ = windows()
    with torch.no_grad():
        got = make_predictor(encoder, "auto", "auto", Extras()).run(ids, mask, mask)
        assert torch.equal(got[0], encoder(ids, mask, mask)[0])
        half = make_predictor(encoder, "auto", "bf16", Extras()).run(ids, mask, mask)
    assert half[0].dtype == torch.float32


@pytest.mark.skipif(not is_int8_available(), reason="no VNNI in this processor")
def test_int8_runs_where_it_was_prepared(encoder, extras):
    assert make_predictor(encoder, "auto", "int8", extras).name == "torch int8"


def test_int8_without_ranges_falls_back_and_says_so_once(encoder):
    with pytest.warns(UserWarning, match=r"\[BW130\].*int8"):
        predictor = make_predictor(encoder, "torch", "int8", Extras())
    assert predictor.name == "torch fp32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_predictor(encoder, "torch", "int8", Extras())


def test_a_processor_without_int8_falls_back(encoder, extras, monkeypatch):
    monkeypatch.setattr(backends, "is_int8_available", lambda: False)
    with pytest.warns(UserWarning, match=r"\[BW130\].*VNNI"):
        assert make_predictor(encoder, "torch", "int8", extras).name == "torch fp32"


def test_a_processor_without_bfloat16_falls_back(encoder, monkeypatch):
    monkeypatch.setattr(backends, "has_bfloat16", lambda kind: False)
    backends.warn_no_bfloat16.cache_clear()
    with pytest.warns(UserWarning, match=r"\[BW100\]"):
        assert make_predictor(encoder, "torch", "bf16", Extras()).name == "torch fp32"


def test_without_fused_kernels_the_modules_run(encoder, monkeypatch):
    monkeypatch.setattr(backends, "is_available", lambda: False)
    ids, mask, types = windows()
    with torch.no_grad():
        got = make_predictor(encoder, "auto", "auto", Extras()).run(ids, mask, types)
        assert torch.equal(got[0], encoder(ids, mask, types)[0])


def test_an_onnx_model_that_is_not_there_falls_back(encoder):
    with pytest.warns(UserWarning, match=r"\[BW130\].*ONNX.*optimize"):
        assert make_predictor(encoder, "onnx", "fp32", Extras()).name == "torch fp32"


def test_an_onnx_model_without_onnxruntime_falls_back(encoder, monkeypatch):
    monkeypatch.setattr(backends, "has_onnxruntime", lambda: False)
    extras = Extras(onnx={"fp32": "model.onnx"})
    with pytest.warns(UserWarning, match=r"\[BW130\].*pip install 'bert-spacy\[onnx\]'"):
        assert make_predictor(encoder, "auto", "fp32", extras).name == "torch fp32"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_predictor(encoder, "auto", "fp32", extras)
        make_predictor(encoder, "torch", "fp32", extras)


def test_onnx_in_int8_without_vnni_is_said_once(encoder, monkeypatch):
    monkeypatch.setattr(backends, "open_int8", OnnxRunner)
    monkeypatch.setattr(backends, "has_vnni", lambda: False)
    backends._warn_slow_int8.cache_clear()
    extras = Extras(onnx={"int8": "model_int8.onnx"})
    with pytest.warns(UserWarning, match=r"\[BW131\].*VNNI"):
        assert make_predictor(encoder, "onnx", "int8", extras).name == "onnx int8"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_predictor(encoder, "onnx", "int8", extras)


@pytest.mark.parametrize("backend, precision", [("tpu", "fp32"), ("torch", "int4")])
def test_unknown_settings_are_refused(encoder, backend, precision):
    with pytest.raises(ValueError, match=r"\[B130\]"):
        make_predictor(encoder, backend, precision, Extras())


def test_an_encoder_without_weights_needs_its_model(encoder):
    with torch.device("meta"):
        encoder.model.to("meta")
    assert not encoder.has_weights
    with pytest.raises(ValueError, match=r"\[B131\]"):
        make_predictor(encoder, "torch", "fp32", Extras())


def test_weights_that_are_loaded_or_moved_count_as_changed(encoder):
    before = count_changes(encoder)
    assert count_changes(encoder) == before
    encoder.load_state_dict(encoder.state_dict())
    loaded = count_changes(encoder)
    parameter = next(encoder.model.parameters())
    parameter.data = parameter.data.clone()
    assert len({before, loaded, count_changes(encoder)}) == 3
