"""What counts as the same answer when two settings of an encoder are compared."""

import pytest
import spacy

from bert_spacy.data.pairs import make_choice
from bert_spacy.segments import set_choice
from bert_spacy.types import ANSWERS
from bert_spacy.weights.parity import Trial, labels_of

from ..util import regressor_examples, trained

MULTI = "bert_textcat_multilabel"


def with_labels(nlp, name, labels):
    """Add a classifier that has labels and no weights."""
    nlp.add_pipe(name).cfg["labels"] = labels
    return nlp


def cats_doc(nlp, **cats):
    doc = nlp.make_doc("a good film")
    doc.cats = cats
    return doc


def test_of_exclusive_classes_the_best_counts():
    nlp = with_labels(spacy.blank("en"), "bert_textcat", ["x", "y"])
    first = labels_of(nlp, cats_doc(nlp, x=0.6, y=0.4))
    assert first == labels_of(nlp, cats_doc(nlp, x=0.9, y=0.1))
    assert first != labels_of(nlp, cats_doc(nlp, x=0.4, y=0.6))


@pytest.mark.parametrize("name", [MULTI, "textcat_multilabel"])
def test_of_labels_that_go_together_those_above_the_threshold_count(name):
    nlp = spacy.blank("en")
    if name == MULTI:
        with_labels(nlp, name, ["x", "y"])
    else:
        pipe = nlp.add_pipe(name, config={"threshold": 0.5})
        pipe.add_label("x")
        pipe.add_label("y")
    first = labels_of(nlp, cats_doc(nlp, x=0.9, y=0.8))
    assert first == labels_of(nlp, cats_doc(nlp, x=0.7, y=0.9))
    assert first != labels_of(nlp, cats_doc(nlp, x=0.9, y=0.1))
    assert labels_of(nlp, cats_doc(nlp, x=0.2, y=0.1)) == labels_of(
        nlp, cats_doc(nlp, x=0.1, y=0.2)
    )


def test_each_of_two_classifiers_counts():
    nlp = with_labels(spacy.blank("en"), MULTI, ["z"])
    with_labels(nlp, "bert_textcat", ["x", "y"])
    first = labels_of(nlp, cats_doc(nlp, x=0.2, y=0.8, z=0.9))
    assert first != labels_of(nlp, cats_doc(nlp, x=0.8, y=0.2, z=0.9))
    assert first != labels_of(nlp, cats_doc(nlp, x=0.2, y=0.8, z=0.3))


def test_the_choice_counts():
    nlp = spacy.blank("en")
    docs = [make_choice(nlp, "", "is it good", ["a film", "a film"]) for _ in range(3)]
    for doc, index, first in zip(docs, (0, 1, 0), (0.9, 0.2, 0.6)):
        set_choice(doc, index, [first, 1 - first])
    first, second, third = (labels_of(nlp, doc) for doc in docs)
    assert first != second and first == third


def test_spans_count_and_answers_by_the_best_alone():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc("a good film") for _ in range(3)]
    for doc, end in zip(docs, (1, 2, 1)):
        doc.spans["sc"] = [doc[0:end]]
    docs[2].spans[ANSWERS] = [docs[2][0:1]]
    first, second, third = (labels_of(nlp, doc) for doc in docs)
    assert first != second and first == third


def test_targets_may_move_by_a_small_part_of_their_spread(bert):
    nlp = trained(bert, ["bert_regressor"], steps=0)
    trial = Trial(nlp, nlp.get_pipe("bert_encoder"), lambda: regressor_examples(nlp))
    pipe = nlp.get_pipe("bert_regressor")
    spread = max(row["length"] for row in trial._before.targets) - min(
        row["length"] for row in trial._before.targets
    )
    assert spread > 0
    pipe.cfg["mean"]["length"] += 0.001 * spread
    assert trial.compare(trial.old).agreement == 1.0
    pipe.cfg["mean"]["length"] += spread
    assert trial.compare(trial.old).agreement == 0.0
