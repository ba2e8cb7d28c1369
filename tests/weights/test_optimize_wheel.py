"""What `optimize` writes goes into a wheel, which names what it needs and predicts the same."""

import json
from importlib.metadata import requires

import pytest
import spacy
from spacy.cli.package import package
from spacy.util import split_requirement

from bert_spacy.nn.fused import is_int8_available
from bert_spacy.nn.onnx import has_onnxruntime
from bert_spacy.weights import optimize as module
from bert_spacy.weights.optimize import optimize

from ..util import TEXTS, trained
from ..wheel import assert_same_in_wheel

needs_int8 = pytest.mark.skipif(not is_int8_available(), reason="no VNNI in this processor")
needs_onnx = pytest.mark.skipif(not has_onnxruntime(), reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def pipeline(tiny_folder, tmp_path_factory):
    """Return the folder of a trained pipeline of three heads."""
    folder = tmp_path_factory.mktemp("wheel") / "pipeline"
    trained(tiny_folder("bert"), steps=30).to_disk(folder)
    return folder


@needs_onnx
@pytest.mark.parametrize(
    "precision, needed", [("fp32", {"onnxruntime"}), ("int8", {"onnx", "onnxruntime"})]
)
@pytest.mark.filterwarnings("ignore:.*BW131")
def test_a_wheel_requires_what_it_predicts_with(pipeline, tmp_path, precision, needed):
    (tmp_path / "packages").mkdir()
    options = {"precision": precision, "backend": "onnx", "force": True}
    optimize(pipeline, tmp_path / "new", **options)
    package(
        *(tmp_path / "new", tmp_path / "packages"),
        name="fast", version="1.0.0", create_sdist=False, silent=True,
    )  # fmt: skip
    (meta,) = (tmp_path / "packages").glob("*/meta.json")
    lines = json.loads(meta.read_text(encoding="utf-8"))["requirements"]
    assert {split_requirement(line)[0] for line in lines} == {"bert-spacy", *needed}
    extra = {line.split(";")[0] for line in requires("bert-spacy") if '"onnx"' in line}
    assert set(module.REQUIREMENTS[precision]) <= extra
    optimize(tmp_path / "new", tmp_path / "again", backend="torch")
    assert spacy.load(tmp_path / "again").meta["requirements"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "precision, backend",
    [
        pytest.param("fp32", "onnx", marks=needs_onnx),
        pytest.param("int8", "onnx", marks=needs_onnx),
        pytest.param("int8", "torch", marks=needs_int8),
    ],
)
@pytest.mark.filterwarnings("ignore:.*BW131")
def test_a_wheel_predicts_as_the_optimized_pipeline(pipeline, tmp_path, precision, backend):
    optimize(pipeline, tmp_path / "new", precision=precision, backend=backend, force=True)
    assert_same_in_wheel(tmp_path / "new", TEXTS, tmp_path)
