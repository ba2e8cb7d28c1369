"""What a report says about probabilities, against counts made here."""

import re

import numpy as np
import pytest
from spacy.tokens import DocBin
from spacy.training import Example

from bert_spacy.data.corpus import make_example
from bert_spacy.data.pairs import set_gold_answers
from bert_spacy.report.analysis import analyse
from bert_spacy.report.png import write_pngs
from bert_spacy.report.render import render
from bert_spacy.scored import read_scored
from bert_spacy.scoring.qa import create_qa_scorer_v1
from bert_spacy.types import SCORED
from bert_spacy.weights.calibrate import calibrate_heads

from ..pipeline.test_stock import make_stock
from ..util import TEXTS, all_examples, make_nlp, train_steps, trained


@pytest.fixture(scope="module")
def pipeline(bert):
    nlp = trained(bert, ["bert_ner"], steps=60)
    other = trained(bert, ["bert_qa"], steps=30)
    return nlp, other


def rows_of(html, section):
    """Return the cells of all table rows of a section."""
    part = html.split(f'<section id="{section}">')[1].split("</section>")[0]
    return [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in part.split("<tr>")]


def references(nlp, heads):
    docs = [eg.reference for eg in all_examples(nlp, heads)]
    return list(DocBin(docs=docs * 3).get_docs(nlp.vocab))


def test_entities_before_and_after_calibration(pipeline, tmp_path):
    nlp, _ = pipeline
    head = nlp.get_pipe("bert_ner")
    docs = references(nlp, ["bert_ner"])
    for doc in docs[:4]:
        doc.set_ents([ent for ent in doc.ents if ent.label_ == "LOC"])  # persons are wrong here
    raw = {}
    for temperature in (1.0, 3.0):
        head.set_temperature(temperature)
        found = list(nlp.pipe(TEXTS))
        raw[temperature] = [(s.label_, p) for doc in found for s, p in read_scored(doc, SCORED)]
    cut = sorted(p for label, p in raw[3.0] if label == "PER")[-1]
    head.set_thresholds({"PER": cut})
    analysis = analyse(nlp, docs)
    head.set_thresholds({})
    head.set_temperature(1.0)
    [trust] = analysis.trust
    assert (trust.name, trust.n, trust.temperature) == ("bert_ner", 12, 3.0)
    # Of each label 6 are predicted, of PER 4 are right.
    gold = {"PER": [0, 1, 1], "LOC": [1, 1, 1]}
    for part, temperature in ((trust.before, 1.0), (trust.now, 3.0)):
        squares = [(p - y) ** 2 for label, p in raw[temperature] for y in gold[label]]
        assert part.brier == pytest.approx(np.mean(squares), abs=1e-5)
        assert sum(b.count for b in part.bins) == 12
    curves = {curve.label: curve for curve in trust.curves}
    assert (curves["PER"].n_gold, curves["LOC"].n_gold) == (4, 6)
    assert (curves["PER"].precision[-1], curves["PER"].recall[-1]) == (pytest.approx(4 / 6), 1.0)
    assert curves["PER"].point == (0.5, pytest.approx(2 / 3))
    # Equal texts have equal probabilities: of each three PER the same two are right.
    assert curves["PER"].area == pytest.approx(2 / 3)
    assert curves["LOC"].point == (1.0, 1.0) and curves["LOC"].area == 1.0
    html = render(analysis)
    row = ["PER", f"{100 * cut:.2f}", "66.67", "50.00", f"{100 * curves['PER'].area:.2f}", "4"]
    assert row in rows_of(html, "trust-bert_ner")
    assert "before calibration (temperature 3.000)" in html
    names = {path.name for path in write_pngs(analysis, tmp_path)}
    assert names == {"calibration-bert_ner.png", "precision-recall-bert_ner.png"}


def test_labels_that_nothing_was_found_for_have_no_point(pipeline):
    nlp, _ = pipeline
    head = nlp.get_pipe("bert_ner")
    head.set_thresholds({"PER": 1.0})
    analysis = analyse(nlp, references(nlp, ["bert_ner"]))
    head.set_thresholds({})
    curves = {curve.label: curve for curve in analysis.trust[0].curves}
    assert curves["PER"].point is None and curves["LOC"].point is not None
    assert analysis.trust[0].before is None
    rows = rows_of(render(analysis), "trust-bert_ner")
    per = next(row for row in rows if row[:1] == ["PER"])
    assert per[1:4] == ["100.00", "–", "0.00"]


def test_answers_are_judged_by_exact_match(pipeline):
    _, nlp = pipeline
    analysis = analyse(nlp, references(nlp, ["bert_qa"]))
    [trust] = analysis.trust
    assert (trust.name, trust.n, trust.curves) == ("bert_qa", 12, [])
    assert analysis.summary["qa_brier"] == pytest.approx(trust.now.brier, abs=1e-5)
    assert analysis.summary["qa_ece"] == pytest.approx(trust.now.error, abs=1e-5)
    assert len(rows_of(render(analysis), "trust-bert_qa")) > 1


@pytest.mark.parametrize(("rule", "right"), [("auto", 12), ("squad", 12), ("cmrc", 3)])
def test_answers_are_compared_by_the_rule_of_the_component(pipeline, rule, right):
    _, nlp = pipeline
    docs = references(nlp, ["bert_qa"])
    for doc in docs:
        answers = doc.spans["answers"].attrs["answers"]
        # The rule of SQuAD alone does not count articles.
        set_gold_answers(doc, [{"text": f"a {x['text']}", "start": -1, "end": -1} for x in answers])
    head = nlp.get_pipe("bert_qa")
    before, head.scorer = head.scorer, create_qa_scorer_v1(rule)
    analysis = analyse(nlp, docs)
    examples = [make_example(nlp, doc) for doc in docs]
    outcomes, (_, earned, has_answer) = head.judge(examples), head.judge_null(examples)
    scores = nlp.evaluate(examples)
    head.scorer = before
    assert scores["qa_em"] * 12 == right
    assert analysis.summary["qa_em"] == analysis.questions.groups[0].exact == scores["qa_em"]
    assert outcomes.hit.sum() == right
    assert analysis.trust[0].now.brier == pytest.approx(scores["qa_brier"], abs=1e-5)
    assert (earned[has_answer] == 1).all() == (right == 12)


def test_choices_are_judged_without_calibration(bert):
    nlp = trained(bert, ["bert_choice", "bert_textcat"], steps=5)
    analysis = analyse(nlp, references(nlp, ["bert_choice", "bert_textcat"]))
    [trust] = analysis.trust  # the classes have a section of their own
    assert (trust.name, trust.n, trust.before) == ("bert_choice", 12, None)
    assert analysis.summary["choice_ece"] == pytest.approx(trust.now.error, abs=1e-5)
    assert len(rows_of(render(analysis), "trust-bert_choice")) > 1


def test_tuned_thresholds_count_for_labels(bert):
    name = "bert_textcat_multilabel"
    nlp = make_nlp(bert, [name])
    rows = [(text, {"a": float(i < 2), "b": float(i % 2)}) for i, text in enumerate(TEXTS)]
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in rows]
    nlp.initialize(lambda: examples)
    probabilities = {text: nlp(text).cats for text in TEXTS}
    head = nlp.get_pipe(name)
    cut = sorted(cats["a"] for cats in probabilities.values())[1]  # three reach it
    head.set_thresholds({"a": cut - 1e-6, "b": 1e-6})
    analysis = analyse(nlp, [eg.reference for eg in examples])
    right = sum(probabilities[text]["a"] >= cut for text in TEXTS[:2])
    row = next(row for row in analysis.classes[0].rows if row.label == "a")
    assert (row.precision, row.recall) == (right / 3, right / 2)
    [trust] = analysis.trust
    curves = {curve.label: curve for curve in trust.curves}
    assert curves["a"].point == (right / 2, pytest.approx(right / 3))
    assert curves["b"].point == (1.0, 0.5)
    assert trust.n == 8
    squares = [(probabilities[t][k] - y) ** 2 for t, cats in rows for k, y in cats.items()]
    assert trust.now.brier == pytest.approx(np.mean(squares), abs=1e-5)
    assert analysis.summary["cats_macro_p"] == pytest.approx((right / 3 + 0.5) / 2)


def test_heads_on_a_stock_transformer_are_judged_as_well(bert, tmp_path):
    nlp = make_stock(bert, ["bert_ner"])
    examples = all_examples(nlp, ["bert_ner"])
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 25)
    docs = references(nlp, ["bert_ner"])
    n_found = sum(len(doc.ents) for doc in nlp.pipe(doc.text for doc in docs))
    assert [trust.n for trust in analyse(nlp, docs).trust] == [n_found]
    DocBin(docs=docs * 3).to_disk(tmp_path / "dev.spacy")
    report = calibrate_heads(nlp, [tmp_path / "dev.spacy"])
    assert report["bert_ner"]["predictions"] == 3 * n_found
