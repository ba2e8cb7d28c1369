"""What a threshold has turned down is written by `predict` too."""

import json

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span

from bert_spacy.cli.predict import predict
from bert_spacy.pipeline.entities import write_candidates, write_entities
from bert_spacy.pipeline.extensions import install_extensions

from ..util import QUESTIONS, TEXTS, trained


def predict_rows(nlp, tmp_path, rows):
    """Return what `predict` writes, as it stands in the file."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert predict(nlp, source, output).n_bad == 0
    return [json.loads(line) for line in output.read_bytes().splitlines()]


def approx(rows):
    return [
        {k: pytest.approx(v) if isinstance(v, float) else v for k, v in row.items()} for row in rows
    ]


@pytest.fixture(scope="module")
def ner(bert):
    return trained(bert, ["bert_ner"], steps=60)


def test_entities_that_a_threshold_turns_down_are_candidates(ner, tmp_path):
    head = ner.get_pipe("bert_ner")
    rows = [*({"text": text} for text in TEXTS), {"text": TEXTS[0], "text_b": TEXTS[1]}]
    before = predict_rows(ner, tmp_path, rows)
    assert before[1]["ents"] and before[2]["ents"]
    assert not any("candidates" in row for row in before)
    head.cfg["thresholds"] = dict.fromkeys(head.labels, 1.1)  # more than there is
    try:
        after = predict_rows(ner, tmp_path, rows)
    finally:
        head.cfg["thresholds"] = {}
    assert [row["ents"] for row in after] == [[]] * 5
    for old, new in zip(before, after):
        if not old["ents"]:
            assert "candidates" not in new
            continue
        wanted = sorted(old["ents"], key=lambda ent: -ent["score"])
        assert new["candidates"] == approx(wanted)
    assert all(x["segment"] in ("a", "b") for x in after[4].get("candidates", []))


@Language.component("test_predict_two_recognisers")
def find_cities(doc):
    """Play two recognisers: the second gives what is a candidate of the first, and so on."""
    install_extensions()
    paris, rome = Span(doc, 0, 1, label="CITY"), Span(doc, 2, 3, label="CITY")
    write_entities(doc, [paris], "one", [0.9])
    write_candidates(doc, [rome], [0.25], "one")
    write_candidates(doc, [paris, Span(doc, 0, 3, label="PAIR")], [0.125, 0.5], "two")
    return doc


def test_candidates_of_several_components_stand_together_with_their_own_scores(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("test_predict_two_recognisers")
    row = {"text": "Paris and Rome", "candidates": "mine"}
    [found] = predict_rows(nlp, tmp_path, [row])
    paris = {"start": 0, "end": 5, "label": "CITY", "text": "Paris"}
    assert found["ents"] == [{**paris, "score": 0.9}]
    assert found["candidates"] == [
        {"start": 0, "end": 14, "label": "PAIR", "text": "Paris and Rome", "score": 0.5},
        {"start": 10, "end": 14, "label": "CITY", "text": "Rome", "score": 0.25},
        {**paris, "score": 0.125},
    ]
    assert found["input"] == {"candidates": "mine"}


def test_answers_to_which_no_answer_is_preferred_are_written_as_withheld(bert, tmp_path):
    nlp = trained(bert, ["bert_qa"])
    head = nlp.get_pipe("bert_qa")
    rows = [{"question": question, "context": context} for question, context, _ in QUESTIONS]
    rows += [{"question": "who", "context": ""}]
    head.null_threshold = 1e9
    given = predict_rows(nlp, tmp_path, rows)
    head.null_threshold = -1e9
    withheld = predict_rows(nlp, tmp_path, rows)
    assert not any("withheld" in row for row in given)
    assert [bool(row["answers"]) for row in given] == [True] * 4 + [False]
    for one, other in zip(given[:4], withheld):
        assert other["answers"] == [] and other["withheld"] == approx(one["answers"])
    assert withheld[4]["answers"] == [] and "withheld" not in withheld[4]
