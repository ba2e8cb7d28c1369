"""Predict the rows of a file."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer
from wasabi import msg

from ..errors import Errors
from ..util import check_file, checksum_all
from .app import app, choose_gpu

if TYPE_CHECKING:
    from spacy.language import Language

    from ._rows import BadRow, InputRow


@dataclass
class PredictCounts:
    """What became of the rows.

    n_good (int): Rows with a prediction.
    n_bad (int): Rows in the errors file.
    n_resumed (int): Rows of both kinds that were there before.
    """

    n_good: int = 0
    n_bad: int = 0
    n_resumed: int = 0


@app.command("predict")
def predict_cli(
    pipeline: Annotated[str, typer.Argument(help="Folder or name of a trained pipeline.")],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", exists=True, dir_okay=False, help="A .jsonl, .txt or .csv."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .jsonl file to write.")],
    text_column: Annotated[str, typer.Option(help="Column of a csv with the text.")] = "text",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Docs per batch; the pipeline's own if not given.")
    ] = None,
    n_process: Annotated[int, typer.Option(min=-1, help="Processes; -1 for all cores.")] = 1,
    gpu_id: Annotated[int, typer.Option(help="GPU to use, -1 for the CPU.")] = -1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a broken run.")] = False,
) -> None:
    """Predict the rows of a file; bad rows go to OUTPUT.errors.jsonl.

    A jsonl row has "text"; "text" and "text_b"; "question" and "context"; or
    "choices", a list of texts, with one or both of these. Other keys are passed
    through. Exit status: 0 all rows predicted, 2 some rows were bad, 1 failed.
    """
    from ..pipeline.files import load_pipeline

    choose_gpu(gpu_id)
    try:
        nlp = load_pipeline(pipeline)
        counts = predict(
            nlp,
            source,
            output,
            text_column=text_column,
            batch_size=batch_size,
            n_process=n_process,
            resume=resume,
            show_progress=True,
        )
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't predict {source}", str(err), exits=1)
    except KeyboardInterrupt:
        msg.fail("Interrupted", "Run the same command with --resume to go on.", exits=1)
    n_new = counts.n_good + counts.n_bad - counts.n_resumed
    if n_new:
        if counts.n_resumed:
            msg.info(f"{counts.n_resumed} rows were there already, {n_new} are new")
    elif counts.n_resumed:
        again = "Without --resume they are predicted again."
        msg.info("All rows were there already, by whichever pipeline made them", again)
    msg.good(f"{counts.n_good} rows predicted", str(output))
    if counts.n_bad:
        msg.warn(f"{counts.n_bad} rows were bad", str(errors_path(output)))
        raise typer.Exit(2)


def predict(
    nlp: "Language",
    source: Path,
    output: Path,
    *,
    text_column: str = "text",
    batch_size: int | None = None,
    n_process: int = 1,
    resume: bool = False,
    show_progress: bool = False,
) -> PredictCounts:
    """Predict the rows of a file.

    nlp (Language): The pipeline.
    source (Path): A jsonl, txt or csv file.
    output (Path): The jsonl file to write. Until the end, rows go to a file beside it with
        .partial in the place of .jsonl, or after another name.
    text_column (str): Column of a csv with the text.
    batch_size (int): Docs per batch; the pipeline's own if None.
    n_process (int): Number of processes.
    resume (bool): Keep the rows of an interrupted run and go on after them.
    show_progress (bool): Whether to show a progress bar on a terminal.
    RETURNS (PredictCounts): What became of the rows.
    RAISES (ValueError): B620, B621 for an input that can't be read; B622 if it
        is not the one of the earlier run, B629 if the pipeline is not; B623 if it would be
        overwritten or removed; B810 if the output is a folder or a device; B625 for no process;
        B626 to resume from something else.
    """
    from tqdm import tqdm

    from ..report.classes import EXCLUSIVE, MULTI_LABEL
    from ._rows import BadRow, read_rows, to_error, to_output
    from ._stream import stream

    files = _Output(output)
    for path in files.paths:
        check_file(path, [source])
    if n_process == 0:
        raise ValueError(Errors.B625.format(value=n_process))
    multilabel = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, MULTI_LABEL)]
    exclusive = {
        name: pipe.labels
        for name, pipe in nlp.pipeline
        if isinstance(pipe, EXCLUSIVE) and pipe not in multilabel
    }
    rows = read_rows(source, text_column=text_column, max_length=nlp.max_length)
    first = next(rows, None)  # an input that is refused must cost no rows of an earlier run
    rows = chain([] if first is None else [first], rows)
    if resume and files.is_complete():
        new = next(_skip_done(source, rows, files), None)
        if new is not None:
            raise ValueError(Errors.B622.format(partial=output, line=new.line, source=source))
        return files.counts
    with ExitStack() as stack:
        stack.enter_context(files.open(nlp, resume=resume))
        rows = _skip_done(source, rows, files)
        bar = stack.enter_context(
            tqdm(
                initial=files.counts.n_resumed,
                unit=" rows",
                disable=None if show_progress else True,
            )
        )
        for item in stream(nlp, rows, batch_size=batch_size, n_process=n_process):
            if not isinstance(item, BadRow):
                try:
                    files.add(to_output(*item, exclusive, multilabel))
                except (ValueError, RecursionError) as err:
                    row = item[0]
                    reason = f"can't be written as JSON: {err}"
                    item = BadRow(row.line, reason, {**row.extra, **row.texts})
            if isinstance(item, BadRow):
                files.add_bad(to_error(source, item))
            bar.update()
    files.finish()
    return files.counts


def errors_path(output: Path) -> Path:
    """Return where the bad rows of an output go."""
    return _beside(output, ".errors.jsonl")


def _beside(output: Path, ending: str) -> Path:
    # Any other suffix may be all that tells two outputs apart.
    return output.with_name(output.name.removesuffix(".jsonl") + ending)


class _Output:
    """The output and its errors file, with their unfinished forms."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.partial = _beside(output, ".partial")
        self.errors = errors_path(output)
        self.errors_partial = _beside(output, ".errors.partial")
        # What made the rows of the partial file.
        self.maker = _beside(output, ".pipeline.partial")
        self.paths = (self.output, self.partial, self.errors, self.errors_partial, self.maker)
        self.counts = PredictCounts()
        self.last: dict[str, Any] = {}
        self.last_line = 0
        self._files: list[IO[str]] = []

    def is_complete(self) -> bool:
        """Whether an earlier run came to its end; counts its rows."""
        if self.partial.exists() or not self.output.exists():
            return False
        if self.errors_partial.exists():
            self.errors_partial.replace(self.errors)
        self._count(self.output, self.errors, is_whole=True)
        return True

    def open(self, nlp: "Language", *, resume: bool) -> ExitStack:
        """Open both files, after the complete lines of an earlier run if resumed.

        Each line is flushed, so that after a kill both files end at the same row.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        paths = (self.partial, self.errors_partial)
        if resume:
            self._count(*paths)
        self._sign(nlp, is_new=not self.counts.n_resumed)
        stack = ExitStack()
        mode = "a" if resume else "w"
        self._files = [
            stack.enter_context(path.open(mode, buffering=1, encoding="utf-8", newline="\n"))
            for path in paths
        ]
        return stack

    def add(self, line: str) -> None:
        """Write a row with its prediction."""
        self._files[0].write(line + "\n")
        self.counts.n_good += 1

    def add_bad(self, line: str) -> None:
        """Write a bad row."""
        self._files[1].write(line + "\n")
        self.counts.n_bad += 1

    def finish(self) -> None:
        """Give both files their names; without bad rows there is no errors file."""
        self.maker.unlink(missing_ok=True)
        self.partial.replace(self.output)
        if self.counts.n_bad:
            self.errors_partial.replace(self.errors)
        else:
            self.errors_partial.unlink()
            self.errors.unlink(missing_ok=True)

    def _sign(self, nlp: "Language", *, is_new: bool) -> None:
        """Write down which pipeline predicts, or check that it is that of the earlier rows."""
        if nlp.path is None:  # made in code
            self.maker.unlink(missing_ok=True)
            return
        found = checksum_all(sorted(p for p in Path(nlp.path).rglob("*") if p.is_file()))
        if is_new:
            self.maker.write_text(found, encoding="ascii")
        elif self.maker.exists() and self.maker.read_text(encoding="ascii") != found:
            raise ValueError(Errors.B629.format(partial=self.partial, pipeline=nlp.path))

    def _count(self, good: Path, bad: Path, *, is_whole: bool = False) -> None:
        """Count the complete lines of both files and find the last line done."""
        self.counts.n_good, self.last = _count_rows(good, is_whole=is_whole)
        self.counts.n_bad, last_bad = _count_rows(bad, is_whole=is_whole)
        self.counts.n_resumed = self.counts.n_good + self.counts.n_bad
        self.last_line = max(self.last.get("line", 0), last_bad.get("line", 0))


def _count_rows(path: Path, *, is_whole: bool) -> tuple[int, dict[str, Any]]:
    """Return the number of rows of a file and the last one.

    Unless the file is whole, a last line without an end is torn, and cut off.
    """
    if not path.exists():
        return 0, {}
    n_rows, size, last = 0, 0, b"{}"
    with path.open("rb" if is_whole else "r+b") as file_:
        for line in file_:
            if not (is_whole or line.endswith(b"\n")):
                file_.truncate(size)
                break
            n_rows, size, last = n_rows + 1, size + len(line), line
    try:
        row = json.loads(last)
    except ValueError:  # other text, or text in another encoding
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("line", 0), int):
        raise ValueError(Errors.B626.format(path=path, text=last[:80].decode(errors="replace")))
    return n_rows, row


def _skip_done(
    source: Path, rows: "Iterator[InputRow | BadRow]", files: _Output
) -> "Iterator[InputRow | BadRow]":
    """Pass over rows that are done, and check that they are rows of this input."""
    for row in rows:
        if row.line > files.last_line:
            yield row
        elif row.line == files.last.get("line"):
            texts = getattr(row, "texts", {})
            if not texts or any(files.last.get(key) != text for key, text in texts.items()):
                made = files.partial if files.partial.exists() else files.output
                raise ValueError(Errors.B622.format(partial=made, line=row.line, source=source))
