"""The tasks of GLUE: their files, their official metrics, and what the leaderboard takes."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..scoring.regression import pearson, spearman


@dataclass(frozen=True)
class GlueTask:
    """One task.

    name (str): As its folder is called.
    metrics (tuple[str, ...]): Keys of `METRICS`.
    columns (tuple[str, ...]): Columns of the texts in files that have a header.
    dev (dict[str, str]): Files to score on by their short names; the first chooses the epoch.
    test (dict[str, str]): Files to predict by the names of the leaderboard's.
    """

    name: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    dev: dict[str, str] = field(default_factory=lambda: {"dev": "dev.tsv"})
    test: dict[str, str] = field(default_factory=dict)

    @property
    def is_regression(self) -> bool:
        """Whether the gold is a number."""
        return "pearson" in self.metrics

    @property
    def test_files(self) -> dict[str, str]:
        """The files to predict, by the names of the leaderboard's."""
        return self.test or {f"{self.name}.tsv": "test.tsv"}


_PAIR = ("sentence1", "sentence2")
TASKS = {
    task.name: task
    for task in (
        GlueTask("CoLA", ("matthews",), ("sentence",)),
        GlueTask("SST-2", ("accuracy",), ("sentence",)),
        GlueTask("MRPC", ("accuracy", "f1"), ("#1 String", "#2 String")),
        GlueTask("STS-B", ("pearson", "spearman"), _PAIR),
        GlueTask("QQP", ("accuracy", "f1"), ("question1", "question2")),
        GlueTask(
            "MNLI",
            ("accuracy",),
            _PAIR,
            {"m": "dev_matched.tsv", "mm": "dev_mismatched.tsv"},
            {"MNLI-m.tsv": "test_matched.tsv", "MNLI-mm.tsv": "test_mismatched.tsv"},
        ),
        GlueTask("QNLI", ("accuracy",), ("question", "sentence")),
        GlueTask("RTE", ("accuracy",), _PAIR),
        GlueTask("WNLI", ("accuracy",), _PAIR),
    )
}


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float | None:
    """Return the share of equal labels; None without any."""
    return sum(map(str.__eq__, gold, predicted)) / len(gold) if gold else None


def f1(gold: Sequence[str], predicted: Sequence[str]) -> float | None:
    """Return the F1 of label "1"; None if it is neither right nor predicted anywhere."""
    total = sum(label == "1" for label in (*gold, *predicted))
    return 2 * sum(pair == ("1", "1") for pair in zip(gold, predicted)) / total if total else None


def matthews(gold: Sequence[str], predicted: Sequence[str]) -> float | None:
    """Return Matthews' correlation of labels "0" and "1"; 0 if one of them is never predicted."""
    if len(set(gold)) < 2:
        return None
    n = Counter(zip(gold, predicted))
    tp, tn, fp, fn = n["1", "1"], n["0", "0"], n["0", "1"], n["1", "0"]
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / product**0.5 if product else 0.0


METRICS: dict[str, Callable[[Sequence[Any], Sequence[Any]], float | None]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
