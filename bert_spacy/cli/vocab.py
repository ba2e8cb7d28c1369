"""Fit the vocabulary of an encoder to a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer
from wasabi import msg

from .app import app

vocab_app = typer.Typer(help="Fit the vocabulary of an encoder to a corpus.", no_args_is_help=True)
app.add_typer(vocab_app, name="vocab")

Name = Annotated[str, typer.Argument(metavar="FOLDER_OR_ALIAS", help="A model folder or an alias.")]
CorpusPaths = Annotated[
    list[Path],
    typer.Argument(
        metavar="CORPUS...",
        help='.txt, .jsonl (under "text") and .spacy files, or folders of them.',
    ),
]
SHOWN = 15


@vocab_app.command("analyze")
def analyze_cli(
    name: Name,
    corpus: CorpusPaths,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON report; the words go to .txt beside it.")
    ] = Path("vocab_report.json"),
    lang: Annotated[str, typer.Option(help="Language of spaCy's blank tokenizer.")] = "en",
    segmenter: Annotated[str, typer.Option(help="For --lang zh: jieba or char.")] = "char",
    min_count: Annotated[int, typer.Option(help="How often a proposed word must come.")] = 2,
    top: Annotated[int, typer.Option(help="How many words to list.")] = 1000,
) -> None:
    """Show how well a vocabulary fits a corpus, and propose new words."""
    from ..weights.vocab.analyze import analyze, words_file

    settings = {"lang": lang, "segmenter": segmenter, "min_count": min_count, "top": top}
    report = _call(analyze, name, corpus, output, **settings)
    _show_corpus(report["corpus"])
    rows = [
        ("Pieces in the vocabulary", str(report["pieces_in_vocabulary"])),
        ("Tokens", str(report["tokens"])),
        ("Pieces", str(report["pieces"])),
        ("Unknown pieces", f"{report['unknown_pieces']} ({100 * report['unknown_rate']:.3f} %)"),
        ("Pieces per token", f"{report['pieces_per_token']:.3f}"),
        ("Pieces per character", f"{report['pieces_per_character']:.3f}"),
        ("Different words that split", str(report["words_that_split"])),
    ]
    msg.table(rows, aligns=("l", "r"))
    header = ("Word", "Count", "Gain", "Pieces")
    for title, key in (("Most frequent", "most_frequent"), ("Proposed", "proposed")):
        msg.divider(title)
        words = [
            (row["word"], str(row["count"]), str(row["gain"]), " ".join(row["pieces"]))
            for row in report[key][:SHOWN]
        ]
        msg.table(words, header=header, divider=True, aligns=("l", "r", "r", "l"), max_col=60)
    msg.good("Report written", str(output))
    msg.good(f"{len(report['proposed'])} proposed words written", str(words_file(output)))


@vocab_app.command("extend")
def extend_cli(
    name: Name,
    words: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="New words, one a line.")
    ],
    output: Annotated[Path, typer.Argument(help="The new model folder.")],
    mode: Annotated[
        str, typer.Option(help="append (new rows) or unused (rows of \\[unused1] and so on).")
    ] = "append",
    init: Annotated[
        str, typer.Option(help="mean (of the pieces that a word had) or normal.")
    ] = "mean",
    seed: Annotated[int, typer.Option(help="Seed of --init normal.")] = 0,
) -> None:
    """Add words to a vocabulary: each becomes one piece."""
    from ..weights.vocab.extend import extend

    report = _call(extend, name, words, output, mode=mode, init=init, seed=seed)
    msg.good(
        f"{report['added']} words added, {len(report['left_out'])} lines left out, "
        f"{report['blank_lines']} blank"
    )
    msg.text(f"Pieces: {report['pieces_before']} before, {report['pieces_after']} after")
    if report["added_tokens"]:
        msg.warn(
            f"{report['added_tokens']} words are split before the vocabulary is asked, and became "
            "added tokens. Those in Chinese are matched wherever their characters stand together."
        )
    if report["only_unknown_before"]:
        msg.warn(
            f"{report['only_unknown_before']} words had unknown pieces alone; with --init mean "
            "they all begin as the unknown piece."
        )
    msg.good("Model folder written", str(output))


@vocab_app.command("prune")
def prune_cli(
    name: Name,
    corpus: CorpusPaths,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new model folder.")],
    min_count: Annotated[
        int, typer.Option(help="How often a piece must come to stay; 1 changes no text.")
    ] = 1,
) -> None:
    """Take out the pieces that a corpus does not need."""
    from ..weights.vocab.prune import NO_SCORES, prune

    report = _call(prune, name, corpus, output, min_count=min_count)
    _show_corpus(report["corpus"])
    sizes, rate = report["megabytes"], report["unknown_rate"]
    rows = [
        ("Pieces in the vocabulary", *map(str, report["vocabulary"].values())),
        ("Pieces of the corpus", *map(str, report["pieces_of_corpus"].values())),
        ("Unknown", *(f"{100 * value:.3f} %" for value in rate.values())),
        ("MB of weights", *(f"{size['weights']:.2f}" for size in sizes.values())),
        ("MB of all files", *(f"{size['all']:.2f}" for size in sizes.values())),
    ]
    if scores := report["masked_words"]:
        rows += [
            ("Perplexity of masked words", *(f"{x['perplexity']:.2f}" for x in scores.values())),
            ("Masked words found", *(f"{100 * x['accuracy']:.2f} %" for x in scores.values())),
        ]
    msg.table(rows, header=("", "Before", "After"), divider=True, aligns=("l", "r", "r"))
    if not report["masked_words"]:
        msg.text(f"Masked words: {NO_SCORES}")
    if report["speed"] is not None:
        msg.text(f"Speed: {report['speed']:.2f}x")
    msg.text(
        f"Largest difference of a hidden state where pieces are the same: "
        f"{report['largest_difference']}"
    )
    if report["texts_changed"]:
        msg.warn(f"{report['texts_changed']} texts have other pieces than before.")
    msg.good("Model folder written", str(output))


def _call(function: Any, *args: Any, **settings: Any) -> dict[str, Any]:
    """Run a command's function; report bad lines as they come and stop at an error."""
    try:
        return function(*args, on_problem=lambda problem: msg.warn(str(problem)), **settings)
    except (OSError, ValueError, ImportError) as err:
        msg.fail(f"Can't {function.__name__} the vocabulary of {args[0]}", str(err), exits=1)
    raise typer.Exit(1)  # msg.fail has left already


def _show_corpus(counts: dict[str, int]) -> None:
    msg.text("Corpus: " + ", ".join(f"{value} {name}" for name, value in counts.items()))
