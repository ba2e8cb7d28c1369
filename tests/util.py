"""Helpers for tests: tiny pipelines, gold for every task, and training steps."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from bert_spacy.data.pairs import make_choice, make_question, set_gold_answers, set_gold_choice
from bert_spacy.segments import get_choice, get_choice_scores
from bert_spacy.targets import set_targets
from bert_spacy.training.optimizer import create_adamw_v1

# Those that go with any encoder; the choice alone needs a BERT of ours, which reads each choice.
ANY_ENCODER = ("bert_textcat", "bert_ner", "bert_qa")
HEADS = (*ANY_ENCODER, "bert_choice")

TEXTS = ["the team won the game", "anna was in paris", "bob lives in london", "a good film"]
CATS = ["sport", "city", "city", "film"]
ENTS = [[], [(0, 4, "PER"), (12, 17, "LOC")], [(0, 3, "PER"), (13, 19, "LOC")], []]
QUESTIONS = [
    ("who won", "the team won the game", "the team"),
    ("where was anna", "anna was in paris", "paris"),
    ("who lives in london", "bob lives in london", "bob"),
    ("is it good", "a good film", None),
]
ITEMS = [
    ("the team won the game", "who won", ["the team", "anna"], 0),
    ("anna was in paris", "where was anna", ["london", "berlin", "paris"], 2),
    ("", "bob lives", ["in london", "good film"], 0),
    ("is it good", "", ["the river", "a city", "a good film", "a team"], 2),
]


def make_nlp(
    folder: Path | str,
    pipes: Sequence[str] = (),
    *,
    lang: str = "en",
    configs: dict[str, Any] | None = None,
    **encoder: Any,
) -> Language:
    """Make a pipeline with a tiny encoder and some heads; nothing is initialized."""
    nlp = spacy.blank(lang)
    model = {"name": str(folder), "dropout": 0.0, **encoder}
    nlp.add_pipe("bert_encoder", config={"model": model})
    for name in pipes:
        nlp.add_pipe(name, config=(configs or {}).get(name, {}))
    return nlp


def textcat_examples(nlp: Language) -> list[Example]:
    """Return four texts of three classes."""
    labels = sorted(set(CATS))
    return [
        Example.from_dict(nlp.make_doc(text), {"cats": {x: float(x == gold) for x in labels}})
        for text, gold in zip(TEXTS, CATS)
    ]


def ner_examples(nlp: Language) -> list[Example]:
    """Return four texts with persons and places, two of them with none."""
    return [
        Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in zip(TEXTS, ENTS)
    ]


def question_example(nlp: Language, question: str, context: str, answer: str | None) -> Example:
    """Return a question with its answer, found in the context, or with none."""
    reference = make_question(nlp, question, context)
    answers = []
    if answer is not None:
        start = context.index(answer)
        answers = [{"text": answer, "start": start, "end": start + len(answer)}]
    set_gold_answers(reference, answers)
    return Example(make_question(nlp, question, context), reference)


def qa_examples(nlp: Language) -> list[Example]:
    """Return four questions, one of them without an answer."""
    return [question_example(nlp, *row) for row in QUESTIONS]


def choice_example(
    nlp: Language, context: str, question: str, choices: Sequence[str], gold: int
) -> Example:
    """Return a choice item with its gold."""
    reference = make_choice(nlp, context, question, choices)
    set_gold_choice(reference, gold)
    return Example(make_choice(nlp, context, question, choices), reference)


def choice_examples(nlp: Language) -> list[Example]:
    """Return four items of two to four choices, one without context, one without question."""
    return [choice_example(nlp, *item) for item in ITEMS]


def regressor_examples(nlp: Language) -> list[Example]:
    """Return four texts with a target, three of them with a second one."""
    rows = [{"length": 5.0, "warmth": 0.1}, {"length": 4.0}, {"length": 4.0, "warmth": 0.3}]
    rows.append({"length": 3.0, "warmth": 0.9})
    examples = [Example.from_dict(nlp.make_doc(text), {}) for text in TEXTS]
    for eg, row in zip(examples, rows):
        set_targets(eg.reference, row)
    return examples


EXAMPLES = {
    "bert_textcat": textcat_examples,
    "bert_regressor": regressor_examples,
    "bert_ner": ner_examples,
    "bert_qa": qa_examples,
    "bert_choice": choice_examples,
}


def all_examples(nlp: Language, heads: Iterable[str] = HEADS) -> list[Example]:
    """Return the examples of several heads, one after the other."""
    return [eg for head in heads for eg in EXAMPLES[head](nlp)]


def trained(
    folder: Path | str, heads: Sequence[str] = HEADS, steps: int = 3, **settings: Any
) -> Language:
    """Make a pipeline and train it a few steps, so that its weights are its own."""
    nlp = make_nlp(folder, heads, **settings)
    examples = all_examples(nlp, heads)
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, steps)
    return nlp


def train_steps(
    nlp: Language, examples: list[Example], steps: int, sgd: Any = None, **update: Any
) -> list[dict[str, float]]:
    """Update on one batch several times, as `spacy train` does; return the losses."""
    if sgd is None:
        sgd = create_adamw_v1(learn_rate=0.003)
    history = []
    skip = update.get("exclude", ())
    for _ in range(steps):
        losses: dict[str, float] = {}
        nlp.update(examples, sgd=False, losses=losses, **{"drop": 0.0, **update})
        for name, pipe in nlp.pipeline:
            if name not in skip and hasattr(pipe, "finish_update"):
                pipe.finish_update(sgd)
        history.append(losses)
    return history


def encoder_of(nlp: Language, name: str = "bert_encoder") -> torch.nn.Module:
    """Return the torch encoder of a pipeline."""
    return nlp.get_pipe(name).model.shims[0].encoder


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all gradients of a module."""
    return {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of all weights of a module."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Say whether two sets of weights are bit-equal."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def plain_run(encoder: Any, ids: list[int], types: list[int]) -> Any:
    """Run the plain Hugging Face model on one unpadded window; return its output."""
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids)).long()}
    if getattr(encoder.model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.tensor([types])
    return encoder.model.eval()(**inputs)


def cut(n_pieces: int, room: int, stride: int) -> tuple[list[int], int]:
    """Return where the windows of a body start, and their length: the oracle for windows."""
    overlap, count = room - min(stride, room), 1
    while count * room - (count - 1) * overlap < n_pieces:
        count += 1
    length = math.ceil((n_pieces + (count - 1) * overlap) / count)
    return [i * (n_pieces - length) // max(count - 1, 1) for i in range(count)], length


def predictions(docs: Iterable[Doc]) -> list[dict[str, Any]]:
    """Return all that our heads write on Docs, as plain values."""
    rows = []
    for doc in docs:
        answers = doc.spans["answers"].attrs["answers"] if "answers" in doc.spans else None
        rows.append(
            {
                "cats": dict(doc.cats),
                "ents": [(e.start, e.end, e.label_) for e in doc.ents],
                "answers": answers,
                "choice": get_choice(doc),
                "choice_scores": get_choice_scores(doc),
            }
        )
    return rows


def assert_close(a: list[dict[str, Any]], b: list[dict[str, Any]], tolerance: float) -> None:
    """Check that two lists from `predictions` agree."""
    assert len(a) == len(b)
    for left, right in zip(a, b):
        assert left["ents"] == right["ents"]
        assert left["cats"].keys() == right["cats"].keys()
        assert left["choice"] == right["choice"]
        np.testing.assert_allclose(left["choice_scores"], right["choice_scores"], atol=tolerance)
        for label, score in left["cats"].items():
            np.testing.assert_allclose(score, right["cats"][label], atol=tolerance)
        if left["answers"] is None:
            assert right["answers"] is None
            continue
        assert len(left["answers"]) == len(right["answers"])
        for x, y in zip(left["answers"], right["answers"]):
            assert (x["text"], x["start"], x["end"]) == (y["text"], y["start"], y["end"])
            np.testing.assert_allclose(x["score"], y["score"], atol=tolerance)
