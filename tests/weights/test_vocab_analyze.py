"""`vocab analyze`: counts agree with counting by hand, and bad lines cost themselves alone."""

import io
import json
import sys

import pytest
import spacy
from spacy.tokens import DocBin
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights import corpus as corpus_module
from bert_spacy.weights.corpus import PART_LENGTH, TextCorpus
from bert_spacy.weights.vocab.analyze import analyze, in_batches
from bert_spacy.weights.vocab.extend import extend

TEXT = "Anna plays Foo. anna played foo, FOO!"


def write(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def test_counts_of_one_document(bert, tmp_path):
    corpus = write(tmp_path / "one.txt", TEXT)
    report = analyze(str(bert), [corpus], tmp_path / "out.json")
    # anna play ##s f ##o ##o . anna play ##ed f ##o ##o , f ##o ##o !
    assert (report["tokens"], report["pieces"], report["unknown_pieces"]) == (10, 18, 0)
    assert report["pieces_per_token"] == 1.8
    assert report["pieces_per_character"] == 18 / len(TEXT)
    assert [(row["word"], row["count"], row["gain"]) for row in report["proposed"]] == [
        ("Foo", 3, 6)
    ]
    assert report["words_that_split"] == 3
    assert report["corpus"] == {
        "files": 1, "texts": 1, "characters": len(TEXT), "empty": 0, "bad": 0, "long": 0
    }  # fmt: skip
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == report
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "Foo\n"


def test_unknown_words_count_and_are_proposed(bert, tmp_path):
    corpus = write(tmp_path / "one.txt", "龘 anna 龘\nбоб")
    report = analyze(str(bert), [corpus], tmp_path / "out.json", min_count=1)
    assert (report["pieces"], report["unknown_pieces"], report["unknown_rate"]) == (4, 3, 0.75)
    assert [(row["word"], row["gain"]) for row in report["proposed"]] == [("龘", 2), ("боб", 1)]


@pytest.mark.parametrize("segmenter, words", [("jieba", {"北京", "电影"}), ("char", set())])
def test_chinese_words(bert, tmp_path, segmenter, words):
    pytest.importorskip("jieba")
    corpus = write(tmp_path / "one.txt", "我在北京看电影")
    options = {"lang": "zh", "segmenter": segmenter, "min_count": 1}
    report = analyze(str(bert), [corpus], tmp_path / "out.json", **options)
    proposed = {row["word"] for row in report["proposed"] if not row["unknown"]}
    assert proposed == words


def test_every_format_and_bad_lines(bert, tmp_path):
    write(tmp_path / "a.txt", b"\xef\xbb\xbfanna\r\n\n\xff\xfe bad\nbob\n")
    lines = ['{"text": "anna"}', "", "{", "[1]", '{"text": 1}', '{"text": "\\ud800"}', "{}"]
    write(tmp_path / "b.jsonl", "\n".join([*lines, '{"text": " "}']))
    nlp = spacy.blank("en")
    DocBin(docs=[nlp("anna was"), nlp("")]).to_disk(tmp_path / "c.spacy")
    write(tmp_path / "d.csv", "not read")
    problems = []
    report = analyze(str(bert), [tmp_path], tmp_path / "out.json", on_problem=problems.append)
    assert [(p.path.rsplit("/", 1)[-1], p.line) for p in problems] == [
        ("a.txt", 3), *(("b.jsonl", n) for n in (3, 4, 5, 6, 7))
    ]  # fmt: skip
    counts = report["corpus"]
    assert (counts["files"], counts["texts"], counts["empty"], counts["bad"]) == (3, 4, 4, 6)
    assert counts["characters"] == len("annabobannaanna was")


def test_long_lines_are_processed_in_parts(tmp_path):
    length = 10_000_000
    path = write(tmp_path / "long.txt", "ab " * (length // 3) + "\n" + "x" * 250_000 + "\nend")
    problems = []
    corpus = TextCorpus([path], problems.append)
    parts = list(corpus)
    assert "".join(parts).count("ab ") == length // 3 and parts[-1] == "end"
    assert max(map(len, parts)) <= corpus_module.PART_LENGTH
    assert all(part.endswith("ab ") for part in parts if part[0] == "a")
    assert [problem.line for problem in problems] == [1, 2]
    assert (corpus.counts.texts, corpus.counts.long) == (3, 2)
    assert len(list(corpus)) == len(parts) and len(problems) == 2


@pytest.mark.parametrize("name", ["none", "none.txt", "rows.csv", "empty"])
def test_a_missing_corpus_is_refused(bert, tmp_path, name):
    write(tmp_path / "rows.csv", "text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"\[B670\]"):
        analyze(str(bert), [tmp_path / name], tmp_path / "out.json")


def test_a_corpus_without_text_is_refused(bert, tmp_path):
    with pytest.raises(ValueError, match=r"\[B671\].*2 empty, 1 bad"):
        analyze(str(bert), [write(tmp_path / "a.txt", b"\n\n\xff")], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    "options",
    [
        {"lang": "en", "segmenter": "jieba"},
        {"lang": "zh", "segmenter": "other"},
        {"min_count": 0},
        {"top": 0},
        {"output": "words.txt"},
    ],
)
def test_bad_settings_are_refused(bert, tmp_path, options):
    output = tmp_path / options.pop("output", "out.json")
    with pytest.raises(ValueError, match=r"\[B674\]"):
        analyze(str(bert), [write(tmp_path / "a.txt", "a")], output, **options)


def test_no_output_overwrites_the_corpus(bert, tmp_path):
    corpus = write(tmp_path / "report.txt", TEXT)
    rows = write(tmp_path / "rows.jsonl", '{"text": "anna"}\n')
    before = corpus.read_bytes()
    for paths in ([corpus], [rows, tmp_path]):
        with pytest.raises(ValueError, match=r"\[B674\].*report\.txt.*part of the corpus"):
            analyze(str(bert), paths, tmp_path / "report.json")
    assert corpus.read_bytes() == before and not (tmp_path / "report.json").exists()


def test_a_list_that_no_report_proposed_stays(bert, tmp_path):
    corpus, output = write(tmp_path / "a.txt", TEXT), tmp_path / "words.json"
    words = write(tmp_path / "words.txt", "my notes\n")
    for report in (None, "{}", "["):
        if report:
            write(output, report)
        with pytest.raises(ValueError, match=r"\[B674\].*words\.txt.* edited .*rename"):
            analyze(str(bert), [corpus], output)
        assert words.read_text() == "my notes\n"
    words.unlink()
    analyze(str(bert), [corpus], output)
    write(corpus, f"{TEXT} bar bar")
    analyze(str(bert), [corpus], output)
    assert words.read_text() == "Foo\nbar\n"
    words.write_text("Foo\n")  # edited
    with pytest.raises(ValueError, match=r"\[B674\]"):
        analyze(str(bert), [corpus], output)
    assert words.read_text() == "Foo\n"


def test_byte_level_pieces_are_those_within_a_text(tiny_folder, tmp_path):
    corpus = write(tmp_path / "a.txt", "the the the")
    report = analyze(str(tiny_folder("roberta")), [corpus], tmp_path / "out.json")
    assert "the" not in {row["word"] for row in report["most_frequent"]}


def test_the_command_and_its_list(bert, tmp_path):
    corpus = write(tmp_path / "a.txt", f"{TEXT}\n".encode() + b"\xff")
    arguments = ["vocab", "analyze", str(bert), str(corpus), "-o", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "Foo" in done.output and "a.txt:2" in done.output
    report = extend(str(bert), tmp_path / "out.txt", tmp_path / "new")
    assert report["added"] == 1 and not report["left_out"]
    lost = CliRunner().invoke(app, ["vocab", "analyze", str(bert), str(tmp_path / "none")])
    assert lost.exit_code == 1 and "B670" in lost.output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_progress_is_shown_on_a_terminal_where_it_is_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "c.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    for show in (False, True):
        monkeypatch.setattr(sys, "stderr", stream := Terminal())
        assert list(TextCorpus([path], show_progress=show)) == ["one", "two"]
        assert ("Reading" in stream.getvalue() and "2 texts" in stream.getvalue()) is show


def test_long_texts_make_small_batches(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("a\n" * 300 + "b" * 12 * PART_LENGTH + "\n", encoding="utf-8")
    sizes = [len(batch) for batch in in_batches(TextCorpus([path]))]
    assert sizes == [256, 44 + 5, 5, 2]
