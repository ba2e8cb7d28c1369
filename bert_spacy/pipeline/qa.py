"""`bert_qa`: answers to questions as spans of their context."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor

from ..data.pairs import (
    Answer,
    get_answers,
    get_question,
    make_questions,
    set_answers,
)
from ..defaults import DEFAULTS
from ..errors import Errors, Warnings
from ..layers.qa import SpanScores, has_question
from ..nn.losses import divergence
from ..scoring.calibration import Outcomes
from ..types import ANSWERS, BEST_PROBABILITY, NULL_PROBABILITY, WITHHELD
from ..util import is_finite
from .answers import Bools, Floats, Found, find_answers
from .base import BertHead
from .judging import judge_answers, judge_null
from .known import find_pipelines, register_pipeline
from .settings import check_value


class BertQuestionAnswerer(BertHead):
    """Finds the answer to the question of a Doc, or that there is none.

    nlp (Language): The pipeline, for `doc._.ask`.
    null_threshold (float): "No answer" wins if its score exceeds that of the
        best answer by more than this.
    max_answer_tokens (int): Longest answer, in tokens, before it is widened to
        whole words.
    n_best (int): Most answers to give.
    RAISES (ValueError): B307 if one is out of range.
    """

    old_settings = {
        name: DEFAULTS["bert_qa"][name]
        for name in ("null_threshold", "max_answer_tokens", "n_best")
    }

    def __init__(
        self,
        nlp: Language,
        model: Any,
        name: str,
        *,
        null_threshold: float = 0.0,
        max_answer_tokens: int = 30,
        n_best: int = 5,
        scorer: Any = None,
    ):
        super().__init__(nlp.vocab, model, name, scorer=scorer)
        self.null_threshold = null_threshold
        self.max_answer_tokens = max_answer_tokens
        self.n_best = n_best
        # What `bert_spacy calibrate` fits; a pipeline saved without it keeps this temperature.
        self.cfg = {"labels": [], "knows_null": False, "temperature": 1.0}
        self._check_cfg()
        install_ask()
        register_pipeline(nlp)

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {}

    def set_null_threshold(self, threshold: float) -> None:
        """Set by how much "no answer" must exceed the best answer to win; the config says it too.

        threshold (float): Difference of their scores.
        RAISES (ValueError): B307 if it is no finite number.
        """
        is_good = is_finite(threshold)
        check_value(self.name, "null_threshold", threshold, "a finite number", is_good)
        self.change_setting("null_threshold", float(threshold))

    def _check_cfg(self) -> None:
        super()._check_cfg()
        threshold, knows_null = self.null_threshold, self.cfg["knows_null"]
        for what, value, allowed, is_good in (
            ("null_threshold", threshold, "a finite number", is_finite(threshold)),
            ("max_answer_tokens", self.max_answer_tokens, *_one_or_more(self.max_answer_tokens)),
            ("n_best", self.n_best, *_one_or_more(self.n_best)),
            ("knows_null", knows_null, "true or false", isinstance(knows_null, bool)),
        ):
            check_value(self.name, what, value, allowed, is_good)

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Look whether there are gold answers, and questions without one.

        RAISES (ValueError): B311 if no example has a question with gold. BW305 is warned of
            answers that are too long to be given.
        """
        seen = questions = 0
        lengths: list[int] = []
        for example in examples:
            seen += 1
            gold = _gold_answers(example.reference)
            questions += gold is not None
            if gold is not None and not gold:
                self.cfg["knows_null"] = True
            lengths += _shortest_answer(example.predicted, gold or [])
        if not questions:
            values = {"n": seen, "gold": "a question with gold", "writer": "set_gold_answers"}
            raise ValueError(Errors.B311.format(name=self.name, **values))
        limit = self.max_answer_tokens
        if long := [length for length in lengths if length > limit]:
            too_long = {"n": len(long), "total": questions, "name": self.name, "limit": limit}
            warnings.warn(Warnings.BW305.format(longest=max(long), **too_long), stacklevel=2)

    def set_annotations(self, docs: Iterable[Doc], scores: SpanScores) -> None:
        """Write `doc.spans["answers"]`, best first, for Docs with a question.

        Its attrs hold the probability of "no answer" as well, that of the best answer, given or
        not, and as "withheld" the answers to which "no answer" was preferred.

        docs (Iterable[Doc]): The Docs.
        scores (SpanScores): From `predict`.
        """
        docs = list(docs)
        for doc, found in zip(docs, self.find_answers(docs, scores)):
            if has_question(doc):
                answers, attrs = self._decide(found)
                set_answers(doc, answers, **attrs)

    def find_answers(
        self, docs: Sequence[Doc], scores: SpanScores, temperature: float | None = None
    ) -> list[Found | None]:
        """Find the best answers of a batch, whether or not "no answer" is better.

        docs (Sequence[Doc]): The Docs.
        scores (SpanScores): From `predict`.
        temperature (float): The component's own if None.
        RETURNS (list[Found | None]): For each Doc; None without a text to find an answer in.
        """
        pairs = [get_question(doc) for doc in docs]
        return find_answers(
            [pair and (doc.text, pair[1].start_char) for doc, pair in zip(docs, pairs)],
            _to_cpu(scores),
            most_tokens=self.max_answer_tokens,
            n_best=self.n_best,
            knows_null=self.cfg["knows_null"],
            temperature=temperature or self.cfg["temperature"],
        )

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew and compare with gold.

        examples (Sequence[Example]): They stay as they are; those without gold are left out.
        RETURNS (Outcomes): What is given to each question, an answer or none.
        RAISES (ValueError): B332 without the pipeline.
        """
        return judge_answers(self, examples)

    def judge_null(self, examples: Sequence[Example]) -> tuple[Floats, Floats, Bools]:
        """Judge what each question earns if its best answer is given; see `judging.judge_null`."""
        return judge_null(self, examples)

    def _decide(self, found: Found | None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the answers to give, and what else is known."""
        knows_null = self.cfg["knows_null"]
        if found is None:
            sure = 1.0 if knows_null else None
            return [], {"null_score": None, NULL_PROBABILITY: sure, BEST_PROBABILITY: 0.0}
        best = found.answers[0]["probability"] if found.answers else 0.0
        attrs = {"null_score": None, NULL_PROBABILITY: None, BEST_PROBABILITY: best}
        if knows_null:
            attrs.update({"null_score": found.gap, NULL_PROBABILITY: found.null_probability})
        if found.gap > self.null_threshold:
            return [], {**attrs, WITHHELD: found.answers}
        return found.answers, attrs

    def compute_loss(self, examples: Sequence[Example], output: SpanScores) -> Tensor | None:
        """Return the mean cross-entropy of start and end over Examples with gold.

        examples (Sequence[Example]): The batch.
        output (SpanScores): Scores of the batch.
        RETURNS (Tensor | None): A scalar, or None without gold. What teaches nothing is warned
            of: answers without a piece (BW300), and questions without an answer where the
            component knows of none such (BW304).
        """
        docs, targets = [], []
        # By Example, which R-Drop gives twice.
        lost: dict[int, str] = {}
        unknown: dict[int, str] = {}
        for i, example in enumerate(examples):
            gold = _gold_answers(example.reference)
            if gold is None or not has_question(example.predicted):
                continue
            if not gold and not self.cfg["knows_null"]:
                unknown[id(example)] = example.reference.text
                continue
            target = _target_pieces(example, output, i, gold)
            if target is not None:
                docs.append(i)
                targets.append(target)
            elif any(answer["start"] >= 0 for answer in gold):
                lost[id(example)] = example.reference.text
        if lost:
            first = next(iter(lost.values()))
            values = {"n": len(lost), "name": self.name, "text": first[:80]}
            warnings.warn(Warnings.BW300.format(**values), stacklevel=2)
        if unknown:
            first = next(iter(unknown.values()))
            values = {"n": len(unknown), "name": self.name, "text": first[:80]}
            warnings.warn(Warnings.BW304.format(**values), stacklevel=2)
        if not docs:
            return None
        table = self._tabulate(output, docs)
        goal = torch.tensor(targets, device=table.device)
        losses = [torch.nn.functional.cross_entropy(table[..., k], goal[:, k]) for k in (0, 1)]
        return (losses[0] + losses[1]) / 2

    def compute_divergence(self, examples: Sequence[Example], output: SpanScores) -> Tensor:
        """Return how two predictions of the first and last pieces differ; see `BertHead`."""
        has_place = (np.diff(output.offsets) > 0) | self.cfg["knows_null"]
        docs = [
            i
            for i, example in enumerate(examples)
            if has_place[i]
            and _gold_answers(example.reference) is not None
            and has_question(example.predicted)
        ]
        if not docs:
            return output.scores.sum() * 0
        table = self._tabulate(output, [*docs, *(i + len(examples) for i in docs)])
        logs = torch.log_softmax(table, 1).transpose(1, 2)
        first, second = logs.unflatten(0, (2, -1))
        return divergence(first.flatten(0, 1), second.flatten(0, 1))

    def _tabulate(self, output: SpanScores, docs: Sequence[int]) -> Tensor:
        """Return scores of start and end, filled up with -inf. Shape (docs, 1 + pieces, 2).

        Column 0 is "no answer"; the pieces of the context follow.
        """
        device = output.scores.device
        counts = np.diff(output.offsets)[docs]
        table = output.scores.new_full((len(docs), 1 + int(counts.max()), 2), -torch.inf)
        if self.cfg["knows_null"]:
            table[:, 0] = output.null[docs]
        column = torch.arange(int(counts.max()), device=device)
        mask = column[None] < torch.from_numpy(counts).to(device)[:, None]
        rows = np.concatenate([np.arange(output.offsets[i], output.offsets[i + 1]) for i in docs])
        table[:, 1:][mask] = output.scores[torch.from_numpy(rows).to(device)]
        return table


def _target_pieces(
    example: Example, output: SpanScores, i: int, gold: list[dict[str, Any]]
) -> tuple[int, int] | None:
    """Return the columns of the first and last piece of the answer; 0, 0 for none."""
    if not gold:
        return 0, 0
    low, high = int(output.offsets[i]), int(output.offsets[i + 1])
    pair = get_question(example.predicted)
    usable = [answer for answer in gold if answer["start"] >= 0]
    if pair is None or not usable or low == high:
        return None
    start = pair[1].start_char + usable[0]["start"]
    end = pair[1].start_char + usable[0]["end"]
    first = int(np.searchsorted(output.piece_end[low:high], start, side="right"))
    last = int(np.searchsorted(output.piece_start[low:high], end, side="left")) - 1
    return (first + 1, last + 1) if first <= last else None


def _shortest_answer(doc: Doc, gold: list[dict[str, Any]]) -> list[int]:
    """Return the tokens of the shortest gold answer; nothing if there is none in the context."""
    pair = get_question(doc)
    usable = [answer for answer in gold if answer["start"] >= 0]
    if pair is None or not usable:
        return []
    answer = min(usable, key=lambda answer: answer["end"] - answer["start"])
    first = pair[1].start_char
    span = doc.char_span(first + answer["start"], first + answer["end"], alignment_mode="expand")
    return [] if span is None else [len(span)]


def _one_or_more(value: Any) -> tuple[str, bool]:
    return "a whole number, 1 or more", isinstance(value, int) and value >= 1


def _gold_answers(doc: Doc) -> list[dict[str, Any]] | None:
    return doc.spans[ANSWERS].attrs.get("answers") if ANSWERS in doc.spans else None


def _to_cpu(scores: SpanScores) -> SpanScores:
    return SpanScores(
        scores.scores.detach().cpu(),
        scores.offsets,
        scores.null.detach().cpu(),
        scores.piece_start,
        scores.piece_end,
        scores.piece_token,
    )


def ask(doc: Doc, question: str | Sequence[str]) -> list[Answer] | list[list[Answer]]:
    """Ask a Doc of a pipeline with `bert_qa` one question or several.

    doc (Doc): The context.
    question (str | Sequence[str]): One question, or several.
    RETURNS (list[Answer] | list[list[Answer]]): For one question its answers,
        best first; for several, a list for each. Their spans are of this Doc. A question
        that failed under an error handler that goes on has an empty list.
    RAISES (ValueError): B306 if no such pipeline shares the Doc's vocabulary; B423 for what is no
        question.
    """
    if not isinstance(question, Iterable):
        raise ValueError(Errors.B423.format(value=question))
    questions = [question] if isinstance(question, str) else list(question)
    usable = ((nlp, _parts_for_questions(nlp)) for nlp in find_pipelines(doc.vocab))
    nlp, names = next(((nlp, names) for nlp, names in usable if names), (None, []))
    if nlp is None:
        raise ValueError(Errors.B306)
    # Not by `select_pipes`, which would switch the others off in all threads of a server.
    others = [name for name in nlp.pipe_names if name not in names]
    numbered = zip(make_questions(nlp, questions, doc.text), range(len(questions)))
    found: list[list[Answer]] = [[] for _ in questions]
    # An error handler may let one go missing.
    for other, i in nlp.pipe(numbered, as_tuples=True, disable=others):
        found[i] = [_on_doc(doc, answer) for answer in get_answers(other)]
    return found[0] if isinstance(question, str) else found


def _parts_for_questions(nlp: Language) -> list[str]:
    heads = [name for name, pipe in nlp.pipeline if isinstance(pipe, BertQuestionAnswerer)]
    encoders = [
        name
        for name, pipe in nlp.pipeline
        if heads and heads[-1] in getattr(pipe, "listener_map", {})
    ]
    return [*encoders, *heads[-1:]]


def _on_doc(doc: Doc, answer: Answer) -> Answer:
    span = doc.char_span(answer.start_char, answer.end_char, alignment_mode="expand")
    return replace(answer, span=span)


def install_ask() -> None:
    """Add `doc._.ask`."""
    if not Doc.has_extension("ask"):
        Doc.set_extension("ask", method=ask)
