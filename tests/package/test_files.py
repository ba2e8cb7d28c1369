"""Files and folders appear whole, and take the place of nothing but files and folders."""

import os
import stat
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from bert_spacy import util
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


def test_a_folder_takes_the_place_of_no_file_and_lies_in_none(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for make in (atomic_dir(file), atomic_dir(file / "a" / "b"), atomic_file(file / "c")):
        with pytest.raises(ValueError, match=r"\[B811\].*file is a file"), make:
            pass
    assert file.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_to_a_folder_is_replaced_and_its_folder_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").touch()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with atomic_dir(tmp_path / "link") as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["old"]
    assert [path.name for path in (tmp_path / "link").iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"link", "there"}


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes here")
@pytest.mark.parametrize(
    "umask, file_mode, dir_mode", [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)]
)
def test_modes_are_those_that_the_umask_gives(tmp_path, monkeypatch, umask, file_mode, dir_mode):
    monkeypatch.setattr(util, "_UMASK", umask)
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("other threads write files, too"))
    with atomic_dir(tmp_path / "folder") as folder:
        (folder / "part").mkdir()
        save_file({"x": torch.zeros(2)}, folder / "part" / "model.safetensors")
        with atomic_file(folder / "config.cfg") as file_:
            file_.write("text")
    for path in (tmp_path / "folder", *(tmp_path / "folder").rglob("*")):
        assert path.stat().st_mode & 0o777 == (dir_mode if path.is_dir() else file_mode), path


@pytest.mark.skipif(os.name == "nt", reason="there are no such modes here")
def test_the_umask_is_that_of_the_start():
    code = (
        "import os; os.umask(0o027); from bert_spacy import util; print(util._UMASK, os.umask(0))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.split() == [b"23", b"23"]


@pytest.mark.skipif(sys.platform != "linux", reason="groups of folders are inherited otherwise")
def test_a_folder_in_one_that_a_group_shares_stays_so(tmp_path):
    tmp_path.chmod(0o2775)
    with atomic_dir(tmp_path / "folder") as folder:
        (folder / "part").mkdir()
    for path in (tmp_path / "folder", tmp_path / "folder" / "part"):
        assert path.stat().st_mode & stat.S_ISGID, path
