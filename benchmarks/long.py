"""Long texts: ways to make one vector of many windows, against reading the head of a text alone.

    python benchmarks/long.py --data DIR --out long.jsonl
    python benchmarks/long.py --out long.jsonl --table

The first writes one JSON line for each run to the file and passes over those that are in it, so
that it can be stopped at any time. The second prints a table of what is there.

Texts of "head only" are cut after the pieces that one window holds, in training and in
testing; the package itself never cuts a text. Each test is scored as a whole, and on its long
texts: those that have more pieces than one window holds.

The runs are short, so the head learns at ten times the encoder's rate. Without that the query of
"attention" has no time to leave its zero, where attention is the mean.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ours  # noqa: E402
from benchmarks.rows import Row, add_row, make_parser, parse_with, read_rows  # noqa: E402
from benchmarks.tasks import TASKS, Task, TextItem  # noqa: E402
from bert_spacy.sources import resolve_name  # noqa: E402

HEAD_ONLY = "head only"
MODEL = "components.head.model"
RECIPE: ours.Overrides = {f"{MODEL}.lr_multiplier": 10.0}
CONTENDERS: dict[str, ours.Overrides] = {
    HEAD_ONLY: RECIPE,
    "mean": {**RECIPE, f"{MODEL}.windows": "mean"},
    "max": {**RECIPE, f"{MODEL}.windows": "max"},
    "attention": {**RECIPE, f"{MODEL}.windows": "attention"},
    "all pieces": {**RECIPE, f"{MODEL}.pooling": "mean"},
}
WEIGHTS = {"bbc_news": "minilm-l6-en", "thucnews_fulltext": "albert-tiny-zh"}
# What a run is; two runs that are equal here are the same.
KEY = ("task", "weights", "max_pieces", "epochs", "train", "test", "contender", "seed")
Splits = dict[str, list[TextItem]]


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
        task = TASKS[name]
        changes = {"max_pieces": args.max_pieces, "epochs": args.epochs or task.epochs}
        task, weights = dataclasses.replace(task, **changes), args.weights or WEIGHTS[name]
        tokenizer = AutoTokenizer.from_pretrained(resolve_name(weights))
        room = args.max_pieces - tokenizer.num_special_tokens_to_add()
        limits = {"train": args.limit, "dev": args.limit_dev, "test": args.limit_test}
        splits = {split: items[: limits[split]] for split, items in task.load(args.data).items()}
        for split, items in splits.items():
            n_long = sum(find_long(items, tokenizer, room))
            print(f"{name}, {split}: {n_long} of {len(items)} texts over {room} pieces", flush=True)
        for seed in args.seeds:
            for contender in args.contenders:
                row: Row = {
                    "task": name,
                    "weights": weights,
                    **changes,
                    "train": len(splits["train"]),
                    "test": len(splits["test"]),
                    "contender": contender,
                    "seed": seed,
                }
                if key_of(row) not in done:
                    row |= measure(task, splits, weights, tokenizer, contender, seed)
                    add_row(args.out, row)


def key_of(row: Row) -> tuple:
    """Say what a run is; two runs with one key are the same."""
    return tuple(row[name] for name in KEY)


def measure(
    task: Task,
    splits: Splits,
    weights: str,
    tokenizer: PreTrainedTokenizerFast,
    contender: str,
    seed: int,
) -> Row:
    """Fine-tune and score once.

    task (Task): The task; its `max_pieces` is the window.
    splits (Splits): Items for "train", "dev" and "test".
    weights (str): Alias, folder or hub name of the encoder.
    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    contender (str): A key of `CONTENDERS`.
    seed (int): Seed.
    RETURNS (Row): Scores in percent, numbers of texts, seconds of CPU time.
    """
    room = task.max_pieces - tokenizer.num_special_tokens_to_add()
    long = {split: find_long(items, tokenizer, room) for split, items in splits.items()}
    if contender == HEAD_ONLY:
        splits = {split: cut(items, tokenizer, room) for split, items in splits.items()}
    began = time.process_time()
    nlp = ours.fine_tune(task, splits, weights, seed, CONTENDERS[contender])
    trained = time.process_time()
    found = ours.predict(nlp, task, splits["test"])
    tested = time.process_time()
    pairs = [pair for pair, is_long in zip(zip(splits["test"], found), long["test"]) if is_long]
    dev = ours.predict(nlp, task, splits["dev"])
    scores = {
        "dev": task.score(splits["dev"], dev),
        "test_all": task.score(splits["test"], found),
        "test_long": task.score([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None,
        "train_cpu_seconds": trained - began,
        "test_cpu_seconds": tested - trained,
    }
    n_long = {f"n_long_{split}": sum(which) for split, which in long.items()}
    return {
        **n_long,
        **{name: value and round(value, 2) for name, value in scores.items()},
    }


def find_long(
    items: Sequence[TextItem], tokenizer: PreTrainedTokenizerFast, room: int
) -> list[bool]:
    """Tell which texts have more pieces than a window holds."""
    ids = tokenizer([item.text for item in items], add_special_tokens=False, verbose=False)
    return [len(row) > room for row in ids["input_ids"]]


def cut(items: Sequence[TextItem], tokenizer: PreTrainedTokenizerFast, room: int) -> list[TextItem]:
    """Cut texts after so many pieces."""
    texts = [item.text for item in items]
    settings = {"add_special_tokens": False, "verbose": False}
    places = tokenizer(texts, return_offsets_mapping=True, **settings)["offset_mapping"]
    ends = [at[room - 1][1] if len(at) > room else None for at in places]
    return [TextItem(item.text[:end], item.label) for item, end in zip(items, ends)]


def make_table(rows: Iterable[Row]) -> list[str]:
    """Return Markdown: one line for each contender, means over its seeds.

    rows (Iterable[Row]): The runs.
    RETURNS (list[str]): Lines. The spread is the standard deviation of the test score.
    """
    runs: dict[tuple, list[Row]] = {}
    order = list(CONTENDERS)
    for row in sorted(rows, key=lambda row: (row["task"], order.index(row["contender"]))):
        runs.setdefault(key_of(row)[:-1], []).append(row)
    lines = [
        "| task | weights | window | epochs | train (long) | test (long) | windows | seeds | dev "
        "| test | spread | test, long | spread | CPU s, training | CPU s, test |",
        "|" + " --- |" * 15,
    ]
    for (task, weights, window, epochs, train, test, contender), found in runs.items():
        n_long = {split: found[0][f"n_long_{split}"] for split in ("train", "test")}
        cells = [task, weights, window, epochs, f"{train} ({n_long['train']})"]
        cells += [f"{test} ({n_long['test']})", contender, len(found), mean(found, "dev")]
        cells += [mean(found, "test_all"), spread(found, "test_all")]
        cells += [mean(found, "test_long"), spread(found, "test_long")]
        cells += [mean(found, f"{part}_cpu_seconds") for part in ("train", "test")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def mean(rows: Sequence[Row], name: str) -> str:
    """Format the mean of a value; nothing where it is not known."""
    values = [row[name] for row in rows if row[name] is not None]
    return f"{statistics.mean(values):.1f}" if values else ""


def spread(rows: Sequence[Row], name: str) -> str:
    """Format the standard deviation of a value; nothing where there is none."""
    values = [row[name] for row in rows if row[name] is not None]
    return f"{statistics.stdev(values):.1f}" if len(values) > 1 else ""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(WEIGHTS), default=list(WEIGHTS))
    contenders = list(CONTENDERS)
    parser.add_argument("--contenders", nargs="+", choices=contenders, default=contenders)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", help="Alias, folder or hub name; default: by the task.")
    parser.add_argument("--limit", type=int, default=160, help="Most training texts.")
    parser.add_argument("--limit-dev", type=int, default=50, help="Most texts to choose an epoch.")
    parser.add_argument("--limit-test", type=int, default=150, help="Most texts of the test.")
    parser.add_argument("--max-pieces", type=int, default=512, help="Pieces in one window.")
    parser.add_argument("--epochs", type=int, help="Passes over the training texts.")
    parser.add_argument("--threads", type=int, default=1, help="Threads that torch may use.")
    return parse_with(parser)


if __name__ == "__main__":
    main()
