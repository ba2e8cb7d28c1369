"""The speed benchmark's own parts: statistics, table, files, texts, and the worker's protocol."""

import io
import json
import sys
import types

import numpy as np
import pytest

from benchmarks import texts, worker
from benchmarks.build import find_reason
from benchmarks.contenders.ours import load
from benchmarks.contest import (
    Contender,
    ContenderError,
    Worker,
    compare_answers,
    disagreements,
    run_in_turn,
)
from benchmarks.table import Result, format_table, from_json, ratios, row_cells, to_json, write_json
from bert_spacy.nn import backends
from tests.util import make_nlp


def word_ends(text: str) -> list[int]:
    """A tokenizer whose pieces are words."""
    ends, at = [], 0
    for word in text.split():
        at = text.index(word, at) + len(word)
        ends.append(at)
    return ends


# Statistics and table.


def test_the_ratio_is_the_median_over_rounds_and_not_that_of_medians():
    ours, theirs = [10.0, 20.0, 90.0], [10.0, 5.0, 30.0]
    result = Result("a", "x", "y", 2.0, rounds=ratios(ours, theirs))
    assert result.rounds == [1.0, 4.0, 3.0]
    assert result.ratio == 3.0
    assert result.is_met


def test_sides_with_different_numbers_of_rounds_are_refused():
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    "rounds, target, is_share, met",
    [
        ([1.5], 1.5, False, True),
        ([1.49], 1.5, False, False),
        ([0.1], 0.1, True, True),
        ([0.2], 0.1, True, False),
        ([], 1.0, False, None),
        ([2.0], None, False, None),
    ],
)
def test_targets(rounds, target, is_share, met):
    assert Result("a", "x", "y", target, is_share, rounds).is_met is met


def test_row_cells():
    row = Result("a", "pipe", "other", 4.3, rounds=[4.0, 5.0, 12.0])
    assert row_cells(row) == ("pipe", "other", "5.00x", "4.00x to 12.0x", "at least 4.30x (met)")
    share = Result("b", "outside", "-", 0.1, True, [0.125])
    assert row_cells(share) == (
        "outside",
        "-",
        "12.5 %",
        "12.5 % to 12.5 %",
        "under 10.0 % (missed)",
    )
    empty = Result("c", "pipe", "other", 2.0, reason="no such package")
    assert row_cells(empty) == ("pipe", "other", "-", "-", "at least 2.00x")


def test_the_table_says_why_a_row_is_empty_and_where_answers_differ():
    rows = [
        Result("a", "x", "y", reason="pip failed"),
        Result("b", "x", "z", rounds=[1.0], problems=["answers differ: label by 0.5, allowed 0"]),
    ]
    table = format_table(rows)
    assert "a: not measured: pip failed" in table
    assert "b: answers differ: label by 0.5, allowed 0" in table
    lines = table.split("\n")[:4]
    assert len({len(line) for line in lines}) == 1


def test_json_comes_back_and_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    rows = [Result("a", "x", "y", 2.0, rounds=[1.0, 3.0], differences={"hidden": 1e-6})]
    write_json(path, {"rows": to_json(rows)})
    data = json.loads(path.read_text())
    assert data["rows"][0]["ratio"] == 2.0
    assert from_json(data["rows"]) == rows
    with pytest.raises(TypeError):
        write_json(path, {"rows": object()})
    assert json.loads(path.read_text()) == data
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


# Comparison of answers.


def test_answers_are_compared_by_norm_or_by_share():
    ours = {"h": np.array([3.0, 4.0]), "label": np.array(["a", "b", "c", "d"]), "mine": np.zeros(1)}
    theirs = {"h": np.array([3.0, 0.0]), "label": np.array(["a", "b", "c", "x"])}
    found = compare_answers(ours, theirs)
    assert found == {"h": pytest.approx(4 / 3), "label": 0.25}
    assert disagreements(found, {"h": 2.0, "label": 0.25}) == []
    assert disagreements(found, {"h": 2.0}) == ["answers differ: label by 0.25, allowed 0"]


def test_other_shapes_and_not_a_number_never_agree():
    found = compare_answers(
        {"h": np.zeros(2), "n": np.full(2, np.nan)}, {"h": np.zeros(3), "n": np.ones(2)}
    )
    assert len(disagreements(found, {"h": 1e9, "n": 1e9})) == 2


def test_nothing_in_common_is_a_problem():
    assert disagreements(compare_answers({"a": np.zeros(1)}, {"b": np.zeros(1)}), {}) == [
        "no answers that could be compared"
    ]


# Texts.


CORPUS = [f"word{i} " * (5 + i % 7) for i in range(40)]


def test_texts_from_the_corpus_have_the_lengths_and_are_the_same_each_time():
    found = texts.make_texts(400, None, CORPUS, word_ends)
    assert found == texts.make_texts(400, None, CORPUS, word_ends)
    lengths = [len(word_ends(text)) for text in found]
    assert max(lengths) <= texts.MOST_PIECES
    assert 68 < np.mean(lengths) < 90
    assert sum(length < 40 for length in lengths) > 200


def test_texts_from_pools_keep_the_shares():
    pools = {"sentence": ["s"], "paragraph": ["p p"], "news": ["n " * 900]}
    found = texts.make_texts(200, pools, [], word_ends)
    assert [sum(t[0] == x for t in found) for x in "spn"] == [120, 71, 9]
    assert max(len(word_ends(text)) for text in found) == texts.MOST_PIECES


def test_texts_of_one_length():
    found = texts.texts_of_length(CORPUS, 32, 320, word_ends)
    assert [len(word_ends(text)) for text in found] == [32] * 10


def test_training_batches_hold_texts_of_similar_length_once_each():
    lines = ["w " * n for n in np.random.default_rng(0).integers(1, 60, 64)]
    batches = texts.make_batches(lines, 16, word_ends)
    assert sorted(i for batch in batches for i in batch) == list(range(64))
    spans = sorted((min(len(lines[i]) for i in b), max(len(lines[i]) for i in b)) for b in batches)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))


def test_questions_of_the_corpus():
    rows = texts.read_questions(texts.ROOT / "corpus")
    assert len(rows) > 20
    assert all(row["question"] and row["context"] for row in rows)


# The protocol, with a contender that works in no time.


class Fake:
    def __init__(self, settings):
        if "broken" in settings:
            raise RuntimeError(settings["broken"])
        self.units = settings["units"]

    def answers(self):
        return {"label": np.array(["a", "b"])}

    def run(self, times=1):
        print("noise on standard output")
        return self.units * times


def serve(*requests):
    """Answer requests inside of this process."""
    out = io.StringIO()
    worker.serve(io.StringIO("\n".join(json.dumps(r) for r in requests)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def fake(monkeypatch):
    module = types.ModuleType("fake_contender")
    module.Fake = Fake
    monkeypatch.setitem(sys.modules, "fake_contender", module)
    return {"do": "start", "module": "fake_contender", "name": "Fake"}


def test_a_worker_starts_answers_and_runs(fake, tmp_path):
    path = str(tmp_path / "answers.npz")
    start = {**fake, "settings": {"units": 5}}
    found = serve(
        start,
        {"do": "answers", "path": path},
        {"do": "run"},
        {"do": "run", "arguments": {"times": 3}},
    )
    assert all(answer["ok"] for answer in found)
    assert [answer["units"] for answer in found[2:]] == [5, 15]
    assert found[2]["seconds"] >= 0
    with np.load(path) as file:
        assert file["label"].tolist() == ["a", "b"]


def test_a_contender_that_fails_gives_its_reason_in_one_line(fake):
    (answer,) = serve({**fake, "settings": {"broken": "no\n such package"}})
    assert answer == {"ok": False, "reason": "RuntimeError: no such package"}


@pytest.fixture
def process(tmp_path):
    """Start a process whose contender is a class in a module of the tests."""
    workers = []

    def start(name, **settings):
        contender = Contender(name, "common_fake", "Fake")
        workers.append(Worker(contender, settings, tmp_path, sys.executable))
        return workers[-1]

    yield start
    for one in workers:
        one.close()


CODE = """
import os
import numpy as np
class Fake:
    def __init__(self, settings):
        if settings.get("dies"):
            os._exit(3)
        self.settings = settings
    def answers(self):
        return {"x": np.ones(2)}
    def run(self):
        print("noise")
        if self.settings.get("fails"):
            raise ValueError("out of luck")
        return 7
"""


@pytest.fixture
def fake_module(monkeypatch, tmp_path):
    """Put a module where `benchmarks.contenders` is looked for in the process."""
    path = texts.ROOT / "benchmarks" / "contenders"
    folder = tmp_path / "root" / "benchmarks"
    (folder / "contenders").mkdir(parents=True)
    (folder / "contenders" / "__init__.py").write_text("")
    (folder / "contenders" / "common_fake.py").write_text(CODE)
    (folder / "worker.py").write_text((path.parent / "worker.py").read_text(encoding="utf8"))
    monkeypatch.setattr("benchmarks.contest.ROOT", tmp_path / "root")
    monkeypatch.setattr("benchmarks.contest.PAUSE", 0)


def test_processes_run_in_turn_and_one_that_fails_drops_out(fake_module, process):
    good, bad = process("good"), process("bad", fails=True)
    good.wait()
    bad.wait()
    assert good.answers()["x"].tolist() == [1.0, 1.0]
    runs, failed = run_in_turn({"good": good, "bad": bad}, 2)
    assert [run["units"] for run in runs["good"]] == [7, 7]
    assert failed == {"bad": "ValueError: out of luck"}


def test_a_process_that_dies_is_reported(fake_module, process):
    dead = process("dead", dies=True)
    with pytest.raises(ContenderError, match="its process ended with 3"):
        dead.wait()


def test_every_row_names_contenders_of_its_group():
    rows = pytest.importorskip("benchmarks.speed_rows")
    names = [row.id for group in rows.GROUPS for row in group.rows]
    assert len(names) == len(set(names))
    for group in rows.GROUPS:
        known = {contender.name for contender in group.contenders}
        for row in group.rows:
            assert {row.ours, *([row.theirs] if row.theirs else [])} <= known


def test_a_contender_that_would_not_run_as_its_row_says_drops_out(bert, tmp_path, monkeypatch):
    nlp = make_nlp(bert, precision="bf16")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    settings = {"pipeline": str(tmp_path), "precision": "bf16"}
    monkeypatch.setattr(backends, "has_bfloat16", lambda kind: False)
    monkeypatch.setattr(backends, "warn_no_bfloat16", lambda kind: None)
    with pytest.raises(ValueError, match="lacks what bf16 needs.*predicts in torch fp32"):
        load(settings)
    exact = {"components": {"bert_encoder": {"model": {"precision": "fp32"}}}}
    assert load({"pipeline": str(tmp_path), "config": exact}).pipe_names == ["bert_encoder"]


def test_rows_of_less_precision_claim_it():
    rows = pytest.importorskip("benchmarks.speed_rows")
    found = {
        contender.name: contender.settings["precision"]
        for group in rows.GROUPS
        for contender in group.contenders
        if "precision" in contender.settings
    }
    assert found == {
        name: name.split("-")[1]
        for name in ("ours-bf16", "ours-int8", "ner-int8", "qa-int8", "share-int8")
    }


def test_the_reason_of_a_failed_command_is_read_in_full():
    wrapped = "\n✘ Can't optimize x\n[B647] Cannot measure it\nhere.\n\n"
    assert find_reason(wrapped) == "[B647] Cannot measure it here."
    assert find_reason("Traceback\n  KeyError: x\n") == "KeyError: x"
    assert find_reason("") == "no message"
