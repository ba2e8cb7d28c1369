"""Learning curves from the training log of spaCy's console logger."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Errors

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """Values by training step, one curve per name.

    scores (dict[str, Points]): "score" (0..1) and each logged score (percent).
    losses (dict[str, Points]): The loss of each component between evaluations.
    """

    scores: dict[str, Points] = field(default_factory=dict)
    losses: dict[str, Points] = field(default_factory=dict)


def read_curves(path: Path) -> Curves:
    """Read what `spacy.ConsoleLogger.v3` wrote to its output file.

    path (Path): The jsonl file. A torn last line is passed over.
    RETURNS (Curves): The curves.
    RAISES (ValueError): B630 if no line is a training step.
    """
    curves = Curves()
    for line in path.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
            step = float(entry["step"])
            losses = {name: float(value) for name, value in entry["losses"].items()}
            scores = {name: float(value) for name, value in entry["scores"].items()}
            scores["score"] = float(entry["score"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for name, value in scores.items():
            curves.scores.setdefault(name, []).append((step, value))
        for name, value in losses.items():
            curves.losses.setdefault(name, []).append((step, value))
    if not curves.scores:
        raise ValueError(Errors.B630.format(path=path))
    return curves
