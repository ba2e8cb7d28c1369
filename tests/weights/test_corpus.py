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


def test_no_part_of_a_long_text_is_blank(tmp_path, monkeypatch):
    monkeypatch.setattr("bert_spacy.weights.corpus.PART_LENGTH", 10)
    (tmp_path / "a.txt").write_text("one two" + " " * 30 + "three" + " " * 12 + "\n", "utf-8")
    parts = list(TextCorpus([tmp_path / "a.txt"]))
    assert [part.strip() for part in parts] == ["one two", "three"]
