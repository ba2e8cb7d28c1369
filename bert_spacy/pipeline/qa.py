"""`bert_qa`: answers to questions as spans of their context."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from torch import Tensor

from ..data.pairs import Answer, get_answers, get_question, make_question, set_answers
from ..errors import Errors, Warnings
from ..layers.qa import SpanScores, has_question
from ..text.words import whole_words
from ..types import ANSWERS
from .base import PIPELINES, BertHead

# Most pieces in an answer of few but very long tokens: bounds the table of spans.
MAX_PIECES = 256


class BertQuestionAnswerer(BertHead):
    """Finds the answer to the question of a Doc, or that there is none.

    nlp (Language): The pipeline, for `doc._.ask`.
    null_threshold (float): "No answer" wins if its score exceeds that of the
        best answer by more than this.
    max_answer_tokens (int): Longest answer, in tokens, before it is widened to
        whole words.
    n_best (int): Most answers to give.
    """

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
        for what, value in (("max_answer_tokens", max_answer_tokens), ("n_best", n_best)):
            if value < 1:
                raise ValueError(
                    Errors.B307.format(what=what, allowed="1 or more", value=value, name=name)
                )
        self.cfg = {
            "labels": [],
            "null_threshold": null_threshold,
            "max_answer_tokens": max_answer_tokens,
            "n_best": n_best,
            "knows_null": False,
        }
        install_extensions()
        PIPELINES[id(nlp.vocab)] = nlp

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        return {}

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Look whether there are gold answers, and questions without one.

        RAISES (ValueError): B300 if no example has a question with gold.
        """
        seen = questions = 0
        for example in examples:
            seen += 1
            gold = _gold_answers(example.reference)
            questions += gold is not None
            if gold is not None and not gold:
                self.cfg["knows_null"] = True
        if not questions:
            raise ValueError(Errors.B300.format(name=self.name, n=seen))

    def set_annotations(self, docs: Iterable[Doc], scores: SpanScores) -> None:
        """Write `doc.spans["answers"]`, best first, for Docs with a question.

        docs (Iterable[Doc]): The Docs.
        scores (SpanScores): From `predict`.
        """
        scores = _to_cpu(scores)
        for i, doc in enumerate(docs):
            if has_question(doc):
                answers, null_score = self._best_answers(doc, scores, i)
                set_answers(doc, answers, null_score=null_score)

    def _best_answers(
        self, doc: Doc, scores: SpanScores, i: int
    ) -> tuple[list[dict[str, Any]], float | None]:
        low, high = int(scores.offsets[i]), int(scores.offsets[i + 1])
        # Pieces of white space between tokens begin and end no answer.
        outside = torch.from_numpy(scores.piece_token[low:high] < 0)
        if bool(outside.all()):
            return [], None
        start, end = scores.scores[low:high].masked_fill(outside[:, None], -torch.inf).unbind(1)
        most = self.cfg["max_answer_tokens"]
        tokens = np.maximum.accumulate(scores.piece_token[low:high])
        longest = int((np.searchsorted(tokens, tokens + most) - np.arange(high - low)).max())
        span = min(longest, max(MAX_PIECES, 2 * most))
        token = torch.from_numpy(tokens)
        # Row p, column k: the answer from piece p to piece p + k.
        tail = end.new_full((span - 1,), -torch.inf)
        total = start[:, None] + torch.cat([end, tail]).unfold(0, span, 1)
        last = torch.cat([token, token.new_full((span - 1,), 2**60)]).unfold(0, span, 1)
        total = total.masked_fill(last - token[:, None] >= most, -torch.inf)
        best = float(total.max())
        null = float(scores.null[i].sum())
        knows_null = self.cfg["knows_null"]
        if knows_null and null - best > self.cfg["null_threshold"]:
            return [], null - best
        extra = scores.null[i] if knows_null else scores.null.new_full((2,), -torch.inf)
        norm = float(torch.logsumexp(torch.cat([start, extra[:1]]), 0)) + float(
            torch.logsumexp(torch.cat([end, extra[1:]]), 0)
        )
        pair = get_question(doc)
        base = pair[1].start_char if pair is not None else 0
        content = doc.text
        values, flat = total.flatten().topk(min(4 * self.cfg["n_best"], total.numel()))
        answers: list[dict[str, Any]] = []
        for value, index in zip(values.tolist(), flat.tolist()):
            first, size = divmod(index, span)
            if value == -float("inf") or len(answers) == self.cfg["n_best"]:
                break
            a, b = whole_words(
                content,
                int(scores.piece_start[low + first]),
                int(scores.piece_end[low + first + size]),
            )
            text = content[a:b].strip()
            if text and all(text != other["text"] for other in answers):
                a = content.index(text, a) - base
                score = float(np.exp(value - norm))
                answers.append({"text": text, "start": a, "end": a + len(text), "score": score})
        return answers, (null - best if knows_null else None)

    def compute_loss(self, examples: Sequence[Example], output: SpanScores) -> Tensor | None:
        """Return the mean cross-entropy of start and end over Examples with gold.

        examples (Sequence[Example]): The batch.
        output (SpanScores): Scores of the batch.
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        docs, targets, lost = [], [], []
        for i, example in enumerate(examples):
            gold = _gold_answers(example.reference)
            if gold is None or not has_question(example.predicted):
                continue
            target = _target_pieces(example, output, i, gold)
            if target is not None:
                docs.append(i)
                targets.append(target)
            elif any(answer["start"] >= 0 for answer in gold):
                lost.append(example.reference.text)
        if lost:
            warnings.warn(
                Warnings.BW300.format(n=len(lost), name=self.name, text=lost[0][:80]), stacklevel=2
            )
        if not docs:
            return None
        device = output.scores.device
        counts = np.diff(output.offsets)[docs]
        # Column 0 is "no answer"; the pieces of the context follow.
        table = output.scores.new_full((len(docs), 1 + int(counts.max()), 2), -torch.inf)
        if self.cfg["knows_null"]:
            table[:, 0] = output.null[docs]
        column = torch.arange(int(counts.max()), device=device)
        mask = column[None] < torch.from_numpy(counts).to(device)[:, None]
        rows = np.concatenate([np.arange(output.offsets[i], output.offsets[i + 1]) for i in docs])
        table[:, 1:][mask] = output.scores[torch.from_numpy(rows).to(device)]
        goal = torch.tensor(targets, device=device)
        losses = [torch.nn.functional.cross_entropy(table[..., k], goal[:, k]) for k in (0, 1)]
        return (losses[0] + losses[1]) / 2


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


def _gold_answers(doc: Doc) -> list[dict[str, Any]] | None:
    if ANSWERS not in doc.spans:
        return None
    return doc.spans[ANSWERS].attrs["answers"]


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
        best first; for several, a list for each. Their spans are of this Doc.
    RAISES (ValueError): B306 if no such pipeline shares the Doc's vocabulary.
    """
    nlp = PIPELINES.get(id(doc.vocab))
    names = [] if nlp is None else _parts_for_questions(nlp)
    if nlp is None or not names:
        raise ValueError(Errors.B306)
    questions = [question] if isinstance(question, str) else list(question)
    asked = [make_question(nlp, text, doc.text) for text in questions]
    found = []
    with nlp.select_pipes(enable=names):
        for other in nlp.pipe(asked):
            found.append([_on_doc(doc, answer) for answer in get_answers(other)])
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
    return Answer(answer.text, answer.start_char, answer.end_char, answer.score, span)


def install_extensions() -> None:
    """Add `doc._.answers` and `doc._.ask`."""
    if not Doc.has_extension("answers"):
        Doc.set_extension("answers", getter=get_answers)
    if not Doc.has_extension("ask"):
        Doc.set_extension("ask", method=ask)
