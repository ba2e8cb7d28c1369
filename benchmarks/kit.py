"""The training kit: each switch against the plain recipe, on several tasks and seeds.

    python benchmarks/kit.py --data DIR --out kit.jsonl
    python benchmarks/kit.py --out kit.jsonl --table

The first writes one JSON line for each run to the file and passes over those that are in it, so
that it can be stopped at any time. The second prints a table of what is there.
"""

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ours  # noqa: E402
from benchmarks.accuracy import round_score  # noqa: E402
from benchmarks.rows import Row, add_row, make_parser, parse_with, read_rows  # noqa: E402
from benchmarks.tasks import TASKS, main_score  # noqa: E402

ENCODER = "components.bert_encoder.model"
RATE = "training.optimizer.learn_rate"
PLAIN, CPU = "plain", "cpu_seconds"


def double(value: Any, _: int) -> Any:
    """Return twice what the recipe says."""
    return 2 * value


# What differs from the recipe; see `ours.Overrides`.
SWITCHES: dict[str, ours.Overrides] = {
    PLAIN: {},
    "twice the epochs": {
        "training.max_steps": double,
        f"{RATE}.total_steps": double,
        f"{RATE}.warmup_steps": double,
    },
    "twice the rate": {f"{RATE}.initial_rate": double},
    "mean of pieces": {"components.head.model.pooling": "mean"},
    "lengths mixed": {"training.batcher.buffer": 1},
    "8 batches sorted": {"training.batcher.buffer": 8},
    "averages": {"training.optimizer.average_decay": 0.99},
    "layerwise decay": {f"{ENCODER}.layerwise_decay": 0.9},
    "unfreezing": {f"{ENCODER}.unfreeze_every": lambda _, steps: max(1, steps // 20)},
    "head rate 3": {"components.head.model.lr_multiplier": 3.0},
    "CRF rate 100": {"components.head.model.crf_lr_multiplier": 100.0},
    "early stopping": {"training.patience": lambda _, steps: max(1, steps // 4)},
    "label smoothing": {"components.bert_textcat.label_smoothing": 0.1},
    "focal loss": {"components.bert_textcat.loss": "focal"},
    "dice loss": {"components.bert_textcat.loss": "dice"},
    "4 drawings of dropout": {"components.bert_textcat.model.dropout_samples": 4},
    "R-Drop": {"components.bert_encoder.r_drop_alpha": 1.0},
    "FGM": {"components.bert_encoder.adversarial": "fgm"},
    "AWP": {"components.bert_encoder.adversarial": "awp"},
    "FGM, averages": {
        "components.bert_encoder.adversarial": "fgm",
        "training.optimizer.average_decay": 0.99,
    },
}
WEIGHTS = {
    "thucnews_titles": "albert-tiny-zh",
    "cluener": "albert-tiny-zh",
    "SST-2": "minilm-l6-en",
}


def main() -> None:
    """Parse the arguments; run what is missing, or print the table."""
    args = parse_args()
    rows = read_rows(args.out)
    if args.table:
        print("\n".join(make_table(rows)))
        return
    torch.set_num_threads(args.threads)
    done = {key_of(row) for row in rows}
    for name in args.tasks:
        task, weights = TASKS[name], args.weights or WEIGHTS.get(name) or TASKS[name].weights
        splits = task.load(args.data)
        splits["train"] = splits["train"][: args.limit]
        for seed in args.seeds:
            for switch in args.switches:
                row: Row = {
                    "task": name,
                    "weights": weights,
                    "switch": switch,
                    "seed": seed,
                    "train": len(splits["train"]),
                }
                if key_of(row) in done:
                    continue
                began, worked = time.perf_counter(), time.process_time()
                try:
                    dev, test = ours.run(task, splits, weights, seed, SWITCHES[switch])
                except ours.UnknownSetting as err:
                    print(f"{switch} is not for {name}: there is no {err}", flush=True)
                    continue
                row |= {"dev": round_score(dev), "test": round_score(test)}
                row["seconds"] = round(time.perf_counter() - began, 1)
                row[CPU] = round(time.process_time() - worked, 1)
                add_row(args.out, row)


def key_of(row: Row) -> tuple[Any, ...]:
    """Say what a run is; two runs with one key are the same."""
    return tuple(row[name] for name in ("task", "weights", "switch", "seed", "train"))


def make_table(rows: Iterable[Row]) -> list[str]:
    """Return Markdown: mean scores of a switch over its seeds, and the spread of that on test.

    Difference and ratio of CPU time are means over the seeds that the plain recipe has as well. The
    difference is one on dev, for a default may not be chosen by test data.

    rows (Iterable[Row]): The runs.
    RETURNS (list[str]): Lines.
    """
    runs: dict[tuple[Any, ...], dict[str, dict[int, Row]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        runs[row["task"], row["weights"], row["train"]][row["switch"]][row["seed"]] = row
    lines = [
        "| task | weights | train | switch | seeds"
        " | dev | dev to plain | test | spread | CPU time |",
        f"|{' --- |' * 10}",
    ]
    for (task, weights, train), switches in runs.items():
        plain = switches.get(PLAIN, {})
        for switch, seeds in switches.items():
            dev = [main_score(row["dev"]) for row in seeds.values()]
            test = [main_score(row["test"]) for row in seeds.values()]
            spread = f"{statistics.stdev(test):.2f}" if len(test) > 1 else ""
            both = [(seeds[seed], plain[seed]) for seed in seeds if seed in plain]
            better = ratio = ""
            if both and switch != PLAIN:
                gains = [main_score(a["dev"]) - main_score(b["dev"]) for a, b in both]
                better = f"{statistics.mean(gains):+.2f}"
                ratio = f"{statistics.mean(a[CPU] / b[CPU] for a, b in both):.2f}"
            cells = [task, weights, train, switch, len(seeds), f"{statistics.mean(dev):.2f}"]
            cells += [better, f"{statistics.mean(test):.2f}", spread, ratio]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(WEIGHTS))
    parser.add_argument("--switches", nargs="+", choices=list(SWITCHES), default=list(SWITCHES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", help="Alias, folder or hub name, for all tasks.")
    parser.add_argument("--threads", type=int, default=2, help="Threads that torch may use.")
    parser.add_argument("--limit", type=int, help="Use only so many training items, for a trial.")
    return parse_with(parser)


if __name__ == "__main__":
    main()
