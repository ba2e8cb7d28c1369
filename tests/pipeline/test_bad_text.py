"""Texts that nobody would write, and some that people do."""

import pytest
import spacy
from spacy.training import Example

from bert_spacy.data.pairs import make_question

from ..util import HEADS, all_examples, assert_close, predictions, train_steps, trained

TEXTS = {
    "empty": "",
    "space": "  \t ",
    "lines": "\n\r\n\n",
    "one emoji": "\U0001f600",
    "joined emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "zero width": "an\u200bna w\u200cas\u200d in\ufeff",
    "right to left": "\u202eanna\u202c שלום مرحبا",
    "control": "\x00\x01an\x07na\x1b[0m\x7f",
    "odd spaces": "anna\u00a0was\u3000in\u2028paris",
    "marks": "a\u0301\u0301\u0301 e\u0308",
    "unknown": "☃☃☃ ☂ ☃",
    "mixed": "北京 is a big city of中国,anna在上海！",
    "compatible": "ﬁne ㍿ ① ½",
    "line of 9000": "anna was in paris with bob " * 330,
}


@pytest.fixture(scope="module", params=["bert", "roberta"])
def nlp(request, tiny_folder):
    """Return a pipeline of all heads."""
    return trained(tiny_folder(request.param), HEADS, steps=15, window=48, stride=32)


@pytest.mark.parametrize("name", TEXTS)
def test_odd_text_passes_alone_and_among_others(nlp, name):
    text = TEXTS[name]
    docs = [nlp.make_doc(text), make_question(nlp, "who", text), make_question(nlp, text[:20], "a")]
    others = [eg.predicted for eg in all_examples(nlp)]
    alone = predictions(nlp(doc.copy()) for doc in docs)
    among = list(nlp.pipe([*others, *(doc.copy() for doc in docs)]))
    assert_close(predictions(among[-3:]), alone, 1e-4)
    assert [doc.text for doc in among[-3:]] == [doc.text for doc in docs]
    assert len(nlp.get_pipe("bert_encoder").store) == 0
    assert isinstance(nlp(text)._.ask("who"), list)


def test_all_odd_texts_train_together(nlp):
    nlp = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    examples = []
    for text in TEXTS.values():
        gold = {"cats": {"city": 1.0}, "entities": []}
        examples.append(Example.from_dict(nlp.make_doc(text), gold))
    losses = train_steps(nlp, examples, 2)
    assert all(0 <= value < 1e6 for value in losses[-1].values())


@pytest.mark.parametrize("length", [99, 100, 101, 100_000])
def test_one_endless_word(nlp, length):
    word = "x" * length
    doc = nlp(f"anna {word} paris")
    assert len(doc) == 3 and sum(doc.cats.values()) == pytest.approx(1)
    found = nlp(make_question(nlp, "who", f"anna {word} paris"))
    assert all(a.text in found.text for a in found._.answers)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_lone_surrogates_are_refused_by_spacy_itself(lang):
    # No Doc can hold one: text must be valid Unicode before it reaches a pipeline.
    with pytest.raises(UnicodeEncodeError):
        spacy.blank(lang)("anna \ud800 was")
