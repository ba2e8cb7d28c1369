"""The classifier of labels that do not exclude each other."""

import json
import math

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training import Example

from bert_spacy.cli.predict import predict
from bert_spacy.pipeline.textcat_multilabel import best_threshold

from ..util import make_nlp, train_steps

NAME = "bert_textcat_multilabel"
ROWS = [
    ("the team won the game", {"sport": 1.0, "city": 0.0}),
    ("anna was in paris", {"sport": 0.0, "city": 1.0}),
    ("the team won in paris", {"sport": 1.0, "city": 1.0}),
    ("a good film", {"sport": 0.0, "city": 0.0}),
]


def make(bert, rows=ROWS, **config):
    nlp = make_nlp(bert, [NAME], configs={NAME: config})
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in rows]
    nlp.initialize(lambda: examples)
    return nlp, examples


def test_it_learns_labels_together_and_alone(bert):
    nlp, examples = make(bert)
    train_steps(nlp, examples, 60)
    pipe = nlp.get_pipe(NAME)
    found = [set(pipe.given_labels(nlp(text))) for text, _ in ROWS]
    assert found == [{"sport"}, {"city"}, {"sport", "city"}, set()]
    scores = nlp.evaluate(examples)
    assert scores["cats_macro_f"] == scores["cats_macro_auc"] == 1.0


def test_the_loss_is_that_of_each_label_by_itself(bert):
    nlp, _ = make(bert)
    # A label that is left out is missing gold.
    cats = [{"sport": 1.0}, {}, {"sport": 0.0, "city": 1.0}]
    docs = [nlp.make_doc("anna") for _ in cats]
    examples = [Example.from_dict(doc, {"cats": row}) for doc, row in zip(docs, cats)]
    output = torch.tensor([[0.3, -1.0], [2.0, 2.0], [0.5, 1.5]])  # city, sport

    def log_sigmoid(x):
        return -math.log1p(math.exp(-x))

    wanted = -(log_sigmoid(-1.0) + log_sigmoid(-1.5) + log_sigmoid(0.5)) / 3
    pipe = nlp.get_pipe(NAME)
    assert float(pipe.compute_loss(examples, output)) == pytest.approx(wanted, abs=1e-6)
    assert pipe.compute_loss(examples[1:2], output[1:2]) is None


def test_thresholds_are_tuned_by_label_kept_and_used_by_the_scorer(bert, tmp_path):
    nlp, _ = make(bert)
    pipe = nlp.get_pipe(NAME)
    values = [(0.1, 0), (0.2, 1), (0.3, 1), (0.05, 0)]
    examples = []
    for score, gold in values:
        doc = nlp.make_doc("anna")
        doc.cats = {"sport": score, "city": 0.9}
        gold_cats = {"sport": float(gold), "city": 0.0}
        examples.append(Example(doc, Example.from_dict(doc, {"cats": gold_cats}).reference))
    assert pipe.score(examples)["cats_f_per_type"]["sport"]["f"] == 0.0
    found = pipe.tune_thresholds(examples)
    assert found == {"sport": pytest.approx(0.15)}
    scores = pipe.score(examples)
    assert scores["cats_f_per_type"]["sport"]["f"] == 1.0
    assert scores["cats_f_per_type"]["city"]["r"] == 0.0
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path).get_pipe(NAME)
    assert again.cfg["thresholds"] == pytest.approx(found)
    assert [again.given_labels(eg.predicted) for eg in examples] == [
        ["city"],
        ["city", "sport"],
        ["city", "sport"],
        ["city"],
    ]


def test_labels_without_a_positive_keep_their_threshold(bert):
    nlp, _ = make(bert)
    pipe = nlp.get_pipe(NAME)
    pipe.set_thresholds({"city": 0.7, "sport": 0.9})
    examples = []
    for score in (0.1, 0.3):
        doc = nlp.make_doc("anna")
        doc.cats = {"sport": score, "city": 0.5}
        gold = {"sport": float(score == 0.3), "city": 0.0}
        examples.append(Example(doc, Example.from_dict(doc, {"cats": gold}).reference))
    found = pipe.tune_thresholds(examples)
    assert found == {"sport": pytest.approx(0.2)}
    assert pipe.cfg["thresholds"] == {"city": 0.7, **found}


def test_a_threshold_of_1_gives_what_is_certain(bert):
    nlp, _ = make(bert)
    pipe = nlp.get_pipe(NAME)
    pipe.set_thresholds({"city": 1.0})
    examples = []
    for score, gold in [(0.9, 0.0), (1.0, 1.0)]:
        doc = nlp.make_doc("anna")
        doc.cats = {"sport": 0.1, "city": score}
        reference = Example.from_dict(doc, {"cats": {"sport": 0.0, "city": gold}}).reference
        examples.append(Example(doc, reference))
    assert [pipe.given_labels(eg.predicted) for eg in examples] == [[], ["city"]]
    assert pipe.score(examples)["cats_f_per_type"]["city"] == {"p": 1.0, "r": 1.0, "f": 1.0}


def test_best_threshold_is_the_best_of_all():
    draw = np.random.default_rng(0)
    for _ in range(50):
        scores = draw.integers(1, 12, 15) / 12
        gold = draw.random(15) < 0.4
        gold[0] = True

        def f1(threshold, scores=scores, gold=gold):
            given = scores >= threshold
            return 2 * (given & gold).sum() / (given.sum() + gold.sum())

        best = max(f1(t) for t in scores)
        assert f1(best_threshold(scores, gold)) == pytest.approx(best)


def test_one_label_is_enough_and_no_gold_is_told(bert):
    nlp, examples = make(bert, [("anna", {"city": 1.0}), ("a good film", {"city": 0.0})])
    assert nlp.get_pipe(NAME).labels == ("city",)
    assert 0 < nlp("anna").cats["city"] < 1
    with pytest.raises(ValueError, match="B300"):
        make(bert, [("anna", {})])


@pytest.mark.parametrize("value", [0.0, -1, 2, float("nan")])
def test_thresholds_lie_above_0_up_to_1(bert, value):
    nlp, _ = make(bert)
    with pytest.raises(ValueError, match="B307"):
        nlp.get_pipe(NAME).set_thresholds({"city": value})


def test_a_temperature_divides_the_scores(bert, tmp_path):
    nlp, _ = make(bert)
    before = nlp("the team won").cats
    nlp.get_pipe(NAME).set_temperature(2.0)
    nlp.to_disk(tmp_path)
    after = spacy.load(tmp_path)("the team won").cats
    for label, p in before.items():
        assert math.log(after[label] / (1 - after[label])) == pytest.approx(
            math.log(p / (1 - p)) / 2, abs=1e-5
        )


def test_a_threshold_out_of_range_is_refused_in_the_config(bert):
    with pytest.raises(ValueError, match="B307"):
        make(bert, threshold=1.5)


def test_thresholds_of_unknown_labels_are_refused(bert):
    nlp, _ = make(bert)
    with pytest.raises(ValueError, match="B330.*'film'"):
        nlp.get_pipe(NAME).set_thresholds({"film": 0.5})


def test_categories_survive_a_docbin(bert):
    nlp, _ = make(bert)
    docs = [nlp(text) for text, _ in ROWS]
    kept = DocBin(docs=docs).to_bytes()
    for doc, other in zip(docs, DocBin().from_bytes(kept).get_docs(nlp.vocab)):
        assert doc.cats == pytest.approx(other.cats)


def test_predict_writes_the_labels_that_are_given(bert, tmp_path):
    nlp, examples = make(bert)
    train_steps(nlp, examples, 60)
    rows = "".join(json.dumps({"text": text}) + "\n" for text, _ in ROWS)
    (tmp_path / "in.jsonl").write_text(rows, encoding="utf-8")
    predict(nlp, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [row["labels"] for row in found] == [["sport"], ["city"], ["city", "sport"], []]
    assert all("label" not in row for row in found)


def test_a_threshold_of_0_gives_every_label_and_fitted_ones_still_count(bert):
    nlp, examples = make(bert, threshold=0.0)
    part = nlp.get_pipe(NAME)
    doc = nlp("anna")
    assert part.given_labels(doc) == list(part.labels)
    scores = nlp.evaluate(examples)
    assert scores["cats_micro_r"] == 1.0
    part.set_thresholds({"city": 1.0})
    assert part.given_labels(doc) == [label for label in part.labels if label != "city"]
    assert nlp.evaluate(examples)["cats_f_per_type"]["city"]["r"] == 0.0


@pytest.mark.parametrize("threshold, recall", [(0.01, 1.0), (0.99, 0.0)])
def test_the_threshold_of_the_config_is_that_of_evaluation(bert, threshold, recall):
    nlp, examples = make(bert, threshold=threshold)
    assert nlp.evaluate(examples)["cats_micro_r"] == recall
