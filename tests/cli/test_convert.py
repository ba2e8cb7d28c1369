import io
import json
import os
import sys
from inspect import signature

import pytest
import spacy
from typer.testing import CliRunner

from bert_spacy.cli import convert as convert_command
from bert_spacy.cli.app import app, main
from bert_spacy.cli.convert import MAX_SHOWN, make_options
from bert_spacy.data.convert import FORMATS, convert, find_files
from bert_spacy.data.docbin import read_docbin


def run(*args):
    return CliRunner().invoke(app, ["convert", *map(str, args)])


def read(path, lang="en"):
    return list(read_docbin(path, spacy.blank(lang).vocab))


@pytest.fixture
def tsv(tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("sport\tfirst text\nsport\tsecond text\nart\tthird text\n")
    return path


def test_all_good_rows_exit_with_0_and_a_summary(tsv, tmp_path):
    result = run("tsv", tsv, tmp_path / "o.spacy", "--lang", "en")
    assert result.exit_code == 0
    for line in (r"rows read 3", "docs written 3", "bad rows 0", "sport 2", "art 1"):
        assert line in " ".join(result.output.split())
    docs = read(tmp_path / "o.spacy")
    assert [doc.cats for doc in docs] == [{"art": 0.0, "sport": 1.0}] * 2 + [
        {"art": 1.0, "sport": 0.0}
    ]


def test_labels_of_another_file(tsv, tmp_path):
    assert run("tsv", tsv, tmp_path / "train.spacy").exit_code == 0
    tsv.write_text("sport\tfirst text\nsport\tsecond text\n")
    command = ("tsv", tsv, tmp_path / "dev.spacy", "--labels-from", tmp_path / "train.spacy")
    assert run(*command).exit_code == 0
    cats = [doc.cats for doc in read(tmp_path / "dev.spacy")]
    assert cats == [{"art": 0.0, "sport": 1.0}] * 2


def test_some_bad_rows_exit_with_2_and_write_the_rest(tsv, tmp_path):
    tsv.write_text(tsv.read_text() + "art\n" * (MAX_SHOWN + 5))
    errors = tmp_path / "errors.txt"
    result = run("tsv", tsv, tmp_path / "o.spacy", "--errors", errors, "--label-column", 0,
                 "--text-column", 1)  # fmt: skip
    assert result.exit_code == 1  # Most rows have one column, so that is the width expected.
    tsv.write_text("sport\tfirst text\n" * (MAX_SHOWN + 9) + "art\n" * (MAX_SHOWN + 5))
    result = run("tsv", tsv, tmp_path / "o.spacy", "--errors", errors)
    assert result.exit_code == 2 and len(read(tmp_path / "o.spacy")) == MAX_SHOWN + 9
    assert run("tsv", tsv, tmp_path / "o.spacy", "--allow-bad").exit_code == 0
    place = f"{tsv}:{MAX_SHOWN + 10}: 1 columns where 2 are expected"
    assert place in result.stderr and place not in result.stdout
    assert result.stderr.count("1 columns") == MAX_SHOWN and "... and 5 more" in result.stderr
    assert len(errors.read_text().splitlines()) == MAX_SHOWN + 5


def test_a_text_that_is_too_long_costs_its_row_alone(tsv, tmp_path):
    tsv.write_text(tsv.read_text() + f"art\t{'a' * 1_000_001}\n")
    result = run("tsv", tsv, tmp_path / "o.spacy")
    assert result.exit_code == 2 and len(read(tmp_path / "o.spacy")) == 3
    assert f"{tsv}:4: text of 1000001 characters" in result.stderr


def test_white_space_makes_a_text_too_long(tmp_path):
    rows = [{"text": text, "label": "a"} for text in ("x" + " " * 1_000_000, "good")]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run("jsonl", tmp_path / "in.jsonl", tmp_path / "o.spacy")
    assert result.exit_code == 2 and len(read(tmp_path / "o.spacy")) == 1
    assert "in.jsonl:1: text of 1000001 characters" in result.stderr


def test_the_errors_file_takes_the_place_of_nothing(tsv, tmp_path):
    before, output = tsv.read_bytes(), tmp_path / "o.spacy"
    for errors, code in ((tsv, "B623"), (output, "B429"), (tmp_path, "B810")):
        for source in (tsv, tmp_path):
            result = run("tsv", source, output, "--errors", errors)
            assert result.exit_code == 1 and code in result.output
    shards, first = tmp_path / "shards", tmp_path / "shards" / "part-00000.spacy"
    for errors in (first, tmp_path / "elsewhere" / "e.spacy"):
        result = run("tsv", tsv, shards, "--shard-size", 1, "--errors", errors)
        assert result.exit_code == 1 and "B429" in result.output and not shards.exists()
    assert not (tmp_path / "elsewhere").exists()
    result = run("tsv", tsv, output, "--errors", tsv / "errors.txt")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert tsv.read_bytes() == before and not output.exists()


def test_strict_stops_at_the_first_bad_row(tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("a\ttext\na\n\na\ttext\n")
    result = run("tsv", path, tmp_path / "o.spacy", "--strict")
    assert result.exit_code == 1 and "[B415]" in result.stdout and ":2:" in result.stderr
    assert ":3:" not in result.stderr and os.listdir(tmp_path) == ["in.tsv"]


def test_strict_holds_for_entities_too(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Anna sings", "entities": [[0, 2, "P"]]}\n')
    with pytest.raises(ValueError, match=r"\[B415\].*cuts a token"):
        convert(spacy.blank("en"), "jsonl", [path], tmp_path / "o.spacy", is_strict=True)
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_nested_entities_are_shown_with_their_place_and_are_no_error(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('\n{"text": "Anna Lee sings", "entities": [[0, 4, "P"], [0, 8, "P"]]}\n')
    result = run("jsonl", path, tmp_path / "o.spacy")
    assert result.exit_code == 0
    assert f"{path}:2: 1 of 2 entities nested (P 'Anna')" in result.stderr
    assert "nested" in result.stdout


def test_nothing_usable_exits_with_1_and_leaves_the_old_file(tsv, tmp_path):
    output = tmp_path / "o.spacy"
    assert run("tsv", tsv, output).exit_code == 0
    before = output.read_bytes()
    tsv.write_bytes(b"\xff\t\xfe\n")
    result = run("tsv", tsv, output)
    assert (
        result.exit_code == 1 and "[B412]" in result.stdout and "not valid UTF-8" in result.stderr
    )
    assert output.read_bytes() == before


def test_failures_are_explained(tsv, tmp_path):
    output = tmp_path / "o.spacy"
    for args, code in [
        (("xml", tsv, output), "[B409]"),
        (("tsv", tmp_path / "none.tsv", output), "[B410]"),
        (("tsv", tsv, tmp_path / "o.bin"), "[B411]"),
        (("tsv", tsv, output, "--doc-size", 2), "[B416]"),
        (("cluener", tsv, output, "--text-column", 2), "[B416]"),
        (("tsv", tsv, output, "--lang", "no-such"), "no-such"),
    ]:
        result = run(*args)
        assert result.exit_code == 1 and code in result.stdout
    assert os.listdir(tmp_path) == ["in.tsv"]


def test_several_files_and_folders_in_order(tmp_path):
    folder = tmp_path / "conll"
    folder.mkdir()
    (folder / "b.conll").write_text("two O\n")
    (folder / "a.conll").write_text("one B-P\n")
    (folder / "README.md").write_text("not data\n")
    single = tmp_path / "c.txt"
    single.write_text("three O\n")
    output = tmp_path / "o.spacy"
    assert run("conll", folder, single, output).exit_code == 0
    assert [doc[0].text for doc in read(output, "xx")] == ["one", "two", "three"]
    with pytest.raises(ValueError, match=r"\[B410\]"):
        find_files("squad", [folder])


def test_shards(tsv, tmp_path):
    result = run("tsv", tsv, tmp_path / "out", "--shard-size", 2)
    assert result.exit_code == 0 and len(read(tmp_path / "out")) == 3
    assert sorted(os.listdir(tmp_path / "out")) == ["part-00000.spacy", "part-00001.spacy"]


def test_options_reach_the_readers(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("% note\nword tag\nx 北 LOC\ny 京 LOC\n\nz 好 O\n")
    output = tmp_path / "o.spacy"
    result = run(
        "conll", path, output, "--lang", "zh", "--comment-prefix", "%", "--token-column", "1",
        "--tag-column", "-1", "--scheme", "io", "--doc-size", "0",
    )  # fmt: skip
    assert result.exit_code == 2  # "word tag" has too few columns.
    assert [doc.text for doc in read(output, "zh")] == ["好"]
    path.write_text("x tag word\nx LOC 北\n\nz O 好\n")
    result = run(
        "conll", path, output, "--header", "--token-column", "word", "--tag-column", "tag",
        "--scheme", "io", "--doc-size", "0", "--no-spaces",
    )  # fmt: skip
    (doc,) = read(output, "xx")
    assert result.exit_code == 0 and doc.text == "北好" and doc.ents[0].text == "北"


def test_squad_options(tmp_path):
    path = tmp_path / "in.json"
    answers = [{"text": "Rom", "answer_start": 3}]
    paragraph = {"context": "Bonn.", "qas": [{"question": "Where?", "id": 1, "answers": answers}]}
    path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    output = tmp_path / "o.spacy"
    assert run("squad", path, output).exit_code == 1
    assert run("squad", path, output, "--keep-unaligned").exit_code == 0
    assert read(output)[0].spans["answers"].attrs["answers"][0]["start"] == -1


def test_quoted_surrogates_can_be_printed(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "a", "label": "\\ud800"}\n{"text": "a", "label": "x"}\n')
    errors = tmp_path / "errors.txt"
    assert run("jsonl", path, tmp_path / "o.spacy", "--errors", errors).exit_code == 2
    assert "\\ud800" in errors.read_text()


def test_every_option_of_every_format_is_on_the_command_line():
    parameters = set(signature(convert_command.convert_cli).parameters)
    for name, format_ in FORMATS.items():
        assert set(getattr(format_.options, "__dataclass_fields__", ())) <= parameters
        assert isinstance(make_options(name, {}), format_.options)
    assert ", ".join(FORMATS) == convert_command._KNOWN


def test_unknown_options_name_the_allowed_ones():
    with pytest.raises(ValueError, match=r"\[B416\].*--scheme.*--keep-unaligned"):
        make_options("squad", {"scheme": "bio"})


def test_labels_that_the_output_cannot_show_are_escaped(tmp_path, monkeypatch):
    source, target = tmp_path / "in.csv", tmp_path / "o.spacy"
    source.write_text("text,label\nabc,城市\ndef,体育\n", encoding="utf-8")
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, "cp1252", write_through=True))
    monkeypatch.setattr(sys, "argv", ["bert-spacy", "convert", "csv", str(source), str(target)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert rb"\u57ce\u5e02" in shown.getvalue()
