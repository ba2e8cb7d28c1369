"""Variants of texts, with a model that is written down in the test."""

import spacy

from bert_spacy.data.pairs import get_question, make_question
from bert_spacy.weights.distill.augment import augment

WORDS = {"good": ["bad", "##ly", ".", "[SEP]", "good", "fine", "long"], "Paris": ["berlin"]}


def fill(texts):
    found = []
    for text in texts:
        assert text.count("[MASK]") == 1
        old = next((w for w in WORDS if text.replace("[MASK]", w) in SEEN), None)
        found.append(WORDS.get(old, []))
    return found


SEEN: set[str] = set()


def make(texts, **options):
    nlp = spacy.blank("en")
    docs = [nlp(text) for text in texts]
    SEEN.update(texts)
    return list(augment(docs, fill, lambda word: word in WORDS, **options))


def test_words_of_one_piece_are_replaced_in_place():
    docs = make(["A good  film in Paris!", "nothing here"], copies=100, rate=0.5, n_candidates=2)
    texts = {doc.text for doc in docs}
    assert texts == {
        f"A {a}  film in {b}!"
        for a in ("good", "bad", "fine")
        for b in ("Paris", "Berlin")
        if (a, b) != ("good", "Paris")
    }
    assert not any(doc.cats for doc in docs)
    again = make(["A good  film in Paris!"], copies=100, rate=0.5, n_candidates=2)
    assert [doc.text for doc in again] == [doc.text for doc in docs]
    assert {doc.text for doc in make(["good"], copies=3, rate=1.0)} <= {"bad", "fine", "long"}
    assert make(["good"], rate=0.0) == []


def test_segments_stay():
    nlp = spacy.blank("en")
    doc = make_question(nlp, "is it good?", "It was good in Paris.")
    SEEN.add(doc.text)
    variants = list(augment([doc], fill, lambda word: word == "Paris", rate=1.0, copies=2))
    assert len(variants) == 2
    question, context = get_question(variants[0])
    assert (question.text, context.text) == ("is it good?", "It was good in Berlin.")
