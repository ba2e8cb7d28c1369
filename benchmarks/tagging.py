"""Compare all kinds of taggers on CLUENER and CoNLL-2003: scheme, BiLSTM, CRF, transitions.

    python -m benchmarks.tagging --data DIR --out tagging.jsonl --table --chart tagging.png

Each run is one line of JSON in --out; runs that stand there are not done again, so that a stopped
comparison goes on. --table and --chart show what is there once the runs asked for are done; with
--seeds and nothing behind it none is. The recipe is that of `accuracy.py` without --plain.

Kinds of transitions:

- `softmax`: no CRF, each token for itself;
- `learned`: a CRF whose transitions are learned from 0 under hard constraints, the default;
- `counted`: fixed at the logs of their frequencies in the training data;
- `tuned`: learned from these;
- `free`: learned from 0 without hard constraints.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours
from benchmarks.rows import Row, add_row, read_rows
from benchmarks.tasks import TASKS, main_score

SCHEMES = ("bio", "bioes", "biox")
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"use_crf": False},
    "learned": {},
    "counted": {"transitions": "counted"},
    "tuned": {"transitions": "tuned"},
    "free": {"constraints": False},
}
LSTM_WIDTH = 128
NAMES = ("task", "weights", "limit", "scheme", "lstm", "kind", "seed")


def main() -> None:
    """Do the runs that are missing, then show all."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = read_rows(args.out)
    wanted = list(list_runs(args))
    missing = [run for run in wanted if key(run) not in {key(row) for row in rows}]
    print(f"{len(wanted)} runs, {len(wanted) - len(missing)} of them done before", flush=True)
    for i, run in enumerate(missing, 1):
        print(f"{i}/{len(missing)}: {json.dumps(run)}", flush=True)
        rows.append(measure(run, args.data))
        add_row(args.out, rows[-1])
    if args.table:
        print(format_table(rows))
    if args.chart:
        # Only with a chart: matplotlib is an extra.
        from benchmarks.chart import draw_groups

        draw_groups(
            find_bars(rows), "entity F1 on test (bar: mean; line: lowest to highest)", args.chart
        )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder with one folder per set.")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each run.")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=["cluener", "conll2003"])
    parser.add_argument("--schemes", nargs="*", choices=SCHEMES, default=SCHEMES)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--lstm", nargs="*", choices=["off", "on"], default=["off", "on"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", help="Alias, folder or hub name; default: the task's own.")
    parser.add_argument("--limit", type=int, help="Only so many items of each split, for a trial.")
    parser.add_argument("--threads", type=int, default=2, help="Threads that torch may use.")
    parser.add_argument("--table", action="store_true", help="Print the means as Markdown.")
    parser.add_argument("--chart", type=Path, help="Draw the means in a PNG file.")
    return parser.parse_args()


def list_runs(args: argparse.Namespace) -> Iterator[Row]:
    """Yield what is to be run, all settings of a seed before the next seed."""
    for seed, task, scheme, lstm, kind in itertools.product(
        args.seeds, args.tasks, args.schemes, args.lstm, args.kinds
    ):
        weights = args.weights or TASKS[task].weights
        yield dict(zip(NAMES, (task, weights, args.limit, scheme, lstm == "on", kind, seed)))


def key(row: Row) -> tuple[Any, ...]:
    """Return what makes a run the same as another."""
    return tuple(row[name] for name in NAMES)


def measure(run: Row, data: Path) -> Row:
    """Train and score; return the run with its scores and seconds."""
    task = TASKS[run["task"]]
    splits = {name: items[: run["limit"]] for name, items in task.load(data).items()}
    model = {
        "scheme": run["scheme"],
        "lstm_width": LSTM_WIDTH if run["lstm"] else 0,
        **KINDS[run["kind"]],
    }
    overrides = {f"components.bert_ner.model.{name}": value for name, value in model.items()}
    began = time.perf_counter()
    dev, test = ours.run(task, splits, run["weights"], run["seed"], overrides)
    seconds = round(time.perf_counter() - began, 1)
    scores = {"dev": round(main_score(dev), 2), "test": round(main_score(test), 2)}
    return {**run, **scores, "seconds": seconds}


def group(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Gather runs that differ in nothing but the seed, in the order of the settings."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    order = (list(TASKS), SCHEMES, list(KINDS))

    def place(row: Row) -> tuple[Any, ...]:
        names = zip(order, (row["task"], row["scheme"], row["kind"]))
        task, scheme, kind = (some.index(name) for some, name in names)
        return task, row["weights"], row["limit"] or 0, scheme, row["lstm"], kind

    for row in sorted(rows, key=place):
        found.setdefault(key(row)[:-1], []).append(row)
    return found


def format_table(rows: Sequence[Row]) -> str:
    """Format means and spreads as Markdown, one row for each setting of each task.

    rows (Sequence[Row]): From `read_rows`.
    RETURNS (str): Spread is lowest to highest over the seeds.
    """
    lines = [
        "| task | weights | scheme | BiLSTM | transitions | dev F1 | test F1 | lowest to highest "
        "| seeds | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (task, weights, limit, scheme, lstm, kind), runs in group(rows).items():
        dev, test, seconds = ([run[name] for run in runs] for name in ("dev", "test", "seconds"))
        name = task if limit is None else f"{task} ({limit} items)"
        cells = [name, weights, scheme, "yes" if lstm else "no", kind]
        cells += [f"{statistics.mean(dev):.1f}", f"{statistics.mean(test):.1f}"]
        cells += [f"{min(test):.1f} to {max(test):.1f}", str(len(runs))]
        lines.append("| " + " | ".join([*cells, f"{statistics.mean(seconds):.0f}"]) + " |")
    return "\n".join(lines)


def find_bars(rows: Sequence[Row]) -> dict[str, list[tuple[str, str, list[float]]]]:
    """Return for each task the bars to draw: label, what gives the colour, and test scores."""
    bars: dict[str, list[tuple[str, str, list[float]]]] = {}
    for (task, weights, limit, scheme, lstm, kind), runs in group(rows).items():
        title = f"{task}, {weights}" + ("" if limit is None else f", {limit} items")
        label = f"{scheme}, {kind}" + (", BiLSTM" if lstm else "")
        bars.setdefault(title, []).append((label, scheme, [run["test"] for run in runs]))
    return bars


if __name__ == "__main__":
    main()
