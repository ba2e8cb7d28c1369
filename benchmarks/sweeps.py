"""How the cost of a piece moves with length, batch size and number of documents."""

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.build import Assets
from benchmarks.contest import Contender, ContenderError, Worker
from benchmarks.texts import SWEEP_LENGTHS, SWEEP_PIECES

ROUNDS = 3
BATCH_SIZES = (1, 4, 16, 64, 256, 1024)
BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
# The texts of one length, once and several times over.
SHORT = 16
N_SHORT, COPIES = SWEEP_PIECES // SHORT, (1, 10, 100)
# Name -> title of the axis, and for each point the arguments of `contenders.ours.Sweep.run`.
SWEEPS: dict[str, tuple[str, dict[int, dict[str, Any]]]] = {
    "length": (
        "pieces in a document",
        {x: {"key": f"length-{x}"} for x in SWEEP_LENGTHS},
    ),
    "batch_size": (
        "batch_size of nlp.pipe",
        {x: {"key": "texts", "batch_size": x} for x in BATCH_SIZES},
    ),
    "budget": (
        "max_batch_pieces of the encoder",
        {x: {"key": "texts", "budget": x} for x in BUDGETS},
    ),
    "documents": (
        "documents in a stream",
        {x * N_SHORT: {"key": f"length-{SHORT}", "copies": x} for x in COPIES},
    ),
}


def measure(settings: dict[str, Any], assets: Assets, folder: Path) -> dict[str, Any]:
    """Time every point of every sweep, in rounds, on the exact backend if it is there.

    settings (dict): Settings of the run.
    assets (Assets): Has the pipelines.
    folder (Path): Takes the log.
    RETURNS (dict): "pipeline", and for each sweep its "axis" and "points": pairs of x and
        microseconds a piece.
    """
    try:
        name, path = "exact", assets.get("ours-fp32")
    except ContenderError:
        name, path = "torch fp32", assets.get("ours")
    worker = Worker(
        Contender("sweep", "ours", "Sweep"), {**settings, "pipeline": str(path)}, folder
    )
    found: dict[str, Any] = {"pipeline": name}
    try:
        worker.wait()
        for key, (axis, points) in SWEEPS.items():
            rounds = 1 if key == "documents" else ROUNDS
            costs: dict[int, list[float]] = {x: [] for x in points}
            for _ in range(rounds):
                for x, arguments in points.items():
                    done = worker.ask({"do": "run", "arguments": arguments})
                    costs[x].append(1e6 * done["seconds"] / done["units"])
            found[key] = {"axis": axis, "points": [[x, median(y)] for x, y in costs.items()]}
    finally:
        worker.close()
    return found


def format_lines(found: dict[str, Any]) -> list[str]:
    """Say for each sweep how far the cost of a piece is from flat, and where it is dearest."""
    lines = []
    for key in SWEEPS.keys() & found.keys():
        points = found[key]["points"]
        low, high = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
        lines.append(
            f"sweep over {found[key]['axis']}: a piece costs at most {high[1] / low[1]:.2f} "
            f"times the least, at {high[0]} against {low[0]}"
        )
    return sorted(lines)
