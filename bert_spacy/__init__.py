"""BERT fine-tuning inside spaCy pipelines."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.pairs import (
        Answer,
        make_choice,
        make_pair,
        make_question,
        make_segments,
        set_gold_answers,
        set_gold_choice,
    )
    from .targets import set_targets

__version__ = "0.4.0"

__all__ = [
    "Answer",
    "__version__",
    "make_choice",
    "make_pair",
    "make_question",
    "make_segments",
    "set_gold_answers",
    "set_gold_choice",
    "set_targets",
]

# Where each public name lives. They load spaCy and torch, so they wait until one is asked for.
_HOMES = {
    "Answer": ".data.pairs",
    "make_choice": ".data.pairs",
    "make_pair": ".data.pairs",
    "make_question": ".data.pairs",
    "make_segments": ".data.pairs",
    "set_gold_answers": ".data.pairs",
    "set_gold_choice": ".data.pairs",
    "set_targets": ".targets",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not, beside what the module holds."""
    return sorted({*globals(), *__all__})
