"""What components predict on gold Docs, at any temperature, and whether it is right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from spacy.training import Example

from ..layers.qa import has_question
from ..scoring import ner, qa, textcat
from ..scoring.calibration import Outcomes
from ..segments import get_choice
from ..types import CHOICE, TRUE_FROM
from .base import BertHead
from .entities import place_spans
from .given import add_borders, find_presets, find_sentences
from .lattice import Bools, Floats, split_scores

if TYPE_CHECKING:
    from .choice import BertChoice
    from .ner import BertEntityRecognizer
    from .qa import BertQuestionAnswerer
    from .textcat import BertTextCategorizer
    from .textcat_multilabel import BertMultilabelTextCategorizer

NO_ANSWER, ANSWER = "no answer", "answer"


def annotate_copies(pipe: BertHead, examples: Sequence[Example]) -> list[Example]:
    """Let a component, and those before it, annotate copies of the predicted Docs of Examples.

    pipe (BertHead): The component.
    examples (Sequence[Example]): They stay as they are.
    RETURNS (list[Example]): New ones with the same references.
    RAISES (ValueError): B332 without the pipeline.
    """
    docs = []
    for batch, output in pipe.read_outputs([eg.predicted for eg in examples], from_start=True):
        pipe.set_annotations(batch, output)
        docs += batch
    return [Example(doc, eg.reference) for doc, eg in zip(docs, examples)]


def judge_entities(pipe: "BertEntityRecognizer", examples: Sequence[Example]) -> Outcomes:
    """Judge the entities of the best taggings, before any threshold.

    Entities of earlier components that are kept are not judged, as they have no probability. The
    gold that they have found does not count, as it is not to be found any more.
    """
    examples = [eg for eg in examples if ner.has_gold(eg)]
    gold = Counter(ent.label_ for eg in examples for ent in eg.reference.ents)
    parts, at_doc = [], 0
    right, label = [np.zeros(0, dtype=bool)], [np.zeros(0, dtype=np.int64)]
    for batch, scores in pipe.read_outputs([eg.predicted for eg in examples], from_start=True):
        presets = [find_presets(doc) if pipe.keep_entities else [] for doc in batch]
        references = [eg.reference for eg in examples[at_doc : at_doc + len(batch)]]
        pairs = [Example(*docs) for docs in zip(batch, references)]
        at_doc += len(batch)
        for eg, known in zip(pairs, presets):
            found = zip(known, ner.judge_spans(eg, known))
            gold.subtract(name for (_, _, name), is_right in found if is_right)
        for index, part in split_scores(scores):
            group = [batch[i] for i in index]
            given = [presets[i] for i in index]
            starts = [find_sentences(x, keep_entities=pipe.keep_entities) for x in group]
            lattice = pipe.make_lattice(part, add_borders(group, given, starts))
            spans = lattice.read_spans(lattice.decode())
            ents = place_spans(group, lattice, spans, pipe.labels)
            judged = [
                verdict
                for i, row in zip(index, ents)
                for verdict in ner.judge_spans(pairs[i], [(x.start, x.end, x.label_) for x in row])
            ]
            sure = np.flatnonzero([verdict is not None for verdict in judged])
            parts.append((lattice, spans.select(sure)))
            right.append(np.array([judged[i] for i in sure], dtype=bool))
            label.append(spans.label[sure])

    def at(temperature: float) -> Floats:
        values = [replace(x, temperature=temperature).score(spans) for x, spans in parts]
        return np.concatenate([np.zeros(0), *values])

    n_gold = np.array([gold[name] for name in pipe.labels], dtype=np.int64)
    return Outcomes(at, np.concatenate(right), np.concatenate(label), pipe.labels, n_gold)


def judge_classes(pipe: "BertTextCategorizer", examples: Sequence[Example]) -> Outcomes:
    """Judge the most probable class of each text."""
    truth = [textcat.true_label(eg, pipe.labels) for eg in examples]
    docs = [eg.predicted for eg, k in zip(examples, truth) if k is not None]
    scores = _read_scores(pipe, docs)
    gold = np.array([k for k in truth if k is not None], dtype=np.int64)
    best = scores.argmax(1).numpy()

    def at(temperature: float) -> Floats:
        return torch.softmax(scores / temperature, dim=1).amax(1).numpy()

    def at_truth(temperature: float) -> Floats:
        table = torch.softmax(scores / temperature, dim=1)
        return table[torch.arange(len(gold)), torch.from_numpy(gold)].numpy()

    n_gold = np.bincount(gold, minlength=len(pipe.labels))
    return Outcomes(at, best == gold, best, pipe.labels, n_gold, at_truth)


def judge_labels(pipe: "BertMultilabelTextCategorizer", examples: Sequence[Example]) -> Outcomes:
    """Judge for each text all labels that its gold speaks of."""
    examples = [eg for eg in examples if any(name in eg.reference.cats for name in pipe.labels)]
    scores = _read_scores(pipe, [eg.predicted for eg in examples])
    gold = [[eg.reference.cats.get(name, np.nan) for name in pipe.labels] for eg in examples]
    table = np.array(gold, dtype=np.float64).reshape(len(examples), len(pipe.labels))
    known = ~np.isnan(table)
    hit, label = table[known] >= TRUE_FROM, np.nonzero(known)[1]
    values = scores[torch.from_numpy(known)]

    def at(temperature: float) -> Floats:
        return torch.sigmoid(values / temperature).numpy()

    n_gold = np.bincount(label[hit], minlength=len(pipe.labels))
    return Outcomes(at, hit, label, pipe.labels, n_gold)


def judge_answers(pipe: "BertQuestionAnswerer", examples: Sequence[Example]) -> Outcomes:
    """Judge by exact match what is given to each question, an answer or none."""
    examples = _questions(examples)
    batches = list(pipe.read_outputs([eg.predicted for eg in examples], from_start=True))
    docs = [doc for batch, _ in batches for doc in batch]
    for batch, output in batches:
        pipe.set_annotations(batch, output)
    rule = qa.find_rule(pipe.scorer)
    verdicts = [
        qa.score_question(Example(doc, eg.reference), language_rule=rule)
        for doc, eg in zip(docs, examples)
    ]
    given = np.array([bool(qa.answer_texts(doc)) for doc in docs], dtype=bool)
    # Without anything known of "no answer", a question that gets no answer has no probability.
    known = np.array([qa.given_probability(doc) is not None for doc in docs], dtype=bool)

    def at(temperature: float) -> Floats:
        found = [
            x for batch, output in batches for x in pipe.find_answers(batch, output, temperature)
        ]
        values = [
            1.0 if x is None else x.answers[0]["probability"] if is_given else x.null_probability
            for x, is_given in zip(found, given)
        ]
        return np.array(values, dtype=np.float64)[known]

    hit = np.array([verdict.exact == 1.0 for verdict in verdicts], dtype=bool)
    answerable = np.array([verdict.has_answer for verdict in verdicts], dtype=np.int64)
    n_gold = np.bincount(answerable, minlength=2)
    label = given.astype(np.int64)[known]
    return Outcomes(at, hit[known], label, (NO_ANSWER, ANSWER), n_gold)


def judge_null(
    pipe: "BertQuestionAnswerer", examples: Sequence[Example]
) -> tuple[Floats, Floats, Bools]:
    """Judge by F1 what each question earns if its best answer is given.

    pipe (BertQuestionAnswerer): The component.
    examples (Sequence[Example]): They stay as they are; those without gold are left out, and
        questions that can only have an answer, or only none.
    RETURNS (tuple[Floats, Floats, Bools]): Score of "no answer" less that of the best answer,
        F1 of that answer in 0..1, and whether gold holds an answer. Shape (Q,).
    RAISES (ValueError): B332 without the pipeline.
    """
    rule = qa.find_rule(pipe.scorer)
    judged = [
        (gap, qa.score_question(eg, language_rule=rule, with_withheld=True))
        for eg in annotate_copies(pipe, _questions(examples))
        if (gap := qa.null_score(eg.predicted)) is not None
    ]
    gaps = np.array([gap for gap, _ in judged], dtype=np.float64)
    earned = np.array([score.f1 for _, score in judged], dtype=np.float64)
    has_answer = np.array([score.has_answer for _, score in judged], dtype=bool)
    return gaps, earned, has_answer


def judge_choices(pipe: "BertChoice", examples: Sequence[Example]) -> Outcomes:
    """Judge the most probable choice of each item."""
    golds = [get_choice(eg.reference) for eg in examples]
    docs = [eg.predicted for eg, gold in zip(examples, golds) if gold is not None]
    gold = torch.tensor([gold for gold in golds if gold is not None], dtype=torch.long)
    tables = [
        output.table(np.arange(len(batch))).detach().cpu().double()
        for batch, output in pipe.read_outputs(docs, from_start=True)
    ]
    best = [torch.zeros(0, dtype=torch.long), *(table.argmax(1) for table in tables)]
    hit = (torch.cat(best) == gold).numpy()

    def at(temperature: float) -> Floats:
        values = [torch.softmax(table / temperature, dim=1).amax(1) for table in tables]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *values]).numpy()

    def at_truth(temperature: float) -> Floats:
        places = gold.split([len(table) for table in tables])
        values = [
            torch.softmax(table / temperature, dim=1).gather(1, place[:, None])[:, 0]
            for table, place in zip(tables, places)
        ]
        return torch.cat([torch.zeros(0, dtype=torch.float64), *values]).numpy()

    label, n_gold = np.zeros(len(gold), dtype=np.int64), np.array([len(gold)])
    return Outcomes(at, hit, label, (CHOICE,), n_gold, at_truth)


def _questions(examples: Sequence[Example]) -> list[Example]:
    return [eg for eg in examples if qa.has_gold(eg) and has_question(eg.predicted)]


def _read_scores(pipe: BertHead, docs: Sequence) -> torch.Tensor:
    """Return the scores of all Docs in double, so that no digits are lost at low temperatures."""
    parts = [
        output.detach().cpu().double() for _, output in pipe.read_outputs(docs, from_start=True)
    ]
    return torch.cat([torch.zeros(0, len(pipe.labels), dtype=torch.float64), *parts])
