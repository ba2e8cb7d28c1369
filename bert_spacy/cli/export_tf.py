"""Make a TensorFlow checkpoint from a model folder."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app

SHOWN = 5


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
        report = export_tf(folder, checkpoint, force=force)
    except (OSError, ValueError) as err:
        msg.fail(f"Can't export {folder}", str(err), exits=1)
    if report.unreached:
        shown = ", ".join(report.unreached[:SHOWN]) + ", ..." * (len(report.unreached) > SHOWN)
        msg.warn(
            f"{len(report.unreached)} added tokens are in vocab.txt, but what reads it splits "
            f"such texts before it looks there: {shown}"
        )
    for note in report.notes:
        msg.warn(note)
    msg.good(f"{report.n_variables} variables", f"{checkpoint}.index")
