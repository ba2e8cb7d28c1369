"""Learn a number for a pair of texts: how alike they are, from 0 to 5.

    python examples/regression.py [WEIGHTS]

WEIGHTS is an alias that is fetched (minilm-l6-en by default) or a Hugging Face folder. A real
training set has thousands of pairs: `python -m bert_spacy convert pairs --score-column` or
`convert glue --task STS-B`, then `python -m bert_spacy train configs/regressor.cfg`.
"""

import sys

import spacy
from spacy.training import Example

from bert_spacy import make_pair, set_targets
from bert_spacy.training.optimizer import create_adamw_v1

PAIRS = [
    ("A man is playing a guitar.", "A man plays the guitar.", 4.8),
    ("A child is riding a horse.", "A child rides a horse.", 4.9),
    ("A woman is cutting onions.", "A woman is cutting potatoes.", 2.6),
    ("Two dogs run on the beach.", "Two dogs sleep on the sofa.", 1.8),
    ("The stock market fell today.", "A cat is drinking milk.", 0.0),
    ("Rain is expected tomorrow.", "A man is playing chess.", 0.1),
]
N_STEPS = 30


def main(weights: str = "minilm-l6-en") -> None:
    """Train on a few pairs, and predict them."""
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": weights}})
    nlp.add_pipe("bert_regressor")
    examples = []
    for text_a, text_b, score in PAIRS:
        gold = make_pair(nlp, text_a, text_b)
        set_targets(gold, {"similarity": score})  # a target left out is missing gold
        examples.append(Example(make_pair(nlp, text_a, text_b), gold))
    nlp.initialize(lambda: examples)
    optimizer = create_adamw_v1(learn_rate=3e-4)
    for _ in range(N_STEPS):
        nlp.update(examples, sgd=optimizer)
    for doc, (text_a, text_b, score) in zip(
        nlp.pipe(make_pair(nlp, a, b) for a, b, _ in PAIRS), PAIRS
    ):
        print(f"{score:.1f}  {doc._.regression['similarity']:.2f}  {text_a} | {text_b}")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
