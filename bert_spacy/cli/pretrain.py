"""Train an encoder on plain text."""

import os
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app, choose_gpu, parse_overrides


@app.command(
    "pretrain", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def pretrain_cli(
    ctx: typer.Context,
    config_path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Config file.", exists=True, dir_okay=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new model folder.")],
    resume: Annotated[
        bool, typer.Option(help="Go on with a stopped run, if there is one.")
    ] = False,
    gpu_id: Annotated[
        int | None,
        typer.Option(
            "--gpu-id",
            "-g",
            help="GPU, -1 for the CPU; without it the GPU that each process sees, if there is one.",
        ),
    ] = None,
) -> None:
    """Train new weights, or go on with others, on plain text.

    Settings of the config can be given as options, such as `--trainer.max_steps 500`. Several
    processes: `torchrun --nproc_per_node 2 -m bert_spacy pretrain ...`.
    """
    from spacy.util import load_config

    from ..report.svg import lines_svg
    from ..weights.pretrain.run import pretrain

    is_first = os.environ.get("RANK", "0") == "0"
    overrides = parse_overrides(ctx.args)
    if gpu_id is not None:
        choose_gpu(gpu_id)
        overrides["trainer.use_cpu"] = gpu_id < 0
    try:
        config = load_config(config_path, overrides=overrides, interpolate=True)
        result = pretrain(
            config,
            output,
            resume=resume,
            on_problem=lambda problem: msg.warn(str(problem)),
            draw=lines_svg,
        )
    except KeyboardInterrupt:
        msg.warn("Stopped. Go on with --resume.", show=is_first)
        raise typer.Exit(130) from None
    except (OSError, ValueError, ImportError) as err:
        msg.fail("Can't pretrain", str(err), exits=1)
    if result is None:
        return
    for name, facts in result.facts.items():
        msg.text(f"{name}: " + ", ".join(f"{value} {key}" for key, value in facts.items()))
    msg.table(
        result.rows(), header=("On held-out text", "Before", "After"), divider=True,
        aligns=("l", "r", "r"),
    )  # fmt: skip
    rows = [
        (fill["text"], fill["piece"], fill["before"][0][0], fill["after"][0][0])
        for fill in result.fills
    ]
    msg.table(rows, header=("Text", "Piece", "Before", "After"), divider=True, max_col=70)
    msg.text(f"{result.steps} steps, {result.epochs:.2f} epochs, SHA-256 {result.checksum}")
    msg.good("Model folder written", str(output))
