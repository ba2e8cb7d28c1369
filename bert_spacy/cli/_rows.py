"""Rows for `predict`: how they are read, made into Docs, and written with predictions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span

from ..data.convert.labels import check_header
from ..data.convert.rows import RowError
from ..data.convert.tables import read_csv_cells
from ..data.convert.text import is_broken, load_json, read_lines
from ..data.pairs import get_segments, make_choice, make_pair, make_question
from ..errors import Errors
from ..scored import read_scored
from ..segments import get_choice, get_choice_scores
from ..targets import get_targets
from ..types import ANSWERS, CANDIDATES, CHOSEN, CONTEXT, QUESTION, SEGMENTS, WITHHELD

SUFFIXES = (".jsonl", ".txt", ".csv")
TEXT = "text"
TEXT_B = "text_b"
CHOICES = "choices"


@dataclass(frozen=True)
class InputRow:
    """A row that can be made into a Doc.

    line (int): 1-based line on which it starts.
    texts (dict[str, Any]): "text"; "text" and "text_b"; "question" and "context"; or
        "choices", a list of texts, with one or both of these.
    extra (dict[str, Any]): All other keys, to be passed through.
    """

    line: int
    texts: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that gets no prediction.

    line (int): 1-based line on which it starts.
    reason (str): What is wrong.
    row (Any): The row as far as it was read: a dict, or the line itself.
    """

    line: int
    reason: str
    row: Any


class _NotUsable(ValueError):
    """The row can't be predicted; the message says why."""


def read_rows(path: Path, *, text_column: str = TEXT, max_length: int) -> Iterator:
    """Read the rows of a jsonl, txt or csv file; blank lines are passed over.

    path (Path): The file, UTF-8. Its suffix names the format.
    text_column (str): The column of a csv file that holds the text.
    max_length (int): Longest text of a Doc, in characters.
    YIELDS (InputRow | BadRow): The rows in order.
    RAISES (ValueError): B620 for another suffix; B621 if a csv file has no such column;
        B425 if the names of its columns are not UTF-8; B628 if a column that is read is there
        twice. Of others of one name, a row holds the list.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(Errors.B620.format(path=path, allowed=", ".join(SUFFIXES)))
    raw_rows = _read_csv(path, text_column) if suffix == ".csv" else _read_lines(path)
    text_key = text_column if suffix == ".csv" else TEXT
    for line, raw, problem in raw_rows:
        try:
            if problem:
                raise _NotUsable(problem)
            yield _to_input(line, _parse(raw, suffix), text_key, max_length)
        except _NotUsable as err:
            yield BadRow(line, str(err), raw)


def make_doc(nlp: Language, row: InputRow) -> Doc:
    """Make the Doc of a row.

    nlp (Language): Its tokenizer is used.
    row (InputRow): One text, a pair, a question with its context, or a choice item.
    RETURNS (Doc): The Doc, not yet processed.
    """
    if CHOICES in row.texts:
        context, question = row.texts.get(CONTEXT, ""), row.texts.get(QUESTION, "")
        return make_choice(nlp, context, question, row.texts[CHOICES])
    if QUESTION in row.texts:
        return make_question(nlp, row.texts[QUESTION], row.texts[CONTEXT])
    if TEXT_B in row.texts:
        return make_pair(nlp, row.texts[TEXT], row.texts[TEXT_B])
    return nlp.make_doc(row.texts[TEXT])


def to_output(
    row: InputRow,
    doc: Doc,
    exclusive: Mapping[str, Sequence[str]] | None = None,
    multilabel: Sequence[Any] = (),
) -> str:
    """Write a row with what the pipeline set on its Doc.

    row (InputRow): The row.
    doc (Doc): Its processed Doc.
    exclusive (Mapping[str, Sequence[str]]): Labels of each component whose labels exclude each
        other, by its name.
    multilabel (Sequence[Any]): Components whose labels do not exclude each other, ours and
        spaCy's.
    RETURNS (str): A line of JSON. Where a key of the input has the name of a
        prediction, the input's value stands under "input".
    RAISES (ValueError): If a prediction is NaN or infinite.
    """
    out = {"line": row.line, **row.texts}
    found = _predictions(doc, exclusive or {}, multilabel)
    clashes = {key: row.extra[key] for key in row.extra if key in out or key in found}
    if clashes:
        found["input"] = clashes
    return json.dumps({**out, **row.extra, **out, **found}, ensure_ascii=False, allow_nan=False)


def to_error(path: Path, bad: BadRow) -> str:
    """Write a bad row as a line of ASCII JSON, whatever it holds."""
    return json.dumps({"file": str(path), "line": bad.line, "reason": bad.reason, "row": bad.row})


def _read_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Yield line number, line and no problem."""
    for line, text in read_lines(path):
        if text.strip():
            yield line, text, ""


def _read_csv(path: Path, text_column: str) -> Iterator[tuple[int, Any, str]]:
    """Yield line number, record as a dict, and what is wrong with it, if anything."""
    names: list[str] | None = None
    for item in read_csv_cells(path):
        if isinstance(item, RowError):
            yield int(item.line), None, item.reason
            continue
        line, cells = item
        if names is None:
            names = cells
            if text_column not in names and not {QUESTION, CONTEXT} <= set(names):
                check_header(names, path)
                raise ValueError(Errors.B621.format(path=path, column=text_column, found=names))
            used = (text_column, TEXT_B) if text_column in names else (QUESTION, CONTEXT, CHOICES)
            for name in used:
                if (count := names.count(name)) > 1:
                    raise ValueError(Errors.B628.format(path=path, name=name, count=count))
        elif len(cells) > len(names):
            yield line, cells, "more cells than the header has"
        elif cells:
            yield line, _to_record(names, cells), ""
    if names is None:
        raise ValueError(Errors.B621.format(path=path, column=text_column, found=[]))


def _to_record(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """Return the cells by name, as a list where several columns have one name."""
    found: dict[str, list[str | None]] = {}
    for name, cell in zip_longest(names, cells):
        found.setdefault(name, []).append(cell)
    return {name: row if len(row) > 1 else row[0] for name, row in found.items()}


def _parse(raw: Any, suffix: str) -> dict[str, Any]:
    """Return the row as a dict."""
    if suffix == ".csv":
        return raw
    if is_broken(raw):
        raise _NotUsable("not valid UTF-8")
    if suffix == ".txt":
        return {TEXT: raw}
    try:
        data = load_json(raw)
    except (ValueError, RecursionError) as err:
        raise _NotUsable(f"not valid JSON: {err}") from err
    if not isinstance(data, dict):
        raise _NotUsable(f"not a JSON object but {type(data).__name__}")
    return data


def _to_input(line: int, data: dict[str, Any], text_key: str, max_length: int) -> InputRow:
    """Pick the texts out of a row and check them."""
    if text_key not in data and isinstance(data.get(CHOICES), list):
        given = [key for key in (CONTEXT, QUESTION) if data.get(key) is not None]
        keys = {key: key for key in (*given, CHOICES)}
    elif text_key not in data and not isinstance(data.get(CHOICES, ""), str):
        raise _NotUsable(f"'{CHOICES}' is not a list of texts but {type(data[CHOICES]).__name__}")
    elif text_key in data:
        keys = {TEXT: text_key, **({TEXT_B: TEXT_B} if TEXT_B in data else {})}
    elif QUESTION in data and CONTEXT in data:
        keys = {QUESTION: QUESTION, CONTEXT: CONTEXT}
    else:
        raise _NotUsable(f"no '{text_key}', and no '{QUESTION}' with '{CONTEXT}'")
    texts = {name: data[key] for name, key in keys.items()}
    choices = texts.get(CHOICES, [])
    named = [(name, text) for name, text in texts.items() if name != CHOICES]
    named += [(f"{CHOICES}[{i}]", text) for i, text in enumerate(choices)]
    for name, text in named:
        if text is None:
            raise _NotUsable(f"'{name}' is missing")
        if not isinstance(text, str):
            raise _NotUsable(f"'{name}' is not a string but {type(text).__name__}")
        # A text by itself and a context may be blank; a choice, a side of a pair and what is
        # asked of a context may not.
        is_asked = name == QUESTION and CHOICES not in texts
        if (name not in texts or TEXT_B in texts or is_asked) and not text.strip():
            raise _NotUsable(f"'{name}' is blank")
    if CHOICES in texts and len(choices) < 2:
        raise _NotUsable(f"'{CHOICES}' has {len(choices)} texts; two or more are needed")
    if CHOICES in texts and not any(texts.get(key, "").strip() for key in (CONTEXT, QUESTION)):
        raise _NotUsable(f"'{CHOICES}' without '{QUESTION}' or '{CONTEXT}'")
    length = sum(len(text) for _, text in named) + len(named) - 1
    if length > max_length:
        raise _NotUsable(f"text of {length} characters, but nlp.max_length is {max_length}")
    if is_broken(json.dumps(data, ensure_ascii=False)):
        raise _NotUsable("not valid Unicode: undecodable bytes or lone surrogates")
    extra = {key: value for key, value in data.items() if key not in keys.values()}
    return InputRow(line, texts, extra)


def _predictions(
    doc: Doc, exclusive: Mapping[str, Sequence[str]], multilabel: Sequence[Any]
) -> dict[str, Any]:
    """Return what the pipeline set on the Doc."""
    found: dict[str, Any] = {}
    if doc.cats:
        found["cats"] = {label: float(score) for label, score in doc.cats.items()}
        several = {label for pipe in multilabel for label in pipe.labels}
        # Without a classifier that is known, categories of others are taken for exclusive.
        rows = exclusive or {"": [label for label in doc.cats if label not in several]}
        parts = {name: [x for x in row if x in doc.cats] for name, row in rows.items()}
        best = {name: max(row, key=doc.cats.__getitem__) for name, row in parts.items() if row}
        if len(exclusive) > 1:
            found["label"] = best
        elif best:
            found["label"] = next(iter(best.values()))
        if several:
            found["labels"] = [label for pipe in multilabel for label in _given(pipe, doc)]
    if targets := get_targets(doc):
        found["regression"] = targets
    segments = get_segments(doc) if SEGMENTS in doc.spans else []
    if doc.has_annotation("ENT_IOB"):
        found["ents"] = [_entity(ent, segments) for ent in doc.ents]
    if candidates := read_scored(doc, CANDIDATES):
        found["candidates"] = [{**_entity(x, segments), "score": p} for x, p in candidates]
    if ANSWERS in doc.spans:
        attrs = doc.spans[ANSWERS].attrs
        found["answers"] = [dict(answer) for answer in attrs.get("answers", [])]
        if withheld := attrs.get(WITHHELD):
            found["withheld"] = [dict(answer) for answer in withheld]
        known = {key: attrs.get(key) for key in ("null_score", "null_probability")}
        found.update({key: float(value) for key, value in known.items() if value is not None})
    if CHOSEN in doc.spans:
        found["choice"] = get_choice(doc)
        found["choice_scores"] = get_choice_scores(doc)
    return found


def _given(pipe: Any, doc: Doc) -> list[str]:
    """Return the labels that a component over several labels gives to a Doc."""
    if hasattr(pipe, "given_labels"):
        return list(pipe.given_labels(doc))
    return [label for label in pipe.labels if doc.cats.get(label, -1.0) >= pipe.cfg["threshold"]]


def _entity(ent: Span, segments: list[Span]) -> dict[str, Any]:
    """Describe an entity; with several texts, by offsets in its own one."""
    base, where = 0, {}
    for segment in segments:
        if segment.start <= ent.start < segment.end:
            base, where = segment.start_char, {"segment": segment.label_}
    out: dict[str, Any] = {
        "start": ent.start_char - base,
        "end": ent.end_char - base,
        "label": ent.label_,
        "text": ent.text,
        **where,
    }
    if Span.has_extension("score") and ent._.score is not None:
        out["score"] = float(ent._.score)
    return out
