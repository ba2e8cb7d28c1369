"""Several heads of one kind on one encoder: each has scores, labels and a guard of its own."""

import json

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example

from bert_spacy.cli.predict import predict
from bert_spacy.report.analysis import analyse
from bert_spacy.targets import set_targets
from bert_spacy.weights.optimize import optimize

from ..util import make_nlp, regressor_examples, train_steps

LABELS = {"topic": ("city", "film"), "tone": ("bad", "good"), "marks": ("long", "loud")}
TEXTS = [
    ("anna was in paris", "city", "good"),
    ("bob was in london", "city", "bad"),
    ("a good film", "film", "good"),
    ("a bad film", "film", "bad"),
]


def make_examples(nlp, names=tuple(LABELS)):
    """Return Examples with gold for some of the heads."""
    labels = {label for name in names for label in LABELS[name]}
    examples = []
    for text, *true in TEXTS:
        true = {*true, "long"} if "was" in text else set(true)
        cats = {label: float(label in true) for label in labels}
        examples.append(Example.from_dict(nlp.make_doc(text), {"cats": cats}))
    return examples


@pytest.fixture(scope="module")
def nlp(tiny_folder):
    """Return a trained pipeline of three classifiers, the labels of one not exclusive."""
    nlp = make_nlp(tiny_folder("bert"))
    for name in LABELS:
        nlp.add_pipe("bert_textcat_multilabel" if name == "marks" else "bert_textcat", name=name)
    settings = {name: {"labels": list(labels)} for name, labels in LABELS.items()}
    nlp.config["initialize"]["components"] = settings
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 20)
    return nlp


def test_each_head_has_the_scores_that_it_has_alone(nlp):
    found = nlp.evaluate(make_examples(nlp))
    alone = {}
    for name in LABELS:
        with nlp.select_pipes(enable=["bert_encoder", name]):
            scores = nlp.evaluate(make_examples(nlp))
        alone[name] = scores["cats_score"]
        for key, value in scores.items():
            if key.startswith("cats_"):
                assert found[f"{name}_{key}"] == value, (name, key)
    assert found["cats_score"] == pytest.approx(sum(alone.values()) / 3)
    means = [found[f"{name}_cats_macro_f"] for name in LABELS]
    assert found["cats_macro_f"] == pytest.approx(sum(means) / 3)
    assert "cats_f_per_type" not in found
    with nlp.select_pipes(disable="tone"):
        scores = nlp.get_pipe("tone").score(make_examples(nlp))
    assert "cats_f_per_type" in scores and "topic_cats_score" not in scores


def test_the_overall_score_is_over_heads_with_gold(nlp):
    found = nlp.evaluate(make_examples(nlp, ["topic"]))
    assert found["cats_score"] == found["topic_cats_score"] is not None
    assert found["tone_cats_score"] is found["marks_cats_score"] is None
    unscored = [Example.from_dict(nlp.make_doc("a film"), {})]
    assert nlp.evaluate(unscored)["cats_score"] is None


def test_true_labels_of_another_head_are_no_gold(nlp):
    text, labels = "a good film", {"city": 0.0, "film": 0.0}
    none = Example.from_dict(nlp.make_doc(text), {"cats": {**labels, "good": 1.0, "bad": 0.0}})
    examples = make_examples(nlp, ["topic"])
    with_it, without = nlp.evaluate([*examples, none]), nlp.evaluate(examples)
    for key in ("cats_score", "cats_micro_p", "cats_f_per_type"):
        assert with_it[f"topic_{key}"] == without[f"topic_{key}"]
    found = {x.name: x for x in analyse(nlp, [eg.reference for eg in [*examples, none]]).classes}
    assert found["topic"].labels == ["city", "film"] and found["topic"].n_texts == len(examples)
    assert found["tone"].n_texts == 1


def test_regressors_are_told_apart(bert):
    nlp = make_nlp(bert)
    examples = regressor_examples(nlp)
    for name, label in (("size", "length"), ("heat", "warmth")):
        nlp.add_pipe("bert_regressor", name=name).add_label(label)
    nlp.initialize(lambda: examples)
    for example in examples:
        set_targets(example.predicted, {})
    found = nlp.evaluate(examples)
    assert list(found["size_regression_per_target"]) == ["length"]
    assert list(found["heat_regression_per_target"]) == ["warmth"]
    mean = (found["size_regression_score"] + found["heat_regression_score"]) / 2
    assert found["regression_score"] == pytest.approx(mean)


def test_heads_with_encoders_of_their_own_are_told_apart_too(bert):
    nlp = spacy.blank("en")
    own = {"@architectures": "bert-spacy.BertEncoder.v1", "name": str(bert)}
    for name in ("topic", "tone"):
        pipe = nlp.add_pipe("bert_textcat", name=name, config={"model": {"encoder": own}})
        for label in LABELS[name]:
            pipe.add_label(label)
    examples = make_examples(nlp, ["topic", "tone"])
    nlp.initialize(lambda: examples)
    found = nlp.evaluate(examples)
    assert set(found["topic_cats_f_per_type"]) == set(LABELS["topic"])
    assert set(found["tone_cats_f_per_type"]) == set(LABELS["tone"])


def test_labels_that_two_heads_share_are_told(bert):
    nlp = make_nlp(bert)
    for name in ("topic", "tone"):
        nlp.add_pipe("bert_textcat", name=name)
    with pytest.warns(UserWarning, match=r"\[BW306\] \['bad',.*'tone' and of 'topic'") as told:
        nlp.initialize(lambda: make_examples(nlp, ["tone"]))
    assert sum("BW306" in str(one.message) for one in told) == 1


def test_predict_writes_a_label_for_each(nlp, tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{text}\n" for text, *_ in TEXTS), "utf-8")
    predict(nlp, source, tmp_path / "out.jsonl")
    for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        for name in ("topic", "tone"):
            assert row["label"][name] == max(LABELS[name], key=row["cats"].__getitem__)
        assert row["labels"] == nlp.get_pipe("marks").given_labels(nlp(row["text"]))


def test_optimize_guards_each(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    docs = [eg.reference for eg in make_examples(nlp, ["topic", "marks"])]
    DocBin(docs=docs).to_disk(tmp_path / "gold.spacy")
    report = optimize(
        tmp_path / "pipeline",
        tmp_path / "new",
        backend="torch",
        calibrate=tmp_path / "gold.spacy",
    )
    assert set(report["chosen"]["before"]) == {"topic_cats_score", "marks_cats_score"}
    assert report["without_gold"] == ["tone"]
    assert spacy.load(tmp_path / "new").pipe_names == nlp.pipe_names
