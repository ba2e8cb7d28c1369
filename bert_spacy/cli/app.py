"""The command line: thin parsers over plain functions.

Each command lives in a module of its own that defines `<name>_cli` (parsing)
and calls a plain function of the same name. Bodies import what they need, so
that `--help` stays fast.
"""

import io
import os
import sys
from typing import Any

import typer
from wasabi import msg

from ..errors import Errors

# Of safetensors, and of the writer behind torch.save.
_DISK_FULL = ("No space left on device", "inline_container")

app = typer.Typer(name="bert", help="BERT fine-tuning for spaCy pipelines.", no_args_is_help=True)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A Windows pipe takes no Chinese label, and a table is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    if os.environ.get("NO_COLOR"):
        # Rich heeds it by itself; wasabi has a name of its own, which spaCy's printers read later.
        os.environ["ANSI_COLORS_DISABLED"] = "1"
        msg.show_color = False
    try:
        app(prog_name="bert-spacy")
    except Exception as err:
        # safetensors and torch have errors of their own for a full disk, in any command.
        if not any(sign in str(err) for sign in _DISK_FULL):
            raise
        msg.fail("A file could not be written", Errors.B627.format(reason=err), exits=1)


def choose_gpu(gpu_id: int, *, silent: bool = True) -> None:
    """Compute on a GPU, or on the CPU.

    gpu_id (int): The GPU; below 0 for the CPU.
    silent (bool): Do not say which it is.
    RAISES (typer.BadParameter): If the GPU cannot be used.
    """
    from spacy.cli._util import setup_gpu

    try:
        setup_gpu(gpu_id, silent=silent)
    except (ValueError, RuntimeError) as err:  # RuntimeError of CUDA, for a number too high
        raise typer.BadParameter(f"{err}. Give -1 for the CPU.", param_hint="--gpu-id") from None


def parse_overrides(args: list[str]) -> dict[str, Any]:
    """Read what of the command line are settings of a config.

    args (list[str]): Such as "--training.max_steps", "500".
    RETURNS (dict[str, Any]): Values by dotted name.
    RAISES (typer.BadParameter): If there is something else.
    """
    from spacy.cli._util import NoSuchOption, parse_config_overrides

    try:
        return parse_config_overrides(args)
    except NoSuchOption as err:  # of spaCy's click, which Typer need not know
        advice = "A setting of the config is written --section.name VALUE."
        raise typer.BadParameter(f"{err.format_message()} {advice}") from None


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
