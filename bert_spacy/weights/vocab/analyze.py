"""Measure how well a vocabulary fits a corpus, and propose words for it."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from spacy.language import Language
from tokenizers import Tokenizer

from ...data.convert.rows import JOINED_LANGS
from ...errors import Errors
from ...text.pieces import encode_texts
from ...util import atomic_file
from ..corpus import PART_LENGTH, OnProblem, TextCorpus, make_nlp
from ..folders import read_json
from .folder import Source, open_source, unknown_rate
from .inside import encode_glued, encode_words

SEGMENTERS = ("char", "jieba")
# Texts that are tokenized together: at most so many, or so many characters and one text.
BATCH, BATCH_LENGTH = 256, 5 * PART_LENGTH


def analyze(
    name: str,
    paths: Sequence[Path],
    output: Path,
    *,
    lang: str = "en",
    segmenter: str = "char",
    min_count: int = 2,
    top: int = 1000,
    on_problem: OnProblem = lambda problem: None,
) -> dict[str, Any]:
    """Count unknown pieces, pieces per token and character, and words that split.

    A word's gain is what it would save if it were one piece: its count times the pieces
    saved, where an unknown piece counts as one more. Words that differ in case or accents
    alone are one where the tokenizer does not tell them apart. A word may split behind a space
    alone, or only without one, as a comma does: what counts are the places where it does.
    The start of a text counts as a space where the language has them. Proposed are words that begin
    with a letter or digit and have a letter, and whatever else has unknown pieces.

    name (str): A model folder or an alias.
    paths (Sequence[Path]): `.txt`, `.jsonl` and `.spacy` files, or folders of them.
    output (Path): JSON file for the report. A `.txt` file beside it gets the proposed
        words, one a line, as `extend` reads them; it replaces only what an earlier report there
        proposed.
    lang (str): Language whose blank spaCy tokenizer makes the words.
    segmenter (str): For "zh": "jieba" for words, or "char" for characters.
    min_count (int): How often a word must come to be proposed.
    top (int): How many words to list.
    on_problem (Callable): Called with each line that is skipped.
    RETURNS (dict[str, Any]): The report, as it is written.
    RAISES (ValueError): B670 or B671 without a corpus; B674 for a setting; B801 to
        B805, B100 and B101 if the folder cannot be opened.
    """
    _check(lang, segmenter, min_count, top, output)
    source = open_source(name)
    nlp = make_nlp(lang, segmenter)
    corpus = TextCorpus(paths, on_problem, show_progress=True)
    read = {path.resolve() for path in corpus.paths}
    for path in (output, words_file(output)):
        if path.resolve() in read:
            values = {"name": "output", "value": str(output)}
            allowed = f"a report that does not overwrite {path}, which is part of the corpus"
            raise ValueError(Errors.B674.format(**values, allowed=allowed))
    _check_words(output)
    n_pieces = n_unknown = 0
    words: Counter[tuple[str, bool]] = Counter()
    for texts in in_batches(corpus):
        pieces = encode_texts(source.outline.tokenizer, texts)
        n_pieces += len(pieces.ids)
        n_unknown += int((pieces.ids == source.unk_id).sum())
        for text in texts:
            words.update(_find_words(nlp, text))
    rows = _find_split_words(source, words, "" if lang in JOINED_LANGS else " ")
    good = [
        row
        for row in rows
        if row["count"] >= min_count and (row["unknown"] or _is_word(row["word"]))
    ]
    by_gain = sorted(good, key=lambda row: (-row["gain"], row["word"]))[:top]
    n_tokens = sum(words.values())
    report = {
        "source": name,
        "pieces_in_vocabulary": len(source.pieces),
        "corpus": asdict(corpus.counts),
        "tokens": n_tokens,
        "pieces": n_pieces,
        "unknown_pieces": n_unknown,
        "unknown_rate": unknown_rate(n_unknown, n_pieces),
        "pieces_per_token": n_pieces / n_tokens if n_tokens else 0.0,
        "pieces_per_character": n_pieces / corpus.counts.characters,
        "words_that_split": len(rows),
        "most_frequent": sorted(rows, key=lambda row: (-row["count"], row["word"]))[:top],
        "proposed": by_gain,
    }
    with atomic_file(output) as file_:
        file_.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    with atomic_file(words_file(output)) as file_:
        file_.writelines(f"{row['word']}\n" for row in by_gain)
    return report


def words_file(output: Path) -> Path:
    """Return the file of proposed words that goes with a report."""
    return output.with_suffix(".txt")


def _check_words(output: Path) -> None:
    """Refuse to overwrite a list that was edited since, or is none."""
    path = words_file(output)
    if not path.is_file():
        return
    try:
        rows = read_json(output)["proposed"]
        is_ours = path.read_text(encoding="utf-8") == "".join(f"{row['word']}\n" for row in rows)
    except (ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        allowed = f"a report that does not overwrite {path}, which was edited or is another file; "
        allowed += "rename it or give another name"
        raise ValueError(Errors.B674.format(name="output", value=str(output), allowed=allowed))


def in_batches(corpus: TextCorpus) -> Iterator[list[str]]:
    """Yield the texts of a corpus in lists."""
    batch, length = list[str](), 0
    for text in corpus:
        batch.append(text)
        length += len(text)
        if len(batch) == BATCH or length >= BATCH_LENGTH:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _check(lang: str, segmenter: str, min_count: int, top: int, output: Path) -> None:
    allowed = SEGMENTERS if lang == "zh" else SEGMENTERS[:1]
    for name, value, choice, fine in (
        ("segmenter", segmenter, f"{', '.join(allowed)} for {lang!r}", segmenter in allowed),
        ("min_count", min_count, "1 or more", min_count >= 1),
        ("top", top, "1 or more", top >= 1),
        ("output", str(output), "a file that ends in .json", output.suffix == ".json"),
    ):
        if not fine:
            raise ValueError(Errors.B674.format(name=name, value=value, allowed=choice))


def _find_words(nlp: Language, text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word, and whether white space or the start of the text comes before it."""
    for token in nlp.tokenizer(text):
        if not token.is_space:
            yield token.text, token.idx == 0 or text[token.idx - 1].isspace()


def _find_split_words(
    source: Source, words: Counter[tuple[str, bool]], space: str
) -> list[dict[str, Any]]:
    """List words of several or of unknown pieces, the forms of one word together.

    A word may split behind a space alone, or only without one: then its count is that of
    those places, and its pieces are those of most of them.
    """
    totals: Counter[str] = Counter()
    for (word, _), count in words.items():
        totals[word] += count
    names = {word: normal_form(source.backend, word) for word in totals}
    heads: dict[str, str] = {}
    for word, _ in totals.most_common():
        heads.setdefault(names[word], word)
    places: Counter[tuple[str, bool]] = Counter()
    for (word, is_spaced), count in words.items():
        places[heads[names[word]], is_spaced] += count
    rows: dict[str, dict[str, Any]] = {}
    for word, count, (ids, pieces) in _encode_places(source.backend, places, space):
        n_unknown = ids.count(source.unk_id)
        saved = len(ids) - 1 + n_unknown
        if saved <= 0:
            continue
        new = {"word": word, "count": 0, "pieces": pieces, "unknown": n_unknown, "gain": 0}
        row = rows.setdefault(word, new)
        row["count"] += count
        row["gain"] += count * saved
    return list(rows.values())


def _encode_places(
    backend: Tokenizer, places: Counter[tuple[str, bool]], space: str
) -> Iterator[tuple[str, int, tuple[list[int], list[str]]]]:
    """Yield words, their counts, and their ids and pieces, the more frequent places first."""
    ordered = places.most_common()
    spaced = [word for (word, is_spaced), _ in ordered if is_spaced]
    glued = [word for (word, is_spaced), _ in ordered if not is_spaced]
    found = {
        True: iter(encode_words(backend, spaced, space)),
        False: iter(encode_glued(backend, glued)),
    }
    for (word, is_spaced), count in ordered:
        yield word, count, next(found[is_spaced])


def normal_form(backend: Tokenizer, word: str) -> str:
    """Return a word as the tokenizer sees it, without case or accents if it drops them."""
    normalizer = backend.normalizer
    return normalizer.normalize_str(word).strip() if normalizer is not None else word


def _is_word(word: str) -> bool:
    return word[0].isalnum() and any(map(str.isalpha, word))
