"""`import-tf` and `export-tf`: what fails half-way, and what the other side cannot say."""

import pytest

from bert_spacy.weights.tf import exporting
from bert_spacy.weights.tf.exporting import export_tf

from .tf_models import make_model, save


def contents(folder):
    """Return all paths in a folder with what the files hold."""
    paths = folder.rglob("*")
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def fill_disk(path, _):
    """Write a little and run out of space."""
    path.with_name(f"{path.name}.data-00000-of-00001").write_bytes(b"half")
    raise OSError(28, "No space left on device")


def test_an_export_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = save(tmp_path / "hf", make_model("bert"))
    checkpoint = tmp_path / "tf" / "x.ckpt"
    export_tf(str(folder), checkpoint)
    before = contents(tmp_path / "tf")
    assert len(before) == 4
    other = save(tmp_path / "other", make_model("bert", layer_norm_eps=1e-5))
    for name in ("write_bundle", "write_vocab"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(exporting, name, fill_disk)
            export_tf(str(other), checkpoint, force=True)
        assert contents(tmp_path / "tf") == before
    export_tf(str(other), checkpoint, force=True)
    after = contents(tmp_path / "tf")
    assert after.keys() == before.keys() and after != before


def test_a_folder_in_place_of_a_file_is_refused_before_anything_is_written(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    (tmp_path / "tf" / "vocab.txt").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"\[B810\].*vocab.txt"):
        export_tf(str(folder), tmp_path / "tf" / "x.ckpt", force=True)
    assert list(contents(tmp_path / "tf")) == [tmp_path / "tf" / "vocab.txt"]
