"""The charts of the speed benchmark: ratios as bars, sweeps as lines.

The background is white and opaque, so that they read the same on a dark page.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from benchmarks.sweeps import SWEEPS  # noqa: E402
from benchmarks.table import Result, format_value  # noqa: E402
from bert_spacy.util import atomic_file  # noqa: E402

INK, GRID = "#1f2933", "#d5dbe1"
MET, MISSED, PLAIN, MARK = "#2a7f62", "#c8553d", "#6b8cae", "#1f2933"
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def draw_rows(results: Sequence[Result], path: Path) -> None:
    """Draw one bar for each measured ratio, its spread, and a mark at its target.

    results (Sequence[Result]): The rows; shares and rows without a ratio are left out.
    path (Path): A PNG file.
    """
    rows = [result for result in results if result.ratio is not None and not result.is_share]
    if not rows:
        return
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(10, 0.9 + 0.42 * len(rows)))
        for y, row in enumerate(reversed(rows)):
            ratio, low, high = row.ratio, min(row.rounds), max(row.rounds)
            color = PLAIN if row.is_met is None else MET if row.is_met else MISSED
            axes.barh(y, ratio - 0.1, left=0.1, height=0.62, color=color)
            axes.plot([low, high], [y, y], color=MARK, linewidth=1.2, alpha=0.7)
            if row.target is not None:
                axes.plot([row.target] * 2, [y - 0.42, y + 0.42], color=MARK, linewidth=2.2)
            text = f" {format_value(ratio, False)}"
            axes.text(max(high, ratio) * 1.03, y, text, va="center", fontweight="bold")
        axes.set_yticks(
            range(len(rows)), [f"{row.what}\nagainst {row.against}" for row in reversed(rows)]
        )
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.set_xscale("log")
        axes.set_xlim(0.4, 1.6 * max(max(row.rounds) for row in rows))
        ticks = [x for x in (0.5, 1, 2, 5, 10, 20, 50, 100) if x < axes.get_xlim()[1]]
        axes.set_xticks(ticks, [f"{x:g}x" for x in ticks])
        axes.minorticks_off()
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(
            "times as fast as the other side (green: target reached, red: missed, "
            "blue: no target; upright mark: target)"
        )
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        save(figure, path)


def draw_sweeps(found: dict[str, Any], path: Path) -> None:
    """Draw microseconds a piece over each sweep, both axes logarithmic; flat is linear cost.

    found (dict): From `benchmarks.sweeps.measure`.
    path (Path): A PNG file.
    """
    names = [name for name in SWEEPS if name in found]
    with matplotlib.rc_context(STYLE):
        figure, grid = pyplot.subplots(
            1, len(names), figsize=(4 * len(names), 3.4), sharey=True, squeeze=False
        )
        for axes, name in zip(grid[0], names):
            xs, ys = zip(*found[name]["points"])
            axes.loglog(xs, ys, marker="o", color=MET, linewidth=2)
            axes.set_xlabel(found[name]["axis"])
            axes.grid(color=GRID, linewidth=0.8)
            axes.minorticks_off()
            axes.set_xticks(xs[:: 1 + len(xs) // 6], [f"{x:,}" for x in xs[:: 1 + len(xs) // 6]])
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        every = [y for name in names for _, y in found[name]["points"]]
        grid[0][0].set_ylim(min(every) / 3, max(every) * 3)
        grid[0][0].set_ylabel("microseconds a piece")
        save(figure, path)


def draw_groups(
    groups: Mapping[str, Sequence[tuple[str, str, Sequence[float]]]], axis: str, path: Path
) -> None:
    """Draw bars side by side in panels: the mean of some values, and a line over their spread.

    groups (Mapping): By title of the panel: label, kind (which gives the colour), and values.
    axis (str): What the values are.
    path (Path): A PNG file.
    """
    kinds = list(dict.fromkeys(kind for bars in groups.values() for _, kind, _ in bars))
    most = max(map(len, groups.values()), default=0)
    if not most:
        return
    with matplotlib.rc_context(STYLE):
        figure, grid = pyplot.subplots(
            1, len(groups), figsize=(6.5 * len(groups), 1 + 0.28 * most), squeeze=False
        )
        for axes, (title, bars) in zip(grid[0], groups.items()):
            for y, (_, kind, values) in enumerate(reversed(bars)):
                color = (PLAIN, MET, MISSED)[kinds.index(kind) % 3]
                mean = sum(values) / len(values)
                axes.barh(y, mean, height=0.66, color=color)
                axes.plot([min(values), max(values)], [y, y], color=MARK, linewidth=1.6)
                axes.text(max(values), y, f" {mean:.1f}", va="center", fontsize=8)
            axes.set_yticks(range(len(bars)), [label for label, _, _ in reversed(bars)], fontsize=8)
            every = [value for _, _, values in bars for value in values]
            low, high = min(every), max(every)
            # Bars that all begin at zero would hide what differs.
            axes.set_xlim(max(0.0, low - (high - low) - 1), high + 0.15 * (high - low) + 0.5)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel(axis)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x", color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            for side in ("top", "right", "left"):
                axes.spines[side].set_visible(False)
        figure.tight_layout()
        save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically and let go of it."""
    with atomic_file(path, "wb", None) as file:
        figure.savefig(file, format="png", dpi=160, bbox_inches="tight")
    pyplot.close(figure)
