"""Draw the charts as PNG files, with matplotlib."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..util import atomic_file
from .analysis import Analysis
from .classes import Bin
from .html import plain_name
from .render import cut_matrix
from .svg import COLORS, thin
from .trust import LabelCurve

# Labels beyond Latin script may have no glyphs in the installed fonts.
LAST_LATIN = 0x24F
DPI = 150


def write_pngs(analysis: Analysis, folder: Path) -> list[Path]:
    """Draw confusion matrix, calibration, scatter plots and learning curves.

    analysis (Analysis): The results.
    folder (Path): Where the files go.
    RETURNS (list[Path]): The files written: those for which there are results.
    """
    figures: dict[str, Figure] = {}
    for part in analysis.classes:
        if part.is_exclusive:
            which = f"-{plain_name(part.name)}" if len(analysis.classes) > 1 else ""
            figures[f"confusion{which}"] = _confusion(*cut_matrix(part), part.labels)
            figures[f"calibration{which}"] = _calibration(part.bins)
    for number, target in enumerate(analysis.targets, start=1):
        figures[f"target-{number}"] = _scatter(target.gold, target.predicted)
    for trust in analysis.trust:
        name, before = plain_name(trust.name), trust.before.bins if trust.before else ()
        # That of a classifier shows what stands there, and what was before.
        figures[f"calibration-{name}"] = _calibration(trust.now.bins, before)
        if trust.curves:
            figures[f"precision-recall-{name}"] = _recall(trust.curves)
    if curves := analysis.curves:
        figures["scores"] = _lines({"score": curves.scores["score"]}, "score")
        if curves.losses:
            figures["losses"] = _lines(curves.losses, "loss")
    return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def plain_names(names: Sequence[str], rows: Sequence[str] | None = None) -> list[str]:
    """Return the names, or numbers where a font may lack their letters.

    names (Sequence[str]): The names.
    rows (Sequence[str] | None): What the numbers count, from 1; the names themselves if None.
        A name that is not among them stays.
    """
    if _is_latin(names):
        # A dollar sign would start a formula.
        return [name.replace("$", r"\$") for name in names]
    number = {name: str(i) for i, name in enumerate(names if rows is None else rows, start=1)}
    return [number.get(name, name) for name in names]


def _is_latin(names: Sequence[str]) -> bool:
    return all(ord(char) <= LAST_LATIN for name in names for char in name)


def _confusion(labels: Sequence[str], matrix: NDArray[np.int64], rows: Sequence[str]) -> Figure:
    side = max(4.0, 0.4 * len(labels) + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        matrix / matrix.sum(axis=1, keepdims=True).clip(min=1), cmap="Blues", vmin=0, vmax=1
    )
    names = plain_names(labels, rows)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    where = "" if _is_latin(labels) else " (numbers: rows of the label table)"
    axes.set(xlabel="predicted", ylabel=f"gold{where}")
    for i, row in enumerate(matrix):
        for j, count in enumerate(row):
            if count:
                color = "white" if count > row.sum() / 2 else "black"
                axes.text(j, i, str(count), ha="center", va="center", color=color, fontsize=7)
    return figure


def _calibration(bins: Sequence[Bin], before: Sequence[Bin] = ()) -> Figure:
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle="--", color="gray")
    if before:
        x, y = zip(*((b.confidence, b.accuracy) for b in before))
        axes.plot(x, y, marker="o", color=COLORS[1], label="before calibration")
    axes.plot(
        [b.confidence for b in bins],
        [b.accuracy for b in bins],
        marker="o",
        color=COLORS[0],
        label="after calibration",
    )
    # Room for whole dots at the edges.
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability", ylabel="accuracy")
    if before:
        axes.legend()
    return figure


def _recall(curves: Sequence[LabelCurve]) -> Figure:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    labels = [curve.label for curve in curves]
    lines: list[Line2D] = []
    for i, curve in enumerate(curves):
        color, style = COLORS[i % len(COLORS)], ("-", "--", ":")[i // len(COLORS) % 3]
        x, y = zip(*thin(curve)) if len(curve.recall) else ((), ())
        lines += axes.plot(x, y, color=color, linestyle=style)
        if curve.point:
            axes.plot(*curve.point, marker="o", color=color, markeredgecolor="white", zorder=3)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    title = None if _is_latin(labels) else "rows of the table\nof thresholds"
    # Named here: of a line's own name, one that begins with "_" is left out.
    names = plain_names(labels)
    axes.legend(lines, names, loc="center left", bbox_to_anchor=(1, 0.5), title=title)
    return figure


def _scatter(gold: NDArray[np.float64], predicted: NDArray[np.float64]) -> Figure:
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    ends = [min(gold.min(), predicted.min()), max(gold.max(), predicted.max())]
    axes.plot(ends, ends, linestyle="--", color="gray")
    axes.scatter(gold, predicted, s=8, alpha=0.4)
    axes.set(xlabel="gold", ylabel="predicted")
    return figure


def _lines(curves: Mapping[str, Sequence[tuple[float, float]]], ylabel: str) -> Figure:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    lines: list[Line2D] = []
    for points in curves.values():
        lines += axes.plot([x for x, _ in points], [y for _, y in points], marker=".")
    axes.set(xlabel="step", ylabel=ylabel)
    axes.legend(lines, plain_names(list(curves)))
    return figure


def _save(figure: Figure, path: Path) -> Path:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    with atomic_file(path, mode="wb") as file_:
        file_.write(buffer.getvalue())
    return path
