"""Make a model folder from a TensorFlow checkpoint."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app


@app.command("import-tf")
def import_tf_cli(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint without its endings, as folder/bert_model.ckpt.")
    ],
    output: Annotated[Path, typer.Argument(help="The new folder, for AutoModel and the encoder.")],
    config: Annotated[
        Path | None, typer.Option(help="bert_config.json, if it is not beside the checkpoint.")
    ] = None,
    vocab: Annotated[
        Path | None, typer.Option(help="vocab.txt or *.model, if not beside the checkpoint.")
    ] = None,
    lowercase: Annotated[
        bool | None,
        typer.Option(
            "--lowercase/--cased",
            help="Lower-case texts or not. By default cased if single capitals are pieces.",
        ),
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Leave out what is not known, and say so.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Replace the model folder at the output.")
    ] = False,
) -> None:
    """Import a TensorFlow checkpoint of BERT or ALBERT. TensorFlow is not needed."""
    from ..weights.tf.importing import import_tf

    try:
        report = import_tf(
            checkpoint,
            output,
            config=config,
            vocab=vocab,
            lowercase=lowercase,
            allow_unknown=allow_unknown,
            force=force,
        )
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't import {checkpoint}", str(err), exits=1)
    for note in report.notes:
        msg.info(note)
    msg.good(f"{report.architecture}, {report.n_tensors} tensors", str(output))
