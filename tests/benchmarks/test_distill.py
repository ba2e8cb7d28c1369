import json

import pytest

from benchmarks import distill

SCORES = {
    "metric": "accuracy",
    "dev": 90.0,
    "test": 90.0,
    "layers": 2,
    "mb": 1.0,
    "docs_per_second": 1.0,
    "cpu_seconds": 1.0,
}


@pytest.fixture
def measure(tmp_path, monkeypatch):
    """Run the benchmark, and return the systems that it measured and their folders."""
    calls = []

    def run(task, seed, system, args):
        calls.append((system, distill.folder_of(args, task.name, seed, system)))
        return SCORES

    def main(*options):
        calls.clear()
        places = ["--data", tmp_path, "--out", tmp_path / "rows.jsonl", "--work", tmp_path / "work"]
        fixed = ["--tasks", "SST-2", "--seeds", "0", *options]
        monkeypatch.setattr("sys.argv", ["distill.py", *map(str, places), *fixed])
        distill.main()
        return list(calls)

    monkeypatch.setattr(distill, "run", run)
    monkeypatch.setattr(distill.torch, "set_num_threads", lambda n: None)
    return main


@pytest.mark.parametrize(
    ("option", "value", "students_only"),
    [
        ("--limit", "20", False),
        ("--teacher", "a/b", False),
        ("--layers", "3", True),
        ("--passes", "2", True),
        ("--rate", "2e-4", True),
        ("--dropout", "0", True),
    ],
)
def test_a_trial_is_no_result_of_another_run(measure, tmp_path, option, value, students_only):
    trial = dict(measure(option, value))
    full = dict(measure())
    assert set(trial) == {"teacher", "distilled", "undistilled"}
    assert set(full) == set(trial) - ({"teacher"} if students_only else set())
    assert all(full[name] != trial[name] for name in ("distilled", "undistilled"))
    assert measure() == measure(option, value) == []


def test_a_variant_is_of_its_model(measure):
    assert [name for name, _ in measure("--augment", "m")][-1] == "augmented"
    assert [name for name, _ in measure("--augment", "n")] == ["augmented"]
    assert measure("--augment", "m") == []


def test_rows_of_before_are_those_of_full_runs(measure, tmp_path, capsys):
    rows = [
        {"task": "SST-2", "seed": 0, "system": system, "init": "teacher", **SCORES}
        for system in (*distill.SYSTEMS, distill.AUGMENTED)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert measure("--augment", "m") == []
    assert json.loads(capsys.readouterr().out)["test_augmented"] == 90.0
