"""How a question with several choices, and the gold or predicted choice, live on one Doc.

`doc.spans["segments"]` holds the context, the question and each choice;
`doc.spans["chosen"]` holds the Span of one choice, with its index in the attrs.
"""

from collections.abc import Sequence

from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup

from ..errors import Errors
from ..segments import count_choices, read_segments
from ..types import CHOICE, CHOSEN, CONTEXT, QUESTION
from .pairs import make_segments


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
    RAISES (ValueError): B420 for fewer than two choices; B421 for a blank one.
    """
    if isinstance(choices, str) or len(choices) < 2:
        raise ValueError(Errors.B420.format(choices=choices, question=question[:80]))
    blank = [i for i, choice in enumerate(choices) if not choice.strip()]
    if blank:
        raise ValueError(Errors.B421.format(index=blank[0], choices=list(choices)))
    labels = [CONTEXT, QUESTION, *[CHOICE] * len(choices)]
    return make_segments(nlp, [context, question, *choices], labels)


def get_choices(doc: Doc) -> list[Span]:
    """Return the choices of a Doc in order; none if it is no choice item."""
    return read_segments(doc)[2:] if count_choices(doc) else []


def set_choice(doc: Doc, index: int, scores: Sequence[float] | None = None) -> None:
    """Write the gold or predicted choice to `doc.spans["chosen"]`.

    doc (Doc): A Doc from `make_choice`.
    index (int): Which choice, counted from 0.
    scores (Sequence[float]): Probability of each choice; None for gold.
    RAISES (ValueError): B422 if there is no such choice.
    """
    choices = get_choices(doc)
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(choices):
        values = {"index": index, "n": len(choices), "text": doc.text[:80]}
        raise ValueError(Errors.B422.format(**values))
    attrs: dict[str, object] = {"index": index}
    if scores is not None:
        attrs["scores"] = [float(score) for score in scores]
    spans = [choices[index]] if len(choices[index]) else []
    doc.spans[CHOSEN] = SpanGroup(doc, name=CHOSEN, spans=spans, attrs=attrs)


def set_gold_choice(doc: Doc, index: int) -> None:
    """Write which choice is right.

    doc (Doc): A Doc from `make_choice`.
    index (int): Which choice, counted from 0.
    RAISES (ValueError): B422 if there is no such choice.
    """
    set_choice(doc, index)


def get_choice(doc: Doc) -> int | None:
    """Return the index of the gold or predicted choice of a Doc; None if it has none.

    RAISES (ValueError): B422 if it is not one of the Doc's choices.
    """
    if CHOSEN not in doc.spans:
        return None
    index = doc.spans[CHOSEN].attrs.get("index")
    if not isinstance(index, int) or not 0 <= index < count_choices(doc):
        values = {"index": index, "n": count_choices(doc), "text": doc.text[:80]}
        raise ValueError(Errors.B422.format(**values))
    return index


def get_choice_scores(doc: Doc) -> list[float]:
    """Return the probability of each choice of a Doc; none if they were not predicted."""
    return list(doc.spans[CHOSEN].attrs.get("scores", [])) if CHOSEN in doc.spans else []
