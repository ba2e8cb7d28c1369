import numpy as np
import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin

from bert_spacy.data.pairs import (
    get_answers,
    get_question,
    get_segments,
    make_pair,
    make_question,
    make_segments,
    set_answers,
    set_gold_answers,
)

NLP, OTHER = spacy.blank("en"), spacy.blank("en")
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Zs", "Cc"]), max_size=12)


def read(doc):
    return [(s.text, s.label_, s.start, s.end) for s in get_segments(doc)]


@given(st.lists(texts, min_size=1, max_size=5))
def test_segments_keep_their_texts_wherever_the_doc_goes(parts):
    labels = [f"l{i}" for i in range(len(parts))]
    doc = make_segments(NLP, parts, labels)
    found = read(doc)
    assert [text for text, *_ in found] == parts
    assert [label for _, label, *_ in found] == labels
    assert read(doc.copy()) == found
    assert read(Doc(NLP.vocab).from_bytes(doc.to_bytes())) == found
    (back,) = DocBin().from_bytes(DocBin(docs=[doc]).to_bytes()).get_docs(OTHER.vocab)
    assert read(back) == found


@pytest.mark.parametrize("a", ["", " ", "who won?", "谁"])
@pytest.mark.parametrize("b", ["", "\n", "the team.", "北京"])
def test_questions_and_pairs_are_labelled(a, b):
    question = make_question(NLP, a, b)
    assert [s.label_ for s in get_segments(question)] == ["question", "context"]
    assert [s.label_ for s in get_question(question)] == ["question", "context"]
    pair = make_pair(NLP, a, b)
    assert [s.label_ for s in get_segments(pair)] == ["a", "b"]
    assert get_question(pair) is None and get_answers(pair) == []


def test_a_doc_without_marks_is_one_segment():
    doc = NLP("anna was")
    assert [s.text for s in get_segments(doc)] == ["anna was"]
    assert get_question(doc) is None and get_answers(doc) == []


def test_every_text_needs_a_label():
    for parts, labels in (([], []), (["a"], []), (["a"], ["x", "y"])):
        with pytest.raises(ValueError, match=r"\[B400\]"):
            make_segments(NLP, parts, labels)


def test_gold_answers_come_back_with_spans_of_whole_tokens():
    doc = make_question(NLP, "where was anna?", "anna was in Paris.")
    given_answers = [
        {"text": "Par", "start": 12, "end": 15},
        {"text": "anna", "start": 0, "end": 4, "score": 0.5},
        {"text": "rome", "start": -1, "end": -1},
    ]
    set_gold_answers(doc, given_answers, "q1")
    for other in (doc, doc.copy(), Doc(NLP.vocab).from_bytes(doc.to_bytes())):
        found = get_answers(other)
        assert [(a.text, a.start_char, a.end_char, a.score) for a in found] == [
            ("Par", 12, 15, 1.0),
            ("anna", 0, 4, 0.5),
            ("rome", -1, -1, 1.0),
        ]
        spans = [a.span for a in found]
        assert [span and span.text for span in spans] == ["Paris", "anna", None]
        assert [s.text for s in other.spans["answers"]] == ["Paris", "anna"]
        assert other.spans["answers"].attrs["id"] == "q1"


@pytest.mark.parametrize("context", ["", "anna was"])
def test_no_answer_is_an_empty_group(context):
    doc = make_question(NLP, "who", context)
    set_gold_answers(doc, [])
    assert len(doc.spans["answers"]) == 0
    assert doc.copy().spans["answers"].attrs == {"id": None, "answers": []}
    assert get_answers(doc) == []


def test_answers_need_a_question_and_offsets_in_its_context():
    with pytest.raises(ValueError, match=r"\[B402\]"):
        set_gold_answers(NLP("anna"), [])
    with pytest.raises(ValueError, match=r"\[B402\]"):
        set_answers(make_pair(NLP, "a", "b"), [])
    doc = make_question(NLP, "who", "anna was")
    for start, end in ((0, 9), (3, 2), (9, 9), (100, 200)):
        with pytest.raises(ValueError, match=r"\[B403\].*8 characters"):
            set_gold_answers(doc, [{"text": "x", "start": start, "end": end}])
    with pytest.raises(ValueError, match=r"\[B403\]"):
        set_gold_answers(make_question(NLP, "who", ""), [{"text": "x", "start": 0, "end": 1}])


@pytest.mark.parametrize(
    "answers",
    [
        None,
        "Leeds",
        ["Leeds"],
        {"text": "Leeds", "start": 12, "end": 17},
        [{"text": "Leeds", "start": 12}],
        [{"text": "Leeds", "answer_start": 12}],
        [{"text": "Leeds", "start": "12", "end": "17"}],
        [{"text": "Leeds", "start": 12.7, "end": 17}],
    ],
)
def test_what_is_no_gold_answer_is_refused(answers):
    doc = make_question(spacy.blank("en"), "Where?", "A bridge in Leeds")
    with pytest.raises(ValueError, match=r"\[B426\]"):
        set_gold_answers(doc, answers)


def test_gold_answers_say_what_stands_there():
    doc = make_question(spacy.blank("en"), "Where?", "A bridge in Leeds")
    with pytest.raises(ValueError, match=r"\[B427\] .*'Leeds' .*\[2, 7\).*'bridg'"):
        set_gold_answers(doc, [{"text": "Leeds", "start": 2, "end": 7}])
    with pytest.raises(ValueError, match=r"\[B427\] .*'Bath' .*\[12, 17\).*'Leeds'"):
        set_gold_answers(doc, [{"text": "Bath", "start": 12, "end": 17}])
    set_gold_answers(doc, [{"text": "Leeds", "start": np.int64(12), "end": np.int64(17)}])
    set_gold_answers(doc, [{"text": "York", "start": -1, "end": -1}])


@pytest.mark.parametrize("start", [0, 2, 4, 8])
def test_answer_of_no_length_leaves_the_doc_usable(start):
    doc = make_question(NLP, "who", "anna was")
    set_gold_answers(doc, [{"text": "", "start": start, "end": start}])
    assert get_answers(doc.copy())[0].text == ""


def test_what_is_no_text_is_refused():
    for make in (lambda: make_pair(NLP, "a", None), lambda: make_question(NLP, 3, "a")):
        with pytest.raises(ValueError, match=r"\[B423\] .*(None|3)"):
            make()


def test_an_answer_may_end_in_the_last_space_of_its_context():
    doc = make_question(NLP, "Who?", "Ann and Bob. ")
    set_gold_answers(doc, [{"text": "Bob. ", "start": 8, "end": 13}])
    assert [span.text for span in doc.spans["answers"]] == ["Bob."]
    with pytest.raises(ValueError, match=r"\[B427\]"):
        set_gold_answers(doc, [{"text": "Bob.!", "start": 8, "end": 13}])
    with pytest.raises(ValueError, match=r"\[B403\].*13 characters"):
        set_gold_answers(doc, [{"text": "Bob.  ", "start": 8, "end": 14}])
