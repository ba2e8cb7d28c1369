"""What the format readers yield: rows that become Docs, and problems with rows.

Readers need no pipeline. A row holds plain text and gold values; its `make_doc`
is called later, when the labels of all files are known.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.util import filter_spans

from ...targets import set_targets
from ..pairs import make_choice, make_pair, make_question, set_gold_answers, set_gold_choice

# Groups of gold entities on a Doc where some overlap: all of them; those left out of doc.ents that
# lie within an entity there; those that cross one.
ENTITIES, NESTED, OVERLAPPING = "entities", "nested", "overlapping"
JOINED_LANGS = frozenset({"zh", "ja"})


@dataclass(frozen=True)
class RowError:
    """Gold that was lost: a row, a sentence, or an annotation that was left out.

    path (str): The file.
    line (int | str): 1-based line, or the place in a JSON file.
    reason (str): What is wrong.
    """

    path: str
    line: int | str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class RowNote(RowError):
    """Something odd that lost nothing, such as a repaired offset.

    kind (str): One word or two, by which notes are counted.
    count (int): How many things it is about.
    is_shown (bool): Whether the command line prints it among the errors.
    """

    kind: str = "note"
    count: int = 1
    is_shown: bool = False


@dataclass(frozen=True)
class TextRow:
    """A text with categories, entities, targets; None says that gold is missing.

    path (str): The file.
    line (int | str): Where the row stands in it.
    text (str): The text.
    cats (dict[str, float]): Gold value by label.
    entities (list[tuple[int, int, str]]): First character, end (exclusive), label.
    targets (dict[str, float]): Finite values by target.
    is_partial (bool): Gold is missing for labels that `cats` leaves out; otherwise it is 0.0.
    missing (Sequence[tuple[int, int]]): First character and end of what may hold an
        entity that was lost.
    """

    path: str
    line: int | str
    text: str
    cats: dict[str, float] | None = None
    entities: list[tuple[int, int, str]] | None = None
    targets: dict[str, float] | None = None
    is_partial: bool = False
    missing: Sequence[tuple[int, int]] = ()

    def make_doc(self, nlp: Language, labels: Sequence[str]) -> tuple[Doc, list[RowError]]:
        """Tokenize the text and write the gold on the Doc; tokens of lost entities have none.

        nlp (Language): Its tokenizer is used.
        labels (Sequence[str]): All labels for `doc.cats`.
        RETURNS (tuple[Doc, list[RowError]]): The Doc and what could not be written.
        """
        doc = nlp.make_doc(self.text)
        _set_values(doc, self, labels)
        if self.entities is None:
            return doc, []
        spans, problems, missing = [], [], list(self.missing)
        for start, end, label in dict.fromkeys(self.entities):
            span = doc.char_span(start, end, label=label)
            if span is None:
                reason = f"entity {label} {start}:{end} {self.text[start:end]!r} cuts a token"
                problems.append(RowError(self.path, self.line, f"{reason}; it is left out"))
                missing.append((start, end))
            else:
                spans.append(span)
        problems += self._set_entities(doc, spans, missing)
        return doc, problems

    def _set_entities(
        self, doc: Doc, spans: list[Span], missing: list[tuple[int, int]]
    ) -> list[RowError]:
        """Write the entities; where some overlap, the longest, and the others in span groups.

        What the others or `missing` cover beside the longest is unknown, not outside.
        """
        kept = filter_spans(spans)
        known = set(kept)
        others = [span for span in spans if span not in known]
        missing = missing + [(span.start_char, span.end_char) for span in others]
        doc.set_ents(kept, missing=_find_unknown(doc, kept, missing), default="outside")
        if not others:
            return []
        doc.spans[ENTITIES] = SpanGroup(doc, name=ENTITIES, spans=spans)
        groups: dict[str, list[Span]] = {NESTED: [], OVERLAPPING: []}
        starts = [one.start for one in kept]
        for span in others:
            # Those that are kept do not overlap: the last that begins no later may hold it.
            at = bisect_right(starts, span.start) - 1
            is_inside = at >= 0 and span.end <= kept[at].end
            groups[NESTED if is_inside else OVERLAPPING].append(span)
        notes: list[RowError] = []
        for kind, group in groups.items():
            if group:
                doc.spans[kind] = SpanGroup(doc, name=kind, spans=group)
                names = ", ".join(f"{span.label_} {span.text!r}" for span in group)
                reason = (
                    f"{len(group)} of {len(spans)} entities {kind} ({names}): not in doc.ents, "
                    f"kept in doc.spans[{kind!r}]"
                )
                notes.append(
                    RowNote(self.path, self.line, reason, kind, count=len(group), is_shown=True)
                )
        return notes


def _find_unknown(doc: Doc, kept: list[Span], missing: list[tuple[int, int]]) -> list[Span]:
    """Return the tokens that a stretch of characters touches and no kept entity holds."""
    if not missing:
        return []
    held = {token.i for span in kept for token in span}
    starts = [token.idx for token in doc]
    unknown: set[int] = set()
    for start, end in missing:
        # The token before the first that starts later may reach into the stretch.
        first = max(bisect_right(starts, start) - 1, 0)
        for token in doc[first : bisect_left(starts, end)]:
            if token.idx + len(token) > start and token.i not in held:
                unknown.add(token.i)
    return [doc[i : i + 1] for i in sorted(unknown)]


@dataclass(frozen=True)
class PairRow:
    """Two texts with categories or targets; None says that gold is missing.

    path (str): The file.
    line (int | str): Where the row stands in it.
    text_a (str): The first text.
    text_b (str): The second text.
    cats (dict[str, float]): Gold value by label.
    targets (dict[str, float]): Finite values by target.
    is_partial (bool): Gold is missing for labels that `cats` leaves out; otherwise it is 0.0.
    """

    path: str
    line: int | str
    text_a: str
    text_b: str
    cats: dict[str, float] | None = None
    targets: dict[str, float] | None = None
    is_partial: bool = False

    def make_doc(self, nlp: Language, labels: Sequence[str]) -> tuple[Doc, list[RowError]]:
        """Make a Doc of both texts and write the gold.

        nlp (Language): Its tokenizer is used.
        labels (Sequence[str]): All labels for `doc.cats`.
        RETURNS (tuple[Doc, list[RowError]]): The Doc and an empty list.
        """
        doc = make_pair(nlp, self.text_a, self.text_b)
        _set_values(doc, self, labels)
        return doc, []


def _set_values(doc: Doc, row: TextRow | PairRow, labels: Sequence[str]) -> None:
    """Write the categories and targets of a row."""
    if row.cats is not None:
        known = row.cats if row.is_partial else labels
        doc.cats = {label: row.cats.get(label, 0.0) for label in known}
    if row.targets is not None:
        set_targets(doc, row.targets)


@dataclass(frozen=True)
class WordsRow:
    """Words with entities over words.

    path (str): The file.
    line (int): First line of the first sentence.
    words (list[str]): The words, none empty.
    entities (list[tuple[int, int, str]]): First word, end (exclusive), label.
    spaces (list[bool]): Whether white space follows each word; None if unknown.
    is_joined (bool): True for words without spaces, False for unknown spaces,
        None to go by the language.
    sent_starts (list[bool]): Where sentences start; None if not to be stored.
    """

    path: str
    line: int
    words: list[str]
    entities: list[tuple[int, int, str]]
    spaces: list[bool] | None = None
    is_joined: bool | None = None
    sent_starts: list[bool | int | None] | None = None
    cats: None = None

    def make_doc(self, nlp: Language, labels: Sequence[str]) -> tuple[Doc, list[RowError]]:
        """Make a Doc of the words as they are and write the entities.

        nlp (Language): Its vocab and language are used.
        labels (Sequence[str]): Not used; there are no categories.
        RETURNS (tuple[Doc, list[RowError]]): The Doc and an empty list.
        """
        spaces = self.find_spaces(nlp.lang)
        doc = Doc(nlp.vocab, words=self.words, spaces=spaces, sent_starts=self.sent_starts)
        ents = [Span(doc, start, end, label=label) for start, end, label in self.entities]
        doc.set_ents(ents, default="outside")
        return doc, []

    def find_spaces(self, lang: str | None) -> list[bool] | None:
        """Tell whether white space follows each word, as far as row and language say.

        lang (str | None): A language code.
        RETURNS (list[bool] | None): One for each word; None if it is not known.
        """
        if self.spaces is not None:
            return self.spaces
        joined = lang in JOINED_LANGS if self.is_joined is None else self.is_joined
        return [False] * len(self.words) if joined else None


@dataclass(frozen=True)
class QuestionRow:
    """A question about a context, with its gold answers; an empty list says "no answer".

    path (str): The file.
    line (int | str): Where the question stands in it.
    question (str): The question, stripped.
    context (str): The context.
    answers (list[dict]): Each with "text", "start", "end"; start -1 for an
        answer that is not in the context.
    qid (str): The id in the data set.
    """

    path: str
    line: int | str
    question: str
    context: str
    answers: list[dict[str, Any]]
    qid: str | None = None
    cats: None = None

    def make_doc(self, nlp: Language, labels: Sequence[str]) -> tuple[Doc, list[RowError]]:
        """Make a Doc of question and context and write the answers.

        nlp (Language): Its tokenizer is used.
        labels (Sequence[str]): Not used; there are no categories.
        RETURNS (tuple[Doc, list[RowError]]): The Doc and an empty list.
        """
        doc = make_question(nlp, self.question, self.context)
        set_gold_answers(doc, self.answers, self.qid)
        return doc, []


@dataclass(frozen=True)
class ChoiceRow:
    """A question with several choices.

    path (str): The file.
    line (int | str): Where the item stands in it.
    context (str): The context, or nothing.
    question (str): The question, or nothing.
    choices (list[str]): Two or more, none blank.
    gold (int): Which is right, from 0; None if gold is missing.
    """

    path: str
    line: int | str
    context: str
    question: str
    choices: list[str]
    gold: int | None = None
    cats: None = None

    def make_doc(self, nlp: Language, labels: Sequence[str]) -> tuple[Doc, list[RowError]]:
        """Make a Doc of all texts and write which choice is right.

        nlp (Language): Its tokenizer is used.
        labels (Sequence[str]): Not used; there are no categories.
        RETURNS (tuple[Doc, list[RowError]]): The Doc and an empty list.
        """
        doc = make_choice(nlp, self.context, self.question, self.choices)
        if self.gold is not None:
            set_gold_choice(doc, self.gold)
        return doc, []


Row = TextRow | PairRow | WordsRow | QuestionRow | ChoiceRow
