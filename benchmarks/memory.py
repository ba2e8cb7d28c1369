"""Measure the memory that one very long document takes in classifier and NER.

    python benchmarks/memory.py --weights albert-tiny-zh --characters 1000000

prints, as its last line, one JSON object with the peak above the loaded pipeline.
The heads are untrained: memory does not depend on what they have learned.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import psutil
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Build a pipeline, run the document through it and print the peak."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", default="albert-tiny-zh")
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lang = "zh" if args.weights.endswith("zh") else "en"
    texts = read_texts(lang)
    nlp = make_pipeline(lang, args.weights, texts)
    text = make_text(texts, args.characters, " " if lang == "en" else "")
    list(nlp.pipe(texts[:64]))
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    doc = nlp(make_doc(nlp, text))
    result = {
        "weights": args.weights,
        "characters": len(text),
        "tokens": len(doc),
        "seconds": round(time.perf_counter() - began, 1),
        "loaded_mb": before // 2**20,
        "peak_above_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        - before // 2**20,
        "ents": len(doc.ents),
        "cats": len(doc.cats),
    }
    print(json.dumps(result), flush=True)


def read_texts(lang: str) -> list[str]:
    """Read the news items of the small corpus."""
    lines = (ROOT / "corpus" / "news" / f"{lang}.train.tsv").read_text(encoding="utf8").split("\n")
    return [line.split("\t", 1)[1] for line in lines if "\t" in line]


def make_text(texts: list[str], size: int, joint: str) -> str:
    """Repeat texts, each time from another start, up to a number of characters."""
    parts: list[str] = []
    length = shift = 0
    while length < size:
        turned = texts[shift:] + texts[:shift]
        parts.extend(turned)
        length += sum(len(part) + len(joint) for part in turned)
        shift = (shift + 7) % len(texts)
    return joint.join(parts)[:size]


def make_doc(nlp: Language, text: str) -> Doc:
    """Make the Doc; Chinese by character, as spaCy does in time quadratic in the length."""
    if nlp.lang == "zh":
        return Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))
    return nlp.make_doc(text)


def make_pipeline(lang: str, weights: str, texts: list[str]) -> Language:
    """Make an encoder, a classifier of ten classes and a CRF of four entity types."""
    nlp = spacy.blank(lang)
    nlp.add_pipe("bert_encoder", config={"model": {"name": weights}})
    textcat = nlp.add_pipe("bert_textcat")
    ner = nlp.add_pipe("bert_ner")
    for i in range(10):
        textcat.add_label(f"CLASS{i}")
    for label in ("PER", "ORG", "LOC", "TIME"):
        ner.add_label(label)
    doc = nlp.make_doc(texts[0])
    nlp.initialize(lambda: [Example(doc, doc.copy())])
    return nlp


if __name__ == "__main__":
    sys.exit(main())
