"""What taggers write on a Doc side by side, and what they are bound to."""

import spacy
from spacy.tokens import Span

from bert_spacy.data.pairs import make_segments
from bert_spacy.pipeline.entities import cut_candidates, write_entities
from bert_spacy.pipeline.given import add_borders, find_presets, read_presets
from bert_spacy.scored import read_scored

NLP = spacy.blank("en")


def make_doc():
    doc = NLP.make_doc("new paris and bob")
    doc.set_ents([Span(doc, 0, 2, label="LOC")], default="outside")
    return doc


def test_each_tagger_keeps_what_was_given_to_it():
    doc = make_doc()
    bob = Span(doc, 3, 4, label="PER")
    write_entities(doc, [bob], "first", [0.5], presets=find_presets(doc))
    for _ in range(2):
        write_entities(doc, [], "second", presets=find_presets(doc))
        assert read_presets(doc, "first") == [(0, 2, "LOC")]
        assert read_presets(doc, "second") == [(0, 2, "LOC"), (3, 4, "PER")]


def test_an_entity_that_gives_way_takes_its_score_along():
    doc = NLP.make_doc("new paris and bob")
    new, paris, bob = (Span(doc, *at, label="X") for at in ((0, 2), (1, 2), (3, 4)))
    write_entities(doc, [new, bob], "first", [0.25, 0.5])
    write_entities(doc, [paris], "second", [0.75])
    found = [(span.text, score) for span, score in read_scored(doc, "bert_ner_scores")]
    assert found == [("paris", 0.75), ("bob", 0.5)]


def test_what_was_turned_down_counts_among_the_candidates():
    doc = make_doc()
    weak = [doc[3:4]], [0.3]
    found = [doc[0:2], doc[0:1], doc[1:2], doc[3:4]], [0.9, 0.1, 0.2, 0.3]
    for limit, more in ((0, []), (1, []), (2, [0.2]), (3, [0.2, 0.1])):
        spans, scores = cut_candidates([doc[0:2]], weak, found, limit)
        assert scores == [0.3, *more]
        assert len(spans) == len(scores)


def test_every_text_of_an_item_is_a_border():
    docs = [make_segments(NLP, ["who", "a team", "anna won"], ["a"] * 3), NLP.make_doc("a film")]
    assert add_borders(docs, [[(0, 1, "PER")], None], [[], [1]]) == [
        [(0, 1, "PER"), (1, 1, ""), (3, 3, "")],
        [(1, 1, "")],
    ]


def test_blocked_tokens_are_read_again():
    doc = NLP.make_doc("anna was in paris")
    doc.set_ents([], blocked=[doc[1:2], doc[3:4]], default="outside")
    assert read_presets(doc, "bert_ner") == [(1, 2, ""), (3, 4, "")]
