"""Measure accuracy: fine-tune on a small sample of a public data set and score it.

    python benchmarks/accuracy.py cluener --data DIR --weights m3e-small-zh --seed 0 --plain

prints its progress and, as the last line, one JSON object. With --plain, Transformers
and torch alone do the work (see plain.py); without it, this package does (see ours.py), and
--keep FOLDER keeps the pipeline, for `optimize` or `python -m benchmarks.trust`.
"""

import argparse
import importlib
import json
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tasks import TASKS, Score  # noqa: E402


def main() -> None:
    """Parse the arguments, run one side on one task and print the result."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    task = TASKS[args.task]
    weights = args.weights or task.weights
    splits = task.load(args.data)
    splits["train"] = splits["train"][: args.limit]
    sizes = ", ".join(f"{len(items)} {split}" for split, items in splits.items())
    print(f"{task.name} with {weights}, seed {args.seed}: {sizes}", flush=True)
    side = importlib.import_module("benchmarks.plain" if args.plain else "benchmarks.ours")
    kept = {"keep": args.keep} if args.keep else {}
    began = time.perf_counter()
    dev, test = side.run(task, splits, weights, args.seed, **kept)
    result = {
        "task": task.name,
        "weights": weights,
        "seed": args.seed,
        "metric": task.metric,
        "dev": round_score(dev),
        "test": round_score(test),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result), flush=True)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True, help="Folder with one folder per set.")
    parser.add_argument("--weights", help="Alias, folder or hub name; default: the task's own.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="Transformers alone, no spaCy.")
    parser.add_argument("--threads", type=int, default=2, help="Threads that torch may use.")
    parser.add_argument("--limit", type=int, help="Use only so many training items, for a trial.")
    parser.add_argument("--keep", type=Path, help="Folder for the pipeline, dev and test data.")
    args = parser.parse_args()
    if args.keep and args.plain:
        parser.error("--keep is for pipelines, and --plain makes none")
    return args


def round_score(score: Score) -> Score:
    """Round percent to two places."""
    if isinstance(score, dict):
        return {name: round(value, 2) for name, value in score.items()}
    return round(score, 2)


if __name__ == "__main__":
    main()
