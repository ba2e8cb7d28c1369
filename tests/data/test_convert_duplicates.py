"""Texts that stand there twice with different gold, in any format and over all files."""

import json

import pytest
import spacy
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.cli.convert import make_options
from bert_spacy.data.convert import RowNote, convert

SWAG = ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,label\n"
ARC = {
    "stem": "What is hot?",
    "choices": [{"text": "sun", "label": "A"}, {"text": "sea", "label": "B"}],
}


def notes_of(tmp_path, name, texts, **options):
    """Convert files of the given contents; return the notes on contradictions, and the Docs."""
    format_name, suffix = name.split("/")
    paths = [tmp_path / f"{i}.{suffix}" for i in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text, encoding="utf-8")
    problems = []
    made = make_options(format_name, options)
    output = tmp_path / "o.spacy"
    nlp = spacy.blank("en")
    summary = convert(nlp, format_name, paths, output, made, on_problem=problems.append)
    assert all(isinstance(problem, RowNote) and problem.is_shown for problem in problems)
    assert summary.notes["contradiction"] == len(problems) and not summary.bad
    assert summary.n_docs == summary.n_rows
    return [str(problem) for problem in problems]


def jsonl(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("tsv/tsv", "x\ta b\ny\tc d\ny\ta b \n", 3, "label is 'x' for the same text at {}:1, and"),
        ("csv/csv", "x,a b\ny,c d\ny,a b\n", 3, "'y' here"),
        ("pairs/tsv", "a\tb\t1\nb\ta\t0\na\tb\t0\n", 3, "label is '1' for the same text at {}:1,"),
        (
            "glue/tsv",
            "sentence\tlabel\na\t1\na\t1\na\t0\n",
            4,
            "label is '1' for the same text at {}:2, and '0' here",
        ),
        (
            "jsonl/jsonl",
            jsonl({"text": "a", "cats": {"x": 1, "y": 0}}, {"text": "a", "label": ["x", "y"]}),
            2,
            "label 'y' is 0.0 for the same text at {}:1, and 1.0 here",
        ),
        (
            "jsonl/jsonl",
            jsonl({"text": "a", "cats": {"x": 0.5}}, {"text": "a", "cats": {"x": 0.25}}),
            2,
            "label 'x' is 0.5 for the same text at {}:1, and 0.25 here",
        ),
        (
            "jsonl/jsonl",
            jsonl({"text": "a", "regression": {"r": 1}}, {"text": "a", "regression": {"r": 2}}),
            2,
            "target 'r' is 1.0 for the same text at {}:1, and 2.0 here",
        ),
        (
            "swag/csv",
            SWAG + "0,v,1,x,A man,He,gold,a,b,0\n0,v,1,x,A man,He,gold,a,b,1\n",
            3,
            "choice is 0 for the same text at {}:2, and 1 here",
        ),
        (
            "jsonl/jsonl",
            jsonl(
                {"text": " Ann met Bo", "entities": [[1, 4, "P"], [9, 11, "P"]]},
                {"text": "Ann met Bo", "entities": [[8, 10, "Q"], [0, 3, "P"]]},
            ),
            2,
            "entities are P 8:10 'Bo' for the same text at {}:1, and Q 8:10 'Bo' here",
        ),
        (
            "cluener/json",
            jsonl(
                {"text": "北京", "label": {"a": {"北京": [[0, 1]]}}},
                {"text": "北京", "label": {}},
            ),
            2,
            "entities are a 0:2 '北京' for the same text at {}:1, and none here",
        ),
        (
            "conll/bio",
            "Ann\tB-P\nLee\tI-P\n\nBo\tO\n\nAnn\tB-P\nLee\tB-P\n",
            6,
            "entities are P 0:2 'Ann Lee' for the same text at {}:1, and P 0:1 'Ann', P 1:2 'Lee'",
        ),
    ],
)
def test_contradictions_are_shown_with_both_places(tmp_path, name, text, line, reason):
    options = {"task": "SST-2"} if name.startswith("glue") else {}
    (note,) = notes_of(tmp_path, name, [text], **options)
    path = f"{tmp_path / '0'}.{name.split('/')[1]}"
    assert note.startswith(f"{path}:{line}: ")
    assert reason.format(path) in note


def test_scores_are_compared_as_numbers_and_over_files(tmp_path):
    notes = notes_of(
        tmp_path, "pairs/tsv", ["a\tb\t1\na\tb\t1.0\n", "a\tb\t4.5\n"], score_column="2"
    )
    places = [tmp_path / f"{i}.tsv" for i in range(2)]
    reason = f"target 'score' is 1.0 for the same text at {places[0]}:1, and 4.5 here"
    assert notes == [f"{places[1]}:1: {reason}"]


def squad(*asked):
    """Make a file of questions about one context: the question, and where answers stand."""
    context = "Ann went to Bonn and to Ulm."
    qas = [
        {
            "id": f"q{i}",
            "question": question,
            "is_impossible": not answers,
            "answers": [{"text": x, "answer_start": context.find(x)} for x in answers],
        }
        for i, (question, answers) in enumerate(asked)
    ]
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": qas}]}]})


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (["Ulm"], "answer is 'Bonn', 'to Bonn' for the same text at {}, and 'Ulm' here"),
        ([], "answer is 'Bonn', 'to Bonn' for the same text at {}, and none here"),
        (["Ulm", "Bonn"], None),  # one of them is the same
    ],
)
def test_answers_to_the_same_question_are_compared(tmp_path, answers, reason):
    text = squad(("Where?", ["Bonn", "to Bonn"]), ("Where to?", ["Ulm"]), (" Where?", answers))
    notes = notes_of(tmp_path, "squad/json", [text])
    place = f"{tmp_path / '0.json'}:data[0].paragraphs[0].qas"
    first, here = f"{place}[0] id=q0", f"{place}[2] id=q2"
    assert notes == ([f"{here}: {reason.format(first)}"] if reason else [])


def test_equal_entities_and_lost_ones_contradict_nothing(tmp_path):
    ann, met = [0, 3, "P"], [4, 7, "X"]
    rows = [{"text": "Ann met", "entities": [ann, met]}, {"text": "Ann met", "label": None}]
    rows += [{"text": "Ann met ", "entities": [met, ann, ann]}, {"text": "Bo met", "entities": []}]
    assert notes_of(tmp_path, "jsonl/jsonl", [jsonl(*rows)]) == []
    path = tmp_path / "x.json"
    lost = {"text": "北京人", "label": {"a": {"东京": [[0, 1]]}}}
    path.write_text(jsonl({"text": "北京人", "label": {"a": {"北京": [[0, 1]]}}}, lost))
    summary = convert(spacy.blank("zh"), "cluener", [path], tmp_path / "x.spacy")
    assert len(summary.bad) == 1 and not summary.notes


def test_missing_gold_and_other_gold_contradict_nothing(tmp_path):
    rows = [{"text": "a", "label": "x"}, {"text": "a", "label": None}, {"text": "a", "label": "x"}]
    rows += [{"text": "a", "regression": {"r": 1}}, {"text": "a", "regression": {"s": 2, "r": 1}}]
    rows += [{"text": "a", "label": "x", "entities": [[0, 1, "P"]]}, {"text": "A", "label": "y"}]
    assert notes_of(tmp_path, "jsonl/jsonl", [jsonl(*rows)]) == []
    (tmp_path / "choice").mkdir()
    items = [{"question": ARC, "answerKey": key} for key in ("A", None, "A")]
    assert notes_of(tmp_path / "choice", "arc/jsonl", [jsonl(*items)]) == []


def test_the_command_line_names_them(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("a\tb\t1\na\tb\t0\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["convert", "pairs", str(path), str(tmp_path / "o.spacy")])
    assert done.exit_code == 0
    assert f"{path}:2: label is '1' for the same text at {path}:1, and '0' here" in done.stderr
    assert "contradiction" in done.stdout


@pytest.mark.parametrize("lang, shown", [("zh", "'北京'"), ("en", "'北 京'")])
def test_words_are_shown_as_the_language_writes_them(tmp_path, lang, shown):
    path = tmp_path / "in.bio"
    path.write_text("北\tB-P\n京\tI-P\n\n北\tB-Q\n京\tI-Q\n", encoding="utf-8")
    notes = []
    convert(spacy.blank(lang), "conll", [path], tmp_path / "o.spacy", on_problem=notes.append)
    (note,) = map(str, notes)
    assert f"P 0:2 {shown}" in note and f"Q 0:2 {shown}" in note


def test_labels_that_a_row_does_not_name_contradict_nothing(tmp_path):
    rows = [{"text": "a", "cats": {"x": 1}}, {"text": "a", "cats": {"y": 1}}]
    rows += [{"text": "a", "label": "x"}, {"text": "a", "cats": {"y": 0.5}}]
    (note,) = notes_of(tmp_path, "jsonl/jsonl", [jsonl(*rows)])
    assert ":4: label 'y' is 1.0 for the same text at " in note and ":2, and 0.5 here" in note
