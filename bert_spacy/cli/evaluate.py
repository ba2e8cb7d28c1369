"""Score a trained pipeline on gold Docs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from .app import app, choose_gpu

if TYPE_CHECKING:
    from spacy.language import Language


NO_PERCENT = ("speed", "qa_best_threshold")


@app.command("evaluate")
def evaluate_cli(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a trained pipeline.")],
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA...", help="Gold Docs: .spacy files or folders of them."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .json file for all scores.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Docs per batch; the pipeline's own if not given.")
    ] = None,
    gpu_id: Annotated[int, typer.Option(help="GPU to use, -1 for the CPU.")] = -1,
) -> None:
    """Score a pipeline on gold Docs of one task or of several together.

    Where `spacy evaluate` reads texts alone, this keeps questions apart from
    their contexts, and shows the scores of every component. Each score counts
    the Docs that have gold for it.
    """
    from ..pipeline.files import load_pipeline

    choose_gpu(gpu_id)
    try:
        nlp = load_pipeline(pipeline)
        scores = evaluate(nlp, data, output, batch_size=batch_size)
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't evaluate {pipeline}", str(err), exits=1)
    rows = [
        (name, f"{value * 100:.2f}")
        for name, value in scores.items()
        if isinstance(value, float) and name not in NO_PERCENT
    ]
    msg.table(rows, header=("Score", "%"), divider=True, aligns=("l", "r"))
    if all(name.startswith(("token_", "speed")) for name, _ in rows):
        pipes = ", ".join(nlp.pipe_names)
        msg.warn(f"Nothing else is scored: what the gold holds, no component gives ({pipes})")
    if output is not None:
        msg.good("Scores written", str(output))


def evaluate(
    nlp: "Language", data: list[Path], output: Path | None = None, *, batch_size: int | None = None
) -> dict[str, Any]:
    """Score a pipeline and write the scores as JSON.

    nlp (Language): The pipeline.
    data (list[Path]): .spacy files and folders of them.
    output (Path): The file to write; None for no file.
    batch_size (int): Docs per batch; the pipeline's own if None.
    RETURNS (dict[str, Any]): Scores by spaCy's names, 0..1; None without gold.
    RAISES (ValueError): B413 if there is no such file, B414 if one is damaged, B424 if there
        are no Docs; B623 or B810 if the scores cannot be written there.
    """
    import srsly

    from ..data.corpus import Corpus
    from ..data.docbin import find_docbins
    from ..util import atomic_file, check_file

    if output is not None:
        check_file(output, [file_ for path in data for file_ in find_docbins(path)])
    scores = nlp.evaluate(Corpus(data)(nlp), batch_size=batch_size)
    if output is not None:
        with atomic_file(output) as file_:
            file_.write(srsly.json_dumps(scores, indent=2) + "\n")
    return scores
