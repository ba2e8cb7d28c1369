import json

import numpy as np
import pytest
import spacy
from spacy.tokens import Span
from spacy.training import Example

from bert_spacy.data.convert import (
    JsonlOptions,
    Options,
    RowNote,
    TextRow,
    convert,
    read_cluener,
    read_jsonl,
)
from bert_spacy.data.docbin import read_docbin
from bert_spacy.pipeline.gold import read_gold
from bert_spacy.scoring.ner import judge_spans, score_ner


def write(tmp_path, rows):
    path = tmp_path / "in.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(tmp_path, rows, read=read_jsonl, **options):
    path = write(tmp_path, rows)
    made = JsonlOptions(**options) if read is read_jsonl else Options()
    items = list(read(path, made))
    good = [item for item in items if isinstance(item, TextRow)]
    bad = [i for i in items if not isinstance(i, (TextRow, RowNote))]
    return good, [(item.line, item.reason) for item in bad]


def tags_of(doc):
    """Return a letter for each token, "-" where gold is missing."""
    return "".join(token.ent_iob_ or "-" for token in doc)


def test_kinds_of_labels(tmp_path):
    rows = [
        {"text": "a", "label": "x"},
        {"text": "b", "label": 3},
        {"text": "c", "label": ["x", "y"]},
        {"text": "d", "label": []},
        {"text": "e", "label": None},
        {"text": "f", "label": True},
        {"text": "g", "cats": {"x": 1, "y": 0.25}},
    ]
    good, bad = run(tmp_path, rows)
    assert [row.cats for row in good] == [
        {"x": 1.0},
        {"3": 1.0},
        {"x": 1.0, "y": 1.0},
        {},
        None,
        {"true": 1.0},
        {"x": 1.0, "y": 0.25},
    ]
    assert bad == [] and all(row.entities is None for row in good)


def test_missing_gold_stays_missing_beside_rows_with_gold(tmp_path):
    rows = [
        {"text": "Ann sings", "label": "x"},
        {"text": "Bob sings", "label": None, "entities": [{"start": 0, "end": 3, "label": "P"}]},
        {"text": "Cid sings", "entities": [], "label": []},
    ]
    nlp = spacy.blank("en")
    convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy")
    docs = list(read_docbin(tmp_path / "o.spacy", nlp.vocab))
    assert [doc.cats for doc in docs] == [{"x": 1.0}, {}, {"x": 0.0}]
    assert [[t.ent_iob_ for t in doc] for doc in docs] == [["", ""], ["B", "O"], ["O", "O"]]


def test_labels_that_values_leave_out_are_missing_and_not_denied(tmp_path):
    rows = [{"text": "a", "cats": {"x": 1}}, {"text": "b", "cats": {"y": 1, "x": 0}},
            {"text": "c", "label": "x"}]  # fmt: skip
    nlp = spacy.blank("en")
    convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy")
    cats = [doc.cats for doc in read_docbin(tmp_path / "o.spacy", nlp.vocab)]
    assert cats == [{"x": 1.0}, {"y": 1.0, "x": 0.0}, {"x": 1.0, "y": 0.0}]


def test_labels_and_values_in_one_row_must_agree(tmp_path):
    rows = [
        {"text": "a", "label": "b", "cats": {"a": 0.3, "b": 0.4, "c": 0.3}},
        {"text": "b", "label": ["a", "b"], "cats": {"a": 0.9, "b": 0.6, "c": 0.1}},
        {"text": "c", "label": [], "cats": {"a": 0.2}},
        {"text": "d", "label": "c", "cats": {"a": 0.3, "b": 0.4, "c": 0.3}},
        {"text": "e", "label": "x", "cats": {"y": 1}},
    ]
    good, bad = run(tmp_path, rows)
    assert [row.cats for row in good] == [row["cats"] for row in rows[:3]]
    assert [line for line, _ in bad] == [4, 5] and "do not agree" in bad[0][1]


def test_an_empty_list_beside_lists_of_entities_says_that_there_are_none(tmp_path):
    rows = [
        {"text": "none here", "label": []},
        {"text": "Anna sings", "label": [[0, 4, "PER"]]},
        {"text": "nobody knows", "label": None},
    ]
    nlp = spacy.blank("en")
    convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy")
    docs = list(read_docbin(tmp_path / "o.spacy", nlp.vocab))
    assert [tags_of(doc) for doc in docs] == ["OO", "BO", "--"]
    assert [doc.cats for doc in docs] == [{}] * 3


def test_labels_of_training_have_a_value_in_other_files(tmp_path):
    nlp = spacy.blank("en")
    train, dev = tmp_path / "train.spacy", tmp_path / "dev.spacy"
    rows = [{"text": "a", "label": ["x", "z"]}, {"text": "b", "label": ["y"]}, {"text": "c"}]
    convert(nlp, "jsonl", [write(tmp_path, rows)], train)
    rows = [{"text": "d", "label": ["x"]}, {"text": "e", "label": []}, {"text": "f", "label": None}]
    convert(nlp, "jsonl", [write(tmp_path, rows)], dev, labels_from=train)
    cats = [doc.cats for doc in read_docbin(dev, nlp.vocab)]
    assert cats == [{"x": 1.0, "y": 0.0, "z": 0.0}, {"x": 0.0, "y": 0.0, "z": 0.0}, {}]


def test_labels_come_from_docs_with_categories(tmp_path):
    nlp = spacy.blank("en")
    path = write(tmp_path, [{"text": "a", "spans": []}])
    convert(nlp, "jsonl", [path], tmp_path / "train.spacy")
    with pytest.raises(ValueError, match="B430"):
        convert(nlp, "jsonl", [path], tmp_path / "o.spacy", labels_from=tmp_path / "train.spacy")


def test_label_map_of_entities(tmp_path):
    rows = [
        {"text": "Anna sings", "label": [[0, 4, "0"]]},
        {"text": "Anna sings", "spans": [{"start": 0, "end": 4, "label": "LOC"}]},
        {"text": "Anna sings", "label": [[0, 4, "2"]]},
    ]
    (tmp_path / "map").write_text("PER\nLOC\n")
    good, bad = run(tmp_path, rows, label_map=tmp_path / "map")
    assert [row.entities for row in good] == [[(0, 4, "PER")], [(0, 4, "LOC")]]
    assert bad == [(3, "label '2' is not in the label map")]


def test_other_field_names_and_label_map(tmp_path):
    (tmp_path / "map").write_text("no\nyes\n")
    rows = [{"sentence": "a", "gold": 1}, {"sentence": "b", "gold": 2}]
    good, bad = run(
        tmp_path, rows, text_field="sentence", label_field="gold", label_map=tmp_path / "map"
    )
    assert [row.cats for row in good] == [{"yes": 1.0}]
    assert bad == [(2, "label '2' is not in the label map")]


@pytest.mark.parametrize("field", ["entities", "spans", "label"])
def test_entities_as_objects_and_as_lists(tmp_path, field):
    rows = [
        {"text": "Ann sings", field: [{"start": 0, "end": 3, "label": "P", "token_start": 0}]},
        {"text": "Bob sings", field: [[0, 3, "P"]]},
    ]
    good, bad = run(tmp_path, rows)
    assert [row.entities for row in good] == [[(0, 3, "P")]] * 2 and bad == []


def test_bad_lines_name_line_and_column(tmp_path):
    rows = [
        '{"text": "a" "label": 1}',
        "[1, 2]",
        {"text": "", "label": 1},
        {"label": 1},
        {"text": 5, "label": 1},
        {"text": "a"},
        '{"text": "a\\ud800", "label": 1}',
        {"text": "a", "label": {"x": 1}},
        {"text": "a", "label": " "},
        {"text": "a", "cats": {"x": 2}},
        {"text": "a", "entities": [{"start": 0, "end": 5, "label": "P"}]},
        {"text": "a", "entities": [{"start": 0, "label": "P"}]},
        {"text": "a", "entities": {"start": 0}},
        {"text": "a", "entities": [5]},
        {"text": "a", "spans": [[0, 1]]},
        "[" * 100_000,
        {"text": "good", "label": 1},
    ]
    good, bad = run(tmp_path, rows)
    assert [row.line for row in good] == [17]
    assert [line for line, _ in bad] == list(range(1, 17))
    assert bad[0][1] == "not JSON: Expecting ',' delimiter at column 14"
    assert "list" in bad[1][1] and bad[6][1] == "the text holds a lone surrogate"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "not usable JSON: NaN is not a JSON value"),
        ("[1, -Infinity]", "not usable JSON: -Infinity is not a JSON value"),
        ("9" * 5000, "not usable JSON: Exceeds the limit"),
        ("1e999", "label inf is no finite number"),
    ],
)
def test_what_is_no_json_number_makes_no_label(tmp_path, value, reason):
    rows = [f'{{"text": "a", "label": {value}}}', {"text": "a", "label": "NaN"}]
    good, ((line, found),) = run(tmp_path, rows)
    assert [row.cats for row in good] == [{"NaN": 1.0}]
    assert line == 1 and found.startswith(reason)


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a", "label": 1}\n\n{"text": "\xff", "label": 1}\n')
    items = list(read_jsonl(path, JsonlOptions()))
    assert isinstance(items[0], TextRow) and str(items[1]) == f"{path}:3: not valid UTF-8"


def test_control_characters_move_the_offsets(tmp_path):
    rows = [{"text": "\x00Hi \x07Ann\x08a Lee\n", "entities": [[5, 14, "P"]]}]
    good, bad = run(tmp_path, rows)
    (row,) = good
    assert row.text == "Hi Anna Lee\n" and bad == []
    start, end, _ = row.entities[0]
    assert row.text[start:end] == "Anna Lee"[: end - start] and (start, end) == (3, 11)


def test_entity_that_cuts_a_token_is_reported_and_the_rest_kept(tmp_path):
    rows = [{"text": "Anna Lee sings", "entities": [[0, 2, "P"], [5, 8, "P"]]}]
    nlp = spacy.blank("en")
    problems = []
    summary = convert(
        nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy", on_problem=problems.append
    )
    (doc,) = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert [ent.text for ent in doc.ents] == ["Lee"]
    assert len(problems) == len(summary.bad) == summary.n_rows == 1
    assert "cuts a token" in problems[0].reason and "entities" not in doc.spans
    assert tags_of(doc) == "-BO"


@pytest.mark.parametrize(
    ("text", "entities", "tags"),
    [
        ("Annaberg liegt bei Chemnitz.", [[0, 4, "PER"], [19, 27, "LOC"]], "-OOBO"),
        # It reaches into a second token, or begins or ends in white space.
        ("Anna sings well", [[2, 8, "X"]], "--O"),
        ("Anna sings well", [[4, 10, "X"]], "O-O"),
        ("Anna sings well", [[5, 11, "X"]], "O-O"),
        # Crossing: what the longer one does not hold is unknown; nested: nothing is.
        ("University of London rocks today", [[0, 20, "ORG"], [14, 26, "X"]], "BII-O"),
        ("University of London rocks today", [[0, 20, "ORG"], [14, 20, "X"]], "BIIOO"),
        # It cuts a token, and one of its tokens lies in an entity that is kept.
        ("University of London rocks today", [[0, 20, "ORG"], [14, 23, "X"]], "BII-O"),
        ("Anna sings", [], "OO"),
    ],
)
def test_tokens_of_lost_entities_have_no_gold(tmp_path, text, entities, tags):
    nlp = spacy.blank("en")
    path = write(tmp_path, [{"text": text, "entities": entities}])
    convert(nlp, "jsonl", [path], tmp_path / "o.spacy")
    (doc,) = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert tags_of(doc) == tags


def test_tokens_of_lost_entities_are_neither_trained_nor_scored(tmp_path):
    nlp = spacy.blank("en")
    rows = [{"text": "Annaberg grows fast", "entities": [[0, 4, "P"]]}]
    convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy")
    (gold,) = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    predicted = nlp.make_doc(gold.text)
    example = Example(predicted, gold)
    _, known = read_gold(example, np.arange(3), ["P"], "bio", "ner")
    assert known.tolist() == [False, True, True]
    predicted.ents = [Span(predicted, 0, 1, "P")]
    assert score_ner([example])["ents_f"] is None
    predicted.ents = [Span(predicted, 0, 1, "P"), Span(predicted, 1, 2, "P")]
    assert score_ner([example])["ents_per_type"]["P"]["p"] == 0  # "grows" alone counts
    assert judge_spans(example, [(0, 1, "P"), (1, 2, "P")]) == [None, False]


def test_cluener_offsets_are_inclusive_and_a_surface_may_stand_twice(tmp_path):
    text = "北京人爱北京"
    rows = [{"text": text, "label": {"address": {"北京": [[0, 1], [4, 5]]}}}, {"text": "无"}]
    good, bad = run(tmp_path, rows, read_cluener)
    assert good[0].entities == [(0, 2, "address"), (4, 6, "address")] and bad == []
    assert good[1].entities is None


def test_cluener_wrong_offsets_cost_the_entity_and_not_the_row(tmp_path):
    label = {"name": {"张三": [[1, 2], [0, 1], [-2, -1], [0], "x", 5], "": [[3, 2]]}}
    good, bad = run(tmp_path, [{"text": "张三好人", "label": label}], read_cluener)
    assert good[0].entities == [(0, 2, "name")]
    assert len(bad) == 5 and "三好" in bad[0][1]
    assert all("left out" in reason for _, reason in bad)
    doc, _ = good[0].make_doc(spacy.blank("zh"), [])
    assert tags_of(doc) == "BI-O"


@pytest.mark.parametrize(
    ("text", "label", "tags", "note"),
    [
        # The surface stands once: the place is repaired.
        (
            "他去北京大学了",
            {"org": {"北京大学": [[4, 6]]}},
            "OOBIIIO",
            "entity org '北京大学' does not stand at 4..6 but at 2..5",
        ),
        # It stands twice or nowhere: all places that may be meant are unknown.
        ("北京人在北京吗", {"gpe": {"北京": [[3, 4]]}}, "--O---O", None),
        ("北京人在北京吗", {"gpe": {"北京": ["x"]}}, "--OO--O", None),
        ("北京人在北京吗", {"gpe": {"北京": None}}, "--OO--O", None),
        ("他去北京大学了", {"gpe": {"南京": [[2, 3]]}}, "OO--OOO", None),
        ("他去了", {"gpe": {"南京": [[-4, -3]]}}, "OOO", None),
        ("他去了", {"gpe": {"南京": [[2, 9]]}}, "OO-", None),
        ("啊啊啊", {"gpe": {"啊啊": [[2, 3]]}}, "---", None),
    ],
)
def test_cluener_wrong_places_are_repaired_or_unknown(tmp_path, text, label, tags, note):
    path = write(tmp_path, [{"text": text, "label": label}])
    nlp = spacy.blank("zh")
    problems = []
    summary = convert(nlp, "cluener", [path], tmp_path / "o.spacy", on_problem=problems.append)
    (doc,) = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert tags_of(doc) == tags
    (problem,) = problems
    assert (len(summary.bad), summary.notes["repaired"]) == ((0, 1) if note else (1, 0))
    assert problem.reason == note if note else "left out" in problem.reason


def test_cluener_repairs_move_with_control_characters(tmp_path):
    label = {"org": {"大学": [[3, 4]], "人": [[2, 2]]}}
    good, bad = run(tmp_path, [{"text": "\x00他去\x07大学人人", "label": label}], read_cluener)
    assert good[0].entities == [(2, 4, "org")] and len(bad) == 1
    doc, _ = good[0].make_doc(spacy.blank("zh"), [])
    assert tags_of(doc) == "O-BI--"


def test_cluener_bad_labels(tmp_path):
    rows = [
        {"text": "a", "label": []},
        {"text": "a", "label": {"x": [[0, 0]]}},
        {"text": "a", "label": {"": {}}},
    ]
    good, bad = run(tmp_path, rows, read_cluener)
    assert good == [] and [line for line, _ in bad] == [1, 2, 3]


def test_nested_and_overlapping_entities_are_reported_and_kept_apart(tmp_path):
    label = {
        "company": {"北京银行": [[0, 3]]},
        "address": {"北京": [[0, 1]]},
        "x": {"行长": [[3, 4]]},
    }
    rows = [
        {"text": "北京银行长", "label": label},
        {"text": "北京", "label": {"address": {"北京": [[0, 1]]}}},
    ]
    nlp = spacy.blank("zh")
    problems = []
    summary = convert(
        nlp, "cluener", [write(tmp_path, rows)], tmp_path / "o.spacy", on_problem=problems.append
    )
    first, second = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert [(e.text, e.label_) for e in first.ents] == [("北京银行", "company")]
    assert {(s.text, s.label_) for s in first.spans["entities"]} == {
        ("北京银行", "company"),
        ("北京", "address"),
        ("行长", "x"),
    }
    assert [(s.text, s.label_) for s in first.spans["nested"]] == [("北京", "address")]
    assert [(s.text, s.label_) for s in first.spans["overlapping"]] == [("行长", "x")]
    assert not second.spans
    assert summary.notes == {"nested": 1, "overlapping": 1} and not summary.bad
    assert [problem.line for problem in problems] == [1, 1]
    assert all(problem.is_shown and problem.path.endswith(".jsonl") for problem in problems)
    assert "address '北京'" in problems[0].reason and "x '行长'" in problems[1].reason


def test_one_span_with_two_labels_keeps_the_first_and_counts_each_entity(tmp_path):
    ents = [[0, 4, "A"], [0, 4, "B"], [0, 4, "A"], [5, 6, "D"]]
    rows = [{"text": "Anna x y", "entities": ents}, {"text": "Anna x", "entities": []}]
    nlp = spacy.blank("en")
    summary = convert(nlp, "jsonl", [write(tmp_path, rows)], tmp_path / "o.spacy")
    first, second = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert [(e.text, e.label_) for e in first.ents] == [("Anna", "A"), ("x", "D")]
    assert [(s.text, s.label_) for s in first.spans["nested"]] == [("Anna", "B")]
    assert summary.notes == {"nested": 1} and not second.spans


def test_targets_are_finite_numbers_and_null_is_missing_gold(tmp_path):
    rows = [
        {"text": "a", "regression": {"x": 1, "y": 2.5}},
        {"text": "b", "regression": {"x": None, "y": -1}, "label": "z"},
        '{"text": "c", "regression": {"x": NaN}}',
        '{"text": "d", "regression": {"x": 1e999}}',
        {"text": "e", "regression": {"x": "3"}},
        {"text": "f", "regression": {"x": True}},
        {"text": "g", "regression": [3]},
        {"text": "h", "regression": {"": 3}},
        {"text": "i", "regression": None, "label": "z"},
    ]
    good, bad = run(tmp_path, rows)
    assert [row.targets for row in good] == [{"x": 1.0, "y": 2.5}, {"y": -1.0}, None]
    assert [line for line, _ in bad] == [3, 4, 5, 6, 7, 8]
    assert bad[0][1] == "not usable JSON: NaN is not a JSON value"
    assert bad[1][1] == "target 'x' is inf, which is no finite number"
    doc, _ = good[1].make_doc(spacy.blank("en"), ["z"])
    assert doc.spans["regression"].attrs["targets"] == {"y": -1.0} and doc.cats == {"z": 1.0}


@pytest.mark.parametrize("field", ["entities", "spans"])
def test_the_field_of_labels_may_be_that_of_entities(tmp_path, field):
    rows = [{"text": "Ann", field: []}, {"text": "Ann", field: [[0, 3, "PER"]]}]
    good, bad = run(tmp_path, rows, label_field=field)
    assert [(row.cats, row.entities) for row in good] == [(None, []), (None, [(0, 3, "PER")])]
    assert bad == []


def test_entities_in_two_fields(tmp_path):
    entities = [[0, 3, "PER"]]
    rows = [{"text": "Ann", "label": entities, "spans": spans} for spans in ([], entities)]
    rows.append({"text": "Ann", "label": [], "spans": entities})
    good, bad = run(tmp_path, rows)
    assert [row.entities for row in good] == [[(0, 3, "PER")]] * 2
    assert [row.cats for row in good] == [None, None]
    assert bad == [(2, "entities stand in 'label' and elsewhere: leave one of them out")]


def test_an_entity_with_other_keys_is_shown_as_it_is(tmp_path):
    entity = {"start_offset": 0, "end_offset": 3, "label": "PER"}
    _, bad = run(tmp_path, [{"text": "Ann", "entities": [entity]}])
    assert bad == [(1, f"entity {entity} has no start, end and label")]
