"""What the components add to Doc and Span; a Doc without a head has it empty."""

from spacy.tokens import Doc

from ..data.pairs import get_answers, get_no_answer
from ..scored import install_extension as install_score
from ..segments import get_choice, get_choice_scores
from ..targets import install_extension as install_regression

_GETTERS = {
    "answers": get_answers,
    "no_answer": get_no_answer,
    "choice": get_choice,
    "choice_scores": get_choice_scores,
}


def install_extensions() -> None:
    """Add `doc._.answers`, `no_answer`, `regression`, `choice`, `choice_scores`, `span._.score`."""
    install_score()
    install_regression()
    for name, getter in _GETTERS.items():
        if not Doc.has_extension(name):
            Doc.set_extension(name, getter=getter)
