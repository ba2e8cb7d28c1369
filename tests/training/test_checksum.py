"""A checkpoint is of some data: another text, or other gold, has another checksum."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from bert_spacy.data.pairs import set_gold_answers, set_gold_choice
from bert_spacy.segments import write_segments
from bert_spacy.targets import set_targets
from bert_spacy.training import run as run_module

from ..util import EXAMPLES


def change_answer(doc):
    set_gold_answers(doc, [{"text": "the", "start": 0, "end": 3}])


def change_segments(doc):
    write_segments(doc, [2, len(doc) - 2], ["a", "b"])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bert_textcat", lambda doc: doc.cats.update(sport=0.5)),
        ("bert_ner", lambda doc: doc.set_ents([], default="missing")),
        ("bert_ner", lambda doc: doc.set_ents(doc.ents, missing=[doc[1:2]], default="outside")),
        ("bert_ner", lambda doc: setattr(doc[0], "tag_", "NN")),
        ("bert_qa", change_answer),
        ("bert_choice", lambda doc: set_gold_choice(doc, 1)),
        ("bert_regressor", lambda doc: set_targets(doc, {"length": 5.5})),
        ("bert_textcat", change_segments),
    ],
)
def test_the_checksum_of_a_batch_knows_the_gold_of_every_head(name, change):
    nlp = spacy.blank("en")
    batch = EXAMPLES[name](nlp)
    before = run_module._checksum(batch, 7)
    assert before == run_module._checksum(EXAMPLES[name](nlp), 7)
    assert before != run_module._checksum(batch, 8)
    change(batch[0].reference)
    assert run_module._checksum(batch, 7) != before


TREE = {"heads": [1, 1, 1, 2], "deps": ["x"] * 4}


def make_doc(link="", **gold):
    doc = Doc(spacy.blank("en").vocab, ["bob", "lives", "in", "london"], **gold)
    doc[3].ent_kb_id_ = link
    return doc


@pytest.mark.parametrize(
    "gold, other",
    [
        ({"ents": ["O", "O", "O", "B-LOC"]}, {"ents": ["O", "O", "O", "B-PER"]}),
        ({"link": "Q84"}, {"link": "Q92561"}),
        ({"tags": ["X"] * 4}, {"tags": ["X", "X", "X", "Y"]}),
        ({"pos": ["NOUN"] * 4}, {"pos": ["PROPN", "NOUN", "NOUN", "NOUN"]}),
        ({"morphs": [""] * 4}, {"morphs": ["", "Tense=Pres", "", ""]}),
        ({"lemmas": ["x"] * 4}, {"lemmas": ["x", "live", "x", "x"]}),
        (TREE, {**TREE, "deps": ["x", "x", "x", "y"]}),
        (TREE, {**TREE, "heads": [1, 1, 1, 1]}),
        ({"sent_starts": [1, -1, -1, -1]}, {"sent_starts": [1, -1, 1, -1]}),
    ],
)
def test_the_checksum_of_a_batch_knows_the_gold_of_stock_components(gold, other):
    docs = (make_doc(**each) for each in (gold, gold, other))
    one, same, changed = (run_module._checksum([Example(doc, doc)], 7) for doc in docs)
    assert one == same != changed
