"""The comparison on long texts: what is cut, which runs there are, and what is shown."""

import json
import os
import sys
from pathlib import Path

import pytest
import spacy
from spacy.tokens import DocBin
from transformers import AutoTokenizer

from benchmarks import long, ours
from benchmarks.tasks import TASKS, TextItem, read_cnews

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "data"
TEXTS = ["the team won  the game and anna was in paris", "anna was", "", "bob lives in london ok"]


@pytest.mark.parametrize("room", [1, 4, 7])
def test_texts_are_cut_after_the_pieces_of_a_window(bert, room):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    items = [TextItem(text, "a") for text in TEXTS]
    are_long = long.find_long(items, tokenizer, room)
    for item, done, is_long in zip(items, long.cut(items, tokenizer, room), are_long):
        whole, kept = tokenizer.tokenize(item.text), tokenizer.tokenize(done.text)
        assert is_long == (len(whole) > room)
        assert kept == whole[:room]
        assert item.text.startswith(done.text)
        assert is_long or done == item


@pytest.mark.parametrize("contender", long.CONTENDERS)
def test_contenders_differ_in_how_windows_are_combined_alone(tmp_path, bert, contender):
    nlp = spacy.blank("en")
    items = [TextItem(f"text {i}", "ab"[i % 2]) for i in range(32)]
    DocBin(docs=[ours.make_gold(nlp, item) for item in items]).to_disk(tmp_path / "train.spacy")
    task = TASKS["bbc_news"]
    settings = (str(bert), 0, tmp_path)
    plain = ours.make_config(task, *settings, long.RECIPE)
    config = ours.make_config(task, *settings, long.CONTENDERS[contender])
    found = config["components"]["bert_textcat"]["model"]
    before = plain["components"]["bert_textcat"]["model"]
    if contender == "all pieces":
        assert found.pop("pooling") == "mean" != before.pop("pooling")
    else:
        wanted = "mean" if contender == long.HEAD_ONLY else contender
        assert found.pop("windows") == wanted
        del before["windows"]
    assert config.to_str() == plain.to_str()


ITEMS = {
    "train": [TextItem("anna was in paris", "x")] * 3,
    "dev": [TextItem("the team won", "y"), TextItem("anna", "x")],
    "test": [TextItem("bob lives in london", "x"), TextItem("anna", "x"), TextItem("bob", "y")],
}


@pytest.fixture
def call(monkeypatch, bert, tmp_path):
    """Run the comparison on windows of two pieces, without training; all answers are "x"."""
    given = []

    def fine_tune(task, splits, weights, seed, overrides):
        given.append((splits["train"][0].text, task.max_pieces, task.epochs, seed))
        if len(given) == 4:
            raise KeyboardInterrupt

    def load(self, data):
        return {name: list(items) for name, items in ITEMS.items()}

    monkeypatch.setattr(ours, "fine_tune", fine_tune)
    monkeypatch.setattr(ours, "predict", lambda nlp, task, items: ["x"] * len(items))
    monkeypatch.setattr(TASKS["bbc_news"].__class__, "load", load)
    out = tmp_path / "long.jsonl"

    def run(*more):
        args = ["--out", str(out), "--weights", str(bert), "--tasks", "bbc_news", *more]
        args += ["--contenders", "head only", "max", "--max-pieces", "4"]
        monkeypatch.setattr(sys, "argv", ["long", *args])
        long.main()
        return [json.loads(line) for line in out.read_text().splitlines()]

    return given, run


def test_runs_go_on_where_they_stopped(call, capsys):
    given, run = call
    more = ("--data", "none", "--seeds", "0", "1", "--epochs", "2", "--limit", "2")
    with pytest.raises(KeyboardInterrupt):
        run(*more)
    rows = run(*more)
    assert "bbc_news, test: 1 of 3 texts over 2 pieces" in capsys.readouterr().out
    # The fourth was broken off, and came again.
    assert given == [
        ("anna was", 4, 2, 0),
        ("anna was in paris", 4, 2, 0),
        ("anna was", 4, 2, 1),
        ("anna was in paris", 4, 2, 1),
        ("anna was in paris", 4, 2, 1),
    ]
    assert [(row["contender"], row["seed"]) for row in rows] == [
        ("head only", 0),
        ("max", 0),
        ("head only", 1),
        ("max", 1),
    ]
    for row in rows:
        assert (row["train"], row["n_long_train"], row["n_long_dev"]) == (2, 2, 1)
        assert (row["dev"], row["test_all"], row["test_long"]) == (50.0, 66.67, 100.0)
    assert run(*more) == rows
    assert len(given) == 5


def test_the_table_holds_mean_and_spread(call, capsys):
    _, run = call
    run("--data", "none", "--seeds", "0", "--limit-test", "1", "--limit-dev", "1")
    capsys.readouterr()
    row = run("--table")[0]
    row |= {"seed": 1, "test_all": row["test_all"] - 4, "test_long": None}
    row |= {"train_cpu_seconds": 10.0, "test_cpu_seconds": 2.0}
    other = {**row, "seed": 2, "test_all": row["test_all"] - 4, "contender": "max"}
    third = {**row, "seed": 3, "test_all": row["test_all"] + 2}
    lines = [
        [x.strip() for x in line.strip("|").split("|")]
        for line in long.make_table([row, other, third])
    ]
    assert lines[0][4:7] == ["train (long)", "test (long)", "windows"]
    assert lines[2][4:] == [
        "3 (3)",
        "1 (1)",
        "head only",
        "2",
        "0.0",
        "97.0",
        "1.4",
        "",
        "",
        "10.0",
        "2.0",
    ]
    assert lines[3][6:11] == ["max", "1", "0.0", "92.0", ""]
    assert len({len(line) for line in lines}) == 1


def test_reader_splits_at_the_first_tab_alone(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("sport\tone\ttwo\u2028three\n\ntech\tfour\n", encoding="utf8")
    assert read_cnews(path) == [TextItem("one\ttwo\u2028three", "sport"), TextItem("four", "tech")]


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no data sets at {DATA}; set BERT_SPACY_DATA to their folder"
)
@pytest.mark.parametrize(("name", "n_labels"), [("bbc_news", 5), ("thucnews_fulltext", 9)])
def test_the_sets_hold_long_texts(name, n_labels):
    splits = TASKS[name].load(DATA)
    for items, file_ in zip(splits.values(), TASKS[name].files):
        raw = (DATA / name / file_).read_bytes()
        assert len(items) == raw.count(b"\t") == len(raw.splitlines())
        assert len({item.label for item in items}) == n_labels
        # A piece is at least a character of Chinese, and seldom half a word of English.
        size = [len(x.text) if name[0] == "t" else len(x.text.split()) for x in items]
        assert sum(n > 512 for n in size) / len(size) > 0.1
