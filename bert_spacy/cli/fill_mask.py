"""Fill masked pieces of texts."""

from typing import Annotated

import typer
from wasabi import msg

from .app import app


@app.command("fill-mask")
def fill_mask_cli(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER_OR_ALIAS", help="A model with a masked-word head.")
    ],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Texts with [MASK].")],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Pieces per mask.")] = 5,
) -> None:
    """Show the likeliest pieces for each [MASK] of a text."""
    from ..weights.pretrain.filling import fill_masks, load_filler

    try:
        found = fill_masks(load_filler(folder), texts, top_k)
    except (OSError, ValueError) as err:
        msg.fail(f"Can't fill masks with {folder}", str(err), exits=1)
    for text, masks in zip(texts, found):
        msg.divider(text)
        for number, fills in enumerate(masks, start=1):
            rows = [(str(number), fill.piece, f"{100 * fill.probability:.1f} %") for fill in fills]
            msg.table(rows, header=("Mask", "Piece", "Probability"), aligns=("r", "l", "r"))
