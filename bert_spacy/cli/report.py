"""Report on a trained pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from wasabi import msg

from ..errors import Errors
from .app import app, choose_gpu

if TYPE_CHECKING:
    from spacy.language import Language

    from ..report.analysis import Analysis


@app.command("report")
def report_cli(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a trained pipeline.")],
    data: Annotated[
        Path, typer.Argument(exists=True, help="Gold Docs: a .spacy file or a folder of them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path(
        "report"
    ),
    training_log: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The jsonl file of spacy.ConsoleLogger.v3."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Docs to read at most, 0 for all.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Docs per batch; the pipeline's own if not given.")
    ] = None,
    gpu_id: Annotated[int, typer.Option(help="GPU to use, -1 for the CPU.")] = -1,
) -> None:
    """Report on a pipeline: scores, confusions, calibration, worst examples, curves.

    Writes OUTPUT/index.html, which needs no other file, and the charts as PNG
    files beside it if matplotlib is installed.
    """
    from ..pipeline.files import load_pipeline

    choose_gpu(gpu_id)
    try:
        nlp = load_pipeline(pipeline)
        page, analysis = report(
            nlp, data, output, training_log=training_log, limit=limit, batch_size=batch_size
        )
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't report on {pipeline}", str(err), exits=1)
    try:
        from ..report.png import write_pngs

        write_pngs(analysis, output)
    except ImportError:
        msg.warn(
            "The charts are in the page, but not written as PNG files: matplotlib is missing",
            "To add it, run: pip install 'bert-spacy[report]'",
        )
    except (OSError, ValueError) as err:
        msg.fail(f"The page is written, {page}, but not the charts beside it", str(err), exits=1)
    msg.good("Report written", str(page))


def report(
    nlp: "Language",
    data: Path,
    output: Path,
    *,
    training_log: Path | None = None,
    limit: int = 0,
    batch_size: int | None = None,
) -> "tuple[Path, Analysis]":
    """Write a report on a pipeline as one HTML page.

    nlp (Language): The pipeline.
    data (Path): Gold Docs, a .spacy file or a folder of them.
    output (Path): The folder for index.html.
    training_log (Path): The jsonl file of spacy.ConsoleLogger.v3.
    limit (int): Docs to read at most, 0 for all.
    batch_size (int): Docs per batch; the pipeline's own if None.
    RETURNS (tuple[Path, Analysis]): The page, and the results it shows.
    RAISES (ValueError): B413 or B414 if the Docs can't be read; B630 for another
        training log; B631 if gold and pipeline have nothing in common;
        B811 if a file stands in the place of the folder.
    """
    from itertools import islice

    from ..data.docbin import read_docbin
    from ..report.analysis import analyse
    from ..report.curves import read_curves
    from ..report.render import render
    from ..util import atomic_file, check_folder

    check_folder(output)  # before anything is predicted
    curves = read_curves(training_log) if training_log else None
    docs = islice(read_docbin(data, nlp.vocab), limit or None)
    analysis = analyse(nlp, docs, curves=curves, batch_size=batch_size)
    if analysis.is_empty:
        pipes = ", ".join(nlp.pipe_names)
        raise ValueError(Errors.B631.format(path=data, n_docs=analysis.n_docs, pipes=pipes))
    page = output / "index.html"
    with atomic_file(page) as file_:
        file_.write(render(analysis))
    return page, analysis
