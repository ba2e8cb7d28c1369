"""The table of the family: which runs there are, that they go on, and what is shown."""

import json
import sys

import pytest

from benchmarks import family, ours
from benchmarks.rows import read_rows
from tests.elmo import make_elmo


@pytest.fixture
def call(monkeypatch, tmp_path, tiny_folder):
    """Return a function that runs the command on tiny models, with stand-ins for what takes long.

    Scores follow from the settings, and the second of all trainings is killed.
    """
    done = []

    def run(task, splits, weights, seed, overrides):
        done.append((task.name, weights, overrides))
        if len(done) == 2:
            raise KeyboardInterrupt
        return 1.0, {"accuracy": 50.0 + seed, "f1": 0.0} if "albert" in weights else 60.0

    def measure_speed(models, lang, args):
        speeds = {"albert": [40.0, 44.0, 42.0], "bert": [20.0, 20.0, 21.0]}
        return {"texts_per_second": {model.name: speeds[model.name] for model in models}}

    monkeypatch.setattr(ours, "run", run)
    monkeypatch.setattr(family, "measure_speed", measure_speed)
    monkeypatch.setattr(type(family.TASKS["afqmc"]), "load", lambda self, data: {"train": [1, 2]})
    models = [f"{name}=zh:{tiny_folder(name)}" for name in ("albert", "bert")]

    def call(*more):
        args = ["--out", str(tmp_path / "rows.jsonl"), "--work", str(tmp_path / "work"), *more]
        if "--table" not in more:
            args += ["--data", "none", "--models", *models]
        monkeypatch.setattr(sys, "argv", ["family", *args])
        family.main()
        return done

    return call


def test_runs_go_on_and_become_a_table(call, tmp_path, capsys, tiny_folder):
    asked = ["--tasks", "afqmc", "SST-2", "--seeds", "0", "1"]
    with pytest.raises(KeyboardInterrupt):
        call(*asked)
    kinds = [row["what"] for row in read_rows(tmp_path / "rows.jsonl")]
    assert kinds == ["size", "size", "speed", "score"]
    done = call(*asked)
    # Two seeds of two models, one of them twice; SST-2 is not for Chinese weights.
    assert [name for name, *_ in done] == ["afqmc"] * 5
    assert len(call(*asked)) == 5
    rate = "training.optimizer.learn_rate.initial_rate"
    rates = {weights: overrides[rate] for _, weights, overrides in done}
    assert rates == {str(tiny_folder("albert")): 1e-4, str(tiny_folder("bert")): 5e-5}
    capsys.readouterr()
    call("--table")
    heads, _, *lines = capsys.readouterr().out.splitlines()
    assert heads.endswith("| speed | afqmc (accuracy) |")
    albert, bert = ([x.strip() for x in line.strip("| ").split("|")] for line in lines)
    assert albert[:2] == ["albert", "zh"]
    # Round by round it is 2, 2.2 and 2 times as fast.
    assert albert[5:] == ["42", "2.00x", "50.5 (50.0 to 51.0)"]
    assert bert[5:] == ["20", "1.00x", "60.0 (60.0 to 60.0)"]
    config = json.loads((tiny_folder("bert") / "config.json").read_text())
    assert bert[4] == f"{config['num_hidden_layers']} x {config['hidden_size']}"
    size = sum(path.stat().st_size for path in tiny_folder("bert").iterdir())
    assert bert[2] == f"{size / 1e6:.1f}"
    call("--table", "--baseline", "albert")
    assert "| 1.00x | 50.5" in capsys.readouterr().out
    # A trial has a column of its own.
    call(*asked, "--limit", "1")
    capsys.readouterr()
    call("--table")
    assert "| afqmc (accuracy) | afqmc (accuracy, 1 items) |" in capsys.readouterr().out


def test_models_are_aliases_or_folders(tiny_folder, tmp_path):
    folder = tiny_folder("bert")
    assert family.find_model(f"a=en:{folder}", tmp_path) == family.Model("a", "en", folder)
    inner = tmp_path / "pipeline" / "bert_encoder" / "encoder"
    inner.mkdir(parents=True)
    (inner / "config.json").write_text('{"model_type": "elmo"}', encoding="utf8")
    model = family.find_model(f"a=zh:{tmp_path / 'pipeline'}", tmp_path)
    assert model.folder == inner
    assert model.settings["@architectures"] == "bert-spacy.ElmoEncoder.v1"
    assert model.overrides["components.bert_encoder.model"] == model.settings
    for bad in ("minilm", f"a={folder}", f"a=fr:{folder}", f"a=zh:{tmp_path}"):
        with pytest.raises(SystemExit, match="no model"):
            family.find_model(bad, tmp_path)


@pytest.mark.slow
def test_speed_is_measured_in_turn(tiny_folder, tmp_path, monkeypatch):
    """The processes are real, the texts are few."""
    monkeypatch.setattr(family, "speed_texts", lambda lang, n: ["a good film"] * n)
    monkeypatch.setattr(sys, "argv", ["family", "--out", "x", "--data", "x", "--texts", "4"])
    args = family.parse_args()
    args.work, args.rounds, args.threads = tmp_path, 2, 1
    elmo = make_elmo(tmp_path / "elmo")
    models = [family.Model("a", "en", tiny_folder("bert")), family.Model("b", "en", elmo)]
    found = family.measure_speed(models, "en", args)["texts_per_second"]
    assert list(found) == ["a", "b"]
    assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in found.values())
