"""The report on classifiers says of each what its own scorer says, whatever the gold looks like."""

import warnings

import numpy as np
import pytest
from spacy.training import Example

from bert_spacy.data.corpus import make_example
from bert_spacy.report.analysis import analyse
from bert_spacy.report.classes import SUMMARY
from bert_spacy.report.png import write_pngs
from bert_spacy.report.render import render

from ..util import CATS, make_nlp, textcat_examples

LABELS = "bert_textcat_multilabel"
KINDS = ("bright", "dark")


def make_pipeline(bert, components, gold, **configs):
    """Make a pipeline of classifiers with the labels of each, and gold Docs."""
    nlp = make_nlp(bert, list(components), configs=configs)
    labels = {name: {"labels": list(values)} for name, values in components.items()}
    nlp.config["initialize"]["components"] = labels
    examples = textcat_examples(nlp)  # the stock classifier takes no gold of two kinds
    nlp.initialize(lambda: examples)
    docs = [eg.reference for eg in examples]
    for doc, cats in zip(docs, gold):
        doc.cats = cats
    return nlp, docs


def one_hot(values):
    return [{x: float(x == value) for x in sorted(set(values))} for value in values]


def check(nlp, docs, part):
    """Compare a part of the report with the component's own scorer; return its scores."""
    inputs = [make_example(nlp, doc).predicted for doc in docs]
    examples = [Example(*pair) for pair in zip(nlp.pipe(inputs), docs)]
    pipe = nlp.get_pipe(part.name)
    scores = getattr(pipe, "score_alone", pipe.score)(examples)
    assert part.summary == {key: scores[key] for key in SUMMARY if scores[key] is not None}
    rows = {row.label: {"p": row.precision, "r": row.recall, "f": row.f1} for row in part.rows}
    assert rows == scores["cats_f_per_type"]
    if part.is_exclusive:
        assert part.accuracy == pytest.approx(scores["cats_micro_f"])
        hits, n_gold = part.matrix.diagonal(), part.matrix.sum(axis=1)
        assert [row.recall for row in part.rows] == pytest.approx(hits / np.maximum(n_gold, 1))
        assert [row.support for row in part.rows] == n_gold.tolist()
        for value, key in ((part.calibration_error, "cats_ece"), (part.brier, "cats_brier")):
            assert value == pytest.approx(scores.get(key, value), abs=1e-6)
    return scores


def test_one_true_label_each_does_not_make_labels_exclusive(bert):
    nlp, docs = make_pipeline(bert, {LABELS: sorted(set(CATS))}, one_hot(CATS))
    nlp.get_pipe(LABELS).set_thresholds(dict.fromkeys(nlp.get_pipe(LABELS).labels, 0.99))
    analysis = analyse(nlp, docs)
    [part] = analysis.classes
    assert not part.is_exclusive and part.n_texts == len(docs)
    assert check(nlp, docs, part)["cats_micro_f"] == analysis.summary["cats_micro_f"] == 0.0
    assert [row.support for row in part.rows] == [2, 1, 1]
    page = render(analysis)
    assert 'id="classes"' in page and "Confusion matrix" not in page
    assert 'id="calibration' not in page


@pytest.mark.parametrize(
    ("exclusive", "multi"), [("bert_textcat", LABELS), ("textcat", "textcat_multilabel")]
)
def test_each_classifier_has_a_part_over_its_own_labels(bert, exclusive, multi, tmp_path):
    gold = [{**cats, "bright": 1.0, "dark": float(i < 2)} for i, cats in enumerate(one_hot(CATS))]
    components = {exclusive: sorted(set(CATS)), multi: KINDS}
    nlp, docs = make_pipeline(bert, components, gold, **{multi: {"threshold": 0.01}})
    analysis = analyse(nlp, docs)
    assert [part.name for part in analysis.classes] == [exclusive, multi]
    for part in analysis.classes:
        scores = check(nlp, docs, part)
        assert [row.label for row in part.rows] == list(components[part.name])
        assert analysis.summary[f"cats_micro_f ({part.name})"] == scores["cats_micro_f"]
    first, second = analysis.classes
    assert first.is_exclusive and first.labels == list(components[exclusive])
    # All labels are given, of which two of eight are wrong.
    assert second.summary["cats_micro_f"] == pytest.approx(2 * 6 / (8 + 6))
    page = render(analysis)
    for section in (f"classes-{exclusive}", f"confusion-{exclusive}", f"classes-{multi}"):
        assert f'id="{section}"' in page
    assert f"Labels of {multi}" in page and f'id="confusion-{multi}"' not in page
    names = {path.name for path in write_pngs(analysis, tmp_path)}
    assert {f"confusion-{exclusive}.png", f"calibration-{exclusive}.png"} <= names
    assert not {"confusion.png", f"confusion-{multi}.png"} & names


def test_texts_of_one_classifier_are_nothing_to_another(bert):
    gold = [{"bright": 1.0, "dark": 1.0}, {"bright": 0.0}, *one_hot(CATS)[2:]]
    components = {"bert_textcat": sorted(set(CATS)), LABELS: KINDS}
    nlp, docs = make_pipeline(bert, components, gold)
    parts = analyse(nlp, docs).classes
    assert [(part.name, part.n_texts) for part in parts] == [("bert_textcat", 2), (LABELS, 2)]
    for part in parts:
        check(nlp, docs, part)
    [part] = analyse(nlp, docs[:2]).classes
    assert part.name == LABELS


def test_a_component_without_a_scorer_is_scored_by_ours(bert):
    nlp, docs = make_pipeline(bert, {LABELS: KINDS}, [{"bright": 1.0, "dark": 0.0}] * 4)
    head = nlp.get_pipe(LABELS)
    head.set_thresholds({"bright": 0.01, "dark": 0.99})
    head.scorer = None
    assert analyse(nlp, docs).summary["cats_micro_f"] == 1.0


def test_unknown_labels_count_as_missed(bert):
    nlp, docs = make_pipeline(bert, {"bert_textcat": ["city", "film"]}, one_hot(CATS))
    with pytest.warns(UserWarning, match="BW302"):
        [part] = analyse(nlp, docs).classes
    assert part.labels == ["city", "film", "sport"] and part.n_texts == 4
    assert part.matrix[2].sum() == 1 and part.rows[2].recall == 0.0
    check(nlp, docs, part)


def test_what_gold_calls_false_is_neither_support_nor_unknown(bert):
    gold = [
        {"bright": 1.0, "dark": 0.3},
        {"bright": 0.0, "dark": 1.0, "grey": 0.1},
        {"bright": 0.4, "dark": 0.0},
        {"bright": 0.5, "dark": 0.0},
    ]
    nlp, docs = make_pipeline(bert, {LABELS: KINDS}, gold)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # BW302 would name "grey"
        [part] = analyse(nlp, docs).classes
    assert {row.label: row.support for row in part.rows} == {"bright": 2, "dark": 1}
    check(nlp, docs, part)


def test_soft_gold_of_exclusive_labels_counts_once(bert):
    gold = [{"city": 0.7, "film": 0.3}, {"city": 0.4, "film": 0.6}, {"film": 1.0}, {"city": 1.0}]
    nlp, docs = make_pipeline(bert, {"bert_textcat": ["city", "film"]}, gold)
    [part] = analyse(nlp, docs).classes
    assert [row.support for row in part.rows] == [2, 2]
    check(nlp, docs, part)


@pytest.mark.parametrize("scorer", [True, False])
def test_gold_that_a_stock_classifier_does_not_know_is_no_error(bert, scorer):
    nlp, docs = make_pipeline(bert, {"textcat": ["city", "film"]}, one_hot(CATS))
    if not scorer:
        nlp.get_pipe("textcat").scorer = None
    [part] = analyse(nlp, docs).classes
    assert part.labels == ["city", "film"] and part.n_texts == part.matrix.sum() == 3
    alone = [doc for doc, label in zip(docs, CATS) if label == "sport"]
    assert not analyse(nlp, alone).classes


def test_unknown_labels_stand_in_one_order(bert):
    nlp, docs = make_pipeline(
        bert, {"bert_textcat": ["city", "film"]}, [{"y": 1.0}, {"x": 1.0}, {"city": 1.0}, {"y": 1}]
    )
    with pytest.warns(UserWarning, match="BW302"):
        [part] = analyse(nlp, docs).classes
    assert part.labels == [row.label for row in part.rows] == ["city", "film", "x", "y"]
