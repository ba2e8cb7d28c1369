"""Read entity tags from column files: one word per line, blank lines between sentences."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ...errors import Errors
from .labels import Options, find_column, locate
from .rows import RowError, RowNote, WordsRow
from .schemes import SCHEMES, decode_tags, detect_scheme, is_tag
from .text import clean_text, is_broken, read_lines

DOCSTART = "-DOCSTART-"
_COMMENTS = {".conllu": "#", ".conllup": "#", ".col": "# "}
_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_RANGE_ID = re.compile(r"\d+[-.]\d+")  # a multi-word token or an empty node in CoNLL-U
_WORD_NAMES, _TAG_NAMES = ("form", "text", "word", "token"), ("ner", "tag", "entity")

_COMMENT_HINT = " (a comment? --comment-prefix '#' passes over such lines)"

Line = tuple[int, list[str]]


@dataclass(frozen=True)
class ConllOptions(Options):
    """Options of the format conll.

    token_column (str): Name or 0-based number of the words' column; None for
        the first, or the one that a CoNLL-U Plus file names.
    tag_column (str): The same for the tags; None for the last.
    space_column (str): A column with "-" or "SpaceAfter=No" where no space follows.
    scheme (str): iob1, bio, bioes, bmes, biluo or io; None to find it. "io" takes
        tags without letters.
    comment_prefix (str): Start of lines to pass over; None to go by the file name.
    header (bool): Whether the first line holds column names.
    doc_size (int): Sentences per Doc; 0 for whole documents.
    no_spaces (bool): Whether words are joined without spaces; None to go by the language.
    strip_index (bool): Whether words end in a digit that is not theirs, as in the
        Weibo corpus; None to find out.
    """

    token_column: str | None = None
    tag_column: str | None = None
    space_column: str | None = None
    scheme: str | None = None
    comment_prefix: str | None = None
    header: bool | None = None
    doc_size: int = 1
    no_spaces: bool | None = None
    strip_index: bool | None = None


@dataclass
class _Sentence:
    """One sentence; `document` counts -DOCSTART- lines, `is_whole` is False after a bad line."""

    document: int
    lines: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    spaces: list[bool] = field(default_factory=list)
    is_whole: bool = True


def read_conll(path: Path, options: ConllOptions) -> Iterator[WordsRow | RowError]:
    """Read words and entity tags, `doc_size` sentences per row.

    path (Path): The file. Columns are parted by tabs where every line has one,
        else by spaces or tabs. Lines of `word|...|tag` items are read as sentences.
    options (ConllOptions): See there.
    YIELDS (WordsRow | RowError): Rows, notes, and what is wrong with the others.
        A bad line costs its whole sentence.
    RAISES (ValueError): B405 no such column; B428 several; B407 tags of no scheme; B408 bad
        options.
    """
    if options.scheme not in (None, *SCHEMES) or options.doc_size < 0:
        raise ValueError(
            Errors.B408.format(
                scheme=options.scheme, allowed=", ".join(SCHEMES), doc_size=options.doc_size
            )
        )
    lines, names = _read_content(path, options)
    rows = _split_columns(lines)
    first = next((place for place, (_, cells) in enumerate(rows) if cells), None)
    if options.header and first is not None:
        names = rows.pop(first)[1]
    counts = Counter(len(cells) for _, cells in rows if cells and cells[0] != DOCSTART)
    if not counts:
        return
    width = counts.most_common(1)[0][0]
    columns = _find_columns(path, options, names, width)
    sentences: list[_Sentence] = []
    for item in _read_sentences(path, rows, width, columns):
        if isinstance(item, RowError):
            yield item
        else:
            sentences.append(item)
    scheme = options.scheme or detect_scheme(sentence.tags for sentence in sentences)
    yield from _strip_index(path, sentences, options.strip_index)
    yield from _make_rows(path, sentences, scheme, options)


def _read_content(path: Path, options: ConllOptions) -> tuple[list[tuple[int, str]], list | None]:
    """Return the lines without comments, and the column names if a comment gives them."""
    prefix = options.comment_prefix or _COMMENTS.get(path.suffix.lower())
    is_conllu = path.suffix.lower().startswith(".conllu")
    lines, names = [], None
    for number, line in read_lines(path):
        if prefix and line.startswith(prefix):
            match = _COLUMNS.fullmatch(line.strip())
            names = match[1].lower().split() if match else names
        elif not (is_conllu and _RANGE_ID.match(line)):
            lines.append((number, line))
    return lines, names


def _split_columns(lines: list[tuple[int, str]]) -> list[Line]:
    """Split lines into cells; a blank line has none."""
    full = [line for _, line in lines if line.strip(" \t") and not line.startswith(DOCSTART)]
    by_space = [re.split("[ \t]+", line.strip(" \t")) for line in full]
    bars = {cell.count("|") for cells in by_space for cell in cells}
    if len(bars) == 1 and bars != {0} and not any("\t" in line for line in full):
        # One sentence per line: spread it over lines of its own.
        rows: list[Line] = []
        for number, line in lines:
            rows += [(number, cell.split("|")) for cell in line.split()] + [(number, [])]
        return rows
    widths = {len(cells) for cells in by_space}
    tabs = {line.count("\t") + 1 for line in full}
    # Columns padded with spaces may hold a tab too; then splitting at both is the regular way.
    use_tabs = bool(tabs) and 1 not in tabs and not (len(widths) == 1 and max(widths) > max(tabs))
    rows = []
    for number, line in lines:
        if not line.strip(" \t"):
            rows.append((number, []))
        elif use_tabs and not line.startswith(DOCSTART):
            rows.append((number, line.split("\t")))
        else:
            rows.append((number, re.split("[ \t]+", line.strip(" \t"))))
    return rows


def _find_columns(
    path: Path, options: ConllOptions, names: list[str] | None, width: int
) -> tuple[int, int, int | None]:
    """Return the columns of words, tags and spaces."""
    known = [name.casefold() for name in names or []]

    def find(spec: str | None, usual: tuple[str, ...], default: int) -> int:
        if spec is not None:
            return find_column(spec, names, width, path)
        return next((locate(name, known, path) for name in usual if name in known), default)

    token = find(options.token_column, _WORD_NAMES, 0)
    tag = find(options.tag_column, _TAG_NAMES, width - 1)
    if options.space_column is None:
        return token, tag, None
    return token, tag, find_column(options.space_column, names, width, path)


def _read_sentences(
    path: Path, rows: list[Line], width: int, columns: tuple[int, int, int | None]
) -> Iterator[_Sentence | RowError]:
    """Gather lines into sentences; those with a bad line are marked."""
    document = 0
    sentence = _Sentence(document)
    for number, cells in [*rows, (0, [])]:
        if not cells or cells[0] == DOCSTART:
            if sentence.lines:
                yield sentence
            document += bool(cells)
            sentence = _Sentence(document)
            continue
        sentence.lines.append(number)
        reason = ""
        if any(is_broken(cell) for cell in cells):
            reason = "not valid UTF-8"
        elif len(cells) != width:
            reason = f"{len(cells)} columns where {width} are expected"
            if cells[0].startswith("#"):
                reason += _COMMENT_HINT
        elif not cells[columns[0]] or not cells[columns[1]]:
            reason = "the word or the tag is empty"
        if reason:
            sentence.is_whole = False
            yield RowError(str(path), number, f"{reason}; the sentence is left out")
            continue
        word = clean_text(cells[columns[0]])
        yield from word.notes(str(path), number)
        if not word.text:
            sentence.lines.pop()
            continue
        sentence.words.append(word.text)
        sentence.tags.append(cells[columns[1]].strip())
        mark = "" if columns[2] is None else cells[columns[2]]
        sentence.spaces.append(mark != "-" and "SpaceAfter=No" not in mark)


def _strip_index(
    path: Path, sentences: Sequence[_Sentence], strip_index: bool | None
) -> Iterator[RowNote]:
    """Take off the digit that ends every word of a file."""
    if strip_index is None:
        words = [word for sentence in sentences for word in sentence.words]
        single = sum(len(word) == 2 for word in words)
        has_index = all(len(word) > 1 and word[-1].isdecimal() for word in words)
        strip_index = has_index and single > len(words) / 2 and len(words) >= 20
    if not strip_index:
        return
    yield RowNote(str(path), 1, "every word ends in a digit, which is taken off", kind="index")
    for sentence in sentences:
        sentence.words = [re.sub(r"(?<=.)\d$", "", word) for word in sentence.words]


def _make_rows(
    path: Path, sentences: Sequence[_Sentence], scheme: str, options: ConllOptions
) -> Iterator[WordsRow | RowError]:
    """Join sentences of one document into rows."""
    good = []
    for sentence in sentences:
        bad = [place for place, tag in enumerate(sentence.tags) if not is_tag(tag, scheme)]
        if bad and sentence.is_whole:
            reason = f"tag {sentence.tags[bad[0]]!r} is not of the scheme {scheme}"
            if sentence.words[bad[0]].startswith("#"):
                reason += _COMMENT_HINT
            line = sentence.lines[bad[0]]
            yield RowError(str(path), line, f"{reason}; the sentence is left out")
        elif sentence.is_whole:
            good.append(sentence)
    for _, group in groupby(good, key=lambda sentence: sentence.document):
        document = list(group)
        size = options.doc_size or len(document)
        for start in range(0, len(document), size):
            yield from _make_row(path, document[start : start + size], scheme, options)


def _make_row(
    path: Path, sentences: Sequence[_Sentence], scheme: str, options: ConllOptions
) -> Iterator[WordsRow | RowError]:
    """Decode the tags of some sentences and make one row of them."""
    words: list[str] = []
    entities: list[tuple[int, int, str]] = []
    starts: list[bool | int | None] = []
    spaces: list[bool] = []
    for sentence in sentences:
        spans, oddities = decode_tags(sentence.tags, scheme)
        for place, reason in oddities:
            yield RowNote(str(path), sentence.lines[place], reason, kind="odd tag")
        base = len(words)
        entities += [(base + start, base + end, label) for start, end, label in spans]
        starts += [place == 0 for place in range(len(sentence.words))]
        spaces += sentence.spaces
        words += sentence.words
    yield WordsRow(
        str(path),
        sentences[0].lines[0],
        words,
        entities,
        spaces=spaces if options.space_column is not None else None,
        is_joined=options.no_spaces,
        sent_starts=starts if options.doc_size != 1 else None,
    )
