"""What each encoder of the family weighs, how fast it reads, and what it scores on the tasks.

    python -m benchmarks.family --data DIR --out family.jsonl
    python -m benchmarks.family --out family.jsonl --table

The first writes one JSON line for each result to the file and passes over those that are in it, so
that it can be stopped at any time. The second prints a table of what is there.

Models are aliases, or folders with a name and a language: `half=zh:training/distill/model`. A
folder is that of an encoder (pruned, extended, pretrained), or of a pipeline, whose encoder is
taken. With no --models they are the aliases, and the ELMo of $BERT_SPACY_DATA/fixtures if it is
there. Tasks are those of a model's language, fine-tuned by the recipe of `accuracy.py`.

Speed is measured for all models of a language together: the same texts, the same threads, and
processes that take turns, each with an encoder and a classifier. The table divides the median
speed of each by that of the slowest, or of --baseline.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours
from benchmarks.accuracy import round_score
from benchmarks.build import initialize, make_pipeline, piece_ends
from benchmarks.contest import Contender, ContenderError, Worker, close_all, run_in_turn
from benchmarks.rows import Row, add_row, make_parser, parse_with, read_rows
from benchmarks.tasks import TASKS, encoder_rate, main_score
from benchmarks.texts import (
    ROOT,
    data_folder,
    make_texts,
    read_corpus,
    read_pools,
    texts_of_length,
)
from bert_spacy.sources import SOURCES, resolve_name
from bert_spacy.util import atomic_dir, atomic_file
from bert_spacy.weights.elmo import import_elmo

TASK_NAMES = ("thucnews_titles", "cluener", "afqmc", "SST-2", "conll2003")
ELMO = "elmo"
FIXTURE = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "fixtures" / "elmo"
# Peak learning rates by kind of encoder; of an ELMo only the mix and the head learn.
RATES = {"albert": encoder_rate("albert-tiny-zh"), ELMO: 1e-3}
# Mean length of the Chinese texts, as that of the English ones.
PIECES = 78


@dataclass(frozen=True)
class Model:
    """An encoder of the family.

    name (str): Its name in the table.
    lang (str): "zh" or "en".
    folder (Path): Its Hugging Face folder, or that of a converted ELMo.
    """

    name: str
    lang: str
    folder: Path

    @property
    def kind(self) -> str:
        """The `model_type` of the folder."""
        return json.loads((self.folder / "config.json").read_text(encoding="utf8"))["model_type"]

    @property
    def settings(self) -> dict[str, Any]:
        """The section `[components.bert_encoder.model]`, where it differs from the default."""
        name = {"name": str(self.folder)}
        if self.kind == ELMO:
            return {"@architectures": "bert-spacy.ElmoEncoder.v1", **name}
        return name

    @property
    def overrides(self) -> ours.Overrides:
        """What differs from the recipe of the tasks."""
        rate = RATES.get(self.kind, encoder_rate(""))
        found: ours.Overrides = {"training.optimizer.learn_rate.initial_rate": rate}
        if self.kind == ELMO:
            found["components.bert_encoder.model"] = self.settings
        return found


def main() -> None:
    """Parse the arguments; run what is missing, or print the table."""
    args = parse_args()
    rows = read_rows(args.out)
    if args.table:
        print("\n".join(make_table(rows, args.baseline)))
        return
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    models = [find_model(given, args.work) for given in args.models or default_models()]
    done = {key_of(row) for row in rows}
    for row in list_runs(models, args):
        if key_of(row) not in done:
            add_row(args.out, row | measure(row, models, args))


def list_runs(models: Sequence[Model], args: argparse.Namespace) -> Iterator[Row]:
    """Yield what is to be measured: sizes, speeds by language, then scores seed by seed."""
    for model in models:
        yield {"what": "size", "model": model.name, "lang": model.lang}
    for lang in dict.fromkeys(model.lang for model in models):
        names = [model.name for model in models if model.lang == lang]
        setting = {"texts": args.texts, "rounds": args.rounds, "threads": args.threads}
        yield {"what": "speed", "lang": lang, "models": names, **setting}
    for seed in args.seeds:
        for name in args.tasks:
            for model in models:
                if model.lang == ours.language(TASKS[name].weights):
                    run = {"model": model.name, "task": name, "seed": seed, "limit": args.limit}
                    yield {"what": "score", **run}


def key_of(row: Row) -> str:
    """Say what a run is; two runs with one key are the same."""
    names = ("what", "model", "models", "lang", "texts", "rounds", "threads")
    if row["what"] == "score":
        names = ("what", "model", "task", "seed", "limit")
    return json.dumps([row.get(name) for name in names])


def measure(row: Row, models: Sequence[Model], args: argparse.Namespace) -> Row:
    """Do one run and return what it found."""
    by_name = {model.name: model for model in models}
    if row["what"] == "size":
        return measure_size(by_name[row["model"]])
    if row["what"] == "speed":
        return measure_speed([by_name[name] for name in row["models"]], row["lang"], args)
    return measure_score(by_name[row["model"]], row, args)


def default_models() -> list[str]:
    """Give the aliases, and the ELMo of the fixtures if it can be converted."""
    names = list(SOURCES)
    if (FIXTURE / "options.json").is_file():
        if importlib.util.find_spec("h5py"):
            return [*names, ELMO]
        print(f"{FIXTURE} is left out: it takes h5py to convert it", flush=True)
    return names


def find_model(given: str, work: Path) -> Model:
    """Find an encoder.

    given (str): An alias, "elmo" for that of the fixtures, or NAME=LANG:FOLDER.
    work (Path): Folder for a converted ELMo.
    RETURNS (Model): The encoder.
    """
    if given in SOURCES:
        return Model(given, SOURCES[given].language, Path(resolve_name(given)))
    if given == ELMO:
        folder = work / "elmo"
        if not folder.is_dir():
            import_elmo(FIXTURE / "options.json", FIXTURE / "lm_weights.hdf5", folder)
        return Model("elmo (AllenNLP's for tests)", "en", folder)
    name, _, rest = given.partition("=")
    lang, _, folder = rest.partition(":")
    if not (name and folder and lang in ("en", "zh")):
        raise SystemExit(
            f"{given!r} is no model: give {', '.join(SOURCES)}, {ELMO}, or NAME=zh:FOLDER"
        )
    path = Path(folder)
    inner = path / "bert_encoder" / "encoder"
    path = inner if inner.is_dir() else path
    if not (path / "config.json").is_file():
        raise SystemExit(f"{given!r} is no model: there is no {path / 'config.json'}")
    return Model(name, lang, path)


def measure_size(model: Model) -> Row:
    """Count bytes of the folder and parameters of the encoder."""
    nlp = make_pipeline(model.lang, heads=[], **model.settings)
    nlp.initialize()
    layer: Any = nlp.get_pipe("bert_encoder").model  # type: ignore[attr-defined]
    encoder = layer.shims[0].encoder
    config = encoder.config if model.kind == ELMO else encoder.model.config
    n_bytes = sum(path.stat().st_size for path in model.folder.rglob("*") if path.is_file())
    return {
        "kind": model.kind,
        "mb": round(n_bytes / 1e6, 1),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "layers": config.n_layers if model.kind == ELMO else config.num_hidden_layers,
        "width": layer.get_dim("nO"),
    }


def measure_speed(models: Sequence[Model], lang: str, args: argparse.Namespace) -> Row:
    """Run all models of a language in turn; return texts a second for each round."""
    texts = speed_texts(lang, args.texts)
    inputs = args.work / f"inputs-{lang}.json"
    with atomic_file(inputs) as file:
        # The unit is a text, as encoders differ in their pieces.
        json.dump({"texts": texts, "pieces": {"texts": len(texts)}}, file)
    workers: dict[str, Worker] = {}
    try:
        for number, model in enumerate(models):
            pipeline = args.work / f"pipeline-{lang}-{number}"
            make_timed(model, pipeline)
            settings = {
                "pipeline": str(pipeline),
                "inputs": str(inputs),
                "threads": args.threads,
            }
            contender = Contender(f"{lang}-{number}", "ours", "Pipe")
            workers[model.name] = Worker(contender, settings, args.work)
        for worker in workers.values():
            worker.wait()
        # The first round warms up.
        runs, failed = run_in_turn(workers, args.rounds + 1)
    finally:
        close_all(workers.values())
    if failed:
        raise ContenderError("; ".join(f"{name}: {why}" for name, why in failed.items()))
    return {
        "texts_per_second": {
            name: [round(run["units"] / run["seconds"], 2) for run in found[1:]]
            for name, found in runs.items()
        }
    }


def speed_texts(lang: str, n: int) -> list[str]:
    """Make the texts of the speed benchmark."""
    if lang == "zh":
        return texts_of_length(
            read_corpus("zh"), PIECES, PIECES * n, piece_ends("encoder-zh"), joint=""
        )
    data = data_folder()
    pools = None if data is None else read_pools(data)
    return make_texts(n, pools, read_corpus("en"), piece_ends("encoder"))


def make_timed(model: Model, path: Path) -> None:
    """Write a pipeline of an encoder and a classifier; an earlier one is replaced."""
    nlp = make_pipeline(model.lang, heads=["bert_textcat"], **model.settings)
    initialize(nlp)
    with atomic_dir(path) as target:
        nlp.to_disk(target)


def measure_score(model: Model, row: Row, args: argparse.Namespace) -> Row:
    """Fine-tune and score one task."""
    task = TASKS[row["task"]]
    splits = {name: items[: args.limit] for name, items in task.load(args.data).items()}
    began = time.perf_counter()
    dev, test = ours.run(task, splits, str(model.folder), row["seed"], model.overrides)
    return {
        "metric": task.metric,
        "train": len(splits["train"]),
        "dev": round_score(dev),
        "test": round_score(test),
        "seconds": round(time.perf_counter() - began, 1),
    }


def make_table(rows: Iterable[Row], baseline: str | None = None) -> list[str]:
    """Return Markdown: a line for each model, a column for each task.

    rows (Iterable[Row]): The runs; of two measurements of speed in a language the later counts.
    baseline (str | None): The model whose speed is 1; None for the slowest of each language.
    RETURNS (list[str]): Lines. Scores are means over seeds on the test data, with the lowest
        and the highest where there are several.
    """
    rows = list(rows)
    sizes = {row["model"]: row for row in rows if row["what"] == "size"}
    speeds: dict[str, Row] = {row["lang"]: row for row in rows if row["what"] == "speed"}
    scores: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["what"] == "score":
            tested = scores.setdefault((row["model"], title_of(row)), [])
            tested.append(main_score(row["test"]))
    order = list(TASKS)
    found = {title_of(row): order.index(row["task"]) for row in rows if row["what"] == "score"}
    titles = sorted(found, key=found.__getitem__)
    heads = ["model", "language", "MB", "parameters", "layers x width", "texts/s", "speed", *titles]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for name, size in sizes.items():
        speed = speeds.get(size["lang"], {"texts_per_second": {}})["texts_per_second"]
        cells = [name, size["lang"], f"{size['mb']:.1f}", f"{size['parameters'] / 1e6:.2f} M"]
        cells += [f"{size['layers']} x {size['width']}", *speed_cells(name, speed, baseline)]
        cells += [score_cell(scores.get((name, title), [])) for title in titles]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def title_of(row: Row) -> str:
    """Name the column of a score; a trial has one of its own."""
    metric = {"entity_f1": "F1"}.get(row["metric"], row["metric"])
    trial = "" if row["limit"] is None else f", {row['limit']} items"
    return f"{row['task']} ({metric}{trial})"


def speed_cells(name: str, speeds: dict[str, list[float]], baseline: str | None) -> list[str]:
    """Format a speed, and its ratio to the baseline's by the rounds that they ran together."""
    if name not in speeds:
        return ["", ""]
    median = {key: statistics.median(values) for key, values in speeds.items()}
    slowest = min(median, key=median.__getitem__)
    other = baseline if baseline in speeds else slowest
    ratio = statistics.median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))
    return [f"{median[name]:.0f}", f"{ratio:.2f}x"]


def score_cell(values: Sequence[float]) -> str:
    """Format the mean over seeds."""
    if not values:
        return ""
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--baseline", help="Model whose speed is 1; default: the slowest.")
    parser.add_argument("--models", nargs="+", help=f"Aliases, {ELMO}, or NAME=zh:FOLDER.")
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASK_NAMES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--texts", type=int, default=400, help="Texts whose reading is timed.")
    parser.add_argument("--rounds", type=int, default=5, help="Turns of each model.")
    parser.add_argument("--threads", type=int, default=2, help="Threads that torch may use.")
    parser.add_argument("--limit", type=int, help="Only so many items of each split: a trial.")
    parser.add_argument("--work", type=Path, default=Path("metrics/family"), help="For pipelines.")
    return parse_with(parser)


if __name__ == "__main__":
    main()
