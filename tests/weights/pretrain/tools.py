"""A small corpus and a config for tests of pretraining."""

import random
import sys
from pathlib import Path

from thinc.api import Config

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "bert_spacy", "pretrain"]
NOUNS = ["team", "game", "film", "river", "city"]
NAMES = ["anna", "bob"]
PLACES = ["paris", "london", "berlin"]


def make_corpus(path, n_documents=60, n_sentences=3, seed=0):
    """Write documents of simple sentences, one document a line."""
    draw = random.Random(seed)
    lines = []
    for _ in range(n_documents):
        sentences = []
        for _ in range(draw.randint(1, n_sentences)):
            name, place, noun = draw.choice(NAMES), draw.choice(PLACES), draw.choice(NOUNS)
            sentences.append(
                draw.choice(
                    [
                        f"{name} lives in {place}.",
                        f"the {noun} of {place} is good.",
                        f"{name} won the {noun} in {place}.",
                    ]
                )
            )
        lines.append(" ".join(sentences))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_config(train, weights=None, **changes):
    """Return a config of a few steps; changes as section__setting."""
    config = {
        "pretrain": {
            "weights": None if weights is None else str(weights),
            "window": 24,
            "batch_size": 4,
            "device_batch": 4,
        },
        "corpus": {"train": str(train), "dev_share": 0.1},
        "masking": {},
        "sentences": {},
        "model": {},
        "trainer": {
            "max_steps": 4,
            "learning_rate": 0.001,
            "logging_steps": 1,
            "eval_steps": 2,
            "save_steps": 2,
            "disable_tqdm": True,
        },
    }
    for name, value in changes.items():
        section, setting = name.split("__")
        config[section][setting] = value
    return Config(config)
