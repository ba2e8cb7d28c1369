import os
import struct
import weakref
import zlib

import pytest
import spacy
from spacy.tokens import Span

from bert_spacy.data.corpus import Corpus
from bert_spacy.data.docbin import check_output, read_docbin, write_docbin


@pytest.fixture
def nlp():
    return spacy.blank("en")


def make_docs(nlp, count):
    docs = [nlp.make_doc(f"Text number {i}.") for i in range(count)]
    for i, doc in enumerate(docs):
        doc.cats = {"even": float(i % 2 == 0)}
    return docs


def test_file_round_trip(nlp, tmp_path):
    docs = make_docs(nlp, 3)
    docs[0].set_ents([docs[0].char_span(0, 4, label="X")], default="outside")
    docs[1].set_ents([], default="outside")
    assert write_docbin(docs, tmp_path / "new" / "a.spacy") == [tmp_path / "new" / "a.spacy"]
    again = list(read_docbin(tmp_path / "new" / "a.spacy", spacy.blank("en").vocab))
    assert [doc.text for doc in again] == [doc.text for doc in docs]
    assert [doc.cats for doc in again] == [doc.cats for doc in docs]
    assert [(e.text, e.label_) for e in again[0].ents] == [("Text", "X")]
    # Annotated as without entities, and not annotated at all.
    assert [token.ent_iob for token in again[1]] == [2] * len(again[1])
    assert [token.ent_iob for token in again[2]] == [0] * len(again[2])


def test_shards_keep_order_and_are_read_as_one(nlp, tmp_path):
    docs = make_docs(nlp, 25)
    files = write_docbin(iter(docs), tmp_path / "out", shard_size=10)
    assert [file.name for file in files] == [f"part-0000{i}.spacy" for i in range(3)]
    assert [len(list(read_docbin(file, nlp.vocab))) for file in files] == [10, 10, 5]
    assert [d.text for d in read_docbin(tmp_path / "out", nlp.vocab)] == [d.text for d in docs]
    # Fewer shards replace the old ones, all of them.
    write_docbin(docs[:5], tmp_path / "out", shard_size=10)
    assert os.listdir(tmp_path / "out") == ["part-00000.spacy"]


def test_what_is_hidden_in_a_folder_is_passed_over(nlp, tmp_path):
    folder = tmp_path / ".mine" / "data"  # asked for by name
    write_docbin(make_docs(nlp, 3), folder / "ner", shard_size=2)
    write_docbin(make_docs(nlp, 3), folder / ".ner.a1b2c3d4", shard_size=2)
    (folder / "ner" / "._part-00000.spacy").write_bytes(b"\0\5\26\7")  # macOS
    assert len(list(read_docbin(folder, nlp.vocab))) == 3
    assert len(list(Corpus([folder])(nlp))) == 3
    with pytest.raises(ValueError, match="B413"):
        Corpus([folder / "ner" / "none"]).find_shards()


def test_shards_of_a_killed_call_go_with_the_next(nlp, tmp_path):
    left = tmp_path / ".out.a1b2c3d4"
    write_docbin(make_docs(nlp, 3), left, shard_size=2)
    write_docbin(make_docs(nlp, 3), tmp_path / "out", shard_size=2)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("shard_size", [None, 2])
def test_failure_on_the_way_leaves_the_old_output(nlp, tmp_path, shard_size):
    path = tmp_path / ("a.spacy" if shard_size is None else "out")
    write_docbin(make_docs(nlp, 4), path, shard_size)

    def broken():
        yield from make_docs(nlp, 5)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        write_docbin(broken(), path, shard_size)
    assert len(list(read_docbin(path, nlp.vocab))) == 4
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("shard_size", [None, 2])
def test_no_docs_write_nothing(tmp_path, shard_size):
    path = tmp_path / ("a.spacy" if shard_size is None else "out")
    with pytest.raises(ValueError, match=r"\[B412\]"):
        write_docbin([], path, shard_size)
    assert os.listdir(tmp_path) == []


def test_outputs_that_cannot_be(nlp, tmp_path):
    (tmp_path / "dir.spacy").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("keep me")
    for name, shard_size in [
        ("a.bin", None),
        ("dir.spacy", None),
        ("new", 0),
        ("file", 5),
        ("full", 5),
    ]:
        with pytest.raises(ValueError, match=r"\[B411\]"):
            write_docbin(make_docs(nlp, 1), tmp_path / name, shard_size)
        with pytest.raises(ValueError, match=r"\[B411\]"):
            check_output(tmp_path / name, shard_size)
    assert (tmp_path / "full" / "notes.txt").read_text() == "keep me"


def test_missing_file(nlp, tmp_path):
    for path in (tmp_path, tmp_path / "none.spacy"):
        with pytest.raises(ValueError, match=r"\[B413\]"):
            list(read_docbin(path, nlp.vocab))


def test_every_truncation_is_refused(nlp, tmp_path):
    path = tmp_path / "a.spacy"
    write_docbin(make_docs(nlp, 2), path)
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"\[B414\]"):
            list(read_docbin(path, nlp.vocab))


def test_docs_are_made_one_by_one(nlp, tmp_path):
    path = tmp_path / "a.spacy"
    write_docbin(make_docs(nlp, 5), path)
    made = []
    for doc in read_docbin(path, nlp.vocab):
        made.append(weakref.ref(doc))
        assert sum(ref() is not None for ref in made) <= 2  # this one, and the one before
    assert len(made) == 5


def test_every_changed_byte_is_refused_or_harmless(nlp, tmp_path):
    path = tmp_path / "a.spacy"
    write_docbin(make_docs(nlp, 2), path)
    data = path.read_bytes()
    texts = [doc.text for doc in read_docbin(path, nlp.vocab)]
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            assert [doc.text for doc in read_docbin(path, nlp.vocab)] == texts
        except ValueError as err:
            assert str(err).startswith("[B414]")
            refused += 1
    assert refused >= len(data) - 2


@pytest.mark.parametrize("part", ["end", "label"])
def test_damaged_spans_are_refused(nlp, tmp_path, part):
    path = tmp_path / "a.spacy"
    doc = nlp.make_doc("Text number 1.")
    doc.spans["nested"] = [Span(doc, 1, 3, label="L")]
    write_docbin([doc], path)
    data = zlib.decompress(path.read_bytes())
    label = nlp.vocab.strings["L"]
    old, new = {"end": ((1, 3), (1, 300)), "label": ((label,), (label + 1,))}[part]
    layout = {"end": ">ll", "label": ">Q"}[part]
    assert data.count(struct.pack(layout, *old)) == 1
    damaged = data.replace(struct.pack(layout, *old), struct.pack(layout, *new))
    path.write_bytes(zlib.compress(damaged))
    with pytest.raises(ValueError, match=r"\[B414\].*a\.spacy"):
        list(read_docbin(path, spacy.blank("en").vocab))


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text", zlib.compress(b""), zlib.compress(b"\x01"), zlib.compress(b"\x80")],
)
def test_other_content_is_refused(nlp, tmp_path, content):
    path = tmp_path / "a.spacy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"\[B414\].*a\.spacy"):
        list(read_docbin(path, nlp.vocab))


def test_a_folder_of_shards_may_end_in_the_suffix(nlp, tmp_path):
    docs = make_docs(nlp, 3)
    write_docbin(docs[:2], tmp_path / "train.spacy", shard_size=1)
    write_docbin(docs[2:], tmp_path / "z.spacy")
    assert [doc.text for doc in read_docbin(tmp_path, nlp.vocab)] == [doc.text for doc in docs]
