"""Predict files with small rule-based pipelines."""

import json
import os

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

from bert_spacy.cli import predict as predict_module
from bert_spacy.cli.app import app
from bert_spacy.cli.predict import errors_path, predict
from bert_spacy.data.pairs import get_question, set_answers


@Language.component("test_predict_length")
def set_length_cats(doc: Doc) -> Doc:
    """Score by length alone; refuse texts with the word that marks failure."""
    if "explode" in doc.text:
        raise RuntimeError("boom")
    share = min(len(doc.text), 100) / 100
    doc.cats = {"long": share, "short": 1 - share}
    if "infinite" in doc.text:
        doc.cats["long"] = float("inf")
    return doc


@Language.component("test_predict_first_word")
def answer_first_word(doc: Doc) -> Doc:
    """Answer each question with the first word of its context."""
    pair = get_question(doc)
    if pair is not None:
        word = pair[1][0].text
        answer = {"text": word, "start": 0, "end": len(word), "score": 0.5}
        set_answers(doc, [answer], null_score=-1.5)
    return doc


@Language.factory("test_predict_cats")
def make_fixed_cats(nlp: Language, name: str, cats: dict[str, float]):
    def set_cats(doc: Doc) -> Doc:
        doc.cats = dict(cats)
        return doc

    return set_cats


class WholeBatch:
    """A component whose pipe works on batches and fails as a whole, with no error handler."""

    def __call__(self, doc: Doc) -> Doc:
        """Process one Doc."""
        return set_length_cats(doc)

    def pipe(self, docs, batch_size):
        """Process Docs in batches."""
        for batch in spacy.util.minibatch(docs, batch_size):
            yield from [set_length_cats(doc) for doc in batch]


@Language.factory("test_predict_whole_batch")
def make_whole_batch(nlp: Language, name: str) -> WholeBatch:
    return WholeBatch()


def make_pipeline(*names: str) -> Language:
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "CITY", "pattern": "Paris"}])
    for name in names or ("test_predict_length", "test_predict_first_word"):
        nlp.add_pipe(name)
    return nlp


@pytest.fixture
def nlp() -> Language:
    return make_pipeline()


def read_jsonl(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_rows_of_all_kinds(nlp, tmp_path):
    source = write_jsonl(
        tmp_path / "in.jsonl",
        [
            {"text": "Paris 很美", "id": 7, "label": "gold"},
            {"text": "in Rome", "text_b": "or Paris"},
            {"question": "Where is Paris?", "context": "France, of course"},
            {"text": ""},
        ],
    )
    counts = predict(nlp, source, tmp_path / "out.jsonl")
    assert (counts.n_good, counts.n_bad) == (4, 0)
    one, pair, question, empty = read_jsonl(tmp_path / "out.jsonl")
    assert one["line"] == 1
    assert one["id"] == 7
    assert one["cats"] == pytest.approx({"long": 0.08, "short": 0.92})
    assert one["label"] == "short"
    assert one["input"] == {"label": "gold"}
    assert one["ents"] == [{"start": 0, "end": 5, "label": "CITY", "text": "Paris"}]
    assert "answers" not in one
    assert (pair["text"], pair["text_b"]) == ("in Rome", "or Paris")
    assert pair["ents"] == [
        {"start": 3, "end": 8, "label": "CITY", "text": "Paris", "segment": "b"}
    ]
    assert question["answers"] == [{"text": "France", "start": 0, "end": 6, "score": 0.5}]
    assert question["null_score"] == -1.5
    assert question["ents"][0]["segment"] == "question"
    assert empty["text"] == ""
    assert not errors_path(tmp_path / "out.jsonl").exists()


def test_text_and_csv(nlp, tmp_path):
    text = tmp_path / "in.txt"
    text.write_bytes("\ufeffParis\r\n\r\nRome\x85\u2028x\n".encode())
    predict(nlp, text, tmp_path / "out.jsonl")
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [(row["line"], row["text"]) for row in rows] == [(1, "Paris"), (3, "Rome\x85\u2028x")]

    table = tmp_path / "in.csv"
    table.write_bytes(b'\xef\xbb\xbfid,review\n1,"Paris,\nfine"\n2\n3,a,b\n4,caf\xe9\n5,last\n')
    counts = predict(nlp, table, tmp_path / "csv.jsonl", text_column="review")
    rows = read_jsonl(tmp_path / "csv.jsonl")
    assert [(row["line"], row["id"], row["text"]) for row in rows] == [
        (2, "1", "Paris,\nfine"),
        (7, "5", "last"),
    ]
    errors = read_jsonl(errors_path(tmp_path / "csv.jsonl"))
    assert counts.n_bad == 3
    assert [row["line"] for row in errors] == [4, 5, 6]
    assert "missing" in errors[0]["reason"]
    assert "more cells" in errors[1]["reason"]
    assert "not valid Unicode" in errors[2]["reason"]


def test_a_column_that_stands_twice_is_not_guessed(nlp, tmp_path):
    table = tmp_path / "in.csv"
    for header in ("text,text,", "text,text_b,text_b", "question,context,choices,choices"):
        table.write_text(f"{header}\nParis,Rome,x\n", "utf-8")
        with pytest.raises(ValueError, match=r"\[B628\].*2 columns"):
            predict(nlp, table, tmp_path / "out.jsonl")


def test_columns_of_one_name_that_are_not_read_are_kept(nlp, tmp_path):
    table, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    table.write_text("text,note,note,id\nParis,a,b,1\nRome,c\n", "utf-8")
    assert predict(nlp, table, output).n_bad == 0
    rows = read_jsonl(output)
    assert [row["note"] for row in rows] == [["a", "b"], ["c", None]]
    assert [row["id"] for row in rows] == ["1", None]
    table.write_text("text,,\nParis,,\n", "utf-8")  # as spreadsheets write them
    assert predict(nlp, table, output).n_bad == 0


def test_a_quote_that_nothing_closes_costs_its_own_row_alone(nlp, tmp_path):
    table = tmp_path / "in.csv"
    table.write_text('text\nParis\n"open\nRome\n', "utf-8")
    counts = predict(nlp, table, tmp_path / "out.jsonl")
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["Paris", "Rome"]
    assert counts.n_bad == 1
    assert read_jsonl(errors_path(tmp_path / "out.jsonl"))[0]["line"] == 3


def test_a_finished_output_is_that_of_its_own_input(nlp, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "Paris"}, {"text": "Rome"}])
    predict(nlp, source, tmp_path / "out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    assert predict(nlp, source, tmp_path / "out.jsonl", resume=True).n_resumed == 2
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "Paris"}, {"text": "London"}])
    longer = write_jsonl(tmp_path / "longer.jsonl", [{"text": x} for x in ("Paris", "Rome", "a")])
    for wrong in (other, longer):
        with pytest.raises(ValueError, match=r"\[B622\] .*out\.jsonl was not made from"):
            predict(nlp, wrong, tmp_path / "out.jsonl", resume=True)
    assert (tmp_path / "out.jsonl").read_bytes() == before


BAD_LINES = [
    (b'{"text": ', "not valid JSON"),
    (b'["a"]', "not a JSON object but list"),
    (b'{"id": 1}', "no 'text'"),
    (b'{"text": null}', "'text' is missing"),
    (b'{"text": 5}', "not a string but int"),
    (b'{"text": "a", "text_b": ""}', "'text_b' is blank"),
    (b'{"text": " ", "text_b": "b"}', "'text' is blank"),
    (b'{"question": " ", "context": "b"}', "'question' is blank"),
    (b'{"text": "a", "text_b": null}', "'text_b' is missing"),
    (b'{"text": "a", "text_b": ["b"]}', "'text_b' is not a string but list"),
    (b'{"question": "Who?"}', "no 'text'"),
    (b'{"question": "Who?", "context": ["a"]}', "'context' is not a string but list"),
    (b'{"text": "caf\xe9"}', "not valid UTF-8"),
    (b'{"text": "\\ud800"}', "lone surrogates"),
    (b'{"text": "a", "id": "\\udfff"}', "lone surrogates"),
    (b'{"text": "a", "score": NaN}', "NaN"),
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "not valid JSON"),
    (b"[" * 100_000, "not valid JSON"),
    (b'{"text": "' + b"a " * 60 + b'"}', "nlp.max_length"),
    (b'{"text": "please explode"}', "RuntimeError: boom"),
    (b'{"text": "infinite"}', "JSON"),
]


@pytest.mark.parametrize("component", ["test_predict_length", "test_predict_whole_batch"])
def test_bad_rows_are_told_and_the_rest_goes_on(tmp_path, component):
    nlp = make_pipeline(component)
    nlp.max_length = 100
    source = tmp_path / "in.jsonl"
    lines = []
    for i, (line, _) in enumerate(BAD_LINES):
        lines += [line, json.dumps({"text": f"row {i}"}).encode()]
    source.write_bytes(b"\n".join(lines))
    counts = predict(nlp, source, tmp_path / "out.jsonl", batch_size=5)
    assert (counts.n_good, counts.n_bad) == (len(BAD_LINES), len(BAD_LINES))
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["text"] for row in rows] == [f"row {i}" for i in range(len(BAD_LINES))]
    assert [row["line"] for row in rows] == [2 * i + 2 for i in range(len(BAD_LINES))]
    assert all(row["cats"] for row in rows)
    errors = read_jsonl(errors_path(tmp_path / "out.jsonl"))
    assert [row["line"] for row in errors] == [2 * i + 1 for i in range(len(BAD_LINES))]
    for row, (_, reason) in zip(errors, BAD_LINES):
        assert reason in row["reason"]
        assert row["file"] == str(source)
        assert "row" in row


def test_error_handler_is_given_back(nlp, tmp_path):
    before = nlp.default_error_handler
    predict(nlp, write_jsonl(tmp_path / "in.jsonl", [{"text": "explode"}]), tmp_path / "out.jsonl")
    assert nlp.default_error_handler is before


def interrupt_after(monkeypatch, n_rows):
    """Make `predict` stop as by Ctrl+C once it has written some rows."""
    add = predict_module._Output.add

    def add_or_stop(self, line):
        if self.counts.n_good - self.counts.n_resumed >= n_rows:
            raise KeyboardInterrupt
        add(self, line)

    monkeypatch.setattr(predict_module._Output, "add", add_or_stop)


@pytest.mark.parametrize("n_rows", [0, 1, 7, 12])
@pytest.mark.parametrize("torn", [b"", b'{"line": 99, "te'])
def test_resumed_equals_uninterrupted(tmp_path, monkeypatch, n_rows, torn):
    rows = [{"text": f"Paris row {i}"} for i in range(13)]
    rows[3] = {"id": "no text"}
    rows[7]["text"] += " explode"
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    nlp = make_pipeline("test_predict_length")
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    predict(nlp, source, whole, batch_size=4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, min(n_rows, 10))
        predict(nlp, source, broken, batch_size=4)
    assert not broken.exists()
    with broken.with_suffix(".partial").open("ab") as file_:
        file_.write(torn)
    counts = predict(nlp, source, broken, batch_size=4, resume=True)
    assert broken.read_bytes() == whole.read_bytes()
    assert errors_path(broken).read_bytes() == errors_path(whole).read_bytes()
    assert (counts.n_good, counts.n_bad) == (11, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "broken.errors.jsonl",
        "broken.jsonl",
        "in.jsonl",
        "whole.errors.jsonl",
        "whole.jsonl",
    ]
    again = predict(nlp, source, broken, resume=True)
    assert again.n_resumed == 13


def test_resume_refuses_another_input(nlp, tmp_path, monkeypatch):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i}"} for i in range(5)])
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": f"line {i}"} for i in range(5)])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 3)
        predict(nlp, source, tmp_path / "out.jsonl")
    with pytest.raises(ValueError, match=r"\[B622\]"):
        predict(nlp, other, tmp_path / "out.jsonl", resume=True)
    assert len(read_jsonl(tmp_path / "out.partial")) == 3
    predict(nlp, other, tmp_path / "out.jsonl")
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")][0] == "line 0"


def test_resume_refuses_another_pipeline(tmp_path, monkeypatch):
    nlp = make_pipeline()
    for version in ("1.0", "2.0"):
        nlp.meta["version"] = version
        nlp.to_disk(tmp_path / version)
    old, new = (spacy.load(tmp_path / version) for version in ("1.0", "2.0"))
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": f"row {i}"} for i in range(5)])
    output = tmp_path / "o" / "out.jsonl"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(patch, 3)
        predict(old, source, output)
    with pytest.raises(ValueError, match=r"\[B629\].*out\.partial.*2\.0"):
        predict(new, source, output, resume=True)
    assert predict(old, source, output, resume=True).n_resumed == 3
    assert [path.name for path in output.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("content", [b"[1]\n", b"plain text\n", b"\x00\xff\n", b'{"line": "1"}\n'])
def test_resume_from_something_else_is_refused(nlp, tmp_path, content):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    (tmp_path / "out.partial").write_bytes(content)
    with pytest.raises(ValueError, match=r"\[B626\].*out\.partial"):
        predict(nlp, source, tmp_path / "out.jsonl", resume=True)
    assert (tmp_path / "out.partial").read_bytes() == content


@pytest.mark.parametrize("content", [b"my notes, one line", b'{"text": "a", "line": 1}'])
def test_a_finished_output_is_never_changed_by_resume(nlp, tmp_path, content):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    output = tmp_path / "out.jsonl"
    output.write_bytes(content)
    if content.startswith(b"{"):
        assert predict(nlp, source, output, resume=True).n_resumed == 1
    else:
        with pytest.raises(ValueError, match=r"\[B626\].*out\.jsonl"):
            predict(nlp, source, output, resume=True)
    assert output.read_bytes() == content


def test_a_folder_that_is_a_file_is_told(nlp, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    with pytest.raises(ValueError, match=r"\[B811\].*in\.jsonl is a file"):
        predict(nlp, source, source / "out.jsonl")


def test_the_label_is_that_of_the_exclusive_classifier(tmp_path):
    nlp = spacy.blank("en")
    for name, labels in (("textcat", ["pos", "neg"]), ("textcat_multilabel", ["sport", "news"])):
        pipe = nlp.add_pipe(name)
        for label in labels:
            pipe.add_label(label)
    cats = {"pos": 0.45, "neg": 0.55, "sport": 0.9, "news": 0.2}
    nlp.initialize()
    nlp.add_pipe("test_predict_cats", config={"cats": cats})
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    predict(nlp, source, tmp_path / "out.jsonl")
    [row] = read_jsonl(tmp_path / "out.jsonl")
    assert (row["label"], row["labels"]) == ("neg", ["sport"])


def test_refusals(nlp, tmp_path):
    table = tmp_path / "in.csv"
    table.write_text("id,body\n1,a\n", "utf-8")
    with pytest.raises(ValueError, match=r"\[B621\]"):
        predict(nlp, table, tmp_path / "out.jsonl")
    table.write_bytes("编号,评论\n1,a\n".encode("gb18030"))
    with pytest.raises(ValueError, match=r"\[B425\].*UTF-8"):
        predict(nlp, table, tmp_path / "out.jsonl", text_column="评论")
    (tmp_path / "in.tsv").write_text("a", "utf-8")
    with pytest.raises(ValueError, match=r"\[B620\]"):
        predict(nlp, tmp_path / "in.tsv", tmp_path / "out.jsonl")
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    with pytest.raises(ValueError, match=r"\[B623\]"):
        predict(nlp, source, source)
    errors = write_jsonl(tmp_path / "a.errors.jsonl", [{"text": "a"}])
    before = errors.read_bytes()
    with pytest.raises(ValueError, match=r"\[B623\]"):
        predict(nlp, errors, tmp_path / "a.jsonl")
    assert errors.read_bytes() == before and not (tmp_path / "a.jsonl").exists()
    with pytest.raises(ValueError, match=r"\[B625\]"):
        predict(nlp, source, tmp_path / "out.jsonl", n_process=0)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=r"\[B810\].*folder"):
        predict(nlp, source, tmp_path / "folder")
    assert not list(tmp_path.glob("folder*.partial"))
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_device_is_never_replaced(nlp, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    with pytest.raises(ValueError, match=r"\[B810\]"):
        predict(nlp, source, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "pipe"]


def test_outputs_with_other_suffixes_share_no_file(nlp, tmp_path):
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}, {"text": 1}])
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "b"}, {"text": "c"}])
    # A run of x.1 that was stopped, and its bad row.
    (tmp_path / "x.1.partial").write_text('{"line": 1, "text": "b"}\n', "utf-8")
    predict(nlp, source, tmp_path / "x.2")
    counts = predict(nlp, other, tmp_path / "x.1", resume=True)
    assert (counts.n_good, counts.n_resumed) == (2, 1)
    assert [row["text"] for row in read_jsonl(tmp_path / "x.1")] == ["b", "c"]
    assert errors_path(tmp_path / "x.2").name == "x.2.errors.jsonl"
    assert len(read_jsonl(tmp_path / "x.2.errors.jsonl")) == 1


def test_exit_codes(tmp_path):
    make_pipeline().to_disk(tmp_path / "pipeline")
    good = write_jsonl(tmp_path / "good.jsonl", [{"text": "Paris"}])
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"text": "Paris"}, {"text": 1}])

    def run(pipeline, source):
        out = tmp_path / "out.jsonl"
        result = CliRunner().invoke(app, ["predict", str(pipeline), str(source), "-o", str(out)])
        return result.exit_code

    assert run(tmp_path / "pipeline", good) == 0
    assert run(tmp_path / "pipeline", mixed) == 2
    assert run(tmp_path / "nothing_here", good) == 1
    assert run(tmp_path / "pipeline", tmp_path / "pipeline" / "config.cfg") == 1


@pytest.mark.slow
def test_two_processes(tmp_path):
    rows = [{"text": f"Paris row {i}" + " explode" * (i % 10 == 4)} for i in range(30)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    nlp = make_pipeline("test_predict_whole_batch")
    predict(nlp, source, tmp_path / "one.jsonl", batch_size=4)
    counts = predict(nlp, source, tmp_path / "two.jsonl", batch_size=4, n_process=2)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert counts.n_bad == 3


def test_an_input_that_is_refused_costs_no_rows_of_an_earlier_run(nlp, tmp_path):
    kept = {"out.partial": '{"line": 1, "text": "a"}\n', "out.errors.partial": ""}
    for name, code in (("in.csv", "B621"), ("in.xml", "B620")):
        (tmp_path / name).write_text("review\na\nb\n", "utf-8")
        for resume in (False, True):
            for left in ({}, kept):
                for file_, text in left.items():
                    (tmp_path / file_).write_text(text, "utf-8")
                with pytest.raises(ValueError, match=code):
                    predict(nlp, tmp_path / name, tmp_path / "out.jsonl", resume=resume)
                found = {p.name: p.read_text("utf-8") for p in tmp_path.glob("*.partial")}
                assert found == left
                for path in tmp_path.glob("*.partial"):
                    path.unlink()
