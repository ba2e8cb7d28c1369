"""Lay out the results of a pipeline as one HTML page."""

from collections.abc import Iterator
from html import escape

import numpy as np
from numpy.typing import NDArray

from .analysis import Analysis
from .choices import ChoiceResults
from .classes import ClassResults, ClassRow
from .curves import Curves
from .entities import EntityResults
from .html import example, highlight, note, page, paragraph, plain_name, table
from .questions import QuestionGroup, QuestionResults
from .svg import lines_svg, matrix_svg, recall_svg, reliability_svg, scatter_svg
from .targets import TargetResults
from .trust import TrustResults

N_EXAMPLES = 10
N_CONFUSIONS = 25
MAX_MATRIX = 40
OTHERS = "(others)"

# Id, heading, markup.
Section = tuple[str, str, str]


def render(analysis: Analysis) -> str:
    """Make the page.

    analysis (Analysis): The results.
    RETURNS (str): An HTML document that needs no other file; it has the
        sections for which there are results.
    """
    sections: list[Section] = [("summary", "Summary", _summary(analysis))]
    for part in analysis.classes:
        sections += _class_sections(part, part.name if len(analysis.classes) > 1 else "")
    if analysis.entities:
        sections += _entity_sections(analysis.entities)
    if analysis.questions:
        sections += _question_sections(analysis.questions)
    if analysis.choices:
        sections += _choice_sections(analysis.choices)
    if analysis.targets:
        sections += _target_sections(analysis.targets)
    sections += [_trust_section(results) for results in analysis.trust]
    if analysis.curves:
        sections.append(("curves", "Learning curves", _curves(analysis.curves)))
    return page(f"Report on {analysis.name}", sections)


def cut_matrix(results: ClassResults) -> tuple[list[str], NDArray[np.int64]]:
    """Return labels and matrix; of very many labels the rarest are put together."""
    if len(results.labels) <= MAX_MATRIX:
        return results.labels, results.matrix
    support = results.matrix.sum(axis=1)
    kept = np.sort(np.argsort(-support, kind="stable")[: MAX_MATRIX - 1])
    groups = np.full(len(results.labels), len(kept))
    groups[kept] = np.arange(len(kept))
    matrix = np.zeros((MAX_MATRIX, MAX_MATRIX), dtype="int64")
    np.add.at(matrix, (groups[:, None], groups[None, :]), results.matrix)
    return [*(results.labels[i] for i in kept), OTHERS], matrix


def _summary(analysis: Analysis) -> str:
    facts = f"{analysis.n_docs} texts. Components: {', '.join(analysis.pipes)}. Values in percent."
    if analysis.cut_docs:
        facts += (
            f" {analysis.cut_docs} texts were too long to be read whole; {analysis.cut_pieces} "
        )
        facts += "pieces were cut from their ends (BW001; BW002 with pair_overflow)."
    return note(facts) + table(["Score", "Value"], list(analysis.summary.items()))


def _class_sections(results: ClassResults, name: str) -> Iterator[Section]:
    """Lay out one classifier, named where there are several."""
    which, of = (f"-{plain_name(name)}", f" of {name}") if name else ("", "")
    yield (
        f"classes{which}",
        f"Labels{of}",
        note(f"{results.n_texts} texts with gold.") + _prf(results.rows),
    )
    if not results.is_exclusive:
        return
    labels, matrix = cut_matrix(results)
    markup = f'<div class="wide">{matrix_svg(labels, matrix)}</div>'
    if OTHERS in labels and OTHERS not in results.labels:
        rest = len(results.labels) - len(labels) + 1
        markup += note(f"The {rest} rarest labels are put together as {OTHERS}.")
    yield f"confusion{which}", f"Confusion matrix{of}", markup
    share = f"{100 * results.calibration_error:.2f}"
    facts = f"Expected calibration error: {share} percent, over {len(results.bins)} bins. "
    markup = note(facts + f"Brier score: {results.brier:.4f}.")
    rows = [(b.confidence, b.accuracy, b.count) for b in results.bins]
    markup += reliability_svg(results.bins)
    markup += table(["Mean probability", "Accuracy", "Texts"], rows)
    yield f"calibration{which}", f"Calibration{of}", markup
    if results.mistakes:
        boxes = [
            example(
                f"gold: {m.gold} · predicted: {m.predicted} ({100 * m.probability:.1f} %)",
                [("", paragraph(m.text))],
            )
            for m in results.mistakes[:N_EXAMPLES]
        ]
        yield f"class-examples{which}", f"Most confident mistakes{of}", "".join(boxes)


def _entity_sections(results: EntityResults) -> Iterator[Section]:
    yield "entities", "Entity types", _prf(results.rows)
    if not results.confusions:
        return
    rows = [
        (c.kind, c.gold or None, c.predicted or None, c.count, c.example[:80])
        for c in results.confusions[:N_CONFUSIONS]
    ]
    header = ["Kind", "Gold", "Predicted", "Count", "Example"]
    yield "entity-errors", "Entity errors", table(header, rows)
    boxes = []
    for doc in results.docs[:N_EXAMPLES]:
        first = doc.errors[0].gold or doc.errors[0].predicted
        focus = first[0] if first else 0
        blocks = [
            ("gold", highlight(doc.text, doc.gold, focus)),
            ("predicted", highlight(doc.text, doc.predicted, focus)),
        ]
        boxes.append(example(f"{len(doc.errors)} errors", blocks))
    yield "entity-examples", "Texts with most entity errors", "".join(boxes)


def _question_sections(results: QuestionResults) -> Iterator[Section]:
    markup = _groups("Questions", results.groups) + _groups("Length", results.by_length)
    yield "questions", "Question answering", markup
    if not results.docs:
        return
    boxes = []
    for doc in results.docs[:N_EXAMPLES]:
        golds = " / ".join(dict.fromkeys(doc.golds)) or "no answer"
        predicted = doc.predicted or "no answer"
        blocks = [
            (f"{name}: {answer}", highlight(doc.context, places, places[0][0] if places else 0))
            for name, answer, places in (
                ("gold", golds, doc.gold_places),
                ("predicted", predicted, doc.predicted_places),
            )
        ]
        boxes.append(example(f"{doc.question} (F1 {100 * doc.f1:.1f})", blocks))
    yield "question-examples", "Worst answers", "".join(boxes)


def _choice_sections(results: ChoiceResults) -> Iterator[Section]:
    rows = [(str(g.n_choices), g.accuracy, 1 / g.n_choices, g.count) for g in results.groups]
    total = ("all", results.accuracy, None, results.count)
    yield "choices", "Choices", table(["Choices", "Accuracy", "By chance", "Items"], [*rows, total])
    markup = ""
    for group in results.groups:
        if group.n_choices <= MAX_MATRIX:
            labels = [str(k + 1) for k in range(group.n_choices)]
            markup += f'<h3>{group.n_choices} choices</h3><div class="wide">'
            markup += matrix_svg(labels, group.matrix) + "</div>"
    yield "choice-confusion", "Places of the right choice and of the one taken", markup
    if results.mistakes:
        boxes = [
            example(
                (m.question or m.context)
                + ("" if m.probability is None else f" ({100 * m.probability:.1f} %)"),
                [
                    (f"gold: {m.gold}", ""),
                    (f"predicted: {m.predicted}", paragraph(m.context if m.question else "")),
                ],
            )
            for m in results.mistakes[:N_EXAMPLES]
        ]
        yield "choice-examples", "Most confident wrong choices", "".join(boxes)


def _target_sections(results: list[TargetResults]) -> Iterator[Section]:
    rows = [
        (r.name, r.pearson, r.spearman, f"{r.rmse:.4g}", len(r.gold), r.missing) for r in results
    ]
    header = ["Target", "Pearson", "Spearman", "Root mean square error", "Texts", "Missing"]
    markup = note("Correlations in percent; the error in the unit of the target.")
    markup += table(header, rows)
    for r in results:
        markup += f"<h3>{escape(r.name)}</h3>" + scatter_svg(r.gold, r.predicted, r.name)
    yield "targets", "Targets", markup
    boxes = [
        example(
            f"{r.name}: gold {m.gold:.4g}, predicted {m.predicted:.4g}", [("", paragraph(m.text))]
        )
        for r in results
        for m in r.misses[:N_EXAMPLES]
    ]
    yield "target-examples", "Values furthest from the gold", "".join(boxes)


def _trust_section(results: TrustResults) -> Section:
    now, before = results.now, results.before
    facts = f"{results.n} predictions. Expected calibration error {100 * now.error:.2f} percent, "
    facts += f"Brier score {now.brier:.4f}"
    if before:
        facts += f"; before calibration (temperature {results.temperature:.3f}) "
        facts += f"{100 * before.error:.2f} percent and {before.brier:.4f}"
    what = f"what {results.name} predicts"
    markup = note(facts + ".") + reliability_svg(now.bins, before.bins if before else (), what)
    rows = [(b.confidence, b.accuracy, b.count) for b in now.bins]
    markup += table(["Mean probability", "Accuracy", "Predictions"], rows)
    if results.curves:
        markup += note("Precision and recall by label. The dots are where the thresholds stand.")
        markup += recall_svg(results.curves)
        points = [(curve, curve.point or (0.0, None)) for curve in results.curves]
        cells = [(c.label, c.threshold, p, r, c.area, c.n_gold) for c, (r, p) in points]
        header = ["Label", "Threshold", "Precision", "Recall", "Area under the curve", "Gold"]
        markup += table(header, cells)
    return f"trust-{plain_name(results.name)}", f"Probabilities of {results.name}", markup


def _curves(curves: Curves) -> str:
    total = {"score": curves.scores["score"]}
    others = {name: points for name, points in curves.scores.items() if name != "score"}
    markup = "<h3>Score</h3>" + lines_svg(total, "Score")
    if others:
        markup += "<h3>Scores in percent</h3>" + lines_svg(others, "Scores in percent")
    if curves.losses:
        markup += "<h3>Losses</h3>" + lines_svg(curves.losses, "Losses")
    return markup


def _prf(rows: list[ClassRow]) -> str:
    cells = [(row.label, row.precision, row.recall, row.f1, row.support) for row in rows]
    return table(["Label", "Precision", "Recall", "F1", "Support"], cells)


def _groups(title: str, groups: list[QuestionGroup]) -> str:
    rows = [(group.name, group.exact, group.f1, group.count) for group in groups]
    return table([title, "Exact match", "F1", "Count"], rows)
