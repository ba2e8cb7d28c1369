"""SWAG, C3 and ARC: what is read, and what is reported."""

import csv
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import spacy

from bert_spacy.cli.convert import convert_files, make_options
from bert_spacy.data.convert import ChoiceRow, RowError, RowNote, convert, get_format
from bert_spacy.data.corpus import Corpus
from bert_spacy.data.docbin import read_docbin
from bert_spacy.segments import get_choice, get_choices, read_segments

DATA = Path(os.environ.get("BERT_SPACY_DATA", "../shared")) / "data"
SWAG_HEADER = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
)


def read(tmp_path, name, text, format_name):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return list(get_format(format_name).read(path, make_options(format_name, {})))


def rows_of(items):
    return [
        (i.line, i.context, i.question, i.choices, i.gold)
        for i in items
        if isinstance(i, ChoiceRow)
    ]


def reasons_of(items):
    return [
        (i.line, i.reason) for i in items if isinstance(i, RowError) and not isinstance(i, RowNote)
    ]


def test_swag_continues_the_second_sentence(tmp_path):
    rows = '0,v1,3,x,"A man, old, sits.",He,gold,runs.,"eats, too.",sleeps.,sings.,1\n'
    found = rows_of(read(tmp_path, "x.csv", SWAG_HEADER + rows, "swag"))
    assert found == [
        (2, "A man, old, sits.", "He", ["runs.", "eats, too.", "sleeps.", "sings."], 1)
    ]
    unlabelled = SWAG_HEADER.replace(",label", "") + rows.replace(",1\n", "\n")
    assert rows_of(read(tmp_path, "y.csv", unlabelled, "swag"))[0][-1] is None
    assert read(tmp_path, "z.csv", "", "swag") == []
    with pytest.raises(ValueError, match=r"\[B405\].*sent1"):
        read(tmp_path, "w.csv", "a,b\n1,2\n", "swag")
    with pytest.raises(ValueError, match=r"\[B428\].*'ending1'"):
        read(tmp_path, "v.csv", SWAG_HEADER.replace("ending2", "ending1") + rows, "swag")


def test_swag_reports_bad_rows_and_keeps_the_others(tmp_path):
    good = "0,v,1,x,A man sits.,He,gold,a,b,c,d,0\n"
    bad = [
        ("0,v,1,x,A man sits.,He,gold,a,b,c,d,4\n", "label '4' is not a number from 0 to 3"),
        ("0,v,1,x,A man sits.,He,gold,a,b,c,d,\n", "label '' is not a number from 0 to 3"),
        ("0,v,1,x,A man sits.,He,gold,a, ,c,d,0\n", "choice 1 (counted from 0) is empty"),
        ("0,v,1,x,,,gold,a,b,c,d,0\n", "context and question are empty"),
        ("0,v,1,x,A man sits.,He,gold,a,b,a,d,2\n", "the right choice 'a' stands there twice"),
        ("0,v,1,x,He,gold,a,b,c,d,0\n", "11 columns where 12 are expected"),
    ]
    text = SWAG_HEADER + "".join(good + line for line, _ in bad)
    items = read(tmp_path, "x.csv", text, "swag")
    assert reasons_of(items) == [(3 + 2 * i, reason) for i, (_, reason) in enumerate(bad)]
    assert [row[0] for row in rows_of(items)] == [2 + 2 * i for i in range(len(bad))]
    broken = SWAG_HEADER.encode() + b"0,v,1,x,A \xff sits.,He,gold,a,b,c,d,0\n"
    assert "not valid Unicode" in reasons_of(read(tmp_path, "y.csv", broken, "swag"))[0][1]


def test_items_with_equal_choices_are_noted(tmp_path):
    text = SWAG_HEADER + "0,v,1,x,A man sits.,He,gold,a,b,b,d,0\n"
    items = read(tmp_path, "x.csv", text, "swag")
    notes = [(i.line, i.kind) for i in items if isinstance(i, RowNote)]
    assert notes == [(2, "equal choices")]
    assert len(rows_of(items)) == 1


def c3(*questions, paragraphs=("甲说", "乙说")):
    return json.dumps([[list(paragraphs), list(questions), "7-1"]], ensure_ascii=False)


def test_c3_joins_paragraphs_and_finds_the_answer(tmp_path):
    question = {"question": "谁?", "choice": ["甲", "乙", "丙"], "answer": "乙"}
    open_question = {"question": "谁?", "choice": ["甲", "丁"]}
    items = read(tmp_path, "x.json", c3(question, open_question), "c3")
    assert rows_of(items) == [
        ("[0][1][0] id=7-1", "甲说\n乙说", "谁?", ["甲", "乙", "丙"], 1),
        ("[0][1][1] id=7-1", "甲说\n乙说", "谁?", ["甲", "丁"], None),
    ]


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"question": "?", "choice": ["甲"], "answer": "甲"}, "1 choices where two or more"),
        ({"question": "?", "choice": ["甲", "乙"], "answer": "丙"}, "answer '丙' is none of"),
        ({"question": "?", "choice": ["甲", "甲"], "answer": "甲"}, "answer '甲' is 2 of"),
        ({"question": "?", "choice": ["甲", "\u0007"], "answer": "甲"}, "choice 1 .* is empty"),
        ({"question": "?", "choice": ["甲", 3], "answer": "甲"}, "'choice' is not a list of texts"),
        ({"question": None, "choice": ["甲", "乙"], "answer": "甲"}, "the question is missing"),
        ({"question": "\ud800", "choice": ["甲", "乙"], "answer": "甲"}, "not valid Unicode"),
        (["?"], "no question with choices"),
    ],
)
def test_c3_reports_bad_items_and_keeps_the_others(tmp_path, question, reason):
    good = {"question": "谁?", "choice": ["甲", "乙"], "answer": "乙"}
    text = json.dumps([[["甲说"], [question, good], "7-1"]])
    items = read(tmp_path, "x.json", text, "c3")
    ((place, found),) = reasons_of(items)
    assert place == "[0][1][0] id=7-1"
    assert re.match(reason, found)
    assert [row[0] for row in rows_of(items)] == ["[0][1][1] id=7-1"]


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ('[\n["a"', 2, "not JSON"),
        ('{"data": []}', 1, "not a list of documents"),
        ('[[["a"], [], "1"], 5]', "[1]", "not [paragraphs, questions, id]"),
        ('[["a", [], "1"]]', "[0]", "'paragraphs' is not a list of texts"),
        (b'[\n"\xff"]', 2, "not valid UTF-8 (byte 0xff)"),
    ],
)
def test_c3_reports_files_and_documents_that_are_something_else(tmp_path, text, place, reason):
    ((found, said),) = reasons_of(read(tmp_path, "x.json", text, "c3"))
    assert found == place and said.startswith(reason)


def arc(key="B", choices=("sun", "moon", "sea"), labels="ABC", **more):
    given = [{"text": text, "label": label} for text, label in zip(choices, labels)]
    row = {"id": "1", "question": {"stem": "What is hot?", "choices": given}, "answerKey": key}
    return json.dumps({**row, **more}) + "\n"


def test_arc_has_questions_without_context(tmp_path):
    text = arc() + arc("3", ("sun", "moon", "sea", "ice"), "1234") + arc(None)
    items = read(tmp_path, "x.jsonl", text, "arc")
    assert [(row[0], row[4], len(row[3])) for row in rows_of(items)] == [
        (1, 1, 3),
        (2, 2, 4),
        (3, None, 3),
    ]
    assert rows_of(items)[0][1:3] == ("", "What is hot?")


def test_arc_reports_bad_lines_and_keeps_the_others(tmp_path):
    lines = [
        (arc("D"), "answer 'D' is none of the choices ['A', 'B', 'C']"),
        (arc("A", ("sun",), "A"), "1 choices where two or more are needed"),
        (arc(question="What?"), "no question"),
        (arc(question={"stem": "What?"}), "no list of choices in the question"),
        (arc(question={"stem": 1, "choices": json.loads(arc())["question"]["choices"]}), "the q"),
        ("{\n", "not JSON"),
    ]
    text = "".join(line for line, _ in lines) + arc()
    items = read(tmp_path, "x.jsonl", text, "arc")
    for (line, reason), (number, wanted) in zip(
        reasons_of(items), enumerate((x for _, x in lines), 1)
    ):
        assert line == number and reason.startswith(wanted)
    assert [row[0] for row in rows_of(items)] == [len(lines) + 1]


def test_docs_hold_items_and_the_reader_hides_the_gold(tmp_path, capsys):
    path = tmp_path / "x.csv"
    with path.open("w", newline="") as file_:
        file_.write(SWAG_HEADER)
        rows = csv.writer(file_)
        rows.writerow([0, "v", 1, "x", "A man sits.", "He", "gold", "a", "b", "c", "d", 2])
        rows.writerow([0, "v", 1, "x", "A man sits.", "He", "gold", "a", "b", "c", "", 2])
    n_bad = convert_files("swag", [path], tmp_path / "x.spacy", "en", {})
    assert n_bad == 1
    shown = capsys.readouterr()
    assert f"{path}:3: choice 3 (counted from 0) is empty" in shown.err
    assert "one of 4 choices" in shown.out
    nlp = spacy.blank("en")
    (doc,) = read_docbin(tmp_path / "x.spacy", nlp.vocab)
    assert [s.text for s in read_segments(doc)] == ["A man sits.", "He", "a", "b", "c", "d"]
    assert get_choice(doc) == 2
    (example,) = Corpus([tmp_path / "x.spacy"])(nlp)
    assert get_choice(example.predicted) is None and get_choice(example.reference) == 2
    assert [s.text for s in get_choices(example.predicted)] == ["a", "b", "c", "d"]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets at {DATA}; set BERT_SPACY_DATA")
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_c3_is_read_whole(tmp_path, split):
    path = DATA / "c3" / f"{split}.json"
    documents = json.loads(path.read_text(encoding="utf-8"))
    wanted = [
        ("\n".join(d[0]), q["question"], q["choice"], q["choice"].index(q["answer"]))
        for d in documents
        for q in d[1]
    ]
    summary = convert(spacy.blank("zh"), "c3", [path], tmp_path / "x.spacy")
    assert summary.n_rows == summary.n_docs == len(wanted) and not summary.bad
    assert summary.notes == ({} if split == "test" else {"equal choices": 1})
    counts = Counter(f"one of {len(choices)} choices" for _, _, choices, _ in wanted)
    assert summary.labels == counts
    for doc, (context, question, choices, gold) in zip(
        read_docbin(tmp_path / "x.spacy", spacy.blank("zh").vocab), wanted
    ):
        texts = [span.text for span in read_segments(doc)]
        assert texts == [text.strip() for text in (context, question, *choices)]
        assert get_choice(doc) == gold


def test_blank_lines_at_the_end_mean_nothing(tmp_path):
    row = "0,v1,3,x,A man sits.,He,gold,runs.,eats.,sleeps.,sings.,1\n"
    items = read(tmp_path, "x.csv", f"{SWAG_HEADER}{row}\n{row}\n\n", "swag")
    assert [line for line, *_ in rows_of(items)] == [2, 4]
    assert [line for line, _ in reasons_of(items)] == [3]
