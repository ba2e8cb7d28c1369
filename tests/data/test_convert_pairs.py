"""Pairs of texts and the files of the GLUE tasks."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
import spacy

from bert_spacy.cli.convert import make_options
from bert_spacy.data import pairs
from bert_spacy.data.convert import (
    PairRow,
    RowError,
    RowNote,
    TextRow,
    convert,
    find_files,
    get_format,
)
from bert_spacy.data.docbin import read_docbin
from bert_spacy.targets import get_targets

DATA = Path(os.environ.get("BERT_SPACY_DATA", "../shared")) / "data"


def read(tmp_path, name, text, format_name="pairs", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    made = make_options(format_name, options)
    return list(get_format(format_name).read(path, made))


def rows_of(items):
    return [
        (i.line, i.text_a, i.text_b, next(iter(i.cats))) for i in items if isinstance(i, PairRow)
    ]


def reasons_of(items):
    return [(i.line, i.reason) for i in items if isinstance(i, RowError)]


def test_three_columns_without_names_are_text_text_label(tmp_path):
    items = read(tmp_path, "x.txt", '花呗\t"借呗\t0\n还款\t还\t1\n')
    assert rows_of(items) == [(1, "花呗", '"借呗', "0"), (2, "还款", "还", "1")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "id\tlabel\tsentence2\tsentence1\n7\tyes\tb b\ta a\n"),
        ("x.csv", 'id,label,sentence2,sentence1\n7,yes,"b b",a a\n'),
        ("x.jsonl", '{"sentence1": "a a", "sentence2": "b b", "label": "yes"}\n'),
        ("x.tsv", "编号\t标签\t句子2\t句子1\n7\tyes\tb b\ta a\n"),
        ("x.csv", "文本A,文本B,类别\na a,b b,yes\n"),
        ("x.txt", "前提\t假设\t类型\na a\tb b\tyes\n"),
        ("x.jsonl", '{"文本1": "a a", "文本2": "b b", "标签": "yes"}\n'),
    ],
)
def test_columns_are_found_by_name(tmp_path, name, text):
    assert [row[1:] for row in rows_of(read(tmp_path, name, text))] == [("a a", "b b", "yes")]


@pytest.mark.parametrize("end", ["tsv", "csv", "CSV"])
def test_a_header_of_unknown_texts_is_no_row(tmp_path, end):
    sign = "\t" if end == "tsv" else ","
    rows = [["q1", "q2", "label"], ["a a", "b b", "1"], ["c c", "d d", "0"]]
    text = "".join(sign.join(row) + "\n" for row in rows)
    with pytest.raises(ValueError, match=r"\[B406\].*q1, q2, label"):
        read(tmp_path, f"x.{end}", text)
    assert len(rows_of(read(tmp_path, f"x.{end}", text, header=False))) == 3
    more = f"e e{sign}f f{sign}label\n"  # a class of that name
    assert len(rows_of(read(tmp_path, f"x.{end}", text + more))) == 4


def test_columns_can_be_named(tmp_path):
    text = "x\ty\tz\nyes\tb\ta\n"
    options = {"text_column": "z", "text_b_column": "y", "label_column": "x"}
    assert rows_of(read(tmp_path, "x.tsv", text, **options)) == [(2, "a", "b", "yes")]
    numbers = {"text_column": "2", "text_b_column": "1", "label_column": "0", "header": True}
    assert rows_of(read(tmp_path, "x.tsv", text, **numbers)) == [(2, "a", "b", "yes")]
    with pytest.raises(ValueError, match="B405"):
        read(tmp_path, "x.tsv", text, **{**options, "label_column": "w"})
    for header, names in (("x\ty\ty", "xyx"), ("text_a\tTEXT_A\tlabel", ())):
        named = dict(zip(options, names))
        with pytest.raises(ValueError, match=r"\[B428\].*2 columns"):
            read(tmp_path, "x.tsv", f"{header}\na\tb\tc\n", **named)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "sentence1\tsentence2\tid\tgold\na\tb\t17\tyes\n"),
        ("x.tsv", "filename\tscore\tsentence1\tsentence2\nf\t1.5\ta\tb\n"),
        ("x.csv", "sentence1,label,id\na,yes,17\n"),
        ("x.jsonl", '{"sentence1": "a", "sentence2": "b", "gold": "yes"}\n'),
    ],
)
def test_a_column_whose_name_is_not_known_is_not_guessed(tmp_path, name, text):
    with pytest.raises(ValueError, match=r"B406.*sentence1"):
        read(tmp_path, name, text)


def test_columns_without_names_are_not_guessed_unless_they_are_three(tmp_path):
    text = "17\tHow old?\tWhat age?\t1\n18\tWhere?\tWhen?\t0\n"
    for options in ({}, {"text_column": "1", "text_b_column": "2"}):
        with pytest.raises(ValueError, match=r"\[B406\].*4 columns without names"):
            read(tmp_path, "x.tsv", text, **options)
    options = {"text_column": "1", "text_b_column": "2", "label_column": "3"}
    rows = [(1, "How old?", "What age?", "1"), (2, "Where?", "When?", "0")]
    assert rows_of(read(tmp_path, "x.tsv", text, **options)) == rows
    # A row that is too wide is bad, and no others are.
    items = read(tmp_path, "x.tsv", "a\tb\t1\nc\td\te\t0\ne\tf\t0\n")
    assert [row[0] for row in rows_of(items)] == [1, 3]
    assert reasons_of(items) == [(2, "4 columns where 3 are expected")]


def test_minus_one_is_no_label_unless_the_label_map_has_it(tmp_path):
    text = "a\tb\t0\nc\td\t-1\ne\tf\t1\n"
    items = read(tmp_path, "x.tsv", text)
    assert [row[3] for row in rows_of(items)] == ["0", "1"]
    [(line, reason)] = reasons_of(items)
    assert line == 2 and reason.startswith("the label is '-1': no gold")
    (tmp_path / "map").write_text("-1\tagainst\n0\tnone\n1\tfor\n")
    items = read(tmp_path, "x.tsv", text, label_map=tmp_path / "map")
    assert [row[3] for row in rows_of(items)] == ["none", "against", "for"]


@pytest.mark.parametrize("options", [{}, {"header": True}, {"text_column": "句子1"}])
def test_names_of_columns_in_another_encoding_are_refused(tmp_path, options):
    text = "sentence1,句子2,label\na,b,1\n" if not options else "句子1,句子2,标签\na,b,1\n"
    with pytest.raises(ValueError, match=r"\[B425\].*UTF-8"):
        read(tmp_path, "x.csv", text.encode("gb18030"), **options)


def test_bad_rows_are_named_and_lose_no_others(tmp_path):
    text = b"a\tb\t1\na\t \t1\n\tb\t0\na\tb\na\tb\t\n\xff\tb\t1\n\nc\td\t-\ne\tf\t0\n"
    items = read(tmp_path, "x.tsv", text)
    assert [row[0] for row in rows_of(items)] == [1, 9]
    assert reasons_of(items) == [
        (2, "the second text is empty"),
        (3, "the first text is empty"),
        (4, "2 columns where 3 are expected"),
        (5, "the label is empty"),
        (6, "not valid UTF-8"),
        (7, "blank line"),
        (8, "the label is '-': the annotators did not agree"),
    ]


def test_labels_of_jsonl_are_texts_or_numbers(tmp_path):
    values = ['"x"', "3", "true", '["x", "y"]', '{"x": 1}', "NaN", "1e999", "null", '" "', '"-"']
    text = "".join(
        f'{{"text_a": "a{i}", "text_b": "b", "label": {x}}}\n' for i, x in enumerate(values)
    )
    items = read(tmp_path, "x.jsonl", text)
    assert [(row[0], row[3]) for row in rows_of(items)] == [(1, "x"), (2, "3"), (3, "true")]
    assert reasons_of(items) == [
        (4, "label ['x', 'y'] is neither text nor a number"),
        (5, "label {'x': 1} is neither text nor a number"),
        (6, "not usable JSON: NaN is not a JSON value"),
        (7, "label inf is no finite number"),
        (8, "the label is empty"),
        (9, "the label is empty"),
        (10, "the label is '-': the annotators did not agree"),
    ]
    (tmp_path / "map").write_text("false\tno\ntrue\tyes\n", encoding="utf-8")
    mapped = read(tmp_path, "x.jsonl", text, label_map=tmp_path / "map")
    assert [(row[0], row[3]) for row in rows_of(mapped)] == [(3, "yes")]


def test_labels_outside_of_the_map_are_bad_rows(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("no\nyes\n", encoding="utf-8")
    items = read(tmp_path, "x.tsv", "a\tb\t1\nc\td\t2\n", label_map=names)
    assert rows_of(items) == [(1, "a", "b", "yes")]
    assert reasons_of(items) == [(2, "label '2' is not in the label map")]


@pytest.mark.parametrize(
    ("task", "text", "wanted"),
    [
        (
            "MRPC",
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\n",
            ("a", "b", "1"),
        ),
        (
            "QQP",
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t0\n",
            ("a", "b", "0"),
        ),
        (
            "QNLI",
            "index\tquestion\tsentence\tlabel\n1\ta\tb\tentailment\n",
            ("a", "b", "entailment"),
        ),
        (
            "RTE",
            "index\tsentence1\tsentence2\tlabel\n1\ta\tb\tnot_entailment\n",
            ("a", "b", "not_entailment"),
        ),
        ("WNLI", "index\tsentence1\tsentence2\tlabel\n1\ta\tb\t1\n", ("a", "b", "1")),
        (
            "MNLI",
            "index\tlabel1\tsentence1\tsentence2\tgold_label\n1\tx\ta\tb\tneutral\n",
            ("a", "b", "neutral"),
        ),
        (
            "SNLI",
            "gold_label\tsentence1\tsentence2\nneutral\ta\tb\n",
            ("a", "b", "neutral"),
        ),
    ],
)
def test_each_glue_task_has_its_columns(tmp_path, task, text, wanted):
    assert [row[1:] for row in rows_of(read(tmp_path, "x.tsv", text, "glue", task=task))] == [
        wanted
    ]


def test_a_label_or_score_that_a_glue_task_does_not_have_makes_a_bad_row(tmp_path):
    head = "index\tsentence1\tsentence2\t"
    text = head + "label\n0\ta\tb\tentailment\n1\tc\td\tbanana\n2\te\tf\tneutral\n"
    items = read(tmp_path, "x.tsv", text, "glue", task="RTE")
    assert rows_of(items) == [(2, "a", "b", "entailment")]
    known = "none of the task's: entailment, not_entailment"
    wanted = [(3, f"label 'banana' is {known}"), (4, f"label 'neutral' is {known}")]
    assert reasons_of(items) == wanted
    text = head + "score\n0\ta\tb\t5\n1\tc\td\t77\n2\te\tf\t-0.1\n3\tg\th\t0\n"
    items = read(tmp_path, "x.tsv", text, "glue", task="STS-B")
    assert [row[0] for row in scores_of(items)] == [2, 5]
    assert [line for line, _ in reasons_of(items)] == [3, 4]
    assert reasons_of(items)[0][1] == "the score 77 is not from 0 to 5"


def test_a_label_map_says_what_a_glue_file_may_hold(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("entailment\nnot_entailment\n", encoding="utf-8")
    text = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\tc\td\t2\n"
    items = read(tmp_path, "x.tsv", text, "glue", task="RTE", label_map=names)
    assert rows_of(items) == [(2, "a", "b", "not_entailment")]
    assert reasons_of(items) == [(3, "label '2' is not in the label map")]


def test_single_texts_of_glue(tmp_path):
    (row,) = read(tmp_path, "x.tsv", 'gj04\t0\t*\tThey drank the "pub.\n', "glue", task="CoLA")
    assert isinstance(row, TextRow)
    assert (row.text, row.cats) == ('They drank the "pub.', {"0": 1.0})
    (row,) = read(tmp_path, "x.tsv", "sentence\tlabel\na film \t1\n", "glue", task="SST-2")
    assert (row.text, row.cats) == ("a film", {"1": 1.0})


@pytest.mark.parametrize("task", ["sst-2", "Sst-2", "SST-2"])
def test_names_of_glue_tasks_may_be_in_lower_case(tmp_path, task):
    (row,) = read(tmp_path, "x.tsv", "sentence\tlabel\na film\t1\n", "glue", task=task)
    assert (row.text, row.cats) == ("a film", {"1": 1.0})


@pytest.mark.parametrize("task", ["", "SWAG", "sst2"])
def test_an_unknown_task_is_refused(tmp_path, task):
    with pytest.raises(ValueError, match="B417.*MRPC"):
        read(tmp_path, "x.tsv", "a\tb\n", "glue", task=task)


def test_an_empty_file_has_no_rows(tmp_path):
    assert read(tmp_path, "x.tsv", "") == []
    assert read(tmp_path, "x.tsv", "", "glue", task="RTE") == []


@pytest.mark.parametrize(("name", "text"), [("x.jsonl", "{\n"), ("x.csv", '"a\n'), ("x.tsv", "\n")])
def test_a_file_of_bad_rows_alone_is_reported(tmp_path, name, text):
    items = read(tmp_path, name, text)
    assert [(type(item), item.line) for item in items] == [(RowError, 1)]


@pytest.mark.parametrize("name", ["afqmc", "lcqmc"])
def test_chinese_pairs_as_they_are_published(tmp_path, name):
    row = '{"sentence1": "花呗", "sentence2": "借呗", "label": "0"}\n'  # CLUE's AFQMC
    assert rows_of(read(tmp_path, "train.json", row, name)) == [(1, "花呗", "借呗", "0")]
    named = "text_a\ttext_b\tlabel\n谁\t什么\t1\n"
    assert rows_of(read(tmp_path, "train.tsv", named, name)) == [(2, "谁", "什么", "1")]
    assert rows_of(read(tmp_path, "train.txt", "谁\t什么\t1\n", name)) == [(1, "谁", "什么", "1")]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "train.json").write_text(row, encoding="utf-8")
    assert find_files(name, [folder]) == [folder / "train.json"]


def test_docs_hold_segments_and_cats(tmp_path):
    (tmp_path / "x.tsv").write_text("a a\tb\tyes\nc\td\tno\n", encoding="utf-8")
    nlp = spacy.blank("en")
    convert(nlp, "pairs", [tmp_path / "x.tsv"], tmp_path / "x.spacy", make_options("pairs", {}))
    first, second = read_docbin(tmp_path / "x.spacy", nlp.vocab)
    assert [s.text.strip() for s in pairs.get_segments(first)] == ["a a", "b"]
    assert first.cats == {"no": 0.0, "yes": 1.0}
    assert second.cats == {"no": 1.0, "yes": 0.0}


def scores_of(items):
    return [(i.line, i.text_a, i.text_b, i.targets) for i in items if isinstance(i, PairRow)]


def test_scores_that_are_no_finite_numbers_are_bad_rows(tmp_path):
    cells = ["4.600", "nan", "NaN", "inf", "-Infinity", "", "high", "3,5", "1_0", " -2 ", "1e999"]
    text = "sentence1\tsentence2\tsim\n" + "".join(f"a{i}\tb\t{x}\n" for i, x in enumerate(cells))
    items = read(tmp_path, "x.tsv", text, score_column="sim")
    assert scores_of(items) == [(2, "a0", "b", {"sim": 4.6}), (11, "a9", "b", {"sim": -2.0})]
    assert [line for line, _ in reasons_of(items)] == [3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert reasons_of(items)[0][1] == "the score is 'nan', which is no finite number"


def test_scores_of_jsonl_are_numbers_or_bad_rows(tmp_path):
    values = ["3", "2.5", '"1.5"', "NaN", "null", "true", "[1]", '"x"', "1e400"]
    text = "".join(
        f'{{"text_a": "a{i}", "text_b": "b", "sim": {x}}}\n' for i, x in enumerate(values)
    )
    items = read(tmp_path, "x.jsonl", text, score_column="sim")
    assert [row[3]["sim"] for row in scores_of(items)] == [3.0, 2.5, 1.5]
    assert [line for line, _ in reasons_of(items)] == [4, 5, 6, 7, 8, 9]
    assert reasons_of(items)[1][1] == "the score is missing, which is no finite number"


def test_pairs_with_scores_and_an_empty_side(tmp_path):
    items = read(tmp_path, "x.txt", "a\tb\t1\n \tb\t2\na\t\t3\nc\td\t4\n", score_column="2")
    assert scores_of(items) == [(1, "a", "b", {"score": 1.0}), (4, "c", "d", {"score": 4.0})]
    wanted = [(2, "the first text is empty"), (3, "the second text is empty")]
    assert reasons_of(items) == wanted


def test_a_score_stands_in_place_of_a_label(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("no\nyes\n", encoding="utf-8")
    for options in ({"label_column": "1"}, {"label_map": names}):
        with pytest.raises(ValueError, match="B418"):
            read(tmp_path, "x.tsv", "a\tb\t1\n", score_column="2", **options)
    head = "index\tsentence1\tsentence2\tscore\n"
    with pytest.raises(ValueError, match="B418"):
        read(tmp_path, "x.tsv", head + "0\ta\tb\t1\n", "glue", task="STS-B", label_map=names)


def test_stsb_has_scores(tmp_path):
    text = "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta\tb\t0.60\n1\tx\tc\td\tnan\n"
    items = read(tmp_path, "x.tsv", text, "glue", task="STS-B")
    assert scores_of(items) == [(2, "a", "b", {"score": 0.6})]
    assert reasons_of(items) == [(3, "the score is 'nan', which is no finite number")]


def test_docs_hold_segments_and_targets_and_no_cats(tmp_path):
    (tmp_path / "x.tsv").write_text("a a\tb\t1.5\nc\td\t2\n", encoding="utf-8")
    nlp = spacy.blank("en")
    options = make_options("pairs", {"score_column": "2"})
    summary = convert(nlp, "pairs", [tmp_path / "x.tsv"], tmp_path / "x.spacy", options)
    docs = list(read_docbin(tmp_path / "x.spacy", nlp.vocab))
    assert [get_targets(doc) for doc in docs] == [{"score": 1.5}, {"score": 2.0}]
    assert [doc.cats for doc in docs] == [{}, {}]
    assert [s.text.strip() for s in pairs.get_segments(docs[0])] == ["a a", "b"]
    assert summary.labels == {"score": 2}


CASES = [
    ("glue/CoLA", "CoLA", 1, (3,), 0),
    ("glue/SST-2", "SST-2", 1, (0,), 1),
    ("glue/MRPC", "MRPC", 0, (3, 4), 1),
    ("glue/QNLI", "QNLI", 3, (1, 2), 1),
    ("glue/RTE", "RTE", 3, (1, 2), 1),
    ("glue/STS-B", "STS-B", 9, (7, 8), 1),
    ("afqmc", None, 2, (0, 1), 0),
]


@pytest.mark.parametrize("part", ["train", "dev", "test"])
@pytest.mark.parametrize(("folder", "task", "label", "texts", "n_header"), CASES)
def test_real_files_convert_whole(folder, task, label, texts, n_header, part):
    found = [DATA / folder / f"{part}{suffix}" for suffix in (".tsv", ".txt")]
    path = next((p for p in found if p.is_file()), None)
    if path is None:
        pytest.skip(f"{DATA / folder} is not there; set BERT_SPACY_DATA")
    with path.open(encoding="utf-8-sig", newline="\n") as file_:
        table = list(csv.reader(file_, delimiter="\t", quoting=csv.QUOTE_NONE))[n_header:]
    options = make_options("glue" if task else "pairs", {"task": task} if task else {})
    items = list(get_format("glue" if task else "pairs").read(path, options))
    rows = [item for item in items if isinstance(item, TextRow | PairRow)]
    assert not [i for i in items if isinstance(i, RowError) and not isinstance(i, RowNote)]
    assert len(rows) == len(table) > 100
    if task == "STS-B":
        assert [row.targets for row in rows] == [{"score": float(row[label])} for row in table]
        assert all(row.cats is None for row in rows)
    else:
        assert Counter(next(iter(row.cats)) for row in rows) == Counter(row[label] for row in table)
    for row, cells in zip(rows[:50], table):
        own = [row.text] if isinstance(row, TextRow) else [row.text_a, row.text_b]
        assert own == [cells[i].strip() for i in texts]


@pytest.mark.parametrize(
    ("name", "text", "format_name"),
    [
        ("x.tsv", "a\tb\t1\n\nc\td\t0\n\n\n", "pairs"),
        ("x.csv", "a,b,1\n\nc,d,0\n\n\n", "pairs"),
        ("x.tsv", "sentence\tlabel\n\na b\t1\n\n\n", "glue"),
    ],
)
def test_blank_lines_at_the_end_mean_nothing(tmp_path, name, text, format_name):
    options = {"task": "SST-2"} if format_name == "glue" else {}
    assert reasons_of(read(tmp_path, name, text, format_name, **options)) == [(2, "blank line")]
