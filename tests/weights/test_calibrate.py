"""`calibrate`: the same predictions with better probabilities, or an error and no file."""

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.data.corpus import Corpus
from bert_spacy.scored import read_scored
from bert_spacy.weights.calibrate import calibrate

from ..util import ner_examples, textcat_examples, trained

HEADS = ["bert_textcat", "bert_ner"]


@pytest.fixture(scope="module")
def folder(bert, tmp_path_factory):
    """A pipeline that is surer than it should be: a third of the gold says otherwise."""
    folder = tmp_path_factory.mktemp("calibrate")
    nlp = trained(bert, HEADS, steps=60)
    nlp.to_disk(folder / "pipeline")
    docs = []
    for i in range(12):
        for eg in [*ner_examples(nlp), *textcat_examples(nlp)]:
            doc = eg.reference.copy()
            if i % 3 == 0 and doc.ents:
                doc.set_ents(doc.ents[:1])
            if i % 3 == 0 and doc.cats:
                names = sorted(doc.cats)
                doc.cats = {name: doc.cats[names[k - 1]] for k, name in enumerate(names)}
            docs.append(doc)
    DocBin(docs=docs).to_disk(folder / "dev.spacy")
    return folder


def run(*args):
    return CliRunner().invoke(app, ["calibrate", *map(str, args)])


def test_probabilities_come_nearer_and_predictions_stay(folder, tmp_path):
    result = run(folder / "pipeline", folder / "dev.spacy", "-o", tmp_path / "new")
    assert result.exit_code == 0, result.output
    old, new = spacy.load(folder / "pipeline"), spacy.load(tmp_path / "new")
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())
    assert set(report) == set(HEADS)
    scores = [nlp.evaluate(list(Corpus([folder / "dev.spacy"])(nlp))) for nlp in (old, new)]
    for name, key in (("bert_ner", "ents_ece"), ("bert_textcat", "cats_ece")):
        part = report[name]
        assert part["before"]["ece"] == pytest.approx(scores[0][key], abs=1e-5)
        assert scores[1][key] < scores[0][key]
        assert sum(part["before"]["reliability"]["count"]) == part["predictions"]
        assert new.get_pipe(name).cfg["temperature"] == part["temperature"] > 1
    assert scores[1]["ents_f"] == scores[0]["ents_f"]
    assert scores[1]["cats_macro_f"] == scores[0]["cats_macro_f"]
    assert scores[1]["ents_brier"] < scores[0]["ents_brier"]


def test_temperature_is_that_of_the_least_loss(folder, tmp_path):
    report = calibrate(folder / "pipeline", [folder / "dev.spacy"], tmp_path / "new")
    nlp = spacy.load(folder / "pipeline")
    head, losses = nlp.get_pipe("bert_textcat"), {}
    best = report["bert_textcat"]["temperature"]
    for temperature in (best * 0.9, best, best * 1.1):
        head.cfg["temperature"] = temperature
        examples = [eg for eg in Corpus([folder / "dev.spacy"])(nlp) if eg.reference.cats]
        docs = nlp.pipe([eg.predicted for eg in examples])
        gold = [max(eg.reference.cats, key=eg.reference.cats.get) for eg in examples]
        losses[temperature] = -np.mean([np.log(doc.cats[x]) for doc, x in zip(docs, gold)])
    assert min(losses, key=losses.get) == best


def test_thresholds_turn_entities_into_candidates(folder, tmp_path):
    args = (folder / "pipeline", folder / "dev.spacy", "-o", tmp_path / "new")
    result = run(*args, "--min-precision", "0.99")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "new" / "calibrate.json").read_text())["bert_ner"]
    nlp = spacy.load(tmp_path / "new")
    assert nlp.get_pipe("bert_ner").cfg["thresholds"] == report["thresholds"]
    assert "LOC" in report["unreached"]  # a third of the places is wrong by gold
    doc = nlp("bob lives in london")
    assert "LOC" not in [ent.label_ for ent in doc.ents]
    weak = {span.text: span.label_ for span, _ in read_scored(doc, "bert_ner_candidates")}
    assert weak["london"] == "LOC"


def test_what_cannot_be_fitted_leaves_no_file(folder, tmp_path):
    few = tmp_path / "few.spacy"
    nlp = spacy.load(folder / "pipeline")
    DocBin(docs=[eg.reference for eg in ner_examples(nlp)]).to_disk(few)
    result = run(folder / "pipeline", few, "-o", tmp_path / "new")
    assert result.exit_code == 1 and "B632" in result.output
    assert not (tmp_path / "new").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="B633"):
        calibrate(folder / "pipeline", [folder / "dev.spacy"], other)
    assert (other / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="B526"):
        calibrate(folder / "pipeline", [folder / "dev.spacy"], tmp_path / "n", min_precision=95)
