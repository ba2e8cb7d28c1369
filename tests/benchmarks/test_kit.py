import json
import statistics

import pytest
import spacy
from spacy.tokens import DocBin

from benchmarks import kit, ours
from benchmarks.rows import add_row, read_rows
from benchmarks.tasks import TASKS, TextItem


def row(switch, seed, test, cpu, task="SST-2", above=1.0):
    return {
        "task": task,
        "weights": "w",
        "switch": switch,
        "seed": seed,
        "train": 10,
        "dev": test + above,
        "test": test,
        "seconds": 99.0,
        "cpu_seconds": cpu,
    }


def test_table_holds_mean_spread_and_ratio_over_common_seeds():
    rows = [row("plain", seed, 80.0 + seed, 10.0) for seed in (0, 1, 2)]
    rows += [row("averages", 0, 81.0, 11.0, above=3.0), row("averages", 2, 84.0, 13.0, above=5.0)]
    rows += [row("averages", 7, 50.0, 1.0), row("averages", 0, 10.0, 7.0, task="cluener")]
    lines = [[x.strip() for x in line.strip("|").split("|")] for line in kit.make_table(rows)]
    assert lines[2] == ["SST-2", "w", "10", "plain", "3", "82.00", "", "81.00", "1.00", ""]
    spread = f"{statistics.stdev([81.0, 84.0, 50.0]):.2f}"
    mean = f"{(81 + 84 + 50) / 3:.2f}"
    # Seeds 0 and 2, on dev: (84 - 81 + 89 - 83) / 2, and (1.1 + 1.3) / 2.
    assert lines[3][3:] == ["averages", "3", f"{224 / 3:.2f}", "+4.50", mean, spread, "1.20"]
    assert lines[4][3:] == ["averages", "1", "11.00", "", "10.00", "", ""]
    assert lines[0][5:] == ["dev", "dev to plain", "test", "spread", "CPU time"]


def test_what_is_cut_off_is_run_again(tmp_path, capsys):
    path = tmp_path / "kit.jsonl"
    assert read_rows(path) == []
    first, second = row("plain", 0, 80.0, 1.0), row("plain", 1, 81.0, 1.0)
    add_row(path, first)
    with path.open("a", encoding="utf8") as file_:
        file_.write(json.dumps(second)[:20])
    assert read_rows(path) == [first]
    assert "passed over" in capsys.readouterr().err
    add_row(path, second)
    assert read_rows(path) == [first, second]


@pytest.fixture
def root(tmp_path):
    nlp = spacy.blank("en")
    items = [TextItem(f"text {i}", "ab"[i % 2]) for i in range(64)]
    DocBin(docs=[ours.make_gold(nlp, item) for item in items]).to_disk(tmp_path / "train.spacy")
    return tmp_path


@pytest.mark.parametrize("switch", kit.SWITCHES)
def test_switches_change_their_settings_alone(root, bert, switch):
    task, overrides = TASKS["SST-2"], kit.SWITCHES[switch]
    plain = ours.make_config(task, str(bert), 0, root)
    if "components.head.model.crf_lr_multiplier" in overrides:
        with pytest.raises(ours.UnknownSetting, match="crf_lr"):
            ours.make_config(task, str(bert), 0, root, overrides)
        return
    config = ours.make_config(task, str(bert), 0, root, overrides)
    steps = plain["training"]["max_steps"]
    assert steps == task.epochs * 4
    for path, value in overrides.items():
        *sections, name = path.replace(".head.", ".bert_textcat.").split(".")
        there, before = config, plain
        for section in sections:
            there, before = there[section], before[section]
        wanted = value(before[name], steps) if callable(value) else value
        assert there[name] == wanted != before[name]
        there[name] = before[name]
    assert config.to_str() == plain.to_str()
