"""Train a smaller student from a trained pipeline, or from an encoder."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from .app import app, choose_gpu, parse_overrides


@app.command("distill", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def distill_cli(
    ctx: typer.Context,
    config_path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Config file.", exists=True, dir_okay=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the student and all on the way.")
    ],
    resume: Annotated[
        bool,
        typer.Option(help="Go on with a stopped run, if there is one; otherwise it is removed."),
    ] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, -1 for the CPU.")] = -1,
) -> None:
    """Make a smaller student that does what a trained pipeline does.

    Its layers become like those of the teacher, then its predictions. The teacher may also be a
    folder of weights, which teaches its layers on plain text: .txt, .jsonl (under "text") or .spacy
    files. Settings of the config can be given as options, such as `--distill.student.layers 2`.
    """
    from ..weights.distill.run import MODEL, distill
    from ..weights.distill.settings import load_settings

    choose_gpu(gpu_id, silent=False)
    overrides = parse_overrides(ctx.args)
    try:
        report = distill(
            load_settings(config_path, overrides),
            output,
            resume=resume,
            on_problem=lambda problem: msg.warn(str(problem)),
            on_removal=msg.info,
        )
    except KeyboardInterrupt:
        msg.warn("Stopped. Go on with --resume.")
        raise typer.Exit(130) from None
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't distill by {config_path}", str(err), exits=1)
    _show(report)
    msg.good("Student written", str(output / MODEL))


def _show(report: dict[str, Any]) -> None:
    for part, facts in report["data"].items():
        counts = (f"{value} {key}" for key, value in facts.items() if key != "sha256")
        msg.text(f"{part}: {', '.join(counts)}")
    rows = [
        (name, *(f"{report[name][who]:,}" for who in ("teacher", "student")))
        for name in ("layers", "parameters")
    ]
    scores = report["scores"]
    for key, value in scores["student"].items():
        rows.append((key, f"{scores['teacher'].get(key, 0.0):.4f}", f"{value:.4f}"))
    msg.table(rows, header=("", "Teacher", "Student"), divider=True, aligns=("l", "r", "r"))
    before, after = (report["distance"][when] for when in ("before", "after"))
    if before is not None:
        msg.text(
            f"Distance of the layers on held-out texts: {before:.4f} before, {after:.4f} after"
        )
