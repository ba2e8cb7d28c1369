"""Write a pipeline whose encoder predicts faster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from .app import app

if TYPE_CHECKING:
    from ..weights.parity import Parity


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

    def show(tried: list["Parity"]) -> None:
        msg.table(
            [_row(parity) for parity in tried],
            header=(
                "Encoder",
                "Docs/s",
                "Speed",
                "Relative error",
                "Largest",
                "Same labels",
                "Scores",
            ),
            divider=True,
            aligns=("l", "r", "r", "r", "r", "r", "l"),
            max_col=60,
        )

    try:
        report = optimize(
            pipeline,
            output,
            precision=precision,
            backend=backend,
            calibrate=calibrate,
            slim=slim,
            force=force,
            show=show,
        )
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't optimize {pipeline}", str(err), exits=1)
    sizes = report["megabytes"]
    msg.good(f"{report['chosen']['name']}: {sizes['before']} MB before, {sizes['after']} MB after")
    if report["left_alone"]:
        names = ", ".join(report["left_alone"])
        msg.warn("The first encoder alone was changed", f"As they were: {names}.")
    if report["without_gold"]:
        names = ", ".join(report["without_gold"])
        place = "--calibrate" if calibrate is None else str(calibrate)
        msg.warn(
            "Not all scores were compared",
            f"There is no gold in {place} for {names}: what they lose is not known.",
        )
    if slim:
        msg.warn("Without its torch weights this pipeline cannot be trained any more.")
    msg.good("Report written", str(output / REPORT_FILE))


def _row(parity: "Parity") -> tuple[str, ...]:
    scores = ", ".join(
        f"{name} {100 * value:.1f} -> {_points(parity.after.get(name))}"
        for name, value in parity.before.items()
    )
    return (
        parity.name,
        "{} -> {}".format(*parity.docs_per_second),
        f"{parity.speed:.2f}x",
        f"{parity.relative_error:.4f}",
        f"{parity.max_difference:.4f}",
        f"{100 * parity.agreement:.1f} %",
        scores or "no gold",
    )


def _points(score: float | None) -> str:
    return "none" if score is None else f"{100 * score:.1f}"
