import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin

from bert_spacy.data.corpus import create_corpus_v1
from bert_spacy.data.docbin import write_docbin
from bert_spacy.data.pairs import (
    get_segments,
    make_pair,
    make_question,
    make_segments,
    set_gold_answers,
)

NLP = spacy.blank("en")
BLANKS = [NLP, spacy.blank("zh"), spacy.blank("xx")]


def news(text, cats=None):
    doc = NLP.make_doc(text)
    doc.cats = cats or {"a": 1.0}
    return doc


def question(a, b, answers):
    doc = make_question(NLP, a, b)
    set_gold_answers(doc, answers, "q")
    return doc


def mixed():
    entities = NLP.make_doc("anna was in paris")
    entities.set_ents([entities.char_span(0, 4, label="PER")], default="outside")
    return [
        news("the team won"),
        entities,
        question("who?", "anna was", [{"text": "anna", "start": 0, "end": 4}]),
        question("who", "", []),
        question("", "anna", []),
        make_pair(NLP, " a  ", "  b "),
        news(""),
    ]


def read(path, nlp=NLP, **settings):
    return list(create_corpus_v1(path, **settings)(nlp))


def segments_of(doc):
    if "segments" not in doc.spans:
        return None
    return [(s.text, s.label_) for s in get_segments(doc)]


@pytest.mark.parametrize("gold_tokens", [False, True])
def test_segments_come_back_and_gold_does_not_leak(tmp_path, gold_tokens):
    docs = mixed()
    write_docbin(docs, tmp_path / "a.spacy")
    examples = read(tmp_path / "a.spacy", gold_tokens=gold_tokens)
    assert len(examples) == len(docs)
    for doc, eg in zip(docs, examples):
        assert eg.predicted.text == eg.reference.text == doc.text
        assert segments_of(eg.predicted) == segments_of(doc)
        assert eg.reference.cats == doc.cats
        assert [str(e) for e in eg.reference.ents] == [str(e) for e in doc.ents]
        assert ("answers" in eg.reference.spans) == ("answers" in doc.spans)
        assert not eg.predicted.cats and not eg.predicted.ents
        assert "answers" not in eg.predicted.spans
        assert not len(doc) or not eg.predicted.has_annotation("ENT_IOB")
        eg.predicted.copy()


texts = st.lists(st.text(" ab。北\n", max_size=8), min_size=2, max_size=4)


@given(texts, st.sampled_from(BLANKS))
def test_segments_come_back_with_any_tokenizer(tmp_path_factory, parts, nlp):
    doc = make_segments(NLP, parts, [str(i) for i in range(len(parts))])
    path = tmp_path_factory.mktemp("one") / "a.spacy"
    write_docbin([doc], path)
    (example,) = read(path, nlp)
    found = segments_of(example.predicted)
    assert example.predicted.text == doc.text
    assert [text.strip() for text, _ in found] == [text.strip() for text in parts]
    assert [label for _, label in found] == [str(i) for i in range(len(parts))]
    again = make_segments(nlp, parts, [str(i) for i in range(len(parts))])
    if not any(part != part.strip() for part in parts):
        assert [t.text for t in example.predicted] == [t.text for t in again]


def test_gold_tokens_are_used_where_the_text_is_not_known(tmp_path):
    split = Doc(NLP.vocab, words=["an", "na"], spaces=[False, False])
    write_docbin([split], tmp_path / "b.spacy")
    assert [t.text for t in read(tmp_path / "b.spacy")[0].predicted] == ["anna"]
    found = read(tmp_path / "b.spacy", gold_tokens=True)[0].predicted
    assert [t.text for t in found] == ["an", "na"]


def test_folders_lists_limits_and_shuffling(tmp_path):
    docs = [news(f"text {i}") for i in range(9)]
    write_docbin(docs, tmp_path / "shards", shard_size=2)
    write_docbin([news("last")], tmp_path / "last.spacy")
    paths = [tmp_path / "shards", tmp_path / "last.spacy"]

    def run(**settings):
        return [eg.reference.text for eg in read(paths, **settings)]

    wanted = [*(f"text {i}" for i in range(9)), "last"]
    assert run() == wanted
    assert [run(limit=n) for n in (1, 3, 99)] == [wanted[:1], wanted[:3], wanted]
    assert read(tmp_path / "last.spacy")[0].reference.text == "last"
    assert [eg.reference.text for eg in read(str(tmp_path / "last.spacy"))] == ["last"]
    assert run(shuffle=True, seed=1) == run(shuffle=True, seed=1) != wanted
    assert sorted(run(shuffle=True)) == sorted(wanted)
    corpus = create_corpus_v1(paths, shuffle=True)
    first, second = ([eg.reference.text for eg in corpus(NLP)] for _ in range(2))
    assert first != second


def test_nothing_there_is_refused(tmp_path):
    for path in (tmp_path / "none.spacy", tmp_path):
        with pytest.raises(ValueError, match=r"\[B4\d\d\]"):
            read(path)


def test_no_docs_at_all_are_refused(tmp_path):
    DocBin().to_disk(tmp_path / "a.spacy")
    DocBin().to_disk(tmp_path / "b.spacy")
    with pytest.raises(ValueError, match=r"B424.*a\.spacy, .*b\.spacy"):
        list(create_corpus_v1([tmp_path / "a.spacy", tmp_path / "b.spacy"])(spacy.blank("en")))


def test_no_path_at_all_says_how_to_give_one():
    with pytest.raises(ValueError, match=r"\[B419\].*--paths.dev FILE"):
        create_corpus_v1(None)


def test_damaged_file_is_reported(tmp_path):
    path = tmp_path / "a.spacy"
    write_docbin([news("a")], path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"\[B414\]"):
        read(path)
