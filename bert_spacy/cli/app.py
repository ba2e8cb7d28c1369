"""The command line: thin parsers over plain functions.

Each command lives in a module of its own that defines `<name>_cli` (parsing)
and calls a plain function of the same name. Bodies import what they need, so
that `--help` stays fast.
"""

import io
import sys

import typer

app = typer.Typer(name="bert", help="BERT fine-tuning for spaCy pipelines.", no_args_is_help=True)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A Windows pipe takes no Chinese label, and a table is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="bert-spacy")


from . import (  # noqa: E402
    calibrate,  # noqa: F401
    convert,  # noqa: F401
    distill,  # noqa: F401
    evaluate,  # noqa: F401
    export_tf,  # noqa: F401
    fill_mask,  # noqa: F401
    glue,  # noqa: F401
    import_tf,  # noqa: F401
    optimize,  # noqa: F401
    predict,  # noqa: F401
    pretrain,  # noqa: F401
    report,  # noqa: F401
    train,  # noqa: F401
    train_tokenizer,  # noqa: F401
    vocab,  # noqa: F401
    weights,  # noqa: F401
)
