"""Pick what to annotate next: the texts whose entities a pipeline is least sure of.

    python examples/candidates.py PIPELINE texts.txt > to_annotate.jsonl

PIPELINE holds a trained `bert_ner`; `python -m bert_spacy calibrate` makes its
probabilities better. texts.txt has one text a line. The most doubtful texts come first, one JSON
object a line: the text, its entities and what else might be one, each with its probability.
"""

import json
import sys
from pathlib import Path

import spacy
from spacy.tokens import Doc, Span

N_TEXTS = 100


def main(pipeline: str, path: str) -> None:
    """Read texts, and print the most doubtful ones."""
    nlp = spacy.load(pipeline)
    head = nlp.get_pipe("bert_ner")
    head.n_candidates = 5  # off by default
    head.candidate_threshold = 0.05
    texts = filter(None, Path(path).read_text(encoding="utf-8").splitlines())
    docs = sorted(nlp.pipe(texts), key=measure_doubt, reverse=True)
    for doc in docs[:N_TEXTS]:
        row = {
            "text": doc.text,
            "entities": [describe(span) for span in doc.ents],
            "candidates": [describe(span) for span in doc.spans.get("bert_ner_candidates", ())],
        }
        print(json.dumps(row, ensure_ascii=False))


def measure_doubt(doc: Doc) -> float:
    """Return how many entities and candidates may be wrong, counted by their doubt.

    A span of 50 % counts most, as much as two of 85 %.
    """
    spans = [*doc.ents, *doc.spans.get("bert_ner_candidates", ())]
    scores = [span._.score for span in spans if span._.score is not None]
    return sum(4 * score * (1 - score) for score in scores)


def describe(span: Span) -> dict[str, object]:
    """Return a span with its probability, in characters."""
    score = None if span._.score is None else round(span._.score, 4)
    place = {"start": span.start_char, "end": span.end_char, "label": span.label_}
    return {"text": span.text, **place, "score": score}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
