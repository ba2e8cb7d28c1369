"""Train a pipeline, with checkpoints."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app, choose_gpu, parse_overrides


@app.command("train", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train_cli(
    ctx: typer.Context,
    config_path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Config file.", exists=True, dir_okay=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the pipelines and checkpoints.")
    ],
    resume: Annotated[
        bool,
        typer.Option(help="Go on from the newest checkpoint in the folder, if there is one."),
    ] = False,
    checkpoint_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0 for one per evaluation.")
    ] = 0,
    code: Annotated[
        Path | None, typer.Option("--code", "-c", help="Python file to import first.")
    ] = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, -1 for the CPU.")] = -1,
) -> None:
    """Train as `spacy train` does, and be able to go on after a stop.

    Settings of the config can be given as options, such as `--training.max_steps 500`. A run
    that was killed goes on with `--resume` and ends with the same weights as one that
    was not, on a CPU bit for bit.
    """
    from spacy.cli._util import import_code, show_validation_error
    from spacy.util import load_config

    from ..training.checkpoint import find_checkpoint
    from ..training.run import CHECKPOINTS, train

    import_code(code)
    choose_gpu(gpu_id, silent=False)
    overrides = parse_overrides(ctx.args)

    def newest() -> tuple[Path, int] | None:
        # Two runs give their checkpoints the same names.
        path = find_checkpoint(output / CHECKPOINTS)
        return None if path is None else (path, path.stat().st_mtime_ns)

    earlier = newest()
    try:
        with show_validation_error(config_path):
            config = load_config(config_path, overrides=overrides, interpolate=False)
            path = train(
                config, output, resume=resume, checkpoint_every=checkpoint_every, use_gpu=gpu_id
            )
    except KeyboardInterrupt:
        best, found = output / "model-best", newest()
        if found is None:
            advice = f"What is in {best} stays until another run replaces it."
            msg.warn(
                "Stopped before the first checkpoint; --resume would start again",
                advice if best.exists() else "",
            )
        elif found == earlier and not resume:
            msg.warn(
                "Stopped before the first step; start again without --resume",
                f"The checkpoint in {output} is that of an earlier run.",
            )
        else:
            msg.warn(f"Stopped. The best pipeline so far is in {best}; go on with --resume.")
        raise typer.Exit(130) from None
    except (ValueError, OSError, ImportError) as err:
        msg.fail(str(err), exits=1)
    msg.good(f"Saved the pipeline to {path}")
