"""Write a pipeline whose encoder predicts faster."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from .app import app


@app.command("optimize")
def optimize_cli(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a trained pipeline.")],
    output: Annotated[Path, typer.Argument(help="Folder of the new pipeline.")],
    precision: Annotated[str, typer.Option(help="fp32 (exact) or int8.")] = "fp32",
    backend: Annotated[
        str, typer.Option(help="torch, onnx, or auto for the faster one on this machine.")
    ] = "auto",
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Gold Docs (.spacy): ranges of int8, and what the heads lose."),
    ] = None,
    slim: Annotated[
        bool, typer.Option("--slim", help="Leave out the torch weights: no more training.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Write it even if a head loses too much.")
    ] = False,
) -> None:
    """Choose a faster backend for the encoder of a pipeline, and show what changes.

    The new pipeline loads, packages and runs as before. It is not written if a
    head loses more than half a point on the gold Docs of --calibrate.
    """
    from ..weights.optimize import REPORT_FILE, optimize

    try:
        report = optimize(
            pipeline,
            output,
            precision=precision,
            backend=backend,
            calibrate=calibrate,
            slim=slim,
            force=force,
        )
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't optimize {pipeline}", str(err), exits=1)
    header = ("Encoder", "Speed", "Relative error", "Largest", "Same labels", "Scores")
    msg.table(
        [_row(part) for part in report["tried"]],
        header=header,
        divider=True,
        aligns=("l", "r", "r", "r", "r", "l"),
        max_col=60,
    )
    sizes = report["megabytes"]
    msg.good(f"{report['chosen']['name']}: {sizes['before']} MB before, {sizes['after']} MB after")
    if not report["has_gold"]:
        msg.warn("No gold to compare scores on: give it with --calibrate.")
    if slim:
        msg.warn("Without its torch weights this pipeline cannot be trained any more.")
    msg.good("Report written", str(output / REPORT_FILE))


def _row(part: dict[str, Any]) -> tuple[str, ...]:
    scores = ", ".join(
        f"{name} {100 * value:.1f} -> {100 * part['after'][name]:.1f}"
        for name, value in part["before"].items()
    )
    return (
        part["name"],
        f"{part['speed']:.2f}x",
        f"{part['relative_error']:.4f}",
        f"{part['max_difference']:.4f}",
        f"{100 * part['agreement']:.1f} %",
        scores or "no gold",
    )
