"""Learn a WordPiece vocabulary from plain text."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizerFast

from ...errors import Errors
from ...util import atomic_dir, checksum
from ..corpus import OnProblem, TextCorpus
from ..folders import WEIGHTS_FILE, check_output

# The tokenizer takes longer words for unknown, so pieces of them would be of no use.
LONGEST_WORD = 100
_LONG = re.compile(rf"\S{{{LONGEST_WORD + 1}}}")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def train_tokenizer(
    paths: Sequence[Path],
    output: Path,
    *,
    size: int = 30_000,
    lowercase: bool = True,
    min_count: int = 2,
    max_characters: int = 6000,
    window: int = 512,
    on_problem: OnProblem = lambda problem: None,
) -> dict[str, Any]:
    """Learn the pieces of BERT's tokenizer, and write its folder.

    paths (Sequence[Path]): `.txt`, `.jsonl` and `.spacy` files, or folders of them.
    output (Path): The new folder.
    size (int): Most pieces, special ones included.
    lowercase (bool): Drop case and accents.
    min_count (int): How often two pieces must stand together to be joined.
    max_characters (int): Most characters of the alphabet, the most frequent ones; fewer if `size`
        has no room for them.
    window (int): Most pieces of a text that models of it will take.
    on_problem (Callable): Called with each line that is skipped.
    RETURNS (dict[str, Any]): What was read, and the size.
    RAISES (ValueError): B670 or B671 without a corpus, B674 for a setting, B676 for a bad
        output.
    """
    for name, value, least in (
        ("size", size, 100),
        ("min_count", min_count, 1),
        ("max_characters", max_characters, 1),
        ("window", window, 8),
    ):
        if value < least:
            raise ValueError(Errors.B674.format(name=name, value=value, allowed=f"{least} or more"))
    corpus = TextCorpus(paths, on_problem, show_progress=True)
    check_output(output, *corpus.paths)
    if (output / WEIGHTS_FILE).exists():
        reason = "it holds a model, whose weights would be lost"
        raise ValueError(Errors.B676.format(path=output, reason=reason))
    backend = Tokenizer(WordPiece(unk_token="[UNK]"))
    backend.normalizer = BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = BertPreTokenizer()
    # Of its own: while the other one learns, it can't be asked.
    splitter = Tokenizer.from_str(backend.to_str())
    words = Counter(word for text in corpus for word in _split(splitter, text))
    n_long = sum(count for word, count in words.items() if len(word) > LONGEST_WORD)
    first, later, n_rare = _find_alphabet(words, max_characters, size - len(SPECIAL))
    trainer = WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_count,
        initial_alphabet=first,
        limit_alphabet=len(first),
        # The library numbers what it meets within words in a random order, and its choices
        # follow the numbers; given from the start, they are the same each time.
        special_tokens=[*SPECIAL, *(f"##{character}" for character in later)],
        show_progress=False,
    )
    backend.train_from_iterator((_drop_long(splitter, text) for text in corpus), trainer)
    pieces = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    with atomic_dir(output) as folder:
        vocab = folder / "vocab.txt"
        lines = "".join(f"{piece}\n" for piece, _ in pieces)
        vocab.write_text(lines, encoding="utf-8", newline="\n")
        tokenizer = BertTokenizerFast(str(vocab), do_lower_case=lowercase, model_max_length=window)
        tokenizer.save_pretrained(folder)
        report = {
            "pieces": len(pieces),
            "corpus": asdict(corpus.counts),
            "long_words": n_long,
            "rare_characters": n_rare,
            "checksum": checksum(vocab),
        }
        (folder / "tokenizer_report.json").write_text(json.dumps(report, indent=2) + "\n")
        options = f"--size {size} --{'lowercase' if lowercase else 'cased'} --min-count {min_count}"
        card = (
            f"# {output.name}\n\nA WordPiece tokenizer, learnt from plain text.\n\n"
            f"- Command: `python -m bert_spacy train-tokenizer CORPUS -o OUT {options} "
            f"--max-characters {max_characters} --window {window}`\n"
            f"- Text: {', '.join(f'`{path.name}`' for path in corpus.paths)}; {corpus.counts}\n"
            f"- Pieces: {len(pieces)}; characters without one, the rarest: {n_rare}\n"
            f"- SHA-256 of vocab.txt: {report['checksum']}\n"
        )
        (folder / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return report


def _split(splitter: Tokenizer, text: str) -> list[str]:
    """List the words of a text as the tokenizer sees them."""
    normal = splitter.normalizer.normalize_str(text)
    return [word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(normal)]


def _drop_long(splitter: Tokenizer, text: str) -> str:
    """Leave words out that are too long to be learnt from."""
    if not _LONG.search(text):
        return text
    return " ".join(word for word in _split(splitter, text) if len(word) <= LONGEST_WORD)


def _find_alphabet(words: Counter[str], limit: int, room: int) -> tuple[list[str], list[str], int]:
    """List the most frequent characters, and those of them that stand within words.

    words (Counter[str]): How often each word comes.
    limit (int): Most characters.
    room (int): Most pieces of both lists together.
    RETURNS (tuple[list[str], list[str], int]): Both lists, and how many characters are left out.
    """
    counts: Counter[str] = Counter()
    within: set[str] = set()
    for word, count in words.items():
        if len(word) > LONGEST_WORD:
            continue
        for character in word:
            counts[character] += count
        within.update(word[1:])
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    sizes = accumulate(1 + (character in within) for character in ranked)
    kept = ranked[: min(limit, sum(size <= room for size in sizes))]
    return sorted(kept), sorted(within.intersection(kept)), len(ranked) - len(kept)
