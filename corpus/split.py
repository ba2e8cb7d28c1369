"""Split the hand-written sources into train, dev and test files.

    python corpus/split.py [--corpus FOLDER]

Reads FOLDER/sources/{news,ner,qa} and writes FOLDER/{news,ner,qa}/{zh,en}.{train,dev,test}.*
in the proportions 70/15/15. The order comes from a seeded hash of each text, so the same
sources always give the same files, on every machine, and a new text does not reorder the old.
"""

import argparse
import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

SEED = "bert-spacy-corpus-1"
LANGS = ("zh", "en")
HELD_OUT = 0.15  # share of dev, and again of test

Item = TypeVar("Item")
Splits = dict[str, list[Item]]


def hash_key(text: str) -> str:
    """Give the place of a text in the shuffled order.

    text (str): The text that identifies the item.
    RETURNS (str): Hexadecimal digest of seed and text.
    """
    return hashlib.sha256(f"{SEED}\n{text}".encode()).hexdigest()


def cut(items: list[Item], key: Callable[[Item], str]) -> Splits[Item]:
    """Shuffle items by hash and cut them 70/15/15.

    items (list): The items of one stratum.
    key (Callable): Text that identifies an item.
    RETURNS (dict): Lists under "train", "dev" and "test".
    """
    ordered = sorted(items, key=lambda item: hash_key(key(item)))
    n_held = round(len(ordered) * HELD_OUT)
    return {
        "dev": ordered[:n_held],
        "test": ordered[n_held : 2 * n_held],
        "train": ordered[2 * n_held :],
    }


def split_news(paths: list[Path], out: Path, lang: str) -> dict[str, int]:
    """Split `label TAB text` lines class by class.

    paths (list[Path]): Source files, joined in this order.
    out (Path): Folder to write to.
    lang (str): Prefix of the written files.
    RETURNS (dict[str, int]): Number of lines per split.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for line in path.read_text(encoding="utf8").splitlines():
            by_label[line.split("\t")[0]].append(line)
    merged: Splits[str] = {"train": [], "dev": [], "test": []}
    for label in sorted(by_label):
        for name, lines in cut(by_label[label], str).items():
            merged[name].extend(lines)
    for name, lines in merged.items():
        lines.sort(key=hash_key)  # mix the classes
        write(out / f"{lang}.{name}.tsv", "".join(f"{line}\n" for line in lines))
    return {name: len(lines) for name, lines in merged.items()}


def split_ner(paths: list[Path], out: Path, lang: str) -> dict[str, int]:
    """Split BIO sentences, which are separated by blank lines.

    paths (list[Path]): Source files, joined in this order.
    out (Path): Folder to write to.
    lang (str): Prefix of the written files.
    RETURNS (dict[str, int]): Number of sentences per split.
    """
    sentences: list[str] = []
    for path in paths:
        blocks = path.read_text(encoding="utf8").split("\n\n")
        sentences.extend(block.strip("\n") for block in blocks if block.strip())
    parts = cut(sentences, str)
    for name, part in parts.items():
        write(out / f"{lang}.{name}.bio", "\n\n".join(part) + "\n")
    return {name: len(part) for name, part in parts.items()}


def split_qa(paths: list[Path], out: Path, lang: str) -> dict[str, int]:
    """Split SQuAD 2.0 files by paragraph, so that its questions stay together.

    paths (list[Path]): Source files, joined in this order.
    out (Path): Folder to write to.
    lang (str): Prefix of the written files.
    RETURNS (dict[str, int]): Number of paragraphs per split.
    """
    articles: list[dict[str, Any]] = []
    for path in paths:
        for article in json.loads(path.read_text(encoding="utf8"))["data"]:
            for paragraph in article["paragraphs"]:
                articles.append({"title": article["title"], "paragraphs": [paragraph]})
    parts = cut(articles, lambda article: article["paragraphs"][0]["context"])
    for name, part in parts.items():
        content = json.dumps({"version": "v2.0", "data": part}, ensure_ascii=False, indent=1)
        write(out / f"{lang}.{name}.json", content + "\n")
    return {name: len(part) for name, part in parts.items()}


def write(path: Path, content: str) -> None:
    """Write a text file with LF line ends on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf8", newline="\n")


TASKS = {"news": (split_news, "tsv"), "ner": (split_ner, "bio"), "qa": (split_qa, "json")}


def main(argv: list[str] | None = None) -> int:
    """Split every task and language.

    argv (list[str] | None): Command line arguments, those of the process by default.
    RETURNS (int): Exit code, 1 if a source is missing.
    """
    parser = argparse.ArgumentParser(description="Split the corpus sources 70/15/15.")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    corpus = parser.parse_args(argv).corpus
    missing = 0
    for task, (split, suffix) in TASKS.items():
        for lang in LANGS:
            paths = sorted((corpus / "sources" / task).glob(f"{lang}.*{suffix}"))
            if not paths:
                print(f"missing: {corpus / 'sources' / task / lang}.*{suffix}", file=sys.stderr)
                missing += 1
                continue
            sizes = split(paths, corpus / task, lang)
            print(task, lang, *(f"{name} {sizes[name]}" for name in ("train", "dev", "test")))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
