"""How several texts, and gold or predicted answers, live on one Doc.

`doc.spans["segments"]` holds one Span per text, in order (`get_segments` gives
those of empty texts too); `doc.spans["answers"]`
holds answer Spans, with the exact character offsets in its attrs;
`doc.spans["chosen"]` the Span of one choice, with its index. All survive
`DocBin`, `Doc.copy`, `nlp.pipe` and other processes without user data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup

from ..errors import Errors
from ..segments import read_segments, set_choice, write_segments
from ..types import ANSWERS, CHOICE, CONTEXT, NULL_PROBABILITY, QUESTION


@dataclass(frozen=True)
class Answer:
    """One answer to the question of a Doc.

    text (str): The answer as it stands in the context.
    start_char (int): First character, counted from the start of the context.
    end_char (int): One past the last character.
    score (float): Product of the shares of its first and last piece; 1.0 for gold.
    span (Span): The tokens that hold it, whole tokens.
    probability (float): Probability of this text among all answers and none; 1.0 for gold.
    """

    text: str
    start_char: int
    end_char: int
    score: float
    span: Span | None
    probability: float = 1.0


def make_segments(nlp: Language, texts: Sequence[str], labels: Sequence[str]) -> Doc:
    """Join several texts in one Doc and mark each as a segment.

    nlp (Language): Its tokenizer makes the tokens of each text on its own.
    texts (Sequence[str]): The texts; an empty one becomes an empty Span.
    labels (Sequence[str]): A label per text, such as "question".
    RETURNS (Doc): The joined Doc with `doc.spans["segments"]`.
    RAISES (ValueError): B400 if the counts differ or there is no text; B423 for what is no string.
    """
    if len(texts) != len(labels) or not texts:
        raise ValueError(Errors.B400.format(texts=len(texts), labels=len(labels)))
    return _join(nlp, [_make_part(nlp, text) for text in texts], labels)


def _make_part(nlp: Language, text: str) -> Doc:
    if not isinstance(text, str):
        raise ValueError(Errors.B423.format(value=text))
    return nlp.make_doc(text)


def _join(nlp: Language, parts: Sequence[Doc], labels: Sequence[str]) -> Doc:
    filled = [part for part in parts if len(part)]
    doc = Doc.from_docs(filled, ensure_whitespace=True) if filled else nlp.make_doc("")
    write_segments(doc, [len(part) for part in parts], labels)
    return doc


def make_pair(nlp: Language, text_a: str, text_b: str) -> Doc:
    """Make a Doc of two texts, for sentence-pair tasks.

    nlp (Language): The pipeline whose tokenizer is used.
    text_a (str): The first text.
    text_b (str): The second text.
    RETURNS (Doc): A Doc with segments labelled "a" and "b".
    """
    return make_segments(nlp, [text_a, text_b], ["a", "b"])


def make_question(nlp: Language, question: str, context: str) -> Doc:
    """Make a Doc of a question and the context that may answer it.

    nlp (Language): The pipeline whose tokenizer is used.
    question (str): The question.
    context (str): The text in which the answer is looked for.
    RETURNS (Doc): A Doc with segments labelled "question" and "context".
    """
    return next(make_questions(nlp, [question], context))


def make_questions(nlp: Language, questions: Iterable[str], context: str) -> Iterator[Doc]:
    """Make Docs of several questions about one context, whose tokens are made once.

    nlp (Language): The pipeline whose tokenizer is used.
    questions (Iterable[str]): The questions.
    context (str): The text in which the answers are looked for.
    YIELDS (Doc): As from `make_question`.
    """
    tokens = _make_part(nlp, context)
    for question in questions:
        yield _join(nlp, [_make_part(nlp, question), tokens], [QUESTION, CONTEXT])


def make_choice(nlp: Language, context: str, question: str, choices: Sequence[str]) -> Doc:
    """Make a Doc of a question with several choices.

    The encoder reads the context as first text, and the question together with one
    choice as second; without a context, the question and one choice.

    nlp (Language): The pipeline whose tokenizer is used.
    context (str): What the question is about; may be empty. For a sentence that is
        to be continued, the text before it.
    question (str): The question, or the beginning of the sentence; may be empty.
    choices (Sequence[str]): Two or more texts, none of them blank.
    RETURNS (Doc): A Doc with segments labelled "context", "question", and "choice"
        for each choice.
    RAISES (ValueError): B420 for fewer than two choices; B421 for a blank one; B423 for what is
        no string.
    """
    if isinstance(choices, str) or not isinstance(choices, Sequence) or len(choices) < 2:
        raise ValueError(Errors.B420.format(choices=choices, question=str(question)[:80]))
    for choice in choices:
        if not isinstance(choice, str):
            raise ValueError(Errors.B423.format(value=choice))
    blank = [i for i, choice in enumerate(choices) if not choice.strip()]
    if blank:
        raise ValueError(Errors.B421.format(index=blank[0], choices=list(choices)))
    labels = [CONTEXT, QUESTION, *[CHOICE] * len(choices)]
    return make_segments(nlp, [context, question, *choices], labels)


def get_segments(doc: Doc) -> list[Span]:
    """Return the segments of a Doc; the whole Doc where none are marked."""
    return read_segments(doc) or [doc[:]]


def get_question(doc: Doc) -> tuple[Span, Span] | None:
    """Return the question and context of a Doc, or None if it has none."""
    segments = read_segments(doc)
    if len(segments) == 2 and [s.label_ for s in segments] == [QUESTION, CONTEXT]:
        return segments[0], segments[1]
    return None


def set_answers(doc: Doc, answers: Sequence[dict[str, Any]], **attrs: Any) -> None:
    """Write answers, gold or predicted, to `doc.spans["answers"]`.

    doc (Doc): A Doc from `make_question`.
    answers (Sequence[dict]): Each with "text", "start" and "end" (characters in
        the context, end exclusive) and perhaps "score". A negative start marks
        an answer that is not in the context: it counts for scoring alone.
    attrs: Further values to keep beside them, such as id or null_score.
    RAISES (ValueError): B402 if the Doc has no question and context; B403 if
        an answer lies outside of the context.
    """
    context = _context_of(doc)
    base = context.start_char if len(context) else len(doc.text)
    limit = len(context.text_with_ws)  # an answer may end in a space, as some of SQuAD do
    spans = []
    kept = [{**x, "start": int(x["start"]), "end": int(x["end"])} for x in answers]
    for answer in kept:
        start, end = answer["start"], answer["end"]
        if start < 0:
            continue
        if not start <= end <= limit:
            raise ValueError(Errors.B403.format(start=start, end=end, limit=limit))
        span = doc.char_span(base + start, base + end, alignment_mode="expand")
        if span:  # spaCy cannot copy a Doc with an empty Span
            spans.append(span)
    attrs["answers"] = kept
    doc.spans[ANSWERS] = SpanGroup(doc, name=ANSWERS, spans=spans, attrs=attrs)


def set_gold_answers(doc: Doc, answers: Sequence[dict[str, Any]], qid: str | None = None) -> None:
    """Write gold answers; an empty list says that there is no answer.

    doc (Doc): A Doc from `make_question`.
    answers (Sequence[dict]): See `set_answers`.
    qid (str): The question's id in its data set.
    RAISES (ValueError): B402 and B403 as `set_answers`; B426 for what is no answer; B427 if the
        context has something else where an answer is said to be.
    """
    context = _context_of(doc).text_with_ws
    if isinstance(answers, str) or not isinstance(answers, Sequence):
        raise ValueError(Errors.B426.format(value=answers))
    for answer in answers:
        if not _is_answer(answer):
            raise ValueError(Errors.B426.format(value=answer))
        start, end, text = answer["start"], answer["end"], answer["text"]
        found = context[start:end]
        if 0 <= start <= end <= len(context) and found != text:
            values = {"text": text, "start": start, "end": end, "found": found}
            raise ValueError(Errors.B427.format(**values))
    set_answers(doc, answers, id=qid)


def _context_of(doc: Doc) -> Span:
    pair = get_question(doc)
    if pair is None:
        raise ValueError(Errors.B402.format(text=doc.text[:80]))
    return pair[1]


def _is_answer(answer: Any) -> bool:
    if not isinstance(answer, Mapping) or not isinstance(answer.get("text"), str):
        return False
    places = (answer.get("start"), answer.get("end"))
    return all(isinstance(x, Integral) and not isinstance(x, bool) for x in places)


def set_gold_choice(doc: Doc, index: int) -> None:
    """Write which choice is right.

    doc (Doc): A Doc from `make_choice`.
    index (int): Which choice, counted from 0.
    RAISES (ValueError): B422 if there is no such choice.
    """
    set_choice(doc, index)


def get_answers(doc: Doc) -> list[Answer]:
    """Return the answers of a Doc, best first; none if it has none.

    doc (Doc): Any Doc.
    RETURNS (list[Answer]): Empty for "no answer" and for a Doc with no question, and where the
        attrs of the group are lost, as by `Doc.to_json` and `Doc.from_docs`.
    """
    pair = get_question(doc)
    if pair is None or ANSWERS not in doc.spans:
        return []
    base = pair[1].start_char if len(pair[1]) else len(doc.text)
    found = []
    for item in doc.spans[ANSWERS].attrs.get("answers", []):
        start, end = item["start"], item["end"]
        span = None
        if start >= 0:
            span = doc.char_span(base + start, base + end, alignment_mode="expand")
        score, probability = (float(item.get(key, 1.0)) for key in ("score", "probability"))
        found.append(Answer(item["text"], start, end, score, span, probability))
    return found


def get_no_answer(doc: Doc) -> float | None:
    """Return the probability that the question of a Doc has no answer, for `doc._.no_answer`.

    doc (Doc): Any Doc.
    RETURNS (float | None): None without a prediction, and from a component that was trained on
        questions with answers alone.
    """
    return doc.spans[ANSWERS].attrs.get(NULL_PROBABILITY) if ANSWERS in doc.spans else None
