"""Read texts with an ELMo in place of a BERT: one vector a word, which depends on the sentence.

    python examples/elmo.py options.json weights.hdf5

The two files are those that AllenNLP publishes for each of its models; `pip install
'bert-spacy[elmo]'` reads them. Every component of this package works on the pipeline as on a BERT.
"""

import sys
import tempfile
from pathlib import Path

import spacy
from spacy.tokens import Doc

from bert_spacy.weights.elmo import import_elmo

TEXTS = ["She rowed to the bank .", "The bank lends money .", "His bank lends him money ."]


def word_vector(encoder, doc: Doc, word: str):
    """Return what the encoder makes of a word, shape (H,); ELMo has one piece a token."""
    return encoder.predict([doc]).hidden[[token.text for token in doc].index(word)]


def main(options: str, weights: str) -> None:
    """Convert an ELMo, and compare one word in three sentences."""
    with tempfile.TemporaryDirectory() as folder:
        elmo = Path(folder) / "elmo"
        import_elmo(Path(options), Path(weights), elmo)
        nlp = spacy.blank("en")
        model = {"@architectures": "bert-spacy.ElmoEncoder.v1", "name": str(elmo)}
        encoder = nlp.add_pipe("bert_encoder", config={"model": model})
        nlp.initialize()
        first, *others = (word_vector(encoder, nlp.make_doc(text), "bank") for text in TEXTS)
        print("Width", len(first))
        for text, other in zip(TEXTS[1:], others):
            similarity = float(first @ other / (first.norm() * other.norm()))
            print(f"bank in {TEXTS[0]!r} and in {text!r}: cosine {similarity:.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
