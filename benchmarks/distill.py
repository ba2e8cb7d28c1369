"""Measure distillation: a teacher, a student with half its layers, and the same student alone.

    python benchmarks/distill.py --data DIR --out distill.jsonl --work DIR --seeds 0 1 2

For each task and seed it fine-tunes the teacher (or takes the one of --teacher), distils it with
`bert_spacy.weights.distill`, and trains the same student on the gold alone. Both students begin
with the same weights and see the training data equally often; --init says which weights:

    teacher   every second layer of the fine-tuned teacher, and its heads
    weights   every second layer of the pretrained weights, and fresh heads

--passes N teaches both students N times as long; --rate and --dropout are theirs as well.

--augment NAME adds a student that is taught on variants of the texts too, whose words the
masked-word model NAME has changed: half of the passes, rounded down, over up to twice the texts.

Each result is a JSON line on the screen and in --out. Lines of the same settings that are there
are not measured again, and a training that was killed goes on, so the command can be repeated
until it is done.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_config

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import ours  # noqa: E402
from benchmarks.accuracy import round_score  # noqa: E402
from benchmarks.rows import add_row, read_rows  # noqa: E402
from benchmarks.tasks import TASKS, Task, encoder_rate, main_score  # noqa: E402
from bert_spacy.training.run import train  # noqa: E402
from bert_spacy.weights.distill.run import distill  # noqa: E402
from bert_spacy.weights.distill.settings import make_settings  # noqa: E402

SYSTEMS = ("teacher", "distilled", "undistilled")
AUGMENTED = "augmented"
# Passes over the data in the two phases; the undistilled student has as many together.
LAYER_EPOCHS = {"classify": 8, "tag": 8, "answer": 4}
HEAD_EPOCHS = {"classify": 6, "tag": 6, "answer": 3}
LAYER_RATE, GOLD = 1e-4, 0.3
# Variants of each text, which stand beside it.
COPIES = 1
# Docs of the test data whose reading is timed.
N_TIMED = 500


def main() -> None:
    """Parse the arguments, run what is missing, and sum up."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    done = read_rows(args.out)
    for name in args.tasks:
        for seed in args.seeds:
            for system in (*SYSTEMS, AUGMENTED) if args.augment else SYSTEMS:
                key = key_of(args, name, seed, system)
                if any(has_key(row, key) for row in done):
                    continue
                given = {setting: value for setting, value in key.items() if value is not None}
                row = {**given, **run(TASKS[name], seed, system, args)}
                add_row(args.out, row)
                done.append(row)
    rows = [r for r in done if has_key(r, key_of(args, r["task"], r["seed"], r["system"]))]
    for row in summarize([r for r in rows if r["task"] in args.tasks]):
        print(json.dumps(row), flush=True)


def settings_of(args: argparse.Namespace, system: str) -> dict[str, Any]:
    """Return the other settings on which a system depends; None where one is not given."""
    return {
        "limit": args.limit,
        "given_teacher": args.teacher,
        "student_layers": None if system == "teacher" else args.layers,
        "augmented_by": args.augment if system == AUGMENTED else None,
        "passes": args.passes if system != "teacher" and args.passes > 1 else None,
        "rate": args.rate if system != "teacher" else None,
        "dropout": args.dropout if system != "teacher" else None,
    }


def key_of(args: argparse.Namespace, task: str, seed: int, system: str) -> dict[str, Any]:
    """Say what a result is of; None for a setting that is not given."""
    what = {"task": task, "seed": seed, "system": system, "init": args.init}
    return what | settings_of(args, system)


def has_key(row: dict[str, Any], key: dict[str, Any]) -> bool:
    """Tell whether a row is the result of this; one of before does not say what augmented it."""
    row = {"augmented_by": key["augmented_by"], **row}
    return all(row.get(name) == value for name, value in key.items())


def folder_of(args: argparse.Namespace, task: str, seed: int, system: str = "teacher") -> Path:
    """Return where a system is trained; that of the teacher holds the data as well."""
    parts = {key: value for key, value in settings_of(args, system).items() if value is not None}
    limit = parts.pop("limit", None)
    root = args.work / (task if limit is None else f"{task}-{limit}") / str(seed)
    if system == "teacher":
        return root
    names = [re.sub(r"\W+", "-", f"{name}-{value}") for name, value in parts.items()]
    return root / "-".join((system, args.init, *names))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder with one folder per set.")
    parser.add_argument("--out", type=Path, required=True, help="File of JSON lines.")
    parser.add_argument("--work", type=Path, required=True, help="Folder for pipelines.")
    tasks = ["thucnews_titles", "cluener", "SST-2", "squad1"]
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=tasks)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--teacher", help="A trained pipeline for all tasks, not trained here.")
    parser.add_argument("--init", choices=["teacher", "weights"], default="teacher")
    parser.add_argument("--augment", help="Alias or folder of a masked-word model.")
    parser.add_argument("--passes", type=int, default=1, help="Times as many passes over the data.")
    parser.add_argument(
        "--rate", type=float, help="Of the second phase; by default that of the teacher's encoder."
    )
    parser.add_argument(
        "--dropout", type=float, help="Of both students; by default that of the teacher."
    )
    parser.add_argument("--layers", type=int, help="Layers of the student; half if not given.")
    parser.add_argument("--threads", type=int, default=1, help="Threads that torch may use.")
    parser.add_argument("--limit", type=int, help="Use only so many items of each file: a trial.")
    return parser.parse_args()


def run(task: Task, seed: int, system: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train one system and score it."""
    splits = {name: items[: args.limit] for name, items in task.load(args.data).items()}
    root = folder_of(args, task.name, seed)
    root.mkdir(parents=True, exist_ok=True)
    write_gold(task, splits, root)
    began = time.process_time()
    teacher = train_teacher(task, seed, root, args.teacher)
    path = teacher
    if system != "teacher":
        path = folder_of(args, task.name, seed, system)
        distill(make_setting(task, seed, root, teacher, system, args), path, resume=True)
        path = path / "model"
    seconds = time.process_time() - began
    nlp = spacy.load(path)
    dev = task.score(splits["dev"], ours.predict(nlp, task, splits["dev"], is_dev=True))
    test = task.score(splits["test"], ours.predict(nlp, task, splits["test"]))
    encoder: Any = nlp.get_pipe("bert_encoder")
    module = encoder.model.shims[0].encoder
    return {
        "metric": task.metric,
        "dev": round_score(dev),
        "test": round_score(test),
        "layers": module.model.config.num_hidden_layers,
        "mb": round(sum(p.numel() for p in module.parameters()) * 4 / 1e6, 1),
        "docs_per_second": round(measure_speed(nlp, task, splits["test"]), 1),
        "cpu_seconds": round(seconds, 1),
    }


def write_gold(task: Task, splits: dict[str, list], root: Path) -> None:
    """Write `train.spacy` and `dev.spacy`, as `ours.run` does."""
    blank = spacy.blank(ours.language(task.weights))
    train_items = [item for item in splits["train"] if getattr(item, "is_trainable", True)]
    for name, items in (("train", train_items), ("dev", splits["dev"])):
        if not (root / f"{name}.spacy").is_file():
            docs = [ours.make_gold(blank, item) for item in items]
            DocBin(docs=docs).to_disk(root / f"{name}.spacy")


def train_teacher(task: Task, seed: int, root: Path, given: str | None) -> Path:
    """Return the teacher, fine-tuned by the recipe of the accuracy benchmark."""
    if given is not None:
        return Path(given)
    done = root / "teacher" / "done"
    if not done.is_file():
        config = root / "config.cfg"
        if not config.is_file():
            ours.make_config(task, task.weights, seed, root).to_disk(config)
        train(load_config(config, interpolate=False), root / "teacher", resume=True)
        done.touch()
    return root / "teacher" / "model-best"


def make_setting(
    task: Task, seed: int, root: Path, teacher: Path, system: str, args: argparse.Namespace
) -> Any:
    """Return the settings of a student."""
    encoder: Any = spacy.load(teacher).get_pipe("bert_encoder")
    n_layers = encoder.model.shims[0].encoder.model.config.num_hidden_layers
    student: dict[str, Any] = {"layers": args.layers or n_layers // 2, "dropout": args.dropout}
    if args.init == "weights":
        student.update(name=task.weights, copy_heads=False)
    alone = system == "undistilled"
    more = system == AUGMENTED
    first, second = (
        args.passes * epochs[task.kind] // (1 + COPIES * more)
        for epochs in (LAYER_EPOCHS, HEAD_EPOCHS)
    )
    training = {"batch_size": ours.BATCH_SIZE, "max_pieces": ours.BATCH_SIZE * task.max_pieces}
    if args.dropout is not None:
        training["dropout"] = args.dropout
    return make_settings(
        {
            "teacher": str(teacher),
            "train": str(root / "train.spacy"),
            "dev": str(root / "dev.spacy"),
            "seed": seed,
            "student": student,
            "augment": {"name": args.augment if more else None, "copies": COPIES},
            "layers": {"epochs": 0 if alone else first, "learn_rate": LAYER_RATE},
            "heads": {
                "epochs": second + (first if alone else 0),
                "learn_rate": args.rate or encoder_rate(task.weights),
                "gold": 1.0 if alone else GOLD,
            },
            "training": training,
        }
    )


def measure_speed(nlp: Language, task: Task, items: list) -> float:
    """Return Docs per second of processor time, the best of three."""
    best = 0.0
    for _ in range(3):
        docs = [ours.make_doc(nlp, item) for item in items[:N_TIMED]]
        began = time.process_time()
        for _doc in nlp.pipe(docs):
            pass
        best = max(best, len(docs) / (time.process_time() - began))
    return best


def summarize(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield for each task means over seeds: what the student keeps, and what it gains."""
    for task in dict.fromkeys(row["task"] for row in rows):
        parts: dict[str, list[dict[str, Any]]] = {system: [] for system in SYSTEMS}
        for row in rows:
            if row["task"] == task:
                parts.setdefault(row["system"], []).append(row)
        if not all(parts.values()):
            continue
        test = {s: _mean([main_score(r["test"]) for r in part]) for s, part in parts.items()}
        speed = {s: _mean([r["docs_per_second"] for r in part]) for s, part in parts.items()}
        students = [s for s in parts if s not in ("teacher", "undistilled")]
        yield {
            "summary": task,
            "init": rows[0]["init"],
            "seeds": len(parts["distilled"]),
            **{f"test_{s}": round(value, 2) for s, value in test.items()},
            **{f"kept_{s}": round(100 * test[s] / test["teacher"], 2) for s in students},
            **{f"gain_{s}": round(test[s] - test["undistilled"], 2) for s in students},
            "mb": [parts[s][0]["mb"] for s in ("teacher", "distilled")],
            "speedup": round(speed["distilled"] / speed["teacher"], 2),
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
