"""Train an encoder on plain text."""

import os
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app, parse_overrides


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
            help="-1 for the CPU; else, as without it, the GPUs that CUDA shows, one a process.",
        ),
    ] = None,
) -> None:
    """Train new weights, or go on with others, on plain text.

    Texts are .txt, .jsonl (under "text") or .spacy files. Settings of the config can be given as
    options, such as `--trainer.max_steps 500`. Several processes: `torchrun --nproc_per_node 2 -m
    bert_spacy pretrain ...`.
    """
    import torch
    from spacy.util import load_config

    from ..report.svg import lines_svg
    from ..weights.pretrain.run import pretrain

    is_first = os.environ.get("RANK", "0") == "0"
    overrides = parse_overrides(ctx.args)
    if gpu_id is not None and gpu_id >= (n_gpu := torch.cuda.device_count()):
        reason = f"GPUs that CUDA shows: {n_gpu}. Give -1 for the CPU."
        raise typer.BadParameter(reason, param_hint="--gpu-id")
    try:
        config = load_config(config_path, overrides=overrides, interpolate=True)
        result = pretrain(
            config,
            output,
            resume=resume,
            use_cpu=None if gpu_id is None else gpu_id < 0,
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
    title = "Model folder written" if result.is_new else "Finished before; nothing was written"
    msg.good(title, str(output))
