"""The import of published weights, and the activations that came with them."""

import codecs
import hashlib
import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.nn.elmo import ElmoEncoder, load_elmo
from bert_spacy.text.characters import spell_words
from bert_spacy.weights.elmo import import_elmo, read_options

from ..elmo import make_elmo, plain_elmo

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
ROOT = Path(__file__).parents[2]
FIXTURE = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "fixtures" / "elmo"
needs_fixture = pytest.mark.skipif(
    not FIXTURE.is_dir(), reason=f"no ELMo at {FIXTURE}; set BERT_SPACY_DATA to its parent"
)
FILES = (FIXTURE / "options.json", FIXTURE / "lm_weights.hdf5")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> ElmoEncoder:
    folder = tmp_path_factory.mktemp("elmo") / "new"
    import_elmo(*FILES, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    return load_elmo(folder)


def streams() -> list[list[list[str]]]:
    """Return three streams of ten sentences each."""
    rows = json.loads((FIXTURE / "sentences.json").read_text(encoding="utf-8"))
    return [[text.split() for text in row] for row in rows]


@needs_fixture
def test_token_vectors_are_the_published_ones(published):
    words = (FIXTURE / "vocab_test.txt").read_text(encoding="utf-8").split("\n")
    with h5py.File(FIXTURE / "elmo_token_embeddings.hdf5") as file_:
        wanted = file_["embedding"][...]
    assert len(words) == len(wanted)
    table, _ = spell_words(words, published.config.max_characters, published.config.widest_filter)
    with torch.no_grad():
        found = published.embeddings(torch.from_numpy(table)).numpy()
    # The last two rows are the marks of a text, which the vocabulary has as words.
    marks = [words.index("<S>"), words.index("</S>")]
    np.testing.assert_allclose(found[-2:], wanted[marks], atol=1e-5)
    rest = [i for i in range(len(words)) if i not in marks]
    np.testing.assert_allclose(found[rest], wanted[rest], atol=1e-5)


@needs_fixture
def test_activations_are_the_published_ones(published):
    # The published run kept its state from sentence to sentence, stream by stream.
    texts, state = streams(), None
    files = [h5py.File(FIXTURE / f"lm_embeddings_{k}.hdf5") for k in range(3)]
    for i in range(10):
        order = sorted(range(3), key=lambda k: -len(texts[k][i]))
        words = [word for k in order for word in texts[k][i]]
        table, _ = spell_words(words, 50, 5)
        lengths = np.array([len(texts[k][i]) + 2 for k in order])
        rows, at = [], 0
        for length in lengths:
            rows += [len(words), *range(at, at + length - 2), len(words) + 1]
            at += length - 2
        begin = None if state is None else [tuple(x[:, order] for x in pair) for pair in state]
        with torch.no_grad():
            vectors = published.embeddings(torch.from_numpy(table))
            layers, end = published.read(vectors[torch.tensor(rows)], lengths, begin)
        state = [tuple(x[:, np.argsort(order)] for x in pair) for pair in end]
        for k, top in zip(order, layers[-1].split(lengths.tolist())):
            wanted = np.concatenate(list(files[k][str(i)][...]), axis=1)
            np.testing.assert_allclose(top[1:-1].numpy(), wanted, atol=1e-5)


@needs_fixture
def test_every_layer_equals_a_plain_reading_that_gives_the_published_top(published):
    memory = {}
    for i, words in enumerate(streams()[0][:2]):
        layers = plain_elmo(published, words, memory)
        with h5py.File(FIXTURE / "lm_embeddings_0.hdf5") as file_:
            wanted = np.concatenate(list(file_[str(i)][...]), axis=1)
        np.testing.assert_allclose(torch.stack(layers[-1][1:-1]).numpy(), wanted, atol=1e-5)
        if i == 0:
            table, _ = spell_words(words, 50, 5)
            order = [len(words), *range(len(words)), len(words) + 1]
            with torch.no_grad():
                vectors = published.embeddings(torch.from_numpy(table))[torch.tensor(order)]
                found, _ = published.read(vectors, np.array([len(order)]))
            for layer, plain in zip(found, layers, strict=True):
                torch.testing.assert_close(layer, torch.stack(plain), atol=1e-5, rtol=1e-5)


def write_published(folder, encoder):
    """Write an ELMo of ours in the published form, by the rules of TensorFlow's layers."""
    config, w = encoder.config, {k: v.detach().numpy() for k, v in encoder.state_dict().items()}
    options = {
        "lstm": {
            "cell_clip": config.cell_clip,
            "use_skip_connections": config.use_skip_connections,
            "n_layers": config.n_layers,
            "proj_clip": config.projection_clip,
            "projection_dim": config.projection_width,
            "dim": config.cell_width,
        },
        "char_cnn": {
            "embedding": {"dim": config.character_width},
            "filters": config.filters,
            "n_highway": config.n_highway,
            "n_characters": 262,
            "max_characters_per_token": config.max_characters,
            "activation": config.activation,
        },
    }
    (folder / "options.json").write_text(json.dumps(options))
    with h5py.File(folder / "weights.hdf5", "w") as file_:
        file_["char_embed"] = w["embeddings.characters.weight"][1:]
        for i in range(len(config.filters)):
            kernel = w[f"embeddings.filters.{i}.weight"]  # (out, in, width)
            file_[f"CNN/W_cnn_{i}"] = np.einsum("oiw->wio", kernel)[None]
            file_[f"CNN/b_cnn_{i}"] = w[f"embeddings.filters.{i}.bias"]
        for i in range(config.n_highway):
            for name, kind in (("W", "weight"), ("b", "bias")):
                new, carry = np.split(w[f"embeddings.highway.{i}.{kind}"], 2)
                file_[f"CNN_high_{i}/{name}_transform"] = new.T
                file_[f"CNN_high_{i}/{name}_carry"] = carry.T
        file_["CNN_proj/W_proj"] = w["embeddings.projection.weight"].T
        file_["CNN_proj/b_proj"] = w["embeddings.projection.bias"]
        for d in (0, 1):
            for i in range(config.n_layers):
                cell = f"RNN_{d}/RNN/MultiRNNCell/Cell{i}/LSTMCell"
                parts = [w[f"layers.{i}.{name}_weight"][d] for name in ("input", "output")]
                gates = w[f"layers.{i}.bias"][d, 0].reshape(4, -1).copy()
                gates[2] -= 1
                file_[f"{cell}/W_0"] = np.concatenate(parts)
                file_[f"{cell}/B"] = gates.reshape(-1)
                file_[f"{cell}/W_P_0"] = w[f"layers.{i}.projection"][d]
    return folder / "options.json", folder / "weights.hdf5"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "old").mkdir()
    encoder = load_elmo(make_elmo(tmp_path / "made"))
    return write_published(tmp_path / "old", encoder)


def test_every_weight_arrives_at_its_place(files, tmp_path):
    output = tmp_path / "new"
    output.mkdir()  # an empty folder may be there
    result = CliRunner().invoke(app, ["weights", "import-elmo", *map(str, [*files, output])])
    assert result.exit_code == 0 and "2 layers, width 16" in result.stdout
    found, wanted = load_elmo(output), load_elmo(tmp_path / "made")
    assert found.config == wanted.config
    for name, value in wanted.state_dict().items():
        if name.startswith("mix."):  # no mix is published: all layers alike
            value = torch.ones(1) if name == "mix.gamma" else torch.zeros(3)
        if name == "embeddings.characters.weight":
            value[0] = 0
        torch.testing.assert_close(found.state_dict()[name], value)
    card = (output / "README.md").read_text(encoding="utf-8")
    for path in (*files, output / "model.safetensors"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert "weights.hdf5" in card and "Licence" in card


def test_options_with_a_byte_order_mark_are_read(files):
    plain = read_options(files[0])
    files[0].write_bytes(codecs.BOM_UTF8 + files[0].read_bytes())
    assert read_options(files[0]) == plain


def test_what_is_there_already_stays(files, tmp_path):
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "old"):
        with pytest.raises(ValueError, match=r"\[B692\]"):
            import_elmo(*files, target)
    result = CliRunner().invoke(app, ["weights", "import-elmo", *map(str, [*files, tmp_path])])
    assert result.exit_code == 1 and "B692" in result.stdout
    assert (tmp_path / "file").read_text() == "mine" and files[0].is_file()


def test_a_failed_import_leaves_nothing(files, tmp_path, monkeypatch):
    def fail(self, folder):
        raise OSError("disk full")

    monkeypatch.setattr(ElmoEncoder, "save", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="disk full"):
        import_elmo(*files, tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "change, reason",
    [
        ("[]", "must be"),
        ("{", "Expecting"),
        ({"n_layers": None}, "n_layers"),
        ({"dim": -1}, "cell_width is -1"),
        ({"projection_dim": "8"}, "projection_width is '8'"),
        ({"cell_clip": "tight"}, "cell_clip is 'tight'"),
        ({"cell_clip": math.nan}, "cell_clip is nan"),
        ({"proj_clip": -1}, "projection_clip is -1"),
        ("no activation", "there is no 'activation'"),
        ("no file", "No such file"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(files, tmp_path, change, reason):
    options = json.loads(files[0].read_text())
    if change == "no file":
        files[0].unlink()
    elif change == "no activation":
        del options["char_cnn"]["activation"]
        files[0].write_text(json.dumps(options))
    elif isinstance(change, str):
        files[0].write_text(change)
    else:
        files[0].write_text(json.dumps({**options, "lstm": {**options["lstm"], **change}}))
    with pytest.raises(ValueError, match=rf"\[B691\].*{reason}"):
        import_elmo(*files, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "section, change, reason",
    [
        ("lstm", {"n_layers": 1}, "none of its tensors RNN_0"),
        ("char_cnn", {"n_highway": 1}, "none of its tensors CNN_high_1"),
        ("char_cnn", {"n_highway": 1.5}, "n_highway is 1.5"),
    ],
)
def test_options_of_another_model_are_refused(files, tmp_path, section, change, reason):
    options = json.loads(files[0].read_text())
    options[section] |= change
    files[0].write_text(json.dumps(options))
    with pytest.raises(ValueError, match=rf"\[B691\].*{reason}"):
        import_elmo(*files, tmp_path / "new")


@pytest.mark.parametrize("how", ["no file", "text", "cut", "missing", "group", "shape", "vocab"])
def test_weights_that_do_not_fit_are_refused(files, tmp_path, how):
    name, path = "CNN_proj/W_proj", files[1]
    if how == "no file":
        path.unlink()
    elif how == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        with h5py.File(path, "a") as file_:
            name = "char_embed" if how == "vocab" else name
            old = file_[name][...]
            del file_[name]
            if how == "group":
                file_.create_group(name)
            elif how != "missing":
                file_[name] = old[:-1]
    with pytest.raises(ValueError, match=r"\[B691\]") as caught:
        import_elmo(*files, tmp_path / "new")
    assert how in ("no file", "text", "cut") or name in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_without_h5py_the_command_that_installs_it_is_named(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"\[B690\].*pip install 'bert-spacy\[elmo\]'"):
        import_elmo(*files, tmp_path / "new")
    result = CliRunner().invoke(
        app, ["weights", "import-elmo", *map(str, [*files, tmp_path / "new"])]
    )
    assert result.exit_code == 1 and "B690" in result.stdout
