"""Choice items through predict, evaluate and report, with choices written down in the test."""

import json

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.cli.evaluate import evaluate
from bert_spacy.cli.predict import errors_path, predict
from bert_spacy.cli.report import report
from bert_spacy.data.docbin import write_docbin
from bert_spacy.data.pairs import make_choice, set_gold_choice
from bert_spacy.scoring.choice import score_choice
from bert_spacy.segments import count_choices, get_choices, set_choice


class _Longest(spacy.pipeline.Pipe):
    """Takes the longest choice, with its share of the letters as probability."""

    def __call__(self, doc: Doc) -> Doc:
        if count_choices(doc):
            sizes = [len(span.text) for span in get_choices(doc)]
            set_choice(doc, int(np.argmax(sizes)), [size / sum(sizes) for size in sizes])
        return doc

    def score(self, examples, **kwargs):
        return score_choice(examples)


@pytest.fixture
def nlp():
    Language.factory("test_choice_longest", func=lambda nlp, name: _Longest())
    nlp = spacy.blank("en")
    nlp.add_pipe("test_choice_longest")
    return nlp


@pytest.fixture
def gold(nlp, tmp_path):
    """Five items: two of two choices, one of them right; three of three, two of them right."""
    rows = [
        ("Ann sings.", "Who?", ["Ann", "Bobby"], 1),
        ("Ann sings <b>.", "Who & why?", ["Ann", "Bobby<i>"], 0),
        ("", "Where?", ["a", "bbb", "cc"], 1),
        ("", "When?", ["aaaa", "bb", "cc"], 0),
        ("Bob runs.", "", ["a", "b", "cccccccc"], 1),
    ]
    docs = []
    for context, question, choices, index in rows:
        doc = make_choice(nlp, context, question, choices)
        set_gold_choice(doc, index)
        docs.append(doc)
    docs.append(make_choice(nlp, "", "No gold?", ["yes", "no"]))
    write_docbin(docs, tmp_path / "gold.spacy")
    return tmp_path / "gold.spacy"


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_with_choices_are_predicted_and_bad_ones_told(nlp, tmp_path):
    good = [
        {"context": "Ann sings.", "question": "Who?", "choices": ["Ann", "Bobby"], "id": 3},
        {"question": "Who?", "choices": ["Ann", "Bo", "Cy"], "choice": "gold"},
        {"context": "Ann", "question": None, "choices": ["x", "yy"]},
        {"text": "a text", "choices": 5},
        {"question": "Who?", "context": "Ann", "choices": "of a csv"},
    ]
    bad = [
        ({"question": "Who?", "choices": ["Ann"]}, "'choices' has 1 texts; two or more are needed"),
        ({"question": "Who?", "choices": []}, "'choices' has 0 texts; two or more are needed"),
        ({"question": "Who?", "choices": ["Ann", " "]}, "'choices[1]' is blank"),
        ({"question": "Who?", "choices": ["Ann", 1]}, "'choices[1]' is not a string but int"),
        ({"question": "Who?", "choices": ["Ann", None]}, "'choices[1]' is missing"),
        ({"question": 1, "choices": ["a", "b"]}, "'question' is not a string but int"),
        ({"choices": ["a", "b"]}, "'choices' without 'question' or 'context'"),
        ({"question": "Who?", "choices": {"a": 1}}, "'choices' is not a list of texts but dict"),
    ]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(r) + "\n" for r in [*good, *(row for row, _ in bad)]))
    counts = predict(nlp, source, output)
    assert (counts.n_good, counts.n_bad) == (len(good), len(bad))
    rows = lines_of(output)
    assert rows[0]["choice"] == 1 and rows[0]["choice_scores"] == [3 / 8, 5 / 8]
    assert rows[0]["choices"] == ["Ann", "Bobby"] and rows[0]["id"] == 3
    assert rows[1]["choice"] == 0 and rows[1]["input"] == {"choice": "gold"}
    assert rows[2]["choice"] == 1 and rows[2]["choices"] == ["x", "yy"]
    assert "choice" not in rows[3] and "choice" not in rows[4]
    assert [row["reason"] for row in lines_of(errors_path(output))] == [reason for _, reason in bad]


def test_broken_run_goes_on(nlp, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = {"question": "Who?", "choices": ["Ann", "Bo"]}
    source.write_text((json.dumps(row) + "\n") * 3)
    predict(nlp, source, output)
    whole = output.read_text()
    output.unlink()
    output.with_suffix(".partial").write_text(whole.splitlines(keepends=True)[0])
    assert predict(nlp, source, output, resume=True).n_resumed == 1
    assert output.read_text() == whole
    other = {**row, "choices": ["Ann", "Cy"]}
    source.write_text((json.dumps(other) + "\n") * 3)
    output.unlink()
    output.with_suffix(".partial").write_text(whole.splitlines(keepends=True)[0])
    with pytest.raises(ValueError, match=r"\[B622\]"):
        predict(nlp, source, output, resume=True)


def test_accuracy_is_counted_over_items_with_gold(nlp, gold):
    scores = evaluate(nlp, [gold])
    assert scores["choice_acc"] == 3 / 5 and scores["choice_n"] == 5
    p = np.array([5 / 8, 8 / 11, 3 / 6, 4 / 8, 8 / 10])
    hit = np.array([1, 0, 1, 1, 0])
    assert scores["choice_brier"] == pytest.approx(((p - hit) ** 2).mean())
    empty = evaluate(nlp, [_without_gold(nlp, gold)])
    assert empty["choice_acc"] is None and empty["choice_n"] == 0 and empty["choice_ece"] is None


def _without_gold(nlp, gold):
    write_docbin([make_choice(nlp, "", "Who?", ["a", "b"])], gold.parent / "none.spacy")
    return gold.parent / "none.spacy"


def test_report_shows_accuracy_places_and_mistakes(nlp, gold, tmp_path):
    page, analysis = report(nlp, gold, tmp_path / "report")
    results = analysis.choices
    assert results.accuracy == analysis.summary["choice_acc"] == 3 / 5
    assert [(g.n_choices, g.accuracy, g.count) for g in results.groups] == [
        (2, 1 / 2, 2),
        (3, 2 / 3, 3),
    ]
    assert results.groups[0].matrix.tolist() == [[0, 1], [0, 1]]
    assert results.groups[1].matrix.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert [(m.gold, m.predicted) for m in results.mistakes] == [
        ("b", "cccccccc"),
        ("Ann", "Bobby<i>"),
    ]
    assert results.mistakes[0].probability == pytest.approx(0.8)
    text = page.read_text("utf-8")
    for wanted in ("Who &amp; why? (72.7 %)", "predicted: Bobby&lt;i&gt;", "Bob runs. (80.0 %)"):
        assert wanted in text
    for wanted in ("<td>all</td>", ">60.00<", ">33.33<", "<h3>3 choices</h3>"):
        assert wanted in text
    assert "<i>" not in text


def test_report_without_gold_choices_is_refused(nlp, gold, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    command = ["report", str(tmp_path / "pipeline"), str(_without_gold(nlp, gold))]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "page")])
    assert done.exit_code == 1 and "B631" in done.output


def test_a_report_on_choices_without_probabilities(nlp, gold, tmp_path, monkeypatch):
    def take_the_last(self, doc):
        if n := count_choices(doc):
            set_choice(doc, n - 1)
        return doc

    monkeypatch.setattr(_Longest, "__call__", take_the_last)
    page, analysis = report(nlp, gold, tmp_path / "report")
    assert [mistake.probability for mistake in analysis.choices.mistakes] == [None] * 4
    assert "Who &amp; why?</strong>" in page.read_text("utf-8")
