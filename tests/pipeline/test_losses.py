"""Losses as they are set in the config of a classifier."""

import json

import pytest
import spacy
import torch
from spacy.training import Example

from bert_spacy.text.tags import tag_names
from bert_spacy.training.optimizer import create_adamw_v1

from ..util import encoder_of, make_nlp, ner_examples, same_weights, train_steps, weights

BOTH = ("bert_textcat", "bert_textcat_multilabel")
ROWS = [("the team won", "sport"), ("anna in paris", "city"), ("bob in london", "city"),
        ("a game in berlin", "city")]  # fmt: skip


def make(bert, head="bert_textcat", rows=ROWS, **config):
    torch.manual_seed(0)
    nlp = make_nlp(bert, [head], configs={head: config})
    labels = sorted({gold for _, gold in rows})
    examples = [
        Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == gold) for x in labels}})
        for text, gold in rows
    ]
    nlp.initialize(lambda: examples)
    return nlp, examples


def state_after(nlp, examples, **settings):
    torch.manual_seed(1)
    train_steps(nlp, examples, 3, **settings)
    heads = [weights(p.shim.module) for n, p in nlp.pipeline if n != "bert_encoder"]
    return [weights(encoder_of(nlp)), *heads]


@pytest.mark.parametrize("config", [
    {"loss": "focal", "focal_gamma": 1.0},
    {"loss": "dice"},
    {"class_weights": "balanced"},
    {"class_weights": {"city": 0.5}},
    {"label_smoothing": 0.2},
])  # fmt: skip
@pytest.mark.parametrize("head", BOTH)
def test_each_setting_changes_what_is_learnt_and_learns(bert, head, config):
    plain = state_after(*make(bert, head))
    nlp, examples = make(bert, head, **config)
    assert not all(map(same_weights, plain, state_after(nlp, examples)))
    train_steps(nlp, examples, 60)
    for text, gold in ROWS:
        doc = nlp(text)
        assert max(doc.cats, key=doc.cats.get) == gold
    assert json.loads(json.dumps(nlp.get_pipe(head).cfg))


@pytest.mark.parametrize("head, wanted", [
    ("bert_textcat", {"city": 4 / (2 * 3), "sport": 4 / (2 * 1)}),
    ("bert_textcat_multilabel", {"city": 1 / 3, "sport": 3 / 1}),
])  # fmt: skip
def test_balanced_weights_are_counted_kept_and_equal_to_given_ones(bert, head, wanted, tmp_path):
    nlp, examples = make(bert, head, class_weights="balanced")
    assert nlp.get_pipe(head).cfg["class_weights"] == pytest.approx(wanted)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe(head).cfg["class_weights"] == pytest.approx(wanted)
    given, _ = make(bert, head, class_weights=wanted)
    first = state_after(nlp, examples)
    for other in (given, again):
        assert all(map(same_weights, first, state_after(other, examples)))


def test_missing_gold_is_not_counted_and_labels_without_gold_weigh_one(bert):
    head = "bert_textcat_multilabel"
    nlp = make_nlp(bert, [head], configs={head: {"class_weights": "balanced"}})
    nlp.get_pipe(head).add_label("never")
    for label in ("city", "sport"):
        nlp.get_pipe(head).add_label(label)
    rows = [{"city": 1.0}, {"city": 0.0, "sport": 1.0}, {"city": 0.0}, {}]
    examples = [Example.from_dict(nlp.make_doc("anna"), {"cats": cats}) for cats in rows]
    nlp.initialize(lambda: examples)
    assert nlp.get_pipe(head).cfg["class_weights"] == {"never": 1.0, "city": 2.0, "sport": 1.0}


@pytest.mark.parametrize("head", BOTH)
def test_weights_travel_through_a_config(bert, head):
    nlp, _ = make(bert, head, class_weights={"city": 2.5, "sport": 1})
    again = spacy.blank("en").from_config(type(nlp.config)().from_str(nlp.config.to_str()))
    assert again.get_pipe(head).class_weights == {"city": 2.5, "sport": 1}


def test_a_row_counts_the_same_in_any_batch(bert):
    nlp, examples = make(bert, class_weights={"city": 3.0})
    pipe = nlp.get_pipe("bert_textcat")
    output = torch.randn(4, 2)
    alone = [pipe.compute_loss([eg], output[i : i + 1]) for i, eg in enumerate(examples)]
    torch.testing.assert_close(pipe.compute_loss(examples, output), sum(alone) / 4)


@pytest.mark.parametrize("head", BOTH)
@pytest.mark.parametrize("value", [
    "even", {"city": 0.0}, {"city": -1.0},
])  # fmt: skip
def test_what_is_no_weight_is_refused(bert, head, value):
    with pytest.raises(ValueError, match="B561"):
        make(bert, head, class_weights=value)


@pytest.mark.parametrize("head", BOTH)
def test_weights_of_unknown_labels_are_refused(bert, head, tmp_path):
    with pytest.raises(ValueError, match=r"B560.*'film'.*\['city', 'sport'\]"):
        make(bert, head, class_weights={"film": 2.0})
    make(bert, head)[0].to_disk(tmp_path)
    path = tmp_path / "config.cfg"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("class_weights = null", 'class_weights = {"film": 2}'), "utf-8")
    with pytest.raises(ValueError, match="B560"):
        spacy.load(tmp_path)


@pytest.mark.parametrize("value", [{"city": -1.0}, {"city": "much"}, "balanced", [1.0, 1.0]])
def test_counted_weights_that_were_damaged_are_refused(bert, value, tmp_path):
    make(bert, class_weights="balanced")[0].to_disk(tmp_path)
    path = tmp_path / "bert_textcat" / "cfg"
    cfg = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**cfg, "class_weights": value}), encoding="utf-8")
    with pytest.raises(ValueError, match="B561"):
        spacy.load(tmp_path)


def test_balanced_weights_that_were_not_counted_are_told(bert, tmp_path):
    make(bert)[0].to_disk(tmp_path)
    config = {"components": {"bert_textcat": {"class_weights": "balanced"}}}
    nlp = spacy.load(tmp_path, config=config)
    assert nlp("anna").cats
    _, examples = make(bert)
    with pytest.raises(ValueError, match="B562"):
        train_steps(nlp, examples, 1)


@pytest.mark.parametrize("config, code", [({"loss": "hinge"}, "B140"),
                                          ({"label_smoothing": 2.0}, "B141")])  # fmt: skip
@pytest.mark.parametrize("head", BOTH)
def test_unknown_losses_are_refused(bert, head, config, code):
    with pytest.raises(ValueError, match=code):
        make(bert, head, **config)


def make_tagger(bert, scheme="bioes", use_crf=False, **config):
    torch.manual_seed(0)
    model = {"use_crf": use_crf, "scheme": scheme}
    nlp = make_nlp(bert, ["bert_ner"], configs={"bert_ner": {"model": model, **config}})
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp, examples


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_tags_without_a_crf_have_the_weight_of_their_label(bert, scheme, monkeypatch):
    config = {"loss": "focal", "class_weights": {"PER": 3.0, "O": 0.5}}
    nlp, examples = make_tagger(bert, scheme, **config)
    pipe, seen = nlp.get_pipe("bert_ner"), []
    monkeypatch.setattr(
        type(pipe.loss), "exclusive", lambda self, *args: seen.append(args) or args[0].sum()
    )
    nlp.update(examples, sgd=False)
    scores, gold, weights = seen[0]
    tags = tag_names(pipe.labels, scheme)
    found = [(tags[int(i)], float(weights[i])) for i in gold]
    weight = {"PER": 3.0, "LOC": 1.0, "": 0.5}
    assert len(scores) == len(found) == sum(len(eg.reference) for eg in examples)
    assert all(value == weight[tag.partition("-")[2]] for tag, value in found)
    assert len({tag for tag, _ in found}) == 3


def test_balanced_weights_of_tags_count_tokens(bert):
    nlp, examples = make_tagger(bert, class_weights="balanced")
    n = sum(len(eg.reference) for eg in examples)
    wanted = {"LOC": n / (3 * 2), "PER": n / (3 * 2), "O": n / (3 * (n - 4))}
    assert nlp.get_pipe("bert_ner").cfg["class_weights"] == pytest.approx(wanted)


@pytest.mark.parametrize("config", [{"loss": "focal"}, {"loss": "dice"}, {"label_smoothing": 0.1}])
def test_other_losses_teach_a_tagger(bert, config):
    nlp, examples = make_tagger(bert, **config)
    # The slopes of dice fade where a probability is near 0 or 1.
    rate = 0.01 if config.get("loss") == "dice" else 0.003
    train_steps(nlp, examples, 60, sgd=create_adamw_v1(learn_rate=rate))
    for eg in examples:
        found = [(ent.text, ent.label_) for ent in nlp(eg.text).ents]
        assert found == [(ent.text, ent.label_) for ent in eg.reference.ents]


@pytest.mark.parametrize("config", [{"loss": "dice"}, {"label_smoothing": 0.1},
                                    {"class_weights": "balanced"}])  # fmt: skip
def test_a_crf_takes_no_other_loss(bert, config):
    with pytest.raises(ValueError, match="B567.*bert_ner"):
        make_tagger(bert, use_crf=True, **config)
