"""The same tasks through this package: `.spacy` files, `spacy train`, `spacy.load`, `nlp.pipe`."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import spacy
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import filter_spans, load_model_from_config, registry
from thinc.api import Config

from benchmarks.choice_tasks import ChoiceItem
from benchmarks.metrics import tune_threshold
from benchmarks.pairs import PairItem, ValueItem
from benchmarks.tasks import (
    TASKS,
    QuestionItem,
    Score,
    TagItem,
    Task,
    TextItem,
    encoder_rate,
    main_score,
)
from bert_spacy.data.pairs import (
    make_choice,
    make_pair,
    make_question,
    set_gold_answers,
    set_gold_choice,
)
from bert_spacy.targets import set_targets

BATCH_SIZE = 16
COMPONENTS = {
    "classify": "bert_textcat",
    "regress": "bert_regressor",
    "tag": "bert_ner",
    "answer": "bert_qa",
    "choose": "bert_choice",
}
# By dotted path in the config, in which "head" stands for the task's component: a value, or
# a function of the recipe's own value and the steps of the run.
Overrides = dict[str, Any | Callable[[Any, int], Any]]
SCORES = {
    "classify": "cats_score",
    "regress": "regression_score",
    "tag": "ents_f",
    "answer": "qa_f1",
    "choose": "choice_acc",
}

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
initial_rate = 5e-5
warmup_steps = 1
total_steps = 1

[training.score_weights]
"""


class UnknownSetting(KeyError):
    """An override names what the components of a task do not have."""


def run(
    task: Task,
    splits: dict[str, list],
    weights: str,
    seed: int,
    overrides: Overrides | None = None,
    keep: Path | None = None,
) -> tuple[Score, Score]:
    """Fine-tune on train, choose the epoch on dev, and score dev and test.

    task (Task): The task.
    splits (dict[str, list]): Items for "train", "dev" and "test".
    weights (str): Alias, folder or hub name of the encoder.
    seed (int): Fixes the head's first weights, the order and the dropout.
    overrides (Overrides): Settings that differ from the recipe.
    keep (Path): Takes the pipeline, and dev.spacy and test.spacy with the gold.
    RETURNS (tuple[Score, Score]): Scores on dev and test at the best epoch.
    RAISES (UnknownSetting): For an override that the config has no place for.
    """
    nlp = fine_tune(task, splits, weights, seed, overrides)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        nlp.to_disk(keep / "pipeline")
        for name in ("dev", "test"):
            docs = [make_gold(nlp, item) for item in splits[name]]
            DocBin(docs=docs).to_disk(keep / f"{name}.spacy")
    dev = predict(nlp, task, splits["dev"], is_dev=True)
    test = predict(nlp, task, splits["test"])
    return task.score(splits["dev"], dev), task.score(splits["test"], test)


def fine_tune(
    task: Task,
    splits: dict[str, list],
    weights: str,
    seed: int,
    overrides: Overrides | None = None,
) -> Language:
    """Fine-tune on train and choose the epoch on dev; see `run`.

    RETURNS (Language): The pipeline of the best epoch.
    """
    items = [item for item in splits["train"] if getattr(item, "is_trainable", True)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        blank = spacy.blank(language(task.weights))
        for name, part in (("train", items), ("dev", splits["dev"])):
            docs = [make_gold(blank, item) for item in part]
            DocBin(docs=docs).to_disk(root / f"{name}.spacy")
        config = make_config(task, weights, seed, root, overrides)
        config.to_disk(root / "config.cfg")
        train(root / "config.cfg", root / "out")
        return spacy.load(root / "out" / "model-best")


@registry.scorers("benchmark.task_scorer.v1")
def create_task_scorer(name: str) -> Callable[..., dict[str, float]]:
    """Create a scorer that chooses the epoch by the task's own metric, as plain.py does."""

    def score(examples: Iterable[Example], **cfg: Any) -> dict[str, float]:
        pairs = [(top_label(eg.reference), top_label(eg.predicted)) for eg in examples]
        items = [TextItem("", gold) for gold, _ in pairs]
        return {"task_score": main_score(TASKS[name].score(items, [x for _, x in pairs])) / 100}

    return score


def top_label(doc: Doc) -> str:
    """Give the most probable label of a Doc."""
    return max(doc.cats, key=doc.cats.__getitem__)


def language(weights: str) -> str:
    """Give the language code that an alias ends in."""
    return "zh" if weights.endswith("zh") else "en"


def make_config(
    task: Task, weights: str, seed: int, root: Path, overrides: Overrides | None = None
) -> Config:
    """Fill in the training config of one run.

    task (Task): The task.
    weights (str): Alias, folder or hub name of the encoder.
    seed (int): Seed.
    root (Path): Folder with train.spacy and dev.spacy.
    overrides (Overrides): Settings that differ from the recipe.
    RETURNS (Config): For `spacy train`.
    """
    config = Config().from_str(CONFIG)
    head = COMPONENTS[task.kind]
    config["nlp"]["lang"] = language(task.weights)
    config["nlp"]["pipeline"] = ["bert_encoder", head]
    encoder = config["components"]["bert_encoder"]["model"]
    encoder.update(name=weights, window=task.max_pieces)
    del config["components"]["head"]
    config["components"][head] = {"factory": head}
    weights_of_scores: dict[str, float | None] = {SCORES[task.kind]: 1.0}
    if task.kind == "classify":
        # spaCy puts the component's own score beside this one unless it is taken away.
        weights_of_scores = {"task_score": 1.0, "cats_score": None}
        scorer = {"@scorers": "benchmark.task_scorer.v1", "name": task.name}
        config["components"][head]["scorer"] = scorer
    if task.has_null:
        # The threshold is tuned on dev, for the choice of the epoch as in plain.py.
        weights_of_scores = {"qa_best_f1": 1.0, "qa_f1": None}
    if task.kind == "answer":
        # 128 pieces of overlap, as in the plain recipe.
        encoder["stride"] = task.max_pieces - 128 - 32
        config["components"][head]["max_answer_tokens"] = task.max_answer
        # A batch holds as many pieces as one of 16 full windows.
        config["training"]["batcher"]["max_pieces"] = BATCH_SIZE * task.max_pieces
    if task.kind == "choose":
        # A row for each choice; a batch of 16 items has more than this with long contexts alone.
        config["training"]["batcher"]["max_pieces"] = BATCH_SIZE * 4 * task.max_pieces
    for name in ("train", "dev"):
        config["corpora"][name]["path"] = str(root / f"{name}.spacy")
    filled = load_model_from_config(config, auto_fill=True)
    per_epoch = count_batches(filled)
    steps = task.epochs * per_epoch
    config = filled.config
    config["training"].update(seed=seed, max_steps=steps, eval_frequency=per_epoch)
    config["training"]["optimizer"]["learn_rate"].update(
        initial_rate=encoder_rate(weights), warmup_steps=max(1, steps // 10), total_steps=steps
    )
    config["training"]["score_weights"] = weights_of_scores
    for path, value in (overrides or {}).items():
        *sections, name = path.replace("components.head.", f"components.{head}.").split(".")
        section: Any = config
        for part in sections:
            section = section.get(part, {})
        if name not in section:
            raise UnknownSetting(path)
        section[name] = value(section[name], steps) if callable(value) else value
    return config


def count_batches(nlp: Language) -> int:
    """Count the batches of one pass over the training corpus of a pipeline's config."""
    corpus = registry.resolve(nlp.config["corpora"])["train"]
    batcher = registry.resolve({"batcher": nlp.config["training"]["batcher"]})["batcher"]
    return sum(1 for _ in batcher(corpus(nlp)))


def make_gold(nlp: Language, item: Any) -> Doc:
    """Make the gold Doc of an item."""
    doc: Doc
    if isinstance(item, TextItem | PairItem):
        doc = make_doc(nlp, item)
        doc.cats = {item.label: 1.0}
    elif isinstance(item, ValueItem):
        doc = make_doc(nlp, item)
        set_targets(doc, {"score": item.value})
    elif isinstance(item, TagItem):
        doc = make_doc(nlp, item)
        doc.set_ents(
            filter_spans([Span(doc, a, b, label=label) for a, b, label in item.flat_spans()]),
            default="outside",
        )
    elif isinstance(item, ChoiceItem):
        doc = make_doc(nlp, item)
        set_gold_choice(doc, item.gold)
    else:
        doc = make_question(nlp, item.question, item.context)
        answers = [{"text": t, "start": s, "end": s + len(t)} for t, s in item.answers]
        set_gold_answers(doc, answers, item.id)
    return doc


def make_doc(nlp: Language, item: Any) -> Doc:
    """Make the Doc that a trained pipeline is given."""
    if isinstance(item, TextItem):
        return nlp.make_doc(item.text)
    if isinstance(item, QuestionItem):
        return make_question(nlp, item.question, item.context)
    if isinstance(item, ChoiceItem):
        return make_choice(nlp, item.context, item.question, item.choices)
    if isinstance(item, PairItem | ValueItem):
        return make_pair(nlp, item.text, item.text_b)
    if nlp.lang == "zh":
        return Doc(nlp.vocab, words=item.words, spaces=[False] * len(item.words))
    return Doc(nlp.vocab, words=item.words)


def predict(nlp: Language, task: Task, items: list, is_dev: bool = False) -> list[Any]:
    """Predict one label, list of spans or answer text per item."""
    docs = (make_doc(nlp, item) for item in items)
    if task.kind == "classify":
        return [top_label(doc) for doc in nlp.pipe(docs)]
    if task.kind == "regress":
        return [doc._.regression["score"] for doc in nlp.pipe(docs)]
    if task.kind == "tag":
        return [[(e.start, e.end, e.label_) for e in doc.ents] for doc in nlp.pipe(docs)]
    if task.kind == "choose":
        return [str(doc._.choice) for doc in nlp.pipe(docs)]
    qa: Any = nlp.get_pipe("bert_qa")
    if task.has_null and is_dev:
        qa.null_threshold = float("inf")
        done = list(nlp.pipe(docs))
        texts = [doc._.answers[0].text for doc in done]
        gaps = [doc.spans["answers"].attrs["null_score"] for doc in done]
        qa.set_null_threshold(tune_threshold([item.texts for item in items], texts, gaps))
        return predict(nlp, task, items)
    return [doc._.answers[0].text if doc._.answers else "" for doc in nlp.pipe(docs)]
