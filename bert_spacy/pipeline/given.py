"""What earlier components have said about entities, as tags that tokens are bound to."""

from collections.abc import Sequence

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IDX, SENT_START
from spacy.tokens import Doc
from spacy.tokens.span_group import SpanGroup

from ..layers.ner import TagScores
from ..scored import SOURCES, find_spans
from ..segments import read_segments
from ..text.tags import allow_around
from ..types import BORDERS, FIXED
from .lattice import Given

# First token, end (exclusive), label; no label where nothing may be an entity, or, if no token is
# meant, where none may reach across.
Preset = tuple[int, int, str]


def find_presets(doc: Doc) -> list[Preset]:
    """Return the entities and blocked tokens of a Doc, as spaCy's own `ner` respects them.

    doc (Doc): The Doc. Tokens marked as outside of entities are free, as an entity ruler marks all
        so that it has not matched.
    RETURNS (list[Preset]): Empty for a Doc that no component has annotated.
    """
    if not doc.has_annotation("ENT_IOB"):
        return []
    ents = [(ent.start, ent.end, ent.label_) for ent in doc.ents]
    return ents + [(i, i + 1, "") for i in find_blocked(doc)]


def read_presets(doc: Doc, source: str) -> list[Preset]:
    """Return what `find_presets` gave before a tagger ran; nothing for a Doc it has not seen.

    doc (Doc): The Doc. One that an earlier version has saved does not say which tagger ran.
    source (str): The tagger.
    RETURNS (list[Preset]): Without entities that this tagger had found itself.
    """
    spans = find_spans(doc, FIXED)
    names = doc.spans[FIXED].attrs.get(SOURCES, [source] * len(spans)) if spans else []
    own = [span for span, name in zip(spans, names) if span is not None and name == source]
    ents = [(span.start, span.end, span.label_) for span in own]
    return ents + [(i, i + 1, "") for i in find_blocked(doc)]


def find_sentences(doc: Doc, *, keep_entities: bool) -> list[int]:
    """Return the tokens at which a sentence begins, as far as components have set that.

    doc (Doc): The Doc.
    keep_entities (bool): Leave out those inside of the entities that the Doc has.
    RETURNS (list[int]): Without the first token; empty for a Doc without sentences.
    """
    if not doc.has_annotation("SENT_START"):
        return []
    begins, iob = doc.to_array([SENT_START, ENT_IOB]).T if len(doc) else np.zeros((2, 0))
    found = np.flatnonzero((begins == 1) & ((iob != 1) | (not keep_entities)))
    return found[found > 0].tolist()


def note_sentences(doc: Doc, source: str, *, keep_entities: bool) -> list[int]:
    """Return what `find_sentences` gives, and note it, as later components may set others.

    doc (Doc): The Doc. What is noted are characters, see `scored.py`.
    source (str): The tagger.
    keep_entities (bool): As in `find_sentences`.
    RETURNS (list[int]): As `find_sentences`.
    """
    starts = find_sentences(doc, keep_entities=keep_entities)
    if starts or BORDERS in doc.spans:
        attrs = dict(doc.spans[BORDERS].attrs) if BORDERS in doc.spans else {}
        attrs[source] = [doc[i].idx for i in starts]
        doc.spans[BORDERS] = SpanGroup(doc, name=BORDERS, attrs=attrs)
    return starts


def read_sentences(doc: Doc, source: str, *, keep_entities: bool) -> list[int]:
    """Return what `find_sentences` gave when a tagger ran, or gives where none has run yet.

    doc (Doc): The Doc.
    source (str): The tagger.
    keep_entities (bool): As in `find_sentences`.
    RETURNS (list[int]): Without beginnings inside of tokens that were merged since.
    """
    noted = doc.spans[BORDERS].attrs.get(source) if BORDERS in doc.spans else None
    if noted is not None:
        return np.flatnonzero(np.isin(doc.to_array(IDX), noted)).tolist()
    if doc.has_annotation("ENT_IOB"):
        return []
    return find_sentences(doc, keep_entities=keep_entities)


def add_borders(
    docs: Sequence[Doc],
    presets: Sequence[Sequence[Preset] | None],
    sentences: Sequence[Sequence[int]],
) -> list[list[Preset]]:
    """Keep entities from reaching from one text of a pair, or one sentence, into the next.

    docs (Sequence[Doc]): The Docs.
    presets (Sequence[Sequence[Preset] | None]): What else holds for each. Entities among it that
        reach over a border stay whole.
    sentences (Sequence[Sequence[int]]): The tokens at which its sentences begin.
    RETURNS (list[list[Preset]]): The presets, and the places where another text or sentence begins.
    """
    return [
        [
            *(rows or ()),
            *((span.start, span.start, "") for span in read_segments(doc)[1:]),
            *((start, start, "") for start in starts),
        ]
        for doc, rows, starts in zip(docs, presets, sentences)
    ]


def find_blocked(doc: Doc) -> list[int]:
    """Return the tokens that `doc.set_ents(blocked=...)` has marked."""
    iob, kind = doc.to_array([ENT_IOB, ENT_TYPE]).T if len(doc) else np.zeros((2, 0))
    return np.flatnonzero((iob == 3) & (kind == 0)).tolist()


def bind_tags(
    presets: Sequence[Sequence[Preset] | None],
    scores: TagScores,
    labels: Sequence[str],
    scheme: str,
) -> Given | None:
    """Turn presets of some Docs into the tags that their tokens may have.

    presets (Sequence[Sequence[Preset] | None]): For each Doc. A label that is not among the labels
        keeps its tokens out of all other entities.
    scores (TagScores): Of the same Docs.
    labels (Sequence[str]): Labels in the order of the tags.
    scheme (str): Tag scheme.
    RETURNS (Given | None): None if there is no preset at all.
    """
    if not any(presets):
        return None
    number = {label: i for i, label in enumerate(labels)}
    allowed = np.ones(tuple(scores.emissions.shape), dtype=bool)
    is_fixed = np.zeros(len(allowed), dtype=bool)
    low = 0
    for rows, length in zip(presets, scores.lengths.tolist()):
        tokens = scores.tokens[low : low + length]
        spans = []
        for start, end, label in rows or ():
            a, b = np.searchsorted(tokens, (start, end)).tolist()
            spans.append((a, b, number.get(label, -1)))
            is_fixed[low + a : low + b] = True
        if spans:
            allowed[low : low + length] = allow_around(length, spans, len(labels), scheme)
        low += length
    return Given(allowed, is_fixed)
