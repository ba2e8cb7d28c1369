"""Find words that split badly, make each one piece, and take out pieces that are not needed.

    python examples/extend_vocabulary.py [FOLDER_OR_ALIAS]

Run `python -m bert_spacy weights fetch minilm-l6-en` once before. No network after that.
"""

import sys
import tempfile
from pathlib import Path

import spacy

from bert_spacy.weights.vocab.analyze import analyze
from bert_spacy.weights.vocab.extend import extend
from bert_spacy.weights.vocab.prune import prune

TEXTS = [
    "We run Kubernetes since COVID-19; kubectl helps.",
    "With kubectl you ask Kubernetes what runs.",
    "Since COVID-19 we ask from home.",
]


def show(name: str) -> None:
    """Print the pieces that an encoder makes of the first text, and how many it has."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": name}})
    nlp.initialize()
    tokenizer = nlp.get_pipe("bert_encoder").model.shims[0].encoder.tokenizer
    print(len(tokenizer), tokenizer.tokenize(TEXTS[0]))


def main(name: str = "minilm-l6-en") -> None:
    """Change the vocabulary of an encoder, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        corpus = work / "corpus.txt"
        corpus.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        found = analyze(name, [corpus], work / "report.json", top=3)
        print("Proposed:", [row["word"] for row in found["proposed"]])
        report = extend(name, work / "report.txt", work / "extended")
        print(f"{report['added']} words added, {report['added_tokens']} of them as added tokens")
        prune(str(work / "extended"), [corpus], work / "pruned")
        for version in (name, str(work / "extended"), str(work / "pruned")):
            show(version)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
