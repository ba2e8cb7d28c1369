import csv
from collections import Counter

import pytest
import spacy

from bert_spacy.data.convert import (
    RowError,
    RowNote,
    TableOptions,
    TextRow,
    convert,
    read_csv,
    read_label_map,
    read_tsv,
)
from bert_spacy.data.docbin import read_docbin


def run(read, tmp_path, content, **options):
    path = tmp_path / "in.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    items = list(read(path, TableOptions(**options)))
    rows = [item for item in items if isinstance(item, TextRow)]
    notes = [(item.line, item.kind) for item in items if isinstance(item, RowNote)]
    bad = [
        (item.line, item.reason)
        for item in items
        if isinstance(item, RowError) and not isinstance(item, RowNote)
    ]
    return [(row.line, row.text, *row.cats) for row in rows], bad, notes


def test_label_first_and_label_last_are_told_apart(tmp_path):
    first = "sport\ta long text one\nsport\tanother text two\nart\ta third text\n"
    last = "a long text one\t3\nanother text two\t3\na third text\t4\n"
    assert run(read_tsv, tmp_path, first)[0] == [
        (1, "a long text one", "sport"),
        (2, "another text two", "sport"),
        (3, "a third text", "art"),
    ]
    assert [row[2] for row in run(read_tsv, tmp_path, last)[0]] == ["3", "3", "4"]
    # A single row: the shorter one is the label.
    assert run(read_tsv, tmp_path, "x\tlonger")[0] == [(1, "longer", "x")]
    assert run(read_tsv, tmp_path, "longer\tx")[0] == [(1, "longer", "x")]


def test_given_columns_win(tmp_path):
    content = "a\tb\na\tc\n"
    assert run(read_tsv, tmp_path, content, text_column="0")[0] == [(1, "a", "b"), (2, "a", "c")]
    assert run(read_tsv, tmp_path, content, label_column="1")[0] == [(1, "a", "b"), (2, "a", "c")]
    assert run(read_tsv, tmp_path, content, label_column="-2")[0] == [(1, "b", "a"), (2, "c", "a")]
    wide = "src\t0\t*\tSome text.\nsrc\t1\t\tMore text.\n"
    rows, bad, _ = run(read_tsv, tmp_path, wide, text_column="3", label_column="1")
    assert rows == [(1, "Some text.", "0"), (2, "More text.", "1")] and bad == []


def test_header_is_found_only_where_it_is_sure(tmp_path):
    assert run(read_tsv, tmp_path, "label\ttext_a\n1\tgood\n")[0] == [(2, "good", "1")]
    assert run(read_tsv, tmp_path, "Sentence\tLabel\ngood\t1\n")[0] == [(2, "good", "1")]
    assert len(run(read_tsv, tmp_path, "sports\ta text\nsports\tb text\n")[0]) == 2
    # "text" is a label here: it comes again below.
    assert len(run(read_tsv, tmp_path, "text\tsome words\ntext\tother words\n")[0]) == 2
    assert len(run(read_tsv, tmp_path, "label\ttext\n1\tgood\n", header=False)[0]) == 2
    assert run(read_tsv, tmp_path, "q\tw\n1\tgood\n", header=True)[0] == [(2, "good", "1")]
    # What pandas writes, whose index has no name.
    table = ",text,label\n0,good,1\n1,bad,0\n"
    for options in ({}, {"text_column": "1", "label_column": "2"}):
        good, bad, _ = run(read_csv, tmp_path, table, **options)
        assert good == [(2, "good", "1"), (3, "bad", "0")] and bad == []
    # A name that is asked for is a header.
    rows = run(read_tsv, tmp_path, "q\tw\n1\tgood\n", text_column="w")[0]
    assert rows == [(2, "good", "1")]


def test_chinese_headers_are_found_where_they_are_sure(tmp_path):
    wanted = [(2, "味道很好", "好")]
    assert run(read_tsv, tmp_path, "标签\t内容\n好\t味道很好\n")[0] == wanted
    assert run(read_csv, tmp_path, "评论,类别\n味道很好,好\n")[0] == wanted
    assert run(read_tsv, tmp_path, "编号\t文本内容\t分类\n7\t味道很好\t好\n")[0] == wanted
    assert run(read_tsv, tmp_path, "评论内容\t情感\n味道很好\t好\n")[0] == wanted
    # "评论" is a label here: it comes again below, or a sentence stands beside it.
    again = "评论\t这家店不错\n评论\t那家店不好\n体育\t他们赢了\n"
    assert len(run(read_tsv, tmp_path, again)[0]) == 3
    sentence = "评论\t这家店的外卖送得太慢了不好吃\n体育\t他们昨天又赢了一场比赛\n"
    assert len(run(read_tsv, tmp_path, sentence)[0]) == 2


def test_quotes_mean_nothing_in_tsv(tmp_path):
    content = '1\t"open quote\n0\tcloses" here\n1\t"all" of it\n'
    rows, bad, _ = run(read_tsv, tmp_path, content)
    assert [row[1] for row in rows] == ['"open quote', 'closes" here', '"all" of it'] and not bad


def test_only_line_feeds_end_lines(tmp_path):
    text = "one\x0btwo\x0cthree\x1cfour\u2028five\x85six\u3000seven"
    rows, bad, notes = run(read_tsv, tmp_path, f"a\t{text}\r\na\tplain\r\n")
    assert rows == [(1, "onetwothreefour\u2028fivesix\u3000seven", "a"), (2, "plain", "a")]
    assert bad == [] and notes == [(1, "control characters")]


def test_byte_order_mark_is_removed_and_other_odd_characters_stay(tmp_path):
    rows, _, notes = run(read_tsv, tmp_path, "\ufeffa\tx\ufeffy \ufffd z\na\tother\n")
    assert rows == [(1, "x\ufeffy \ufffd z", "a"), (2, "other", "a")] and notes == []


def test_every_kind_of_bad_row_is_reported(tmp_path):
    content = (
        b"a\tgood one\n\na\nb\t\n\tno label\na\tb\tc\na\t\xff\xfe\nb\t \x00 \na\tgood two\n\n\n"
    )
    rows, bad, _ = run(read_tsv, tmp_path, content)
    assert rows == [(1, "good one", "a"), (9, "good two", "a")]
    assert bad == [
        (2, "blank line"),
        (3, "1 columns where 2 are expected"),
        (4, "the text is empty"),
        (5, "the label is empty"),
        (6, "3 columns where 2 are expected"),
        (7, "not valid UTF-8"),
        (8, "the text is empty"),
    ]


def test_problem_names_file_and_line(tmp_path):
    assert str(RowError("dir/f.tsv", 3, "why")) == "dir/f.tsv:3: why"


def test_label_map_of_names_and_of_numbers(tmp_path):
    path = tmp_path / "map.txt"
    content = "text a\t0\ntext b\t1\ntext c\tart\ntext d\t7\n"
    path.write_text("sport\nart\n")
    rows, bad, _ = run(read_tsv, tmp_path, content, label_map=path, label_column="1")
    assert [row[2] for row in rows] == ["sport", "art", "art"]
    assert bad == [(4, "label '7' is not in the label map")]
    path.write_text("7\tsport\n1\tart\n")
    rows, bad, _ = run(read_tsv, tmp_path, content, label_map=path, label_column="1")
    assert [row[2] for row in rows] == ["art", "art", "sport"]
    assert bad == [(1, "label '0' is not in the label map")]
    path.write_text("1\n0\n")  # Names that are numbers mean themselves.
    assert read_label_map(path) == {"0": "0", "1": "1"}


@pytest.mark.parametrize("content", ["", "a\n1\tb\n", "a\na\n", "1\ta\n1\tb\n", "1\ta\n2\ta\n"])
def test_bad_label_maps(tmp_path, content):
    path = tmp_path / "map.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"\[B404\]"):
        read_label_map(path)


def test_files_of_another_encoding_are_named_so(tmp_path):
    path = tmp_path / "map.txt"
    path.write_bytes("体育\n时政\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"\[B404\].*line 1 is not valid UTF-8"):
        read_label_map(path)
    table = "编号,评论,标签\n1,味道很好,好\n".encode("gb18030")
    for options in ({}, {"text_column": "评论"}):
        with pytest.raises(ValueError, match=r"\[B425\].*in.txt is not valid UTF-8.*GB18030"):
            run(read_csv, tmp_path, table, **options)
    # Where columns need no names each row is reported.
    rows = run(read_csv, tmp_path, table, text_column="1", label_column="2")
    assert rows == ([], [(1, "not valid UTF-8"), (2, "not valid UTF-8")], [])


def test_a_name_that_stands_twice_is_not_guessed(tmp_path):
    table = "text,label,text\na,b,c\n"
    for options in ({"header": True}, {"text_column": "text"}):
        with pytest.raises(ValueError, match=r"\[B428\].*2 columns named 'text'"):
            run(read_csv, tmp_path, table, **options)
    rows, bad, _ = run(read_csv, tmp_path, table, header=True, text_column="2")
    assert rows == [(2, "c", "b")] and not bad


def test_columns_that_do_not_fit(tmp_path):
    for options in ({"text_column": "5"}, {"label_column": "-3"}):
        with pytest.raises(ValueError, match=r"\[B405\]"):
            run(read_tsv, tmp_path, "a\tb\n", **options)
    with pytest.raises(ValueError, match=r"\[B405\].*'tekst'.*label, text"):
        run(read_tsv, tmp_path, "label\ttext\na\tb\n", text_column="tekst")
    headers = ("label\tcat\ttext", "id\ttext\tx", "id\tlabel\tx")
    for content in ("a\tb\tc\n", "a\n", *(f"{header}\na\tb\tc\n" for header in headers)):
        with pytest.raises(ValueError, match=r"\[B406\]"):
            run(read_tsv, tmp_path, content)
    with pytest.raises(ValueError, match=r"\[B406\]"):
        run(read_tsv, tmp_path, "a\tb\n", text_column="0", label_column="0")


def test_csv_quotes_and_line_numbers(tmp_path):
    content = 'label,review\r\n1,"a, ""b""\r\nsecond line"\r\n0,plain\r\n2,"x"y\r\n0,last\r\n'
    rows, bad, _ = run(read_csv, tmp_path, content)
    assert rows == [(2, 'a, "b"\r\nsecond line', "1"), (4, "plain", "0"), (6, "last", "0")]
    assert [line for line, _ in bad] == [5] and bad[0][1].startswith("not CSV")


def test_csv_an_unclosed_quote_costs_its_own_line_alone(tmp_path):
    content = 'label,text\n1,good\n0,"never closed\n1,fine\n0,"two\nlines"\n"x\n1,last\n'
    rows, bad, _ = run(read_csv, tmp_path, content)
    assert [line for line, _ in bad] == [3, 7]
    assert rows == [(2, "good", "1"), (4, "fine", "1"), (5, "two\nlines", "0"), (8, "last", "1")]


def test_csv_bad_bytes_and_mark(tmp_path):
    content = "\ufefflabel,text\n1,good\n".encode() + b"0,\xe4\xb8\n1,fine\n"
    rows, bad, _ = run(read_csv, tmp_path, content)
    assert rows == [(2, "good", "1"), (4, "fine", "1")] and bad == [(3, "not valid UTF-8")]


def test_empty_and_header_only_files(tmp_path):
    for read in (read_tsv, read_csv):
        assert run(read, tmp_path, "") == ([], [], [])
    assert run(read_tsv, tmp_path, "\n\n") == ([], [], [])
    assert run(read_tsv, tmp_path, "label\ttext\n") == ([], [], [])


def test_docs_get_all_labels_of_all_files_and_of_the_map(tmp_path):
    (tmp_path / "a.tsv").write_text("0\tfirst text\n0\tsecond text\n")
    (tmp_path / "b.tsv").write_text("2\tthird text\n")
    (tmp_path / "map").write_text("x\ny\nz\n")
    nlp = spacy.blank("en")
    options = TableOptions(label_map=tmp_path / "map", label_column="0")
    inputs = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    summary = convert(nlp, "tsv", inputs, tmp_path / "o.spacy", options)
    docs = list(read_docbin(tmp_path / "o.spacy", nlp.vocab))
    assert [doc.cats for doc in docs] == [
        {"x": 1.0, "y": 0.0, "z": 0.0},
        {"x": 1.0, "y": 0.0, "z": 0.0},
        {"x": 0.0, "y": 0.0, "z": 1.0},
    ]
    assert summary.labels == Counter(x=2, z=1)
    assert all(token.ent_iob == 0 for doc in docs for token in doc)


def test_a_larger_limit_of_the_program_stays(tmp_path):
    before = csv.field_size_limit(2**30)
    try:
        assert run(read_csv, tmp_path, "x,a text\n")[0] == [(1, "a text", "x")]
        assert csv.field_size_limit() == 2**30
    finally:
        csv.field_size_limit(before)
