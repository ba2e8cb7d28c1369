import warnings

import pytest
import torch
from spacy.training import Example

from ..util import assert_close, make_nlp, predictions, textcat_examples, train_steps

LONG = "the team won the game and anna was in paris with bob " * 6


def make_textcat(folder, window=24, **model):
    nlp = make_nlp(
        folder,
        ["bert_textcat"],
        configs={"bert_textcat": {"model": model}},
        window=window,
        stride=16,
    )
    examples = textcat_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
@pytest.mark.parametrize("windows", ["mean", "max"])
@pytest.mark.parametrize("pooling", ["auto", "pooler", "cls", "mean"])
def test_pooling_follows_its_definition(tiny_folder, kind, pooling, windows):
    nlp = make_textcat(tiny_folder(kind), pooling=pooling, windows=windows)
    docs = [nlp.make_doc(text) for text in (LONG, "anna", "", LONG[:150])]
    batch = nlp.get_pipe("bert_encoder").predict(docs)
    module = nlp.get_pipe("bert_textcat").shim.module.eval()
    nlp.get_pipe("bert_encoder").set_annotations(docs, batch)
    if pooling == "pooler" and batch.pooled is None:
        with pytest.raises(ValueError, match=r"\[B219\].*'bert_textcat'.*'auto'"):
            nlp.get_pipe("bert_textcat").predict(docs)
        return
    found = nlp.get_pipe("bert_textcat").predict(docs)
    for i in range(len(docs)):
        rows = batch.hidden[slice(*batch.layout.doc_pieces[i : i + 2])]
        at = slice(*batch.layout.doc_windows[i : i + 2])
        if pooling == "mean" or (pooling == "auto" and batch.pooled is None):
            vector = rows.sum(0) / max(len(rows), 1)
        else:
            vectors = batch.cls[at]
            if pooling != "cls" and batch.pooled is not None:
                vectors = batch.pooled[at]
            vector = vectors.mean(0) if windows == "mean" else vectors.amax(0)
        with torch.no_grad():
            torch.testing.assert_close(found[i], module.output(vector), atol=1e-5, rtol=1e-4)


def test_long_docs_on_disk_are_pooled_the_same(bert):
    nlp = make_textcat(bert, pooling="mean")
    texts = [LONG * 3, "", "anna"]
    wanted = predictions(nlp.pipe(texts))
    nlp.get_pipe("bert_encoder").model.attrs["spill_bytes"] = 0
    assert_close(predictions(nlp.pipe(texts)), wanted, 1e-6)


def test_gold_is_the_largest_of_our_labels_and_may_be_missing(bert):
    nlp = make_textcat(bert)
    head = nlp.get_pipe("bert_textcat")
    assert head.labels == ("city", "film", "sport")
    cats = [
        {"city": 1.0},
        {},
        {"city": 0.0, "film": 0.0},
        {"seen in dev only": 1.0},
        {"seen in dev only": 1.0, "city": 0.0},
        {"city": 0.2, "film": 0.7},
    ]
    examples = [Example.from_dict(nlp.make_doc("anna"), {"cats": c}) for c in cats]
    output = torch.randn(6, 3)
    loss = head.compute_loss(examples, output)
    scores = torch.log_softmax(output, 1)
    assert float(loss) == pytest.approx(float(-(scores[0, 0] + scores[5, 1]) / 2), rel=1e-5)
    assert head.compute_loss(examples[1:5], output[1:5]) is None
    with pytest.warns(UserWarning, match=r"\[BW302\].*'seen in dev only' \(2\)"):
        train_steps(nlp, examples, 2)
    assert nlp.evaluate(examples)


def test_several_true_classes_are_told(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    golds = [{"a": 1.0, "b": 1.0, "c": 0.0}, {"a": 0.7, "b": 0.3}, {"c": 1.0}]
    examples = [Example.from_dict(nlp.make_doc("anna"), {"cats": cats}) for cats in golds]
    with pytest.warns(UserWarning, match=r"\[BW308\] 1 of 3 Docs.*'anna', \{'a': 1.0, 'b': 1.0\}"):
        nlp.initialize(lambda: iter(examples))


NONE = {"sport": 0.0, "city": 0.0}


def test_no_true_class_is_told(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    golds = [{"sport": 1.0, "city": 0.0}, {}, NONE, {"city": 0.4}, {"sport": 0.0}]
    texts = ["bob", "paris", "anna", "london", "tim"]
    pairs = zip(texts, golds)
    examples = [Example.from_dict(nlp.make_doc(text), {"cats": cats}) for text, cats in pairs]
    with pytest.warns(UserWarning) as told:
        nlp.initialize(lambda: iter(examples))
    assert len(told) == 1
    message = str(told[0].message)
    assert message.startswith("[BW309] 2 of 5 Docs") and f"'anna', {NONE}." in message
    # They teach nothing and are not scored, as the warning says.
    assert nlp.get_pipe("bert_textcat").compute_loss(examples[1:3], torch.randn(2, 2)) is None
    assert nlp.evaluate([examples[2]])["cats_score"] is None


@pytest.mark.parametrize("labels", [["city", "sport"], None])
def test_gold_of_another_classifier_may_have_no_true_class(bert, labels):
    nlp = make_nlp(bert, ["bert_textcat_multilabel", "bert_textcat"])
    settings = {"bert_textcat_multilabel": {"labels": ["long", "loud"]}}
    if labels:
        settings["bert_textcat"] = {"labels": labels}
    nlp.config["initialize"]["components"] = settings
    golds = [{"long": 0.0, "loud": 0.0}, {"sport": 1.0, "city": 0.0}, {"city": 1.0}]
    golds.append({**NONE, "long": 1.0})  # zeros were filled in for all labels
    examples = [Example.from_dict(nlp.make_doc("anna"), {"cats": cats}) for cats in golds]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if not labels:  # it takes those of the other as well, and that is told
            warnings.filterwarnings("ignore", message=r"\[BW306\]")
        nlp.initialize(lambda: examples)
    examples.append(Example.from_dict(nlp.make_doc("bob"), {"cats": {"loud": 0.0, **NONE}}))
    nlp = make_nlp(bert, ["bert_textcat"])
    nlp.config["initialize"]["components"] = {"bert_textcat": {"labels": ["city", "sport"]}}
    with pytest.warns(UserWarning, match=r"\[BW309\] 1 of 5 Docs.*'bob'"):
        nlp.initialize(lambda: examples)


def test_one_class_alone_is_refused(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    example = Example.from_dict(nlp.make_doc("anna"), {"cats": {"one": 1.0}})
    with pytest.raises(ValueError, match=r"\[B305\].*one"):
        nlp.initialize(lambda: [example])


def test_categories_of_other_components_stay(bert):
    nlp = make_textcat(bert)
    doc = nlp.make_doc("anna")
    doc.cats = {"other": 0.5, "city": 9.0}
    doc = nlp(doc)
    assert doc.cats["other"] == 0.5
    assert sum(doc.cats[x] for x in ("city", "film", "sport")) == pytest.approx(1)


def test_a_second_try_learns_the_labels_of_its_own_examples(bert):
    nlp = make_nlp(bert, ["bert_textcat"])
    examples = textcat_examples(nlp)
    for example in (one := textcat_examples(nlp)):
        example.reference.cats = {"other": 1.0}
    with pytest.raises(ValueError, match=r"\[B305\]"):
        nlp.initialize(lambda: one)
    nlp.initialize(lambda: examples)
    assert "other" not in nlp.get_pipe("bert_textcat").labels
