"""Measure the memory that texts take in classifier and NER, above the loaded pipeline.

    python benchmarks/memory.py --weights albert-tiny-zh --characters 1000000
    python benchmarks/memory.py --weights minilm-l6-en --docs 10000 --pieces 300

prints, as its last line, one JSON object with the peak: of one document of so many
characters, or of a stream of so many documents.
The heads are untrained: memory does not depend on what they have learned.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

ROOT = Path(__file__).resolve().parents[1]
CHARACTERS_PER_PIECE = {"en": 4.9, "zh": 1.0}  # of the corpus; special pieces aside
CASES = {
    "1 document of 1,000,000 characters": ["--characters", "1000000"],
    "10,000 documents of 300 pieces": ["--docs", "10000", "--pieces", "300"],
    "100,000 documents of 16 pieces": ["--docs", "100000", "--pieces", "16"],
}


def main() -> None:
    """Build a pipeline, run the texts through it and print the peak."""
    args = parse()
    torch.set_num_threads(args.threads)
    lang = "zh" if args.weights.endswith("zh") else "en"
    texts = read_texts(lang)
    nlp = make_pipeline(lang, args.weights, texts)
    joint = " " if lang == "en" else ""
    list(nlp.pipe(texts[:64]))
    before = resident_mb()
    began = time.perf_counter()
    if args.docs:
        size = round(args.pieces * CHARACTERS_PER_PIECE[lang])
        stream = make_stream(make_text(texts, 200 * size, joint), size, args.docs)
    else:
        stream = iter([make_text(texts, args.characters, joint)])
    docs = tokens = ents = 0
    for doc in nlp.pipe(make_doc(nlp, text) for text in stream):
        docs, tokens, ents = docs + 1, tokens + len(doc), ents + len(doc.ents)
    result = {
        "weights": args.weights,
        "docs": docs,
        "tokens": tokens,
        "ents": ents,
        "seconds": round(time.perf_counter() - began, 1),
        "loaded_mb": before,
        "peak_above_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before,
    }
    print(json.dumps(result), flush=True)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", default="albert-tiny-zh")
    parser.add_argument("--characters", type=int, default=1_000_000, help="of one document")
    parser.add_argument("--docs", type=int, default=0, help="documents of a stream instead")
    parser.add_argument("--pieces", type=int, default=300, help="about so many in each")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def measure_all(threads: int, weights: str = "minilm-l6-en") -> list[dict]:
    """Measure every case in a process of its own; a failure stands in its row."""
    found = []
    for what, options in CASES.items():
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory", "--weights", weights, *options]
            + ["--threads", str(threads)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            found.append({"what": what, "peak_above_mb": None, "reason": reason[0]})
        else:
            found.append({"what": what, **json.loads(done.stdout.strip().splitlines()[-1])})
    return found


def resident_mb() -> int:
    """Give the memory of this process now, in megabytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise SystemExit("memory can be measured on Linux only: there is no /proc/self/status")
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def make_stream(text: str, size: int, n: int) -> Iterator[str]:
    """Cut a text into pieces of one size, again and again, until there are enough."""
    parts = [text[start : start + size] for start in range(0, len(text) - size + 1, size)]
    return islice(cycle(parts), n)


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
