"""Learn a WordPiece vocabulary from plain text."""

from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from .app import app


@app.command("train-tokenizer")
def train_tokenizer_cli(
    corpus: Annotated[
        list[Path],
        typer.Argument(
            metavar="CORPUS...",
            help='.txt, .jsonl (under "text") and .spacy files, or folders of them.',
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new folder.")],
    size: Annotated[int, typer.Option(help="Most pieces, special ones included.")] = 30_000,
    lowercase: Annotated[
        bool, typer.Option("--lowercase/--cased", help="Drop case and accents, or keep them.")
    ] = True,
    min_count: Annotated[
        int, typer.Option(help="How often pieces must stand together to be joined.")
    ] = 2,
    max_characters: Annotated[int, typer.Option(help="Most characters of the alphabet.")] = 6000,
    window: Annotated[int, typer.Option(help="Most pieces of a text for its models.")] = 512,
) -> None:
    """Learn a WordPiece vocabulary, for a new model."""
    from ..weights.pretrain.tokenizer import LONGEST_WORD, train_tokenizer

    try:
        report = train_tokenizer(
            corpus,
            output,
            size=size,
            lowercase=lowercase,
            min_count=min_count,
            max_characters=max_characters,
            window=window,
            on_problem=lambda problem: msg.warn(str(problem)),
        )
    except (OSError, ValueError) as err:
        msg.fail("Can't learn a vocabulary", str(err), exits=1)
    counts = ", ".join(f"{value} {name}" for name, value in report["corpus"].items())
    msg.text(f"Corpus: {counts}")
    if report["long_words"]:
        msg.warn(
            f"{report['long_words']} words of more than {LONGEST_WORD} characters were left out: "
            "the tokenizer takes such for unknown"
        )
    if report["rare_characters"]:
        msg.warn(
            f"{report['rare_characters']} characters, the rarest, have no piece, and words with "
            "them are unknown: --size and --max-characters leave no room"
        )
    msg.good(f"Tokenizer of {report['pieces']} pieces written", str(output))
