"""Teach a pipeline whether the second of two sentences follows from the first.

    python examples/pair.py [WEIGHTS]

WEIGHTS is an alias or a Hugging Face folder; `python -m bert_spacy weights fetch minilm-l6-en`
makes the default ready. A dozen pairs teach nothing that lasts; for files of pairs see
`python -m bert_spacy convert pairs --help` and `configs/textcat.cfg`.
"""

import sys

import spacy
from spacy.language import Language
from spacy.training import Example
from spacy.util import fix_random_seed, registry

from bert_spacy import make_pair

PAIRS = [
    ("A man plays the guitar.", "Someone makes music.", "follows"),
    ("Two dogs run over a field.", "Animals are moving.", "follows"),
    ("A woman slices an onion.", "Somebody cuts a vegetable.", "follows"),
    ("The train left at nine.", "The train has gone.", "follows"),
    ("A child sleeps in a cot.", "A child is awake.", "contradicts"),
    ("The shop is closed on Monday.", "On Monday the shop is open.", "contradicts"),
    ("A man plays the guitar.", "Nobody holds an instrument.", "contradicts"),
    ("The field is empty.", "Two dogs run over the field.", "contradicts"),
]
NEW = [
    ("A girl plays the piano.", "Someone makes music.", "follows"),
    ("The library is open today.", "The library is closed today.", "contradicts"),
]


def main(weights: str = "minilm-l6-en", steps: int = 20) -> Language:
    """Train on the pairs, and print what the pipeline says of new ones.

    weights (str): An alias or a folder.
    steps (int): Steps of training; each sees all pairs.
    RETURNS (Language): The trained pipeline.
    """
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": weights}})
    nlp.add_pipe("bert_textcat")
    examples = [make_example(nlp, *pair) for pair in PAIRS]
    nlp.initialize(lambda: examples)
    optimizer = registry.optimizers.get("bert-spacy.AdamW.v1")(learn_rate=1e-4)
    for step in range(steps):
        losses = nlp.update(examples, sgd=optimizer)
        print(f"step {step + 1}: loss {losses['bert_textcat']:.3f}")
    pairs = [make_pair(nlp, a, b) for a, b, _ in NEW]
    for doc, (a, b, label) in zip(nlp.pipe(pairs), NEW):
        print(f"{a} | {b} | expected: {label} | predicted: {doc.cats}")
    return nlp


def make_example(nlp: Language, a: str, b: str, label: str) -> Example:
    """Make an Example of two sentences and their label."""
    gold = make_pair(nlp, a, b)
    gold.cats = {name: float(name == label) for name in ("follows", "contradicts")}
    return Example(make_pair(nlp, a, b), gold)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
