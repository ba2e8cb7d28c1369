"""Folders whose vocabulary changes."""

import codecs
import json

import pytest

from bert_spacy.weights.vocab.folder import INDEX_FILE, open_source

from .vocab_tools import make_masked


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{}", "weight_map"),
        ("[", "weight_map"),
        ('{"weight_map": {}}', "weight_map"),
        ('{"weight_map": {"a": "none.safetensors"}}', "none"),
    ],
)
def test_an_index_that_names_no_files_is_refused(tmp_path, text, reason):
    folder = make_masked(tmp_path / "m")
    (folder / INDEX_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"\[B100\].*{reason}"):
        open_source(str(folder))


def test_an_index_with_a_byte_order_mark_is_read(tmp_path):
    folder = make_masked(tmp_path / "m")
    names = open_source(str(folder)).state.keys()
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    index = json.dumps({"weight_map": dict.fromkeys(names, "part.safetensors")})
    (folder / INDEX_FILE).write_bytes(codecs.BOM_UTF8 + index.encode())
    assert open_source(str(folder)).state.keys() == names
