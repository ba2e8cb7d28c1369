"""Which pipelines there are, for components and Docs that have to find theirs."""

import weakref
from typing import Any

from spacy.language import Language
from spacy.vocab import Vocab

# The pipelines there are: a Doc knows its vocabulary alone.
_PIPELINES: list[weakref.ref[Language]] = []


def register_pipeline(nlp: Language) -> None:
    """Let components and Docs find their pipeline, the last one first.

    nlp (Language): The pipeline. It is forgotten when nobody else holds it.
    """
    ref = weakref.ref(nlp, _PIPELINES.remove)
    if ref in _PIPELINES:
        _PIPELINES.remove(ref)
    _PIPELINES.append(ref)


def find_pipelines(vocab: Vocab) -> list[Language]:
    """Return the pipelines that share a vocabulary, the last one first."""
    known = [ref() for ref in reversed(_PIPELINES)]
    return [nlp for nlp in known if nlp is not None and nlp.vocab is vocab]


def find_pipeline(component: Any) -> Language | None:
    """Return the last pipeline that has a component, be it disabled."""
    for nlp in find_pipelines(component.vocab):
        if any(component is pipe for _, pipe in nlp.components):
            return nlp
    return None


def list_later(component: Any, nlp: Language | None) -> list[tuple[str, Any]]:
    """Return the components of a pipeline after one of them, disabled ones too, with their names.

    component (Any): The component; in another pipeline it may have another name.
    nlp (Language | None): The pipeline.
    RETURNS (list[tuple[str, Any]]): Empty if the component is not in it.
    """
    pipes = [] if nlp is None else nlp.components
    at = [i for i, (_, pipe) in enumerate(pipes) if pipe is component]
    return pipes[at[0] + 1 :] if at else []


def list_others(component: Any) -> set[str]:
    """Return the labels that the other components of a pipeline have, disabled ones too.

    component (Any): The component.
    RETURNS (set[str]): Empty if no pipeline has the component.
    """
    nlp = find_pipeline(component)
    others = [pipe for _, pipe in nlp.components if pipe is not component] if nlp else []
    return {label for pipe in others for label in getattr(pipe, "labels", ())}
