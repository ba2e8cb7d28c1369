"""Corpora of plain text."""

import shutil

from bert_spacy.weights.corpus import TextCorpus


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text(f"{name}\n", encoding="utf-8")
    shutil.copy(folder / "a.txt", tmp_path / "copy.txt")
    named = [folder / "b.txt", folder, folder / "a.txt", folder / ".." / "folder" / "b.txt"]
    corpus = TextCorpus([*named, tmp_path / "copy.txt"])
    assert list(corpus) == ["b", "a", "a"]  # a copy is another file
    assert (corpus.counts.files, corpus.counts.texts) == (3, 3)
