"""Write entities, their probabilities and the candidates beside them on a Doc."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from spacy.tokens import Doc, Span

from ..scored import SCORES, SOURCES, find_spans, write_scored, write_spans
from ..types import CANDIDATES, FIXED, SCORED
from .given import Preset
from .lattice import Floats, Lattice, Spans


def write_entities(
    doc: Doc,
    ents: Sequence[Span],
    source: str,
    scores: Sequence[float] | None = None,
    presets: Sequence[Preset] | None = None,
) -> None:
    """Write `doc.ents` and the probabilities of entities.

    doc (Doc): Its entities that are free of the new ones stay, with their probabilities.
    ents (Sequence[Span]): Entities that do not overlap.
    source (str): The component that has found them.
    scores (Sequence[float]): One for each; None if they are not known.
    presets (Sequence[Preset]): What `find_presets` has found on the Doc, if the new ones are free
        of it: blocked tokens stay so, and the entities, but those that the component itself has
        found and scored before, stand in `doc.spans["bert_ner_fixed"]` too.
    """
    old, fixed, blocked = list(doc.ents), [], []
    rows = [row for row in _read_rows(doc, SCORED) if row[0] is not None]
    if presets is not None:
        blocked = [doc[start:end] for start, end, label in presets if not label]
        own = {_key(span) for span, _, name in rows if name == source}
        fixed = [ent for ent in old if _key(ent) not in own]
    elif old and ents:
        taken = {t for ent in ents for t in range(ent.start, ent.end)}
        old = [e for e in old if taken.isdisjoint(range(e.start, e.end))]
    doc.set_ents([*ents, *old], blocked=blocked, default="outside")
    _write_fixed(doc, fixed, source)
    kept = {_key(ent) for ent in old}
    rows = [row for row in rows if _key(row[0]) in kept]
    rows += [(ent, score, source) for ent, score in zip(ents, scores or ())]
    doc.spans.pop(SCORED, None)
    if rows:
        rows.sort(key=lambda row: row[0].start)
        spans, values, names = zip(*rows)
        write_scored(doc, SCORED, spans, values, sources=list(names))


def _write_fixed(doc: Doc, spans: Sequence[Span], source: str) -> None:
    """Note what was given to a component, beside what was given to others."""
    attrs = doc.spans[FIXED].attrs if FIXED in doc.spans else {}
    pairs = zip(find_spans(doc, FIXED), attrs.get(SOURCES, ()))
    rows = [(span, name) for span, name in pairs if span is not None and name != source]
    rows += [(span, source) for span in spans]
    doc.spans.pop(FIXED, None)
    if rows:
        write_spans(doc, FIXED, [x for x, _ in rows], sources=[name for _, name in rows])


def _read_rows(doc: Doc, key: str) -> list[tuple[Any, float, str]]:
    """Return the spans of a group, None for one that cuts a token now, with scores and sources."""
    spans = find_spans(doc, key)
    attrs = doc.spans[key].attrs if key in doc.spans else {}
    return list(zip(spans, attrs.get(SCORES, []), attrs.get(SOURCES, [""] * len(spans))))


def place_spans(
    docs: Sequence[Doc], lattice: Lattice, spans: Spans, labels: Sequence[str]
) -> list[list[Span]]:
    """Turn entities of a lattice, sorted by start, into Spans of each of its Docs.

    docs (Sequence[Doc]): The Docs of the lattice, at least one.
    lattice (Lattice): Knows which tokens have pieces.
    spans (Spans): Entities.
    labels (Sequence[str]): Labels by number.
    RETURNS (list[list[Span]]): For each Doc.
    """
    tokens = lattice.scores.tokens
    first, last = tokens[spans.start].tolist(), (tokens[spans.end - 1] + 1).tolist()
    bounds = np.searchsorted(lattice.doc_of(spans), np.arange(len(docs) + 1)).tolist()
    ids = [docs[0].vocab.strings.add(name) for name in labels]
    names = [ids[k] for k in spans.label]
    return [
        [Span(doc, first[k], last[k], label=names[k]) for k in range(low, high)]
        for doc, low, high in zip(docs, bounds, bounds[1:])
    ]


def write_candidates(doc: Doc, spans: Sequence[Span], scores: Sequence[float], source: str) -> None:
    """Write the candidates of a component, best first, beside those of other components.

    doc (Doc): Its entities are written already; they are no candidates.
    spans (Sequence[Span]): The candidates.
    scores (Sequence[float]): One for each.
    source (str): The component, whose candidates of before are replaced.
    """
    rows = list(zip(spans, scores, [source] * len(spans)))
    if CANDIDATES in doc.spans:
        taken = {_key(span) for span in (*spans, *doc.ents)}
        for span, score, name in _read_rows(doc, CANDIDATES):
            if span is not None and name != source and _key(span) not in taken:
                rows.append((span, score, name))
        del doc.spans[CANDIDATES]
    if rows:
        rows.sort(key=lambda row: -row[1])
        found, values, sources = zip(*rows)
        write_scored(doc, CANDIDATES, found, values, is_shown=True, **{SOURCES: list(sources)})


def cut_candidates(
    ents: Sequence[Span],
    weak: tuple[Sequence[Span], Sequence[float]],
    found: tuple[Sequence[Span], Sequence[float]],
    limit: int,
) -> tuple[list[Span], list[float]]:
    """Join what a threshold has turned down with the best of what else is probable.

    ents (Sequence[Span]): The entities; they are no candidates.
    weak (tuple): Spans turned down, and their probabilities; all of them stay.
    found (tuple): Probable spans, and their probabilities.
    limit (int): Most candidates, unless more were turned down.
    RETURNS (tuple[list[Span], list[float]]): The candidates and their probabilities.
    """
    known = {_key(span) for span in (*ents, *weak[0])}
    more = [pair for pair in zip(*found) if _key(pair[0]) not in known]
    more.sort(key=lambda pair: -pair[1])
    joined = [*zip(*weak), *more[: max(limit - len(weak[0]), 0)]]
    return [span for span, _ in joined], [score for _, score in joined]


def split_rows(values: Floats, spans: Sequence[Sequence[Span]]) -> list[list[float]]:
    """Cut values of all Docs into one list for each."""
    rows, at = [], 0
    flat = values.tolist()
    for some in spans:
        rows.append(flat[at : at + len(some)])
        at += len(some)
    return rows


def _key(span: Span) -> tuple[int, int, int]:
    return span.start, span.end, span.label
