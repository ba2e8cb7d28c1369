"""The import of published weights, and the activations that came with them."""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.nn.elmo import ElmoEncoder, load_elmo
from bert_spacy.text.characters import spell_words
from bert_spacy.weights.elmo import import_elmo

from ..elmo import plain_elmo

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
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
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
