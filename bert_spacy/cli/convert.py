"""Convert foreign files to `.spacy` files."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from ..errors import Errors
from ..util import atomic_file, check_file
from .app import app

MAX_SHOWN = 50
_KNOWN = "tsv, csv, jsonl, conll, cluener, glue, pairs, afqmc, lcqmc, squad, swag, c3, arc"

FormatArg = Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {_KNOWN}.")]
Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files or folders.")]
Output = Annotated[Path, typer.Argument(help="A .spacy file; with --shard-size a folder.")]
Lang = Annotated[str, typer.Option(help="Language whose tokenizer is used: zh, en, xx ...")]
TextColumn = Annotated[
    str | None, typer.Option(help="tsv, csv, pairs: name or number from 0; of pairs the first.")
]
TextBColumn = Annotated[
    str | None, typer.Option(help="pairs: the second text; name or number from 0.")
]
LabelColumn = Annotated[str | None, typer.Option(help="tsv, csv, pairs: name or number from 0.")]
ScoreColumn = Annotated[
    str | None, typer.Option(help="pairs: a number in place of a label; name or number from 0.")
]
Task = Annotated[str | None, typer.Option(help="glue: CoLA, SST-2, MRPC, STS-B, QQP, MNLI ...")]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first row holds names."),
]
LabelMap = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="Names, one per line, or lines 'number TAB name'."
    ),
]
TextField = Annotated[str | None, typer.Option(help="jsonl: field of the text ('text').")]
LabelField = Annotated[str | None, typer.Option(help="jsonl: field of the label ('label').")]
TokenColumn = Annotated[str | None, typer.Option(help="conll: name or number; the first.")]
TagColumn = Annotated[str | None, typer.Option(help="conll: name or number; the last.")]
SpaceColumn = Annotated[
    str | None, typer.Option(help="conll: column with '-' or SpaceAfter=No where no space is.")
]
Scheme = Annotated[str | None, typer.Option(help="conll: iob1, bio, bioes, bmes, biluo, io.")]
CommentPrefix = Annotated[str | None, typer.Option(help="conll: start of lines to pass over.")]
DocSize = Annotated[
    int | None, typer.Option(help="conll: sentences per Doc (1); 0 for whole documents.")
]
NoSpaces = Annotated[
    bool | None,
    typer.Option("--no-spaces/--spaces", help="conll: join words without spaces (zh, ja)."),
]
StripIndex = Annotated[
    bool | None,
    typer.Option("--strip-index/--keep-index", help="conll: take off a digit after each word."),
]
KeepUnaligned = Annotated[
    bool | None,
    typer.Option("--keep-unaligned", help="squad: keep answers not in the context, for scoring."),
]
ShardSize = Annotated[int | None, typer.Option(min=1, help="Docs per file.")]
LabelsFrom = Annotated[
    Path | None,
    typer.Option(
        exists=True, help="A .spacy file (of training) whose categories are known here too."
    ),
]
ErrorFile = Annotated[Path | None, typer.Option("--errors", help="Write all problems there.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")]
AllowBad = Annotated[
    bool, typer.Option("--allow-bad", help="Exit with 0 even if some rows are bad.")
]


@app.command("convert")
def convert_cli(
    format_name: FormatArg,
    inputs: Inputs,
    output: Output,
    lang: Lang = "xx",
    text_column: TextColumn = None,
    text_b_column: TextBColumn = None,
    label_column: LabelColumn = None,
    score_column: ScoreColumn = None,
    task: Task = None,
    header: Header = None,
    label_map: LabelMap = None,
    text_field: TextField = None,
    label_field: LabelField = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    space_column: SpaceColumn = None,
    scheme: Scheme = None,
    comment_prefix: CommentPrefix = None,
    doc_size: DocSize = None,
    no_spaces: NoSpaces = None,
    strip_index: StripIndex = None,
    keep_unaligned: KeepUnaligned = None,
    shard_size: ShardSize = None,
    labels_from: LabelsFrom = None,
    errors: ErrorFile = None,
    strict: Strict = False,
    allow_bad: AllowBad = False,
) -> None:
    """Convert files to .spacy. Exit code 0: all rows fine, 2: some bad, 1: nothing written."""
    given = {
        "text_column": text_column,
        "text_b_column": text_b_column,
        "score_column": score_column,
        "task": task,
        "label_column": label_column,
        "header": header,
        "label_map": label_map,
        "text_field": text_field,
        "label_field": label_field,
        "token_column": token_column,
        "tag_column": tag_column,
        "space_column": space_column,
        "scheme": scheme,
        "comment_prefix": comment_prefix,
        "doc_size": doc_size,
        "no_spaces": no_spaces,
        "strip_index": strip_index,
        "keep_unaligned": keep_unaligned,
    }
    options = {key: value for key, value in given.items() if value is not None}
    n_bad = convert_files(
        format_name,
        inputs,
        output,
        lang,
        options,
        shard_size,
        errors,
        labels_from=labels_from,
        is_strict=strict,
    )
    if n_bad and not allow_bad:
        raise typer.Exit(2)


def convert_files(
    format_name: str,
    inputs: list[Path],
    output: Path,
    lang: str,
    options: dict[str, Any],
    shard_size: int | None = None,
    error_file: Path | None = None,
    *,
    labels_from: Path | None = None,
    is_strict: bool = False,
) -> int:
    """Convert files, print problems and a summary; on failure leave with exit code 1.

    format_name (str): The format.
    inputs (list[Path]): Files and folders.
    output (Path): The file or folder to write.
    lang (str): A spaCy language code.
    options (dict[str, Any]): The format's options by name.
    shard_size (int): Docs per file; None for one file.
    error_file (Path): Where to write all problems; None to only print them.
    labels_from (Path): Docs whose categories are known too; see `convert`.
    is_strict (bool): Whether to stop at the first bad row.
    RETURNS (int): Number of bad rows.
    """
    import spacy

    from ..data.convert import RowError, RowNote, convert, find_files
    from ..data.docbin import SUFFIX

    problems: list[RowError] = []

    shown: list[RowError] = []

    def is_serious(problem: RowError) -> bool:
        return not isinstance(problem, RowNote) or problem.is_shown

    def show(problem: RowError) -> None:
        problems.append(problem)
        if is_serious(problem) and len(shown) < MAX_SHOWN:
            shown.append(problem)
            typer.echo(_printable(str(problem)), err=True)

    failure, may_write = "", False
    summary = None
    try:
        nlp = spacy.blank(lang)
        made = make_options(format_name, options)
        if error_file is not None:
            if error_file.suffix == SUFFIX:  # it may be a shard of the output
                raise ValueError(Errors.B429.format(path=error_file))
            check_file(error_file, [output, *find_files(format_name, inputs)])
            error_file.parent.mkdir(parents=True, exist_ok=True)
        may_write = True
        summary = convert(
            nlp,
            format_name,
            inputs,
            output,
            made,
            shard_size=shard_size,
            labels_from=labels_from,
            is_strict=is_strict,
            on_problem=show,
        )
    except (ValueError, OSError, ImportError) as err:
        failure = str(err)
    n_hidden = sum(map(is_serious, problems)) - len(shown)
    if n_hidden:
        typer.echo(f"... and {n_hidden} more; --errors FILE writes them all", err=True)
    if may_write and error_file is not None:
        write_problems(problems, error_file)
    if summary is None:
        msg.fail(f"Can't convert to '{output}'", failure, exits=1)
        return 1
    msg.table(
        [
            ("rows read", summary.n_rows),
            ("docs written", summary.n_docs),
            ("bad rows", len(summary.bad)),
            *sorted(summary.notes.items()),
        ]
    )
    if summary.labels:
        msg.table(sorted(summary.labels.items()), header=("Label", "Count"), divider=True)
    where = str(output) if len(summary.files) == 1 else f"{len(summary.files)} files in {output}"
    msg.good(f"Wrote {summary.n_docs} docs", where)
    return len(summary.bad)


def make_options(format_name: str, options: dict[str, Any]) -> Any:
    """Build the options of a format, refusing those of others.

    format_name (str): The format.
    options (dict[str, Any]): Values by field name.
    RETURNS (Options): The format's options.
    RAISES (ValueError): B409 for an unknown format; B416 for options of another.
    """
    from ..data.convert import get_format

    type_ = get_format(format_name).options
    # The base class, for formats without options, is no dataclass and has no fields.
    fields: Any = dataclasses.fields(type_) if dataclasses.is_dataclass(type_) else ()
    names = [item.name for item in fields]
    foreign = [_flag(key) for key in options if key not in names]
    if foreign:
        allowed = ", ".join(map(_flag, names)) or "no options of its own"
        raise ValueError(
            Errors.B416.format(name=format_name, options=", ".join(foreign), allowed=allowed)
        )
    return type_(**options)


def write_problems(problems: Iterable[Any], path: Path) -> None:
    """Write one line for each problem, notes with their kind.

    problems (Iterable[RowError]): The problems.
    path (Path): The file.
    """
    with atomic_file(path) as file_:
        for problem in problems:
            kind = getattr(problem, "kind", "")
            file_.write(_printable(f"{problem} ({kind})" if kind else str(problem)) + "\n")


def _printable(text: str) -> str:
    """Escape lone surrogates, which a quoted text may hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
