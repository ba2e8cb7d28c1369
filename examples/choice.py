"""Choose one of several answers: a pipeline with `bert_choice`, trained in seconds.

    python examples/choice.py minilm-l6-en

The argument is an alias (`python -m bert_spacy weights list`) or a Hugging Face folder. The items
to learn stand below. For real data, convert files of SWAG, C3 or ARC (`python -m bert_spacy
convert`) and train with configs/choice.cfg.
"""

import random
import sys

import spacy
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed, registry

from bert_spacy import make_choice, set_gold_choice

NAMES = ("Anna", "Bob", "Carla", "David")
PLACES = ("Paris", "London", "Berlin", "Rome")
STEPS, BATCH_SIZE, RATE = 30, 8, 3e-4

# Context, question, choices; the numbers of choices may differ.
NEW = [
    ("Carla lives in Rome.", "Where does Carla live?", ["Paris", "Rome"]),
    ("David lives in London.", "Where does David live?", ["Berlin", "Rome", "Paris", "London"]),
]


def main(weights: str) -> None:
    """Train on a few made-up items, and choose for new ones."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": weights, "dropout": 0.0}})
    nlp.add_pipe("bert_choice")
    examples = [Example(*make_item(nlp)) for _ in range(64)]
    optimizer = registry.optimizers.get("bert-spacy.AdamW.v1")(learn_rate=RATE)
    nlp.initialize(lambda: examples)
    for step in range(STEPS):
        losses: dict[str, float] = {}
        nlp.update(random.sample(examples, BATCH_SIZE), sgd=optimizer, losses=losses)
        if step % 10 == 9:
            print(f"step {step + 1}: loss {losses['bert_choice']:.3f}")
    for doc in nlp.pipe(make_choice(nlp, *item) for item in NEW):
        segments = doc.spans["segments"]
        choices = [span.text for span in segments if span.label_ == "choice"]
        shares = [f"{text} {score:.2f}" for text, score in zip(choices, doc._.choice_scores)]
        print(segments[0].text, segments[1].text, "->", choices[doc._.choice], shares)


def make_item(nlp: spacy.Language) -> tuple[Doc, Doc]:
    """Make up an item: the Doc to predict on, and the same with its gold."""
    name, places = random.choice(NAMES), random.sample(PLACES, random.randint(2, 4))
    gold = random.randrange(len(places))
    item = (f"{name} lives in {places[gold]}.", f"Where does {name} live?", places)
    reference = make_choice(nlp, *item)
    set_gold_choice(reference, gold)
    return make_choice(nlp, *item), reference


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
