"""What TensorFlow itself writes is read, and what is written here it reads.

`BERT_SPACY_TF_PYTHON` names the Python of an environment with TensorFlow; nothing else uses it.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForPreTraining, BertConfig, BertForPreTraining

from bert_spacy.weights.tf.bundle import Bundle
from bert_spacy.weights.tf.exporting import export_tf
from bert_spacy.weights.tf.importing import import_tf

from .tf_models import (
    albert_variables,
    bert_variables,
    make_model,
    object_variables,
    save,
    write,
)

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("BERT_SPACY_TF_PYTHON", "")
FIXTURE = (
    Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared"))
    / "fixtures"
    / "tf_bert_checkpoint"
    / "bert_model.ckpt"
)
needs_fixture = pytest.mark.skipif(
    not Path(f"{FIXTURE}.index").is_file(),
    reason=f"no checkpoint {FIXTURE}; set BERT_SPACY_DATA to the folder that has fixtures/",
)
needs_tensorflow = pytest.mark.skipif(
    not PYTHON,
    reason="BERT_SPACY_TF_PYTHON does not name a Python with TensorFlow; run make test-tf",
)
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf


def unescape(part):
    return part.replace(".S", "/").replace("..", ".")

mode, checkpoint, arrays = sys.argv[1:]
if mode == "read":
    reader = tf.train.load_checkpoint(checkpoint)
    names = reader.get_variable_to_shape_map()
    np.savez(arrays, **{name: reader.get_tensor(name) for name in names})
elif mode == "partitions":
    tf.compat.v1.disable_eager_execution()
    with tf.compat.v1.Session() as session:
        for name, array in np.load(arrays).items():
            n_parts = 3 if array.ndim and array.shape[0] >= 3 else 1
            parts = tf.compat.v1.fixed_size_partitioner(n_parts) if array.ndim else None
            tf.compat.v1.get_variable(name, initializer=tf.constant(array), partitioner=parts)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, checkpoint)
else:
    root = tf.train.Checkpoint()
    for name, array in np.load(arrays).items():
        *nodes, leaf = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split("/")
        node = root
        for part in map(unescape, nodes):
            if not hasattr(node, part):
                setattr(node, part, tf.Module())
            node = getattr(node, part)
        setattr(node, unescape(leaf), tf.Variable(array))
    root.write(checkpoint)
"""


def run_tensorflow(mode, checkpoint, arrays):
    """Run the script above in the environment that has TensorFlow."""
    done = subprocess.run(
        [PYTHON, "-c", SCRIPT, mode, str(checkpoint), str(arrays)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr


def read_by_tensorflow(checkpoint, folder):
    """Return all tensors of a checkpoint as TensorFlow reads them."""
    run_tensorflow("read", checkpoint, folder / "read.npz")
    return dict(np.load(folder / "read.npz"))


def same_arrays(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype and np.array_equal(array, other[name]), name


@pytest.mark.slow
@needs_fixture
def test_a_checkpoint_of_tensorflow_1_loads(tmp_path):
    report = import_tf(FIXTURE, tmp_path / "hf")
    assert report.architecture == "BertForPreTraining" and report.n_tensors == 46
    assert "93 variables of the optimizer" in report.notes[0]
    export_tf(str(tmp_path / "hf"), tmp_path / "again.ckpt")
    original, again = Bundle(FIXTURE), Bundle(tmp_path / "again.ckpt")
    assert len(again.entries) == 46
    for name in again.entries:
        assert np.array_equal(original.read(name), again.read(name))


@pytest.mark.slow
@needs_fixture
@needs_tensorflow
def test_every_tensor_is_what_tensorflow_reads(tmp_path):
    theirs = read_by_tensorflow(FIXTURE, tmp_path)
    bundle = Bundle(FIXTURE)
    same_arrays({name: bundle.read(name) for name in bundle.entries}, theirs)
    import_tf(FIXTURE, tmp_path / "hf")
    made = AutoModelForPreTraining.from_pretrained(tmp_path / "hf")
    direct = fill(BertForPreTraining(made.config).eval(), theirs)
    ids = torch.tensor([[2, 5, 9, 14, 3]])
    with torch.no_grad():
        assert torch.equal(made.bert(ids).last_hidden_state, direct.bert(ids).last_hidden_state)
        assert torch.equal(made(ids).prediction_logits, direct(ids).prediction_logits)
        answer = direct(ids).seq_relationship_logits
        assert torch.equal(made(ids).seq_relationship_logits, answer)


def fill(model, variables):
    """Copy TensorFlow's arrays into the parameters that the tables of names give."""
    for name, view in bert_variables(model).items():  # arrays that share the model's memory
        view[...] = variables[name]
    return model


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize("family", ["bert", "albert"])
def test_tensorflow_reads_the_export(tmp_path, family):
    model = make_model(family)
    folder = save(tmp_path / "hf", model)
    export_tf(str(folder), tmp_path / "x.ckpt")
    names = bert_variables if family == "bert" else albert_variables
    same_arrays(names(model), read_by_tensorflow(tmp_path / "x.ckpt", tmp_path))


@pytest.mark.slow
@needs_tensorflow
def test_a_large_export_has_many_index_blocks(tmp_path):
    config = BertConfig(
        vocab_size=105, hidden_size=8, num_hidden_layers=48, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=8,
    )  # fmt: skip
    export_tf(str(save(tmp_path / "hf", BertForPreTraining(config))), tmp_path / "x.ckpt")
    assert (tmp_path / "x.ckpt.index").stat().st_size > 5 * 4096
    bundle = Bundle(tmp_path / "x.ckpt")
    ours = {name: bundle.read(name) for name in bundle.entries}
    same_arrays(ours, read_by_tensorflow(tmp_path / "x.ckpt", tmp_path))


@pytest.mark.slow
@needs_tensorflow
def test_partitioned_variables_of_tensorflow(tmp_path):
    variables = bert_variables(make_model("bert"))
    np.savez(tmp_path / "arrays.npz", **variables)
    prefix = write(tmp_path / "tf", variables)
    run_tensorflow("partitions", prefix, tmp_path / "arrays.npz")
    bundle = Bundle(prefix)
    assert len(bundle.entries["bert/embeddings/word_embeddings"].slices) == 3
    same_arrays(variables, {name: bundle.read(name) for name in bundle.entries})
    assert import_tf(prefix, tmp_path / "hf").n_tensors == len(variables)


@pytest.mark.slow
@needs_tensorflow
@pytest.mark.parametrize(
    "pooler, heads",
    [
        ("encoder/layer_with_weights-6", False),
        ("next_sentence..pooler_dense", False),
        ("next_sentence..pooler_dense", True),
    ],
)
def test_objects_of_tensorflow_2(tmp_path, pooler, heads):
    model = make_model("bert")
    dense = "_attention_output_dense"
    variables = object_variables(model, "encoder/", dense, pooler, heads=heads)
    np.savez(tmp_path / "arrays.npz", **variables)
    prefix = write(tmp_path / "tf", variables)
    run_tensorflow("objects", prefix, tmp_path / "arrays.npz")
    bundle = Bundle(prefix)
    assert "_CHECKPOINTABLE_OBJECT_GRAPH" in bundle.entries
    same_arrays(variables, {name: bundle.read(name) for name in variables})
    report = import_tf(prefix, tmp_path / "hf")
    assert report.architecture == ("BertForPreTraining" if heads else "BertModel")
    assert report.n_tensors == len(variables)
