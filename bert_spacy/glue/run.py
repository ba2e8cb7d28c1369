"""Fine-tune, score and predict the tasks of GLUE that a folder holds, one after the other."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.language import Language
from spacy.util import load_model_from_config
from thinc.api import Config

from ..data.convert import GlueOptions, RowError, RowNote, convert
from ..errors import Errors
from ..sources import resolve_name
from ..training.run import train
from ..util import atomic_file, checksum, checksum_all
from .files import Item, read_items, write_predictions
from .tasks import METRICS, TASKS, GlueTask

RESULT, TABLE, PROBLEMS, SETTINGS = "result.json", "results.md", "problems.txt", "settings.json"
TRAINING = "training"
BATCH_SIZE = 16

CONFIG = """
[nlp]
lang = "en"
pipeline = ["bert_encoder", "head"]
batch_size = 256

[components]

[components.bert_encoder]
factory = "bert_encoder"

[components.bert_encoder.model]
@architectures = "bert-spacy.BertEncoder.v1"
mixed_precision = true

[components.head]

[corpora]

[corpora.train]
@readers = "bert-spacy.Corpus.v1"

[corpora.dev]
@readers = "bert-spacy.Corpus.v1"

[training]
max_epochs = 0
patience = 0
dropout = 0.1

[training.batcher]
@batchers = "bert-spacy.batch_by_pieces.v1"
size = 16

[training.optimizer]
@optimizers = "bert-spacy.AdamW.v1"

[training.optimizer.learn_rate]
@schedules = "warmup_linear.v1"

[training.score_weights]
"""


@dataclass(frozen=True)
class Recipe:
    """How each task is trained.

    weights (str): Alias, folder or hub name of the encoder.
    epochs (int): Passes over the training data; the best on dev is kept.
    learn_rate (float): Highest rate, after a warm-up over a tenth of the steps.
    max_pieces (int): Longest window in pieces; longer texts take several.
    limit (int): Training rows to use at most, 0 for all.
    seed (int): Seed of everything that is random.
    """

    weights: str = "minilm-l6-en"
    epochs: int = 4
    learn_rate: float = 5e-5
    max_pieces: int = 128
    limit: int = 0
    seed: int = 0


def run_glue(
    data: Path,
    output: Path,
    recipe: Recipe,
    *,
    use_gpu: int = -1,
    on_event: Callable[[str, str], None] = lambda task, event: None,
) -> list[dict[str, Any]]:
    """Run all tasks whose folders are there; those that are finished are skipped.

    data (Path): Holds a folder per task, named as the task, with its .tsv files.
    output (Path): Takes a folder per task, the prediction files, and the table results.md.
    recipe (Recipe): How to train.
    use_gpu (int): GPU, -1 for the CPU.
    on_event (Callable): Told the task and what becomes of it.
    RETURNS (list[dict]): A result per task; one that failed has "error" and no scores.
    RAISES (ValueError): B644 if no task is there; B801 to B805 for the weights.
    """
    weights = Path(resolve_name(recipe.weights))
    given = asdict(recipe)
    if weights.is_dir():
        files = sorted(path for path in weights.iterdir() if path.is_file())
        given["the files of weights"] = checksum_all(files)
    inside = {path.name.casefold(): path for path in data.iterdir() if path.is_dir()}
    found = {
        name: inside[name.casefold()]
        for name in TASKS
        if any(inside.get(name.casefold(), Path("/none")).glob("*.tsv"))
    }
    if not found:
        raise ValueError(Errors.B644.format(path=data, allowed=", ".join(TASKS)))
    results = []
    for name, folder in found.items():
        try:
            on_event(name, "begins")
            result = _run_task(TASKS[name], folder, output, recipe, given, use_gpu)
            on_event(name, "is finished")
        except Exception as err:  # noqa: BLE001 - whatever it is, the other tasks go on
            reason = f"{err}".strip() or type(err).__name__
            result = {"task": name, "error": reason.splitlines()[0]}
            on_event(name, f"failed: {reason}")
        results.append(result)
        with atomic_file(output / TABLE) as file_:
            file_.write(make_table(results, recipe))
    return results


def _run_task(
    task: GlueTask,
    folder: Path,
    output: Path,
    recipe: Recipe,
    given: dict[str, Any],
    use_gpu: int,
) -> dict[str, Any]:
    """Run one task, or read its result if it is finished.

    `given` is what all results depend on: the recipe, and its weights by their checksum.
    """
    home = output / task.name
    settings = {**given, **_checksums(task, folder)}
    before = srsly.read_json(home / SETTINGS) if (home / SETTINGS).exists() else {}
    changed = [key for key in {**before, **settings} if before.get(key) != settings.get(key)]
    if (home / RESULT).exists():
        if changed:
            raise ValueError(Errors.B643.format(path=home, changed=", ".join(changed)))
        return srsly.read_json(home / RESULT)
    if changed and (home / TRAINING).exists():
        # A stop between the two must not leave checkpoints of others beside these settings.
        shutil.rmtree(home / TRAINING)
    _write_json(home / SETTINGS, settings)
    problems: list[RowError] = []
    nlp = spacy.blank("en")
    n_docs = {}
    for part, name in (("train", "train.tsv"), ("dev", next(iter(task.dev.values())))):
        options = GlueOptions(task=task.name)
        target = home / "data" / f"{part}.spacy"
        paths = [folder / name]
        summary = convert(nlp, "glue", paths, target, options, on_problem=problems.append)
        n_docs[part] = summary.n_docs
    n_train = min(n_docs["train"], recipe.limit or n_docs["train"])
    config = make_config(task, recipe, home / "data", n_train)
    # A run that was stopped goes on from its last checkpoint, unless settings or data changed.
    train(config, home / TRAINING, resume=not changed, use_gpu=use_gpu)
    nlp = spacy.load(home / TRAINING / "model-best")
    result: dict[str, Any] = {"task": task.name, "n_train": n_train, "dev": {}, "test": {}}
    for key, name in task.dev.items():
        items, bad = read_items(folder / name, task)
        problems += bad
        result["dev"][key] = score(task, items, predict(nlp, task, items))
    files = {key: folder / name for key, name in task.test_files.items()}
    for key, path in files.items():
        if not path.is_file():
            continue
        items, bad = read_items(path, task)
        problems += bad
        predictions = predict(nlp, task, items)
        write_predictions(output / key, items, predictions)
        scores = score(task, items, predictions)
        n_bad = sum(not isinstance(problem, RowNote) for problem in bad)
        result["test"][key] = {"n": len(items), "bad": n_bad, "scores": scores}
    # Rows of dev are read twice, to train and to score.
    lost = {(p.path, p.line): p for p in problems if not isinstance(p, RowNote)}
    result["n_bad"] = len(lost)
    notes = [p for p in problems if isinstance(p, RowNote)]
    with atomic_file(home / PROBLEMS) as file_:
        file_.writelines(f"{problem}\n" for problem in (*lost.values(), *notes))
    _write_json(home / RESULT, result)
    for name in ("checkpoints", "model-last"):
        shutil.rmtree(home / TRAINING / name, ignore_errors=True)
    return result


def _checksums(task: GlueTask, folder: Path) -> dict[str, str]:
    """Return the checksums of the files on which a result depends.

    RAISES (ValueError): B645 if a file to train or to score on is missing.
    """
    needed = ["train.tsv", *task.dev.values()]
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ValueError(Errors.B645.format(task=task.name, path=folder, files=", ".join(missing)))
    names = [*needed, *(n for n in task.test_files.values() if (folder / n).is_file())]
    return {name: checksum(folder / name) for name in names}


def make_config(task: GlueTask, recipe: Recipe, data: Path, n_train: int) -> Config:
    """Fill in the training config of a task.

    task (GlueTask): The task.
    recipe (Recipe): How to train.
    data (Path): Folder with train.spacy and dev.spacy.
    n_train (int): Training rows.
    RETURNS (Config): For `spacy train`.
    """
    config = Config().from_str(CONFIG)
    head = "bert_regressor" if task.is_regression else "bert_textcat"
    config["nlp"]["pipeline"] = ["bert_encoder", head]
    model = config["components"]["bert_encoder"]["model"]
    model.update(name=recipe.weights, window=recipe.max_pieces)
    del config["components"]["head"]
    config["components"][head] = {"factory": head}
    for part in ("train", "dev"):
        config["corpora"][part]["path"] = str(data / f"{part}.spacy")
    config["corpora"]["train"]["limit"] = recipe.limit
    per_epoch = -(-n_train // BATCH_SIZE)
    steps = recipe.epochs * per_epoch
    config["training"].update(seed=recipe.seed, max_steps=steps, eval_frequency=per_epoch)
    config["training"]["optimizer"]["learn_rate"].update(
        initial_rate=recipe.learn_rate, warmup_steps=max(1, steps // 10), total_steps=steps
    )
    # Accuracy is micro F1. Matthews' correlation is not among the scores; macro F1 is near it.
    if task.is_regression:
        score_weights: dict[str, float | None] = {"regression_score": 1.0}
    elif task.metrics[0] == "accuracy":
        # spaCy puts the component's own score beside this one unless it is taken away.
        score_weights = {"cats_micro_f": 1.0, "cats_score": None}
    else:
        score_weights = {"cats_macro_f": 1.0, "cats_score": None}
    config["training"]["score_weights"] = score_weights
    return load_model_from_config(config, auto_fill=True).config


def predict(nlp: Language, task: GlueTask, items: Sequence[Item]) -> list[Any]:
    """Return a label or a score per row.

    nlp (Language): The trained pipeline.
    task (GlueTask): The task.
    items (Sequence[Item]): The rows.
    RETURNS (list[str | float]): One for each.
    """
    docs = nlp.pipe(item.make_doc(nlp) for item in items)
    if task.is_regression:
        return [doc._.regression["score"] for doc in docs]
    return [max(doc.cats, key=doc.cats.__getitem__) for doc in docs]


def score(
    task: GlueTask, items: Sequence[Item], predictions: Sequence[Any]
) -> dict[str, float | None]:
    """Score the rows that have gold by the task's metrics; empty if none has any."""
    pairs = [(item.gold, value) for item, value in zip(items, predictions) if item.gold is not None]
    if not pairs:
        return {}
    gold, predicted = map(list, zip(*pairs))
    return {name: METRICS[name](gold, predicted) for name in task.metrics}


def make_table(results: Sequence[dict[str, Any]], recipe: Recipe) -> str:
    """Write the results as a Markdown table; scores in percent.

    results (Sequence[dict]): From `run_glue`.
    recipe (Recipe): What they were made with.
    RETURNS (str): The table.
    """
    rows = ["| task | training rows | dev | test | bad rows |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        if "error" in result:
            reason = result["error"].replace("|", "\\|")
            rows.append(f"| {result['task']} | failed: {reason} | | | |")
            continue
        several = len(result["dev"]) > 1
        dev = "; ".join(
            (f"{key}: " if several else "") + _show(scores) for key, scores in result["dev"].items()
        )
        test = "; ".join(
            f"{key}: {part['n']} rows"
            + (f", {part['bad']} without a prediction" if part["bad"] else "")
            + (f", {_show(part['scores'])}" if part["scores"] else "")
            for key, part in result["test"].items()
        )
        cells = [result["task"], result["n_train"], dev, test or "no file", result["n_bad"]]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    facts = ", ".join(f"{key} {value}" for key, value in asdict(recipe).items())
    return "\n".join(rows) + f"\n\nScores in percent; {facts}.\n"


def _show(scores: dict[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'-' if value is None else f'{100 * value:.2f}'}" for name, value in scores.items()
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_file(path) as file_:
        file_.write(json.dumps(value, indent=2) + "\n")
