"""The head of real-valued targets."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from bert_spacy.cli.predict import predict
from bert_spacy.data.corpus import Corpus
from bert_spacy.data.pairs import make_pair
from bert_spacy.targets import get_targets, set_targets

from ..util import TEXTS, make_nlp, regressor_examples, train_steps

NAME = "bert_regressor"
PAIRS = [
    ("a good film", "a good film", 5.0),
    ("a good film", "a bad film", 1.5),
    ("anna was in paris", "bob lives in london", 0.0),
    ("anna was in paris", "anna was in berlin", 3.25),
]


def make(bert, examples_of=regressor_examples):
    nlp = make_nlp(bert, [NAME])
    examples = examples_of(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples


def pair_examples(nlp):
    examples = []
    for a, b, value in PAIRS:
        examples.append(Example(make_pair(nlp, a, b), make_pair(nlp, a, b)))
        set_targets(examples[-1].reference, {"score": value})
    return examples


def test_it_learns_pairs_and_its_scores_say_so(bert):
    nlp, examples = make(bert, pair_examples)
    train_steps(nlp, examples, 80)
    docs = list(nlp.pipe(make_pair(nlp, a, b) for a, b, _ in PAIRS))
    found = [doc._.regression["score"] for doc in docs]
    np.testing.assert_allclose(found, [value for *_, value in PAIRS], atol=0.3)
    scores = nlp.evaluate(examples)
    wanted = np.corrcoef(found, [value for *_, value in PAIRS])[0, 1]
    assert scores["regression_pearson"] == pytest.approx(wanted, abs=1e-6)
    assert scores["regression_spearman"] == pytest.approx(1.0)
    assert scores["regression_per_target"]["score"]["n"] == 4


def test_mean_and_spread_are_learnt_and_undone(bert):
    nlp, _ = make(bert)
    pipe = nlp.get_pipe(NAME)
    assert pipe.labels == ("length", "warmth")
    assert pipe.cfg["mean"] == pytest.approx({"length": 4.0, "warmth": 1.3 / 3})
    sd = np.std([0.1, 0.3, 0.9])
    assert pipe.cfg["scale"] == pytest.approx({"length": math.sqrt(0.5), "warmth": sd})
    doc = nlp.make_doc("anna")
    set_targets(doc, {"other": 7.0})
    pipe.set_annotations([doc], torch.tensor([[2.0, -1.0]]))
    wanted = {"length": 4 + 2 * math.sqrt(0.5), "warmth": 1.3 / 3 - sd, "other": 7.0}
    assert doc._.regression == pytest.approx(wanted)


def test_the_loss_is_the_mean_square_over_known_standardised_targets(bert):
    nlp, examples = make(bert)
    pipe = nlp.get_pipe(NAME)
    output = torch.tensor([[1.0, 0.0], [0.5, 9.0], [0.0, 1.0], [0.0, 0.0]])
    sd, mean = np.std([0.1, 0.3, 0.9]), 1.3 / 3
    errors = [
        1.0 - 1 / math.sqrt(0.5),
        0.0 - (0.1 - mean) / sd,
        0.5,
        0.0,
        1.0 - (0.3 - mean) / sd,
        0.0 + 1 / math.sqrt(0.5),
        0.0 - (0.9 - mean) / sd,
    ]
    wanted = sum(error**2 for error in errors) / 7
    assert float(pipe.compute_loss(examples, output)) == pytest.approx(wanted, abs=1e-5)
    plain = [Example.from_dict(nlp.make_doc("anna"), {})]
    assert pipe.compute_loss(plain, output[:1]) is None


def test_equal_values_are_learnt_too(bert):
    def equal(nlp):
        examples = [Example.from_dict(nlp.make_doc(text), {}) for text in ("anna", "bob", "paris")]
        for eg in examples:
            set_targets(eg.reference, {"x": 0.1})
        return examples

    nlp, examples = make(bert, equal)
    pipe = nlp.get_pipe(NAME)
    assert pipe.cfg["scale"] == {"x": 1.0}
    train_steps(nlp, examples, 40)
    assert nlp("anna")._.regression["x"] == pytest.approx(0.1, abs=0.1)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -math.inf, "3", None, True, [1.0], 1j]
)
def test_a_target_that_is_no_finite_number_is_refused(value):
    doc = spacy.blank("en").make_doc("anna")
    with pytest.raises(ValueError, match="B440.*'x'"):
        set_targets(doc, {"x": value})
    with pytest.raises(ValueError, match="B440"):
        set_targets(doc, value)
    assert get_targets(doc) == {}


def test_gold_goes_through_files_and_stays_off_the_predicted_doc(bert, tmp_path):
    nlp = spacy.blank("en")
    examples = pair_examples(nlp)
    docs = [eg.reference for eg in examples] + [nlp.make_doc("no gold")]
    DocBin(docs=docs).to_disk(tmp_path / "gold.spacy")
    again = list(Corpus([tmp_path / "gold.spacy"])(nlp))
    assert [get_targets(eg.reference) for eg in again[:4]] == [
        {"score": value} for *_, value in PAIRS
    ]
    assert all(get_targets(eg.predicted) == {} for eg in again)
    assert get_targets(again[4].reference) == {}
    copied = Doc(nlp.vocab).from_bytes(docs[3].copy().to_bytes())
    assert get_targets(copied) == {"score": 3.25}


def test_it_is_saved_with_its_numbers(bert, tmp_path):
    nlp, examples = make(bert)
    train_steps(nlp, examples, 5)
    texts = ["anna was in paris", "", "the team " * 80]
    wanted = [doc._.regression for doc in nlp.pipe(texts)]
    nlp.to_disk(tmp_path / "model")
    loaded = spacy.load(tmp_path / "model")
    for found, row in zip(loaded.pipe(texts, n_process=2, batch_size=1), wanted):
        assert found._.regression == pytest.approx(row, abs=1e-4)
    cfg = tmp_path / "model" / NAME / "cfg"
    good = json.loads(cfg.read_text())
    for name, value in [("scale", 0.0), ("mean", None), ("scale", "1")]:
        bad = {**good, name: {**good[name], "length": value}}
        cfg.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match="B340.*'length'"):
            spacy.load(tmp_path / "model")


def test_predict_writes_the_values(bert, tmp_path):
    nlp, _ = make(bert, pair_examples)
    rows = [{"text": a, "text_b": b} for a, b, _ in PAIRS] + [{"text": "anna"}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    predict(nlp, source, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line)["regression"]["score"] for line in lines]
    docs = [make_pair(nlp, a, b) for a, b, _ in PAIRS] + [nlp.make_doc("anna")]
    assert found == pytest.approx([doc._.regression["score"] for doc in nlp.pipe(docs)], abs=1e-4)


def test_scores_of_a_device_without_doubles_are_read(bert):
    nlp = make_nlp(bert, ["bert_regressor"])
    nlp.initialize(lambda: regressor_examples(nlp))
    component = nlp.get_pipe("bert_regressor")
    docs = [nlp.make_doc(text) for text in TEXTS]
    scores = torch.randn(len(docs), 2)
    component.set_annotations(docs, scores)
    wanted = [get_targets(doc) for doc in docs]
    # A Mac's GPU has no float64.
    component.set_annotations(docs, SimpleNamespace(cpu=lambda: scores))
    assert [get_targets(doc) for doc in docs] == wanted
