"""GLUE in one command."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app, choose_gpu


@app.command("glue")
def glue_cli(
    data: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="A folder for each task: CoLA, RTE ..."),
    ],
    output: Annotated[Path, typer.Argument(help="Folder for table, predictions and pipelines.")],
    weights: Annotated[str, typer.Option(help="Alias, folder or hub name.")] = "minilm-l6-en",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 4,
    learn_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 5e-5,
    max_pieces: Annotated[
        int, typer.Option(min=8, help="Longest window; longer texts take several.")
    ] = 128,
    limit: Annotated[int, typer.Option(min=0, help="Training rows at most, 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    gpu_id: Annotated[int, typer.Option(help="GPU to use, -1 for the CPU.")] = -1,
) -> None:
    """Fine-tune and score each GLUE task in DATA, and predict its test set.

    Writes OUTPUT/results.md and a file for the leaderboard per test set, such as
    OUTPUT/RTE.tsv. A task that is finished is skipped, one that was stopped goes on. Exit
    status: 0 all tasks are done, 2 some failed, 1 nothing was done.
    """
    from ..glue.run import TABLE, Recipe, run_glue

    choose_gpu(gpu_id)
    recipe = Recipe(weights, epochs, learn_rate, max_pieces, limit, seed)
    try:
        results = run_glue(
            data,
            output,
            recipe,
            use_gpu=gpu_id,
            on_event=lambda task, event: msg.info(f"{task} {event}"),
        )
    except (OSError, ValueError) as err:
        msg.fail(f"Can't run GLUE on {data}", str(err), exits=1)
    typer.echo((output / TABLE).read_text(encoding="utf-8"))
    failed = [result["task"] for result in results if "error" in result]
    if failed:
        msg.fail(f"{len(failed)} of {len(results)} tasks failed", ", ".join(failed))
        raise typer.Exit(2)
    msg.good("Table and predictions written", str(output))
