"""The tasks of the accuracy benchmark: files, readers in plain Python, metrics, recipe.

All tasks of one kind read into the same items: `TextItem` or `PairItem` for "classify",
`ValueItem` for "regress", `TagItem` for "tag", `QuestionItem` for "answer",
`ChoiceItem` for "choose".
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import metrics
from benchmarks.choice_tasks import read_c3
from benchmarks.metrics import Span
from benchmarks.pairs import read_afqmc, read_columns, read_mrpc, read_rte, read_stsb

SPLITS = ("train", "dev", "test")
Score = float | dict[str, float]


@dataclass(frozen=True)
class TextItem:
    """A text and its class."""

    text: str
    label: str


@dataclass(frozen=True)
class TagItem:
    """Words, or the characters of a Chinese text, and the entities over them.

    spans (list[Span]): Start, end (exclusive, in words) and label, all of the gold.
    """

    words: list[str]
    spans: list[Span]

    def flat_spans(self) -> list[Span]:
        """Give the spans with overlaps removed, the longest kept, for training."""
        kept: list[Span] = []
        for span in sorted(self.spans, key=lambda s: (s[0] - s[1], s[0])):
            if all(span[1] <= other[0] or span[0] >= other[1] for other in kept):
                kept.append(span)
        return sorted(kept)


@dataclass(frozen=True)
class QuestionItem:
    """A question, its context, and the gold answers; none if unanswerable.

    answers (list[tuple[str, int]]): Text as given, and its start in the context,
        in characters; -1 where the text does not occur in the context.
    """

    id: str
    question: str
    context: str
    answers: list[tuple[str, int]]

    @property
    def texts(self) -> list[str]:
        """Give the gold texts, for scoring."""
        return [text for text, _ in self.answers]

    @property
    def is_trainable(self) -> bool:
        """Tell whether the item is unanswerable or has an answer in its context."""
        return not self.answers or any(start >= 0 for _, start in self.answers)


def read_titles(path: Path) -> list[TextItem]:
    """Read `text TAB number` lines; class.txt in the same folder names the numbers."""
    names = (path.parent / "class.txt").read_text(encoding="utf8").split()
    rows = (line.rsplit("\t", 1) for line in _lines(path))
    return [TextItem(text, names[int(number)]) for text, number in rows]


def read_cnews(path: Path) -> list[TextItem]:
    """Read `label TAB text` lines."""
    rows = (line.split("\t", 1) for line in _lines(path))
    return [TextItem(text, label) for label, text in rows]


def read_sst(path: Path) -> list[TextItem]:
    """Read `sentence TAB label` lines after a header."""
    rows = (line.rsplit("\t", 1) for line in list(_lines(path))[1:])
    return [TextItem(text.strip(), label) for text, label in rows]


def read_cola(path: Path) -> list[TextItem]:
    """Read CoLA: source, label, the linguist's mark, sentence, without a header."""
    return [TextItem(text, label) for text, label in read_columns(path, ("3", "1"))]


def read_cluener(path: Path) -> list[TagItem]:
    """Read JSON lines with inclusive character offsets per label and surface form."""
    items = []
    for line in _lines(path):
        row = json.loads(line)
        spans = [
            (start, end + 1, label)
            for label, forms in row["label"].items()
            for places in forms.values()
            for start, end in places
        ]
        items.append(TagItem(list(row["text"]), spans))
    return items


def read_conll(path: Path) -> list[TagItem]:
    """Read columns, word first and tag last, one sentence up to each empty line."""
    items: list[TagItem] = []
    words: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf8").split("\n"), ""]:
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            items.append(TagItem(words, metrics.read_bio(tags)))
            words, tags = [], []
    return items


def read_squad(path: Path) -> list[QuestionItem]:
    """Read SQuAD-style JSON; questions are stripped, wrong offsets repaired."""
    items = []
    for article in json.loads(path.read_text(encoding="utf8"))["data"]:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for row in paragraph["qas"]:
                answers = [
                    (answer["text"], _find_answer(context, answer["text"], answer["answer_start"]))
                    for answer in row["answers"]
                ]
                question = row["question"].strip()
                items.append(QuestionItem(row["id"], question, context, answers))
    return items


def _find_answer(context: str, text: str, start: int) -> int:
    """Give the occurrence of the text nearest to the stated start, or -1."""
    places = []
    place = context.find(text)
    while place >= 0:
        places.append(place)
        place = context.find(text, place + 1)
    return min(places, key=lambda place: abs(place - start), default=-1)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines that are not empty, split at line feeds only."""
    for line in path.read_text(encoding="utf8").split("\n"):
        if line.strip():
            yield line


@dataclass(frozen=True)
class Task:
    """Describe one task.

    kind (str): "classify", "regress", "tag", "answer" or "choose".
    folder (str): Folder under the data folder.
    files (tuple[str, str, str]): Names of the train, dev and test files.
    read (Callable): Path -> list of items.
    weights (str): Alias of the default weights.
    metric (str): A key of `metrics.CLASSIFY`, "correlation", "entity_f1" or "em_f1".
    epochs (int): Passes over the training items.
    max_pieces (int): Longest encoder input, in pieces.
    max_answer (int): Longest answer, in pieces.
    has_null (bool): Whether a question may have no answer.
    compare (Callable): Compares one gold answer with one prediction.
    """

    name: str
    kind: str
    folder: str
    files: tuple[str, str, str]
    read: Callable[[Path], list[Any]]
    weights: str
    metric: str
    epochs: int = 4
    max_pieces: int = 128
    max_answer: int = 30
    has_null: bool = False
    compare: Callable[[str, str], metrics.Pair] = field(default=metrics.squad_pair)

    def load(self, data: Path) -> dict[str, list[Any]]:
        """Read the three files.

        data (Path): The data folder.
        RETURNS (dict[str, list]): Items for "train", "dev" and "test".
        """
        folder = data / self.folder
        return {split: self.read(folder / name) for split, name in zip(SPLITS, self.files)}

    def score(self, items: Sequence[Any], predictions: Sequence[Any]) -> Score:
        """Score predictions with the task's metric.

        items (Sequence): The items, with their gold.
        predictions (Sequence): One label, list of spans, or answer text for each.
        RETURNS (Score): Percent, or several scores in percent by name.
        """
        if self.kind == "classify":
            return metrics.CLASSIFY[self.metric]([item.label for item in items], predictions)
        if self.kind == "choose":
            return metrics.accuracy([item.label for item in items], predictions)
        if self.kind == "regress":
            return metrics.correlation([item.value for item in items], predictions)
        if self.kind == "tag":
            return metrics.entity_f1([item.spans for item in items], predictions)
        return metrics.answer_scores([item.texts for item in items], predictions, self.compare)


def main_score(score: Score) -> float:
    """Give the one number that chooses the best epoch."""
    if not isinstance(score, dict):
        return score
    return next(score[name] for name in ("accuracy", "mean", "f1") if name in score)


def encoder_rate(weights: str) -> float:
    """Give the learning rate that the recipe names for an encoder."""
    return 1e-4 if weights == "albert-tiny-zh" else 5e-5


ZH, EN = "m3e-small-zh", "minilm-l6-en"
# m3e-small-zh hardly learns spans in so short a training.
ZH_SPANS = "albert-tiny-zh"
TSV = ("train.tsv", "dev.tsv", "test.tsv")
TXT = ("train.txt", "dev.txt", "test.txt")
QA: dict[str, Any] = {"epochs": 3, "max_pieces": 384}
TASKS = {
    task.name: task
    for task in (
        Task(
            "thucnews_titles",
            "classify",
            "thucnews_titles",
            ("train.txt", "dev.txt", "test.txt"),
            read_titles,
            ZH,
            "accuracy",
        ),
        Task(
            "SST-2",
            "classify",
            "glue/SST-2",
            ("train.tsv", "dev.tsv", "test.tsv"),
            read_sst,
            EN,
            "accuracy",
        ),
        Task(
            "bbc_news",
            "classify",
            "bbc_news",
            ("cnews.train.txt", "cnews.val.txt", "cnews.test.txt"),
            read_cnews,
            EN,
            "accuracy",
            epochs=3,
            max_pieces=512,
        ),
        # One text of each class: a pass is one batch.
        Task(
            "thucnews_fulltext",
            "classify",
            "thucnews_fulltext",
            TXT,
            read_cnews,
            ZH,
            "accuracy",
            epochs=20,
            max_pieces=512,
        ),
        Task("CoLA", "classify", "glue/CoLA", TSV, read_cola, EN, "matthews"),
        Task("MRPC", "classify", "glue/MRPC", TSV, read_mrpc, EN, "accuracy_f1"),
        Task("RTE", "classify", "glue/RTE", TSV, read_rte, EN, "accuracy"),
        Task("afqmc", "classify", "afqmc", TXT, read_afqmc, ZH, "accuracy"),
        Task("STS-B", "regress", "glue/STS-B", TSV, read_stsb, EN, "correlation"),
        Task(
            "cluener",
            "tag",
            "cluener",
            ("train.json", "dev.json", "test.json"),
            read_cluener,
            ZH,
            "entity_f1",
        ),
        Task(
            "conll2003",
            "tag",
            "conll2003",
            ("eng.train", "eng.testa", "eng.testb"),
            read_conll,
            EN,
            "entity_f1",
        ),
        Task(
            "cmrc2018",
            "answer",
            "cmrc2018",
            ("train.json", "dev.json", "test.json"),
            read_squad,
            ZH_SPANS,
            "em_f1",
            max_answer=100,
            compare=metrics.cmrc_pair,
            **QA,
        ),
        Task(
            "squad1",
            "answer",
            "squad1",
            ("train-v1.1.json", "dev-v1.1.json", "test-v1.1.json"),
            read_squad,
            EN,
            "em_f1",
            **QA,
        ),
        Task(
            "squad2",
            "answer",
            "squad2",
            ("train-v2.0.json", "dev-v2.0.json", "test-v2.0.json"),
            read_squad,
            EN,
            "em_f1",
            has_null=True,
            **QA,
        ),
        Task(
            "c3",
            "choose",
            "c3",
            ("train.json", "dev.json", "test.json"),
            read_c3,
            ZH,
            "accuracy",
            max_pieces=256,
        ),
    )
}
