"""The files beside a TensorFlow checkpoint: configuration and vocabulary."""

import importlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AlbertTokenizerFast, BertTokenizerFast
from transformers.activations import ACT2FN

from ...errors import Errors
from ...util import is_finite

# Padding first. The second kind is of sentencepiece, as google-research/ALBERT has it.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SENTENCEPIECE = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
NUMBERS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
# Settings of a Hugging Face config.json that tell nothing of the checkpoint, with the values that
# hold for one: the table of words is tied, nothing is hidden from a word, weights are read as
# float32.
FOREIGN = {
    "tie_word_embeddings": True,
    "is_decoder": False,
    "add_cross_attention": False,
    "torch_dtype": "float32",
    "dtype": "float32",
}


def refuse_overwrite(paths: Iterable[Path], force: bool) -> None:
    """Stop where something would be overwritten.

    paths (Iterable[Path]): What will be written.
    force (bool): Whether that is wanted.
    RAISES (ValueError): B664 one of them is there.
    """
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise ValueError(Errors.B664.format(paths=", ".join(there)))


def find_beside(prefix: Path, name: str, pattern: str) -> Path:
    """Find a file beside a checkpoint.

    prefix (Path): The checkpoint.
    name (str): The usual name.
    pattern (str): What else it may be called, if there is exactly one such file.
    RETURNS (Path): The file.
    RAISES (ValueError): B658 there is none, or several.
    """
    usual = prefix.parent / name
    if usual.is_file():
        return usual
    others = sorted(prefix.parent.glob(pattern))
    if len(others) != 1:
        found = ", ".join(path.name for path in others) or "none"
        reason = f"there is no {name} beside the checkpoint, and of {pattern} there is: {found}"
        raise ValueError(Errors.B658.format(path=usual, reason=reason))
    return others[0]


def find_vocab(prefix: Path) -> Path:
    """Find the vocabulary beside a checkpoint.

    prefix (Path): The checkpoint.
    RETURNS (Path): The file with one piece a line, or else a sentencepiece model.
    RAISES (ValueError): B658 there is none, or several.
    """
    models = any(prefix.parent.glob("*.model")) and not any(prefix.parent.glob("vocab*.txt"))
    return find_beside(prefix, "vocab.txt", "*.model" if models else "vocab*.txt")


def read_config(path: Path, family: str) -> dict[str, Any]:
    """Read and check the configuration of a model.

    path (Path): `bert_config.json` or `albert_config.json`.
    family (str): "bert" or "albert".
    RETURNS (dict[str, Any]): Its content.
    RAISES (ValueError): B658 it is not there, no JSON, lacks a size of the model, or gives a model
        that cannot run.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as err:
        raise ValueError(Errors.B658.format(path=path, reason=err)) from err
    if not isinstance(settings, dict):
        raise ValueError(Errors.B658.format(path=path, reason="it holds no settings by name"))
    numbers = (*NUMBERS, "embedding_size") if family == "albert" else NUMBERS
    wrong = [
        f"{name} is {settings.get(name)!r}"
        for name in numbers
        if not isinstance(settings.get(name), int) or settings[name] < 1
    ]
    if not wrong and settings["hidden_size"] % settings["num_attention_heads"]:
        wrong = [f"hidden_size {settings['hidden_size']} is no multiple of num_attention_heads"]
    wrong += _find_bad_options(settings)
    if wrong:
        raise ValueError(Errors.B658.format(path=path, reason="; ".join(wrong)))
    return settings


def _find_bad_options(settings: dict[str, Any]) -> list[str]:
    """Say which settings, of those that may be left out, let a model be made but not run."""
    act = settings.get("hidden_act", "gelu")
    wrong = []
    if not isinstance(act, str) or act not in ACT2FN:
        wrong.append(f"hidden_act is {act!r}, no activation that Transformers knows")
    epsilon = settings.get("layer_norm_eps", 1e-12)
    if not is_finite(epsilon) or epsilon <= 0:
        wrong.append(f"layer_norm_eps is {epsilon!r}, no finite number above 0")
    for name in _RATES:
        rate = settings.get(name, 0)
        if not is_finite(rate) or not 0 <= rate < 1:
            wrong.append(f"{name} is {rate!r}, no number from 0 to below 1")
    return wrong


def read_vocab(path: Path, n_rows: int, family: str) -> list[str]:
    """Read and check a vocabulary.

    path (Path): A file with one piece a line, or for ALBERT a sentencepiece model.
    n_rows (int): Rows of the word embeddings.
    family (str): "bert" or "albert".
    RETURNS (list[str]): The pieces in the order of their ids.
    RAISES (ValueError): B658 it cannot be read; B659 it does not fit.
    RAISES (ImportError): B660 it is a sentencepiece model, and what reads those is not installed.
    """
    if path.suffix == ".model":
        pieces, problems = _read_sentencepiece(path, family)
    else:
        pieces, problems = _read_lines(path)
    if len(pieces) > n_rows:
        problems.append(f"{len(pieces)} pieces are more than the vocab_size {n_rows}")
    if problems:
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(Errors.B659.format(path=path, problems="; ".join(problems[:10]) + more))
    return pieces


def _read_lines(path: Path) -> tuple[list[str], list[str]]:
    """Read one piece a line; give the pieces, and what is wrong with them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as err:
        raise ValueError(Errors.B658.format(path=path, reason=err)) from err
    if not lines[-1]:
        lines.pop()
    pieces = [line.strip(" \t\r") for line in lines]  # a piece may be another kind of space
    first: dict[str, int] = {}
    problems = []
    for number, piece in enumerate(pieces, 1):
        if not piece:
            problems.append(f"line {number} is empty")
        elif first.setdefault(piece, number) != number:
            problems.append(f"line {number} repeats {piece!r} of line {first[piece]}")
    problems += [f"there is no {piece}" for piece in SPECIAL if piece not in first]
    return pieces, problems


def _read_sentencepiece(path: Path, family: str) -> tuple[list[str], list[str]]:
    """Read a sentencepiece model; give its pieces, and what is wrong with them."""
    if family != "albert":
        return [], ["it is a sentencepiece model, and BERT has none"]
    try:  # transformers converts the model with both
        importlib.import_module("google.protobuf")
        sentencepiece: Any = importlib.import_module("sentencepiece")
    except ImportError as err:
        raise ImportError(Errors.B660.format(path=path)) from err
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
        pieces = [model.IdToPiece(i) for i in range(len(model))]
    except (OSError, RuntimeError, TypeError) as err:
        raise ValueError(Errors.B658.format(path=path, reason=err)) from err
    return pieces, [f"there is no {piece}" for piece in SENTENCEPIECE if piece not in pieces]


def is_cased(pieces: Iterable[str]) -> bool:
    """Say whether a vocabulary has a piece of one capital letter from A to Z.

    pieces (Iterable[str]): The pieces.
    """
    return any(re.fullmatch("(##|\u2581)?[A-Z]", piece) for piece in pieces)


def write_vocab(path: Path, pieces: list[str]) -> None:
    """Write a vocabulary, one piece a line.

    path (Path): The file.
    pieces (list[str]): The pieces in the order of their ids.
    """
    path.write_text("".join(f"{p}\n" for p in pieces), encoding="utf-8", newline="\n")


def make_tokenizer(
    folder: Path, vocab: Path, pieces: list[str], lowercase: bool, length: int
) -> None:
    """Write the files of a fast tokenizer.

    folder (Path): Where to.
    vocab (Path): The file that the pieces come from; a sentencepiece model has more than pieces.
    pieces (list[str]): The pieces in the order of their ids.
    lowercase (bool): Whether texts are lower-cased, and lose their accents.
    length (int): Pieces that fit into the model.
    """
    made: Any = BertTokenizerFast
    if vocab.suffix == ".model":
        made = AlbertTokenizerFast
    else:
        vocab = folder / "vocab.txt"
        write_vocab(vocab, pieces)
    tokenizer = made(vocab_file=str(vocab), do_lower_case=lowercase, model_max_length=length)
    tokenizer.save_pretrained(folder)
