"""Rows of the format jsonl with a second text."""

import json

import pytest
import spacy

from bert_spacy.cli._rows import make_doc as make_predicted
from bert_spacy.cli._rows import read_rows
from bert_spacy.data.convert import JsonlOptions, PairRow, RowError, TextRow, convert, read_jsonl
from bert_spacy.data.docbin import read_docbin
from bert_spacy.data.pairs import get_segments
from bert_spacy.targets import get_targets

GOLD = [
    {"label": "x"},
    {"label": ["x", "z"]},
    {"label": []},
    {"label": None},
    {"label": 3},
    {"cats": {"x": 1, "y": 0.25}},
    {"regression": {"s": 1.5, "t": None, "u": -2}},
    {"regression": {"s": 4}, "label": "y"},
]


def write(tmp_path, rows, name="in.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(tmp_path, rows, **options):
    """Return the rows, and line and reason of what is wrong."""
    items = list(read_jsonl(write(tmp_path, rows), JsonlOptions(**options)))
    good = [item for item in items if not isinstance(item, RowError)]
    return good, [(item.line, item.reason) for item in items if isinstance(item, RowError)]


def convert_rows(tmp_path, rows, name):
    nlp = spacy.blank("en")
    output = tmp_path / f"{name}.spacy"
    convert(nlp, "jsonl", [write(tmp_path, rows, f"{name}.jsonl")], output)
    return list(read_docbin(output, nlp.vocab))


def test_pairs_have_the_gold_that_single_texts_have(tmp_path):
    singles = [{"text": f"Ann sings {i}", **gold} for i, gold in enumerate(GOLD)]
    pairs = [{**row, "text_b": f"Bob listens {i}"} for i, row in enumerate(singles)]
    one, two = convert_rows(tmp_path, singles, "one"), convert_rows(tmp_path, pairs, "two")
    assert [doc.cats for doc in two] == [doc.cats for doc in one]
    assert two[1].cats == {"x": 1.0, "y": 0.0, "z": 1.0, "3": 0.0}
    assert two[5].cats == {"x": 1.0, "y": 0.25}
    assert [get_targets(doc) for doc in two] == [get_targets(doc) for doc in one]
    assert get_targets(two[6]) == {"s": 1.5, "u": -2.0}
    for i, doc in enumerate(two):
        found = [(segment.label_, segment.text) for segment in get_segments(doc)]
        assert found == [("a", f"Ann sings {i}"), ("b", f"Bob listens {i}")]


def test_a_row_is_the_same_doc_for_convert_and_predict(tmp_path):
    [doc] = convert_rows(tmp_path, [{"text": "Ann, here", "text_b": "Bob's", "label": "x"}], "o")
    [row] = read_rows(tmp_path / "o.jsonl", max_length=100)
    asked = make_predicted(spacy.blank("en"), row)
    assert [token.text_with_ws for token in doc] == [token.text_with_ws for token in asked]
    assert [(s.start, s.end, s.label_) for s in doc.spans["segments"]] == [
        (s.start, s.end, s.label_) for s in asked.spans["segments"]
    ]


def test_texts_are_cleaned_and_single_texts_stay_single(tmp_path):
    rows = [
        {"text": " Ann\x00a ", "text_b": "\x07Bob ", "label": "x"},
        {"text": "Ann", "label": "x"},
        {"sentence": "Ann", "text": "Cid", "text_b": "Bob", "label": "x"},
    ]
    good, notes = read(tmp_path, rows[:2])
    assert [type(row) for row in good] == [PairRow, TextRow]
    assert (good[0].text_a, good[0].text_b) == ("Anna", "Bob")
    assert notes == [(1, "1 control characters removed")] * 2
    [pair], _ = read(tmp_path, rows[2:], text_field="sentence")
    assert (pair.text_a, pair.text_b) == ("Ann", "Bob")
    # Here it is not the second text.
    [single], _ = read(tmp_path, rows[2:], text_field="text_b")
    assert isinstance(single, TextRow) and single.text == "Bob"
    [single], _ = read(tmp_path, rows[2:], label_field="text_b")
    assert single.cats == {"Bob": 1.0}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "a", "text_b": None}, "field 'text_b' holds no text but None"),
        ({"text": "a", "text_b": ["b"]}, "field 'text_b' holds no text but ['b']"),
        ({"text": "a", "text_b": 5}, "field 'text_b' holds no text but 5"),
        ({"text": "a", "text_b": " \x00"}, "the second text is empty"),
        ({"text": "", "text_b": "b"}, "the first text is empty"),
        ({"text_b": "b"}, "no text in field 'text'; the row has text_b, label"),
        ({"text": "a", "text_b": "\ud800"}, "the second text holds a lone surrogate"),
    ],
)
def test_a_text_that_is_missing_or_empty_costs_the_row(tmp_path, row, reason):
    good, bad = read(tmp_path, [{**row, "label": "x"}, {"text": "a", "text_b": "b", "label": "x"}])
    assert [row.line for row in good] == [2] and bad == [(1, reason)]


@pytest.mark.parametrize(
    "gold",
    [
        {"entities": [[0, 3, "P"]]},
        {"entities": [[0, 3, "P"]], "label": "x"},
        {"spans": [{"start": 10, "end": 13, "label": "P"}]},
        {"entities": []},
        {"label": [[0, 3, "P"]]},
    ],
)
def test_entities_of_a_pair_are_refused_and_never_dropped(tmp_path, gold):
    rows = [{"text": "Ann", "text_b": "Bob", **gold}, {"text": "Ann", "text_b": "B", "label": "x"}]
    good, [(line, reason)] = read(tmp_path, rows)
    assert [row.line for row in good] == [2] and line == 1
    assert reason.startswith("a pair cannot have entities: leave them out")


def test_null_in_place_of_entities_is_missing_gold(tmp_path):
    row = {"text": "Ann", "text_b": "Bob", "label": "x", "entities": None, "spans": None}
    [pair], bad = read(tmp_path, [row])
    assert pair.cats == {"x": 1.0} and bad == []


def test_an_empty_list_is_no_labels_unless_the_file_has_entities_there(tmp_path):
    pair = {"text": "Ann", "text_b": "Bob", "label": []}
    [row], _ = read(tmp_path, [pair])
    assert row.cats == {}
    good, [(line, reason)] = read(tmp_path, [pair, {"text": "Ann", "label": [[0, 3, "P"]]}])
    assert line == 1 and "cannot have entities" in reason and len(good) == 1


def test_pairs_that_contradict_each_other_are_told(tmp_path):
    rows = [{"text": "a", "text_b": b, "label": x} for b, x in (("b", "x"), ("c", "y"), ("b", "y"))]
    problems = []
    nlp = spacy.blank("en")
    convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy", on_problem=problems.append)
    [note] = problems
    assert note.line == 3 and "label is 'x'" in note.reason
