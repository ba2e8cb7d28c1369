"""Make a TensorFlow checkpoint from a model folder."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app


@app.command("export-tf")
def export_tf_cli(
    folder: Annotated[str, typer.Argument(help="Folder or alias of a BERT or ALBERT.")],
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint without endings, as folder/bert_model.ckpt.")
    ],
    force: Annotated[
        bool, typer.Option("--force", "-F", help="Replace files that are there.")
    ] = False,
) -> None:
    """Export a BERT or ALBERT to a TensorFlow checkpoint. TensorFlow is not needed."""
    from ..weights.tf.exporting import export_tf

    try:
        n_variables = export_tf(folder, checkpoint, force=force)
    except (OSError, ValueError) as err:
        msg.fail(f"Can't export {folder}", str(err), exits=1)
    msg.good(f"{n_variables} variables", f"{checkpoint}.index")
