"""Models for onnxruntime give what torch gives, in every process, and say what is wrong."""

import multiprocessing
import os
import pickle
import re
import subprocess
import sys

import pytest
import torch

from bert_spacy.nn import onnx as subject
from bert_spacy.nn import onnx_graph
from bert_spacy.nn.encoder import load_encoder
from bert_spacy.nn.onnx import OnnxRunner, export_onnx, has_onnxruntime

from ..tiny import ARCHITECTURES

REASON = "onnx and onnxruntime are not installed: pip install 'bert-spacy[onnx]'"
pytest.importorskip("onnxruntime", reason=REASON)
onnx = pytest.importorskip("onnx", reason=REASON)


def windows(n=3, length=12):
    """Return ids, mask and segment ids; rows after the first are padded by 0, 1, 2, ... pieces."""
    ids = torch.randint(5, 40, (n, length))
    mask = torch.ones_like(ids)
    types = torch.zeros_like(ids)
    types[:, length // 2 :] = 1
    for row in range(1, n):
        mask[row, length - row :] = 0
    return ids.masked_fill(mask == 0, 0), mask, types


def load(folder):
    return load_encoder(str(folder), local=True)


@pytest.fixture(scope="module")
def exported(tiny_folder, tmp_path_factory):
    """Return a function that gives the exported file of a tiny architecture."""
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("onnx") / f"{kind}.onnx"
            export_onnx(load(tiny_folder(kind)), made[kind])
        return made[kind]

    return get


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_output_is_that_of_torch(tiny_folder, exported, kind):
    encoder, runner = load(tiny_folder(kind)), OnnxRunner(exported(kind))
    for shape in ((1, 3), (3, 12), (5, 40), (2, encoder.max_positions)):
        ids, mask, types = windows(*shape)
        if kind == "roberta":
            ids = ids.masked_fill(mask == 0, 1)
        with torch.no_grad():
            want, want_pooled = encoder(ids, mask, types)
        got, pooled = runner.run(ids, mask, types)
        real = mask.bool()
        assert got.dtype == torch.float32 and got.shape == want.shape
        torch.testing.assert_close(got[real], want[real], atol=1e-4, rtol=1e-4)
        if want_pooled is None:
            assert pooled is None
        else:
            torch.testing.assert_close(pooled, want_pooled, atol=1e-4, rtol=1e-4)


def test_known_families_get_fused_operators_and_others_their_own_code(exported):
    kinds = {
        kind: {n.op_type for n in onnx.load(exported(kind)).graph.node} for kind in ARCHITECTURES
    }
    fused = {kind for kind, found in kinds.items() if "MultiHeadAttention" in found}
    assert fused == set(ARCHITECTURES) - {"modernbert"}


def test_layers_that_share_weights_share_them_in_the_file(exported):
    names = [item.name for item in onnx.load(exported("albert")).graph.initializer]
    assert sum(name.endswith(".up") for name in names) == 1


def test_export_leaves_the_encoder_as_it_was(bert, tmp_path):
    encoder = load(bert).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    export_onnx(encoder, tmp_path / "new" / "model.onnx")
    assert encoder.training and encoder.model.training
    after = encoder.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]


def test_wrong_fused_graph_gives_way_to_a_plain_one(bert, tmp_path, monkeypatch):
    class Wrong(onnx_graph.FusedGraph):
        def forward(self, ids, mask, types):
            hidden, pooled = super().forward(ids, mask, types)
            return hidden * 1.01, pooled

    monkeypatch.setattr(onnx_graph, "FusedGraph", Wrong)
    path = tmp_path / "model.onnx"
    export_onnx(load(bert), path)
    assert "MultiHeadAttention" not in {node.op_type for node in onnx.load(path).graph.node}


def test_export_that_differs_is_refused(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(subject, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"\[B121\].*differs from torch by"):
        export_onnx(load(bert), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_model_that_cannot_be_traced_is_refused(bert, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("no such operator\nand a long graph")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"\[B121\].*RuntimeError: no such operator") as caught:
        export_onnx(load(bert), tmp_path / "model.onnx")
    assert "long graph" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "noise", "version"])
def test_model_that_cannot_be_read_is_named(exported, tmp_path, damage):
    path, data = tmp_path / "model.onnx", exported("bert").read_bytes()
    if damage == "version":
        model = onnx.load_from_string(data)
        model.ir_version = 999  # as a much later release would write
        data = model.SerializeToString()
    made = {"empty": b"", "short": data[: len(data) // 2], "noise": b"\0noise" * 50}
    if damage != "missing":
        path.write_bytes(made.get(damage, data))
    with pytest.raises(ValueError, match=rf"\[B122\].*{re.escape(str(path))}.*bert_spacy optimize"):
        OnnxRunner(path).run(*windows())


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_missing_package_is_named(bert, exported, tmp_path, monkeypatch, name):
    path = exported("bert")
    subject.require.cache_clear()
    monkeypatch.setitem(sys.modules, name, None)
    try:
        with pytest.raises(ImportError, match=rf"\[B120\].*{name}, which.*bert-spacy\[onnx\]"):
            export_onnx(load(bert), tmp_path / "model.onnx")
        if name == "onnxruntime":
            assert not has_onnxruntime()
            with pytest.raises(ImportError, match="B120"):
                OnnxRunner(path).run(*windows())
    finally:
        subject.require.cache_clear()


def test_package_is_loaded_at_first_use():
    code = (
        "import sys, bert_spacy.nn.onnx as o; assert o.has_onnxruntime();"
        "assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def run_there(runner, batch, pipe):
    pipe.send((os.getpid(), runner.run(*batch)[0].numpy()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_used_runner_works_in_a_fork(exported):
    runner, batch = OnnxRunner(exported("bert"), threads=2), windows()
    want = runner.run(*batch)[0]
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=run_there, args=(runner, batch, there))
    child.start()
    try:
        assert here.poll(60), "the forked process hangs"
        pid, got = here.recv()
    finally:
        child.join(10)
        child.kill()
    assert pid != os.getpid()
    assert torch.equal(torch.from_numpy(got), want)
    assert torch.equal(runner.run(*batch)[0], want)


@pytest.mark.parametrize("in_memory", [False, True])
def test_used_runner_can_be_pickled(exported, in_memory):
    path = exported("bert")
    runner, batch = OnnxRunner(path.read_bytes() if in_memory else path), windows()
    want = runner.run(*batch)[0]
    copy = pickle.loads(pickle.dumps(runner))
    assert torch.equal(copy.run(*batch)[0], want)


def test_outputs_of_two_runs_do_not_share_memory(exported):
    runner, batch = OnnxRunner(exported("bert")), windows()
    first = runner.run(*batch)[0]
    kept = first.clone()
    runner.run(*windows())
    assert torch.equal(first, kept)
