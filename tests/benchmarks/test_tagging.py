"""The comparison of taggers: which runs there are, that they go on, and what is shown."""

import json
import sys

import pytest

pytest.importorskip("matplotlib")

from benchmarks import ours, tagging
from benchmarks.rows import read_rows

BASE = ["--data", "none", "--schemes", "bio", "biox", "--kinds", "softmax", "tuned", "--seeds"]


@pytest.fixture
def runs(monkeypatch):
    """Stand in for training; the score follows from the settings."""
    done = []

    def run(task, splits, weights, seed, overrides):
        done.append((task.name, seed, overrides))
        if len(done) == 5:
            raise KeyboardInterrupt
        crf = overrides.get("components.bert_ner.model.use_crf", True)
        return 10.0 + seed, 20.0 + 2 * seed + 5 * crf

    monkeypatch.setattr(ours, "run", run)
    monkeypatch.setattr(
        tagging.TASKS["cluener"].__class__, "load", lambda self, data: {"train": [1, 2]}
    )
    return done


def call(monkeypatch, tmp_path, *more):
    args = [
        *BASE,
        "0",
        "1",
        "--tasks",
        "cluener",
        "--lstm",
        "off",
        "--out",
        str(tmp_path / "r.jsonl"),
    ]
    monkeypatch.setattr(sys, "argv", ["tagging", *args, *more])
    tagging.main()


def test_runs_go_on_where_they_stopped(runs, monkeypatch, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, tmp_path)
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert len(lines) == 4
    call(monkeypatch, tmp_path, "--table", "--chart", str(tmp_path / "c.png"))
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(row["scheme"], row["kind"], row["seed"]) for row in rows] == [
        (scheme, kind, seed)
        for seed in (0, 1)
        for scheme in ("bio", "biox")
        for kind in ("softmax", "tuned")
    ]
    assert len(runs) == 9
    shown = capsys.readouterr().out
    assert (
        "| cluener | m3e-small-zh | bio | no | softmax | 10.5 | 21.0 | 20.0 to 22.0 | 2 | 0 |"
        in shown
    )
    assert (
        "| cluener | m3e-small-zh | biox | no | tuned | 10.5 | 26.0 | 25.0 to 27.0 | 2 | 0 |"
        in shown
    )
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert runs[0][2]["components.bert_ner.model.scheme"] == "bio"
    call(monkeypatch, tmp_path)
    assert len(runs) == 9


def test_other_items_or_weights_are_other_runs(runs, monkeypatch, tmp_path):
    call(monkeypatch, tmp_path, "--seeds", "0", "--limit", "1", "--kinds", "learned")
    call(monkeypatch, tmp_path, "--seeds", "0", "--weights", "x", "--kinds", "learned")
    rows = read_rows(tmp_path / "r.jsonl")
    assert [(row["limit"], row["weights"]) for row in rows] == [(1, "m3e-small-zh")] * 2 + [
        (None, "x")
    ] * 2
    assert set(tagging.find_bars(rows)) == {"cluener, m3e-small-zh, 1 items", "cluener, x"}
