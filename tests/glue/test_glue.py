"""GLUE in one command, on files written here and with a tiny encoder."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.data.convert.pairs import GLUE
from bert_spacy.glue import run
from bert_spacy.glue.files import Item, read_items, write_predictions
from bert_spacy.glue.run import Recipe, make_table, run_glue
from bert_spacy.glue.tasks import METRICS, TASKS

DATA = Path(os.environ.get("BERT_SPACY_DATA", "../shared")) / "data"
A = ["the team won the game", "anna was in paris", "bob lives in london", "a good film"]
B = ["the team won", "anna was in berlin", "who lives in london", "a bad film"]


def write(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ([header] if header else []) + ["\t".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def data(tmp_path):
    """Return a folder with three small tasks; CoLA's test file has no labels."""
    root = tmp_path / "glue"
    cola = [("src", i % 2, "*", text) for i, text in enumerate(A + B)]
    for part in ("train", "dev"):
        write(root / "CoLA" / f"{part}.tsv", "", cola)
    write(root / "CoLA" / "test.tsv", "index\tsentence", [(7, A[0]), (9, 'an "open film')])
    rte = [(i, a, b, ("entailment", "not_entailment")[i % 2]) for i, (a, b) in enumerate(zip(A, B))]
    for part in ("train", "dev", "test"):
        write(root / "RTE" / f"{part}.tsv", "index\tsentence1\tsentence2\tlabel", rte)
    sts = [(i, "g", a, b, f"{i}.50") for i, (a, b) in enumerate(zip(A, B))]
    header = "index\tgenre\tsentence1\tsentence2\tscore"
    write(root / "STS-B" / "train.tsv", header, sts)
    write(root / "STS-B" / "dev.tsv", header, [*sts, (4, "g", "", "x", "1.0")])
    unlabelled = [(10, "g", A[0], B[0]), (11, "g", A[1]), (12, "g", A[2], B[2])]
    unlabelled += [(13, "g", "", B[3]), (14, "g", "", " ")]
    write(root / "STS-B" / "test.tsv", header.removesuffix("\tscore"), unlabelled)
    return root


def lines_of(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_all_tasks_of_a_folder_by_the_command(data, bert, tmp_path):
    (data / "SST-2").mkdir()
    write(data / "SST-2" / "train.tsv", "sentence\tlabel", [(A[0], 1), (A[1], 0)])  # no dev
    (data / "other").mkdir()
    out = tmp_path / "out"
    args = ["glue", str(data), str(out), "--weights", str(bert), "--epochs", "2"]
    args += ["--max-pieces", "32"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2, done.output

    cola = lines_of(out / "CoLA.tsv")
    assert cola[0] == ["index", "prediction"] and [row[0] for row in cola[1:]] == ["7", "9"]
    assert {row[1] for row in cola[1:]} <= {"0", "1"}
    rte = lines_of(out / "RTE.tsv")
    assert [row[0] for row in rte] == ["index", "0", "1", "2", "3"]
    assert {row[1] for row in rte[1:]} <= {"entailment", "not_entailment"}
    sts = lines_of(out / "STS-B.tsv")
    assert [row[0] for row in sts[1:]] == ["10", "12", "13", "14"]
    values = [float(value) for _, value in sts[1:]]
    assert all(np.isfinite(values))

    results = {
        name: json.loads((out / name / "result.json").read_text())
        for name in ("CoLA", "RTE", "STS-B")
    }
    assert set(results["CoLA"]["dev"]["dev"]) == {"matthews"}
    assert set(results["STS-B"]["dev"]["dev"]) == {"pearson", "spearman"}
    right = sum(row[1] == ("entailment", "not_entailment")[i % 2] for i, row in enumerate(rte[1:]))
    part = results["RTE"]["test"]["RTE.tsv"]
    assert part == {"n": 4, "bad": 0, "scores": {"accuracy": right / 4}}
    assert results["CoLA"]["test"]["CoLA.tsv"]["scores"] == {}
    assert results["STS-B"]["test"]["STS-B.tsv"]["bad"] == 1
    assert results["STS-B"]["n_bad"] == 2
    problems = (out / "STS-B" / "problems.txt").read_text(encoding="utf-8")
    assert "test.tsv:3: 3 columns where 4 are expected" in problems
    assert "dev.tsv:6: " in problems
    assert "test.tsv:5: a text is empty; it is predicted even so" in problems

    table = (out / "results.md").read_text(encoding="utf-8")
    assert "| SST-2 | failed: [B645] Task SST-2" in table and "other" not in table
    assert "4 rows, 1 without a prediction" in table
    assert (out / "RTE" / "training" / "model-best").is_dir()
    assert not (out / "RTE" / "training" / "checkpoints").exists()


def test_a_finished_task_is_skipped_and_other_settings_are_refused(
    data, bert, tmp_path, monkeypatch
):
    for name in ("CoLA", "STS-B"):
        (data / name).rename(tmp_path / name)
    bert = shutil.copytree(bert, tmp_path / "weights")
    recipe = Recipe(str(bert), epochs=1, max_pieces=32)
    (first,) = run_glue(data, tmp_path / "out", recipe)
    calls = []
    monkeypatch.setattr(run, "train", lambda *args, **kwargs: calls.append(args))
    assert run_glue(data, tmp_path / "out", recipe) == [first] and not calls
    (refused,) = run_glue(data, tmp_path / "out", Recipe(str(bert), epochs=2, max_pieces=32))
    assert "B643" in refused["error"] and "epochs" in refused["error"]
    with (data / "RTE" / "train.tsv").open("a", encoding="utf-8") as file_:
        file_.write("9\ta\tb\tentailment\n")
    (refused,) = run_glue(data, tmp_path / "out", recipe)
    assert "B643" in refused["error"] and "train.tsv" in refused["error"] and not calls
    with (bert / "model.safetensors").open("ab") as file_:
        file_.write(b"x")
    (refused,) = run_glue(data, tmp_path / "out", recipe)
    assert "the files of weights" in refused["error"] and not calls


def test_checkpoints_of_other_settings_are_not_gone_on_with(data, bert, tmp_path, monkeypatch):
    for name in ("CoLA", "STS-B"):
        (data / name).rename(tmp_path / name)
    seen = []

    def stop(config, output, **kwargs):
        checkpoint = output / "checkpoints" / "step-00000003"
        seen.append(checkpoint.exists())
        if len(seen) in (1, 2):
            checkpoint.mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", stop)
    # The third is stopped before it has checkpoints of its own, and is started again.
    for epochs in (4, 4, 2, 2):
        with pytest.raises(KeyboardInterrupt):
            run_glue(data, tmp_path / "out", Recipe(str(bert), epochs=epochs, max_pieces=32))
    assert seen == [False, True, False, False]


def test_a_task_that_fails_does_not_end_the_others(data, bert, tmp_path, monkeypatch):
    calls = []

    def fail(config, output, **kwargs):
        calls.append(kwargs["resume"])
        raise RuntimeError("no | luck")

    monkeypatch.setattr(run, "train", fail)
    results = run_glue(data, tmp_path / "out", Recipe(str(bert)))
    assert [result["error"] for result in results] == ["no | luck"] * 3
    # What is not finished goes on with the same settings, and begins anew with others.
    run_glue(data, tmp_path / "out", Recipe(str(bert)))
    run_glue(data, tmp_path / "out", Recipe(str(bert), seed=1))
    assert calls == [False] * 3 + [True] * 3 + [False] * 3
    assert "failed: no \\| luck" in (tmp_path / "out" / "results.md").read_text()


def test_nothing_to_do_and_unknown_weights(data, bert, tmp_path):
    (tmp_path / "empty" / "RTE").mkdir(parents=True)
    with pytest.raises(ValueError, match="B644.*CoLA"):
        run_glue(tmp_path / "empty", tmp_path / "out", Recipe(str(bert)))
    done = CliRunner().invoke(app, ["glue", str(data), str(tmp_path / "out"), "--weights", "./no"])
    assert done.exit_code == 1 and "B804" in done.output
    assert not (tmp_path / "out").exists()


def test_files_with_and_without_labels(tmp_path):
    path = tmp_path / "x.tsv"
    write(path, "", [("gj04", 1, "", "They drank."), ("gj04", 0, "*", "They drank the.")])
    items, problems = read_items(path, TASKS["CoLA"])
    wanted = [Item("0", ("They drank.",), "1"), Item("1", ("They drank the.",), "0")]
    assert items == wanted and not problems
    write(path, "id\tquestion1\tquestion2", [(5, "a", "b")])
    assert read_items(path, TASKS["QQP"])[0] == [Item("5", ("a", "b"), None)]
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    write(path, header, [(1, 8, 9, "a", "b"), ("", 8, 9, "c", "d"), (0, 8, 9, "e", "f")])
    items, problems = read_items(path, TASKS["MRPC"])
    wanted = [Item("0", ("a", "b"), "1"), Item("1", ("c", "d"), None), Item("2", ("e", "f"), "0")]
    assert items == wanted
    assert [(problem.line, problem.kind) for problem in problems] == [(3, "no gold")]
    header = "index\tsentence1\tsentence2\tscore"
    write(path, header, [(0, "a", "b", "nan"), (1, "a", "b", "4.600"), (2, "a", " ", 1)])
    items, problems = read_items(path, TASKS["STS-B"])
    wanted = [Item("0", ("a", "b"), None), Item("1", ("a", "b"), 4.6), Item("2", ("a", ""), 1.0)]
    assert items == wanted
    assert [(p.line, p.kind) for p in problems] == [(2, "no gold"), (4, "empty text")]
    path.write_bytes(b"index\tsentence\n0\t\xff\n1\tok\n")
    items, problems = read_items(path, TASKS["SST-2"])
    assert [item.index for item in items] == ["1"]
    assert problems[0].reason == "not valid UTF-8"
    write(path, "a\tb", [])
    for name in ("RTE", "CoLA"):
        with pytest.raises(ValueError, match="B646.*sentence"):
            read_items(path, TASKS[name])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("CoLA", "cats_macro_f"), ("RTE", "cats_micro_f"), ("STS-B", "regression_score")],
)
def test_one_score_chooses_the_epoch(bert, tmp_path, name, wanted):
    config = run.make_config(TASKS[name], Recipe(str(bert), epochs=3), tmp_path, 33)
    weights = config["training"]["score_weights"]
    assert {key for key, value in weights.items() if value} == {wanted}
    assert (config["training"]["eval_frequency"], config["training"]["max_steps"]) == (3, 9)


def test_prediction_files(tmp_path):
    items = [Item("3", ("a",), None), Item("4", ("b",), None)]
    write_predictions(tmp_path / "x.tsv", items, [2.5, -0.12345])
    text = (tmp_path / "x.tsv").read_bytes()
    assert text == b"index\tprediction\n3\t2.5000\n4\t-0.1235\n"


def test_each_task_can_be_converted_and_has_official_names():
    assert set(TASKS) == set(GLUE) - {"SNLI"}
    for name, task in TASKS.items():
        if name != "CoLA":
            assert task.columns == GLUE[name].texts
    files = [file_ for task in TASKS.values() for file_ in task.test_files]
    wanted = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI"]
    assert files == [f"{name}.tsv" for name in wanted]
    assert TASKS["MNLI"].test_files["MNLI-mm.tsv"] == "test_mismatched.tsv"


def test_metrics_against_numpy_and_by_hand():
    rng = np.random.default_rng(0)
    gold, guess = ["".join(map(str, rng.integers(0, 2, 50))) for _ in range(2)]
    wanted = np.corrcoef([int(x) for x in gold], [int(x) for x in guess])[0, 1]
    assert METRICS["matthews"](gold, guess) == pytest.approx(wanted)
    assert METRICS["matthews"](gold, "1" * 50) == 0.0
    assert METRICS["matthews"]("11", "10") is None
    assert METRICS["accuracy"](["a", "b", "c"], ["a", "b", "x"]) == pytest.approx(2 / 3)
    assert METRICS["f1"](list("1101"), list("1011")) == pytest.approx(2 * 2 / (3 + 3))
    assert METRICS["f1"](["0"], ["0"]) is METRICS["accuracy"]([], []) is None


def test_the_table_shows_both_parts_of_mnli():
    result = {
        "task": "MNLI",
        "n_train": 9,
        "n_bad": 0,
        "dev": {"m": {"accuracy": 0.5}, "mm": {"accuracy": None}},
        "test": {},
    }
    table = make_table([result], Recipe())
    assert "| MNLI | 9 | m: accuracy 50.00; mm: accuracy - | no file | 0 |" in table


@pytest.mark.parametrize("name", ["CoLA", "SST-2", "MRPC", "STS-B", "QNLI", "RTE"])
def test_real_files_are_read_whole(name):
    path = DATA / "glue" / name / "test.tsv"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set BERT_SPACY_DATA")
    items, problems = read_items(path, TASKS[name])
    n_lines = path.read_text(encoding="utf-8").count("\n") - (name != "CoLA")
    assert len(items) == n_lines > 100 and not problems
    assert all(item.gold is not None for item in items)
