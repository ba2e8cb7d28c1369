"""Make a few words one piece each, and use the new folder in a pipeline.

Run `python -m bert_spacy weights fetch minilm-l6-en` once before. No network after that.
"""

import tempfile
from pathlib import Path

import spacy

from bert_spacy.weights.vocab.extend import extend

ALIAS = "minilm-l6-en"
WORDS = ["kubernetes", "kubectl", "covid-19"]
TEXT = "We run Kubernetes since COVID-19; kubectl helps."


def show(name: str) -> None:
    """Print the pieces that an encoder makes of the text."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": name}})
    nlp.initialize()
    encoder = nlp.get_pipe("bert_encoder").model.shims[0].encoder
    print(encoder.tokenizer.tokenize(TEXT))


with tempfile.TemporaryDirectory() as work:
    words, output = Path(work) / "words.txt", Path(work) / "extended"
    words.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    report = extend(ALIAS, words, output)
    print(f"{report['added']} words added, {report['added_tokens']} of them as added tokens")
    show(ALIAS)
    show(str(output))
