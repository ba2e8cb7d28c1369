"""Draw charts as SVG, with the reader's fonts, so that labels of any script show."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from .classes import Bin
from .trust import LabelCurve

COLORS = ("#2f5d9b", "#c8553d", "#3f8f5b", "#8a5aa8", "#b8860b", "#4a9aa8", "#9b2f5d", "#666666")
GRID = "#d8d8d8"
INK = "#222222"
CELL = 34
N_TICKS = 5
# More labels than colours are told apart by their lines.
DASHES = ("none", "7 4", "2 3")
MAX_POINTS = 300
CHAR_WIDTH = 7.0
WIDE_CHAR_WIDTH = 13.0


def matrix_svg(labels: Sequence[str], matrix: NDArray[np.int64]) -> str:
    """Draw a confusion matrix; the shade is the share of the row.

    labels (Sequence[str]): Names of rows and columns.
    matrix (NDArray): Counts, gold by row. Shape (L, L).
    RETURNS (str): An SVG element.
    """
    n = len(labels)
    margin = min(max((_width(label) for label in labels), default=0.0), 220.0) + 44
    size = margin + n * CELL + 10
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    parts = [_text(margin + n * CELL / 2, 14, "predicted", "middle")]
    parts.append(
        f'<text x="14" y="{margin + n * CELL / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {margin + n * CELL / 2:.0f})">gold</text>'
    )
    for i, label in enumerate(labels):
        at = margin + (i + 0.5) * CELL
        parts.append(_text(margin - 6, at + 4, label, "end"))
        parts.append(
            f'<text x="{at + 4:.0f}" y="{margin - 6:.0f}" '
            f'transform="rotate(-90 {at + 4:.0f} {margin - 6:.0f})">{escape(label)}</text>'
        )
        for j in range(n):
            parts.append(_cell(labels, matrix, float(shares[i, j]), i, j, margin))
    return _svg(size, size, parts, "Confusion matrix")


def lines_svg(curves: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Draw one line per curve, with a legend.

    curves (Mapping): Points (x, y) by name; points that are not finite are left out.
    title (str): Name of the chart.
    RETURNS (str): An SVG element.
    """
    finite = {
        name: [(x, y) for x, y in points if np.isfinite(x) and np.isfinite(y)]
        for name, points in curves.items()
    }
    points = [point for line in finite.values() for point in line]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    frame = _Frame(min(xs), max(xs), min(*ys, 0.0), max(ys))
    parts = frame.axes()
    for i, (name, line) in enumerate(finite.items()):
        color = COLORS[i % len(COLORS)]
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2.5" fill="{color}">'
            f"<title>{escape(name)}, step {x:g}: {y:.4g}</title></circle>"
            for x, y in line
        ]
        top = 34 + 18 * i
        parts.append(
            f'<rect x="{frame.right + 14}" y="{top}" width="12" height="4" fill="{color}"/>'
        )
        parts.append(_text(frame.right + 32, top + 6, name))
    parts.append(_text((frame.left + frame.right) / 2, 292, "step", "middle"))
    return _svg(760, max(300, 50 + 18 * len(finite)), parts, title)


def reliability_svg(
    bins: Sequence[Bin], before: Sequence[Bin] = (), what: str = "the predicted label"
) -> str:
    """Draw accuracy against confidence; the dashed line is perfect calibration.

    bins (Sequence[Bin]): Groups of predictions; the area of a dot is their number.
    before (Sequence[Bin]): The same before calibration, drawn behind.
    what (str): Whose probability it is.
    RETURNS (str): An SVG element.
    """
    frame = _Frame(0.0, 1.0, 0.0, 1.0)
    largest = max((b.count for b in (*bins, *before)), default=1)
    parts = frame.axes()
    parts.append(
        f'<line x1="{frame.x(0):.1f}" y1="{frame.y(0):.1f}" x2="{frame.x(1):.1f}" '
        f'y2="{frame.y(1):.1f}" stroke="{INK}" stroke-dasharray="5 4"/>'
    )
    if before:
        parts += _reliability_line(frame, before, COLORS[1], largest)
        for i, name in enumerate(("after calibration", "before")):
            parts += _legend(frame, i + 2, name, COLORS[i])
    parts += _reliability_line(frame, bins, COLORS[0], largest)
    middle = (frame.left + frame.right) / 2
    parts.append(_text(middle, 292, f"probability of {what}", "middle"))
    parts.append(_text(frame.right + 14, 40, "accuracy"))
    return _svg(760, 300, parts, "Reliability diagram")


def scatter_svg(gold: NDArray[np.float64], predicted: NDArray[np.float64], title: str) -> str:
    """Draw predicted against gold values; on the dashed line they are equal.

    gold (NDArray): Right values, across. Shape (N,).
    predicted (NDArray): Predicted values, upwards. Shape (N,).
    title (str): Name of the target.
    RETURNS (str): An SVG element.
    """
    low, high = float(min(gold.min(), predicted.min())), float(max(gold.max(), predicted.max()))
    frame = _Frame(low, high, low, high)
    parts = frame.axes()
    parts.append(
        f'<line x1="{frame.x(low):.1f}" y1="{frame.y(low):.1f}" x2="{frame.x(high):.1f}" '
        f'y2="{frame.y(high):.1f}" stroke="{INK}" stroke-dasharray="5 4"/>'
    )
    parts += [
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{COLORS[0]}" '
        f'fill-opacity="0.4"><title>gold {x:.4g}, predicted {y:.4g}</title></circle>'
        for x, y in zip(gold.tolist(), predicted.tolist())
    ]
    parts.append(_text((frame.left + frame.right) / 2, 292, "gold", "middle"))
    parts.append(_text(frame.right + 14, 40, "predicted"))
    return _svg(760, 300, parts, f"Predicted against gold: {title}")


def recall_svg(curves: Sequence[LabelCurve]) -> str:
    """Draw precision against recall, one line per label; a dot is where its threshold stands.

    curves (Sequence[LabelCurve]): The curves.
    RETURNS (str): An SVG element.
    """
    frame = _Frame(0.0, 1.0, 0.0, 1.0)
    parts = frame.axes()
    for i, curve in enumerate(curves):
        color, dash = COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)]
        points = thin(curve)
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2" '
            f'stroke-dasharray="{dash}" stroke-linejoin="round"/>'
        )
        parts += _legend(frame, i, curve.label, color, dash)
    # On top of all lines.
    for i, curve in enumerate(curves):
        if curve.point:
            x, y = curve.point
            parts.append(
                f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="5.5" '
                f'fill="{COLORS[i % len(COLORS)]}" stroke="#ffffff" stroke-width="1.5">'
                f"<title>{escape(curve.label)}, from {curve.threshold:.3f}: "
                f"recall {x:.3f}, precision {y:.3f}</title></circle>"
            )
    parts.append(_text((frame.left + frame.right) / 2, 292, "recall", "middle"))
    parts.append(_text(frame.left, 12, "precision"))
    return _svg(760, max(300, 50 + 18 * len(curves)), parts, "Precision and recall")


def thin(curve: LabelCurve) -> list[tuple[float, float]]:
    """Return at most 300 points (recall, precision) of a curve, evenly chosen."""
    n = len(curve.recall)
    index = np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int))
    return list(zip(curve.recall[index].tolist(), curve.precision[index].tolist()))


def _reliability_line(
    frame: "_Frame", bins: Sequence[Bin], color: str, largest: int
) -> Iterator[str]:
    path = " ".join(f"{frame.x(b.confidence):.1f},{frame.y(b.accuracy):.1f}" for b in bins)
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
    for b in bins:
        radius = 3 + 9 * (b.count / largest) ** 0.5
        yield (
            f'<circle cx="{frame.x(b.confidence):.1f}" cy="{frame.y(b.accuracy):.1f}" '
            f'r="{radius:.1f}" fill="{color}" fill-opacity="0.6">'
            f"<title>{b.count} predictions: confidence {b.confidence:.3f}, "
            f"accuracy {b.accuracy:.3f}</title></circle>"
        )


def _legend(frame: "_Frame", row: int, name: str, color: str, dash: str = "none") -> list[str]:
    top = 36 + 18 * row
    line = (
        f'<line x1="{frame.right + 14}" x2="{frame.right + 34}" y1="{top}" y2="{top}" '
        f'stroke="{color}" stroke-width="3" stroke-dasharray="{dash}"/>'
    )
    return [line, _text(frame.right + 40, top + 4, name)]


class _Frame:
    """A plot area with linear axes."""

    left, right, top, bottom = 60, 560, 16, 260

    def __init__(self, x_low: float, x_high: float, y_low: float, y_high: float) -> None:
        self.x_low, self.x_span = x_low, (x_high - x_low) or 1.0
        self.y_low, self.y_span = y_low, (y_high - y_low) or 1.0

    def x(self, value: float) -> float:
        """Return the horizontal place of a value."""
        return self.left + (value - self.x_low) / self.x_span * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the vertical place of a value."""
        return self.bottom - (value - self.y_low) / self.y_span * (self.bottom - self.top)

    def axes(self) -> list[str]:
        """Return grid lines with their values."""
        parts = []
        for i in range(N_TICKS + 1):
            x = self.x_low + self.x_span * i / N_TICKS
            y = self.y_low + self.y_span * i / N_TICKS
            parts.append(
                f'<line x1="{self.left}" x2="{self.right}" y1="{self.y(y):.1f}" '
                f'y2="{self.y(y):.1f}" stroke="{GRID}"/>'
            )
            parts.append(_text(self.left - 8, self.y(y) + 4, f"{y:.4g}", "end"))
            parts.append(_text(self.x(x), self.bottom + 18, f"{x:.4g}", "middle"))
        return parts


def _cell(
    labels: Sequence[str], matrix: NDArray[np.int64], share: float, i: int, j: int, margin: float
) -> str:
    x, y = margin + j * CELL, margin + i * CELL
    color = COLORS[0] if i == j else COLORS[1]
    ink = "#ffffff" if share > 0.5 else INK
    count = int(matrix[i, j])
    tip = f"gold {labels[i]}, predicted {labels[j]}: {count}"
    number = _text(x + CELL / 2, y + CELL / 2 + 4, str(count), "middle", ink) if count else ""
    return (
        f'<g><title>{escape(tip)}</title><rect x="{x:.0f}" y="{y:.0f}" width="{CELL}" '
        f'height="{CELL}" fill="{color}" fill-opacity="{share:.3f}" stroke="{GRID}"/>{number}</g>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = INK) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
    )


def _width(text: str) -> float:
    """Return about how wide a text is drawn, in pixels."""
    return sum(WIDE_CHAR_WIDTH if ord(char) > 0x2E80 else CHAR_WIDTH for char in text)


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
