"""Gold for labels that no component has: told once, and missed in the scores."""

import warnings

import pytest
from spacy.training import Example

from bert_spacy.targets import set_targets

from ..util import make_nlp, ner_examples, regressor_examples, textcat_examples, train_steps

TEXTCATS = ("bert_textcat", "bert_textcat_multilabel")


def cats_example(nlp, text, cats):
    return Example.from_dict(nlp.make_doc(text), {"cats": cats})


@pytest.mark.parametrize("name", TEXTCATS)
def test_categories_that_training_never_saw(bert, name):
    nlp = make_nlp(bert, [name])
    examples = textcat_examples(nlp)
    nlp.initialize(lambda: examples)
    more = [cats_example(nlp, text, {"music": 1.0}) for text in ("a song", "a tune")]
    more.append(cats_example(nlp, "a play", {"sport": 0.0, "city": 0.0, "film": 0.0, "art": 1.0}))
    found = r"\[BW302\].*'art' \(1\), 'music' \(2\).*\['city', 'film', 'sport'\]"
    with pytest.warns(UserWarning, match=found):
        train_steps(nlp, [*examples, *more], 1)
    train_steps(nlp, [*examples, *more], 2)  # it is said once
    with pytest.warns(UserWarning, match=r"\[BW302\].*'dance' \(1\)"):
        nlp.evaluate([cats_example(nlp, "a waltz", {"dance": 1.0})])
    known = nlp.evaluate(examples)["cats_f_per_type"]
    scores = nlp.evaluate([*examples, *more])
    assert set(scores["cats_f_per_type"]) - set(known) == {"art", "music"}
    n_right = sum(known[label]["r"] * n for label, n in (("city", 2), ("film", 1), ("sport", 1)))
    assert scores["cats_micro_r"] == pytest.approx(n_right / 7)


def test_targets_that_training_never_saw(bert):
    nlp = make_nlp(bert, ["bert_regressor"])
    examples = regressor_examples(nlp)
    nlp.initialize(lambda: examples)
    set_targets(examples[0].reference, {"length": 1.0, "depth": 2.0})
    with pytest.warns(UserWarning, match=r"\[BW302\].*'depth' \(1\).*\['length', 'warmth'\]"):
        train_steps(nlp, examples, 1)
    nlp.evaluate(examples)


def test_categories_of_another_component_are_known(bert):
    nlp = make_nlp(bert, TEXTCATS)
    nlp.get_pipe("bert_textcat_multilabel").add_label("loud")
    nlp.get_pipe("bert_textcat_multilabel").add_label("long")
    for label in ("city", "film", "sport"):
        nlp.get_pipe("bert_textcat").add_label(label)
    examples = textcat_examples(nlp)
    examples.append(cats_example(nlp, "a long song", {"loud": 0.0, "long": 1.0}))
    nlp.initialize(lambda: examples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_steps(nlp, examples, 1)
        found = nlp.evaluate(examples)["bert_textcat_multilabel_cats_f_per_type"]
    assert set(found) == {"loud", "long"}


@pytest.mark.parametrize("use_crf", [True, False])
def test_entities_of_another_tagger_are_missing_gold_without_a_warning(bert, use_crf):
    model = {"use_crf": use_crf, **({"transitions": "counted"} if use_crf else {})}
    nlp = make_nlp(bert)
    for name, label in (("persons", "PER"), ("places", "LOC")):
        nlp.add_pipe("bert_ner", name=name, config={"model": model})
        nlp.config["initialize"]["components"][name] = {"labels": [label]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nlp.initialize(lambda: ner_examples(nlp))
        losses: dict[str, float] = {}
        nlp.update(ner_examples(nlp), sgd=False, losses=losses)
    missing = ner_examples(nlp)
    for eg in missing:
        doc = eg.reference
        ents = [ent for ent in doc.ents if ent.label_ == "PER"]
        others = [doc[ent.start : ent.end] for ent in doc.ents if ent.label_ == "LOC"]
        doc.set_ents(ents, missing=others, default="outside")
    told: dict[str, float] = {}
    nlp.update(missing, sgd=False, losses=told)
    assert told["persons"] == pytest.approx(losses["persons"])
    assert told["places"] != pytest.approx(losses["places"])
    # What neither of them has is told by both.
    strange = Example.from_dict(nlp.make_doc("paris"), {"entities": [(0, 5, "GPE")]})
    with pytest.warns(UserWarning, match=r"\[BW301\].*'GPE'") as found:
        nlp.update([strange], sgd=False)
    assert len(found) == 2
