"""Files and folders appear whole, and take the place of nothing but files and folders."""

import os

import pytest

from bert_spacy.util import atomic_dir, atomic_file


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_file_takes_the_place_of_files_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with (
            pytest.raises(ValueError, match=r"\[B810\].*" + name),
            atomic_file(tmp_path / name) as file_,
        ):
            file_.write("never")
    assert (tmp_path / "pipe").is_fifo()
    for _ in range(2):
        with atomic_file(tmp_path / "file") as file_:
            file_.write("text")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "pipe"}


def test_a_link_to_a_folder_is_replaced_and_its_folder_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").touch()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with atomic_dir(tmp_path / "link") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["old"]
    assert [path.name for path in (tmp_path / "link").iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"link", "there"}
