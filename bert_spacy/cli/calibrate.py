"""Fit the probabilities of a trained pipeline on gold Docs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from .app import app, choose_gpu


@app.command("calibrate")
def calibrate_cli(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a trained pipeline.")],
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DEV...", help="Gold Docs, not used in training: .spacy files or folders."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new pipeline.")],
    min_precision: Annotated[
        float | None,
        typer.Option(help="Give only labels of this precision (0..1); see above."),
    ] = None,
    gpu_id: Annotated[int, typer.Option(help="GPU to use, -1 for the CPU.")] = -1,
) -> None:
    """Make probabilities agree with gold Docs.

    What is predicted stays as it is, but for thresholds. --min-precision sets one
    for each label of bert_ner, whose other entities become candidates, and of
    bert_textcat_multilabel; without it the latter gets those with the best F1,
    and former ones of bert_ner are removed, and named.
    bert_qa gets the null_threshold with the best F1, if some questions have no
    answer.
    """
    from ..weights.calibrate import MIN_PREDICTIONS, REPORT_FILE, calibrate

    choose_gpu(gpu_id)
    try:
        report = calibrate(pipeline, data, output, min_precision=min_precision)
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't calibrate {pipeline}", str(err), exits=1)
    header = ("Component", "Predictions", "Temperature", "ECE %", "Brier")
    rows = [_row(name, part) for name, part in report.items() if "temperature" in part]
    if rows:
        msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "r"))
    for name, part in report.items():
        if part.get("thresholds"):
            _show_thresholds(name, part)
        if removed := part.get("removed_thresholds"):
            msg.warn(
                f"{name} has no thresholds any more, and gives all that it finds",
                f"Those of {', '.join(removed)} were for another temperature. Give "
                "--min-precision to get new ones.",
            )
        if "null_threshold" in part:
            msg.info(f"{name}: null_threshold {part['null_threshold']:.3f}")
        if "f_before" in part:
            change = f"{_percent(part['f_before'])} -> {_percent(part['f_after'])} %"
            msg.info(f"{name}, on these Docs: F1 {change}")
        if part.get("at_bound"):
            msg.warn(
                f"The temperature of {name} is a bound of what is looked at",
                "Nearly all predictions are right here, or scores do not tell right from wrong.",
            )
        if part["predictions"] < MIN_PREDICTIONS:
            msg.warn(
                f"{name} is left as it is",
                f"It has {part['predictions']} predictions that gold can judge, and needs "
                f"{MIN_PREDICTIONS}.",
            )
    others = [name for name, part in report.items() if "min_precision" not in part]
    if min_precision is not None and others:
        msg.info(f"--min-precision sets no threshold of: {', '.join(others)}")
    msg.good("Pipeline and report written", str(output / REPORT_FILE))


def _row(name: str, part: dict[str, Any]) -> tuple[str, ...]:
    before, after = part["before"], part["after"]
    return (
        name,
        str(part["predictions"]),
        f"{part['temperature']:.3f}",
        f"{100 * before['ece']:.2f} -> {100 * after['ece']:.2f}",
        f"{before['brier']:.4f} -> {after['brier']:.4f}",
    )


def _show_thresholds(name: str, part: dict[str, Any]) -> None:
    rows = [(label, f"{value:.4f}") for label, value in part["thresholds"].items()]
    msg.table(rows, header=(f"{name}: label", "Threshold"), divider=True, aligns=("l", "r"))
    if "min_precision" not in part:
        return
    sides = (("precision", "kept_precision"), ("recall", "kept_recall"))
    changes = [
        f"{what} {_percent(part[f'{what}_before'])} -> {_percent(part[key])} %"
        for what, key in sides
    ]
    msg.info(f"On these Docs: {', '.join(changes)}")
    if part["unreached"]:
        msg.warn(
            f"No threshold surely gives this precision for: {', '.join(part['unreached'])}",
            "It is given where its probability is 1 alone; other entities become candidates.",
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
