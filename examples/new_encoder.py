"""Train a small encoder from nothing: its vocabulary first, then its weights, then use it.

    python examples/new_encoder.py TEXTS.txt [STEPS]

`pip install 'bert-spacy[pretrain]'` before. TEXTS.txt has an English text a line, 20 or more,
as one in 20 is held out. A few steps show that it works; an encoder that is worth something needs
millions of texts and days of a GPU.
"""

import sys
import tempfile
from pathlib import Path

import spacy
from spacy.util import load_config

from bert_spacy.weights.pretrain.filling import fill_masks, load_filler
from bert_spacy.weights.pretrain.run import pretrain
from bert_spacy.weights.pretrain.tokenizer import train_tokenizer

CONFIG = Path(__file__).parents[1] / "configs" / "pretrain.cfg"
SIZES = {
    "model_type": "bert",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 256,
}


def main(texts: str, steps: int = 60) -> None:
    """Make the encoder, fill a mask with it, and read a text with it."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, encoder = Path(folder) / "tokenizer", Path(folder) / "encoder"
        print(train_tokenizer([Path(texts)], tokenizer, size=2000)["pieces"], "pieces")
        overrides = {
            "paths.train": texts,
            "pretrain.weights": None,
            "pretrain.tokenizer": str(tokenizer),
            "corpus.lang": "en",
            "trainer.max_steps": int(steps),
            "trainer.eval_steps": int(steps),
            "trainer.save_steps": int(steps),
            "trainer.learning_rate": 1e-3,
        }
        config = load_config(CONFIG, overrides=overrides, interpolate=True)
        config["model"] = SIZES
        result = pretrain(config, encoder)
        for name, before, after in result.rows():
            print(f"{name}: {before} before, {after} after")
        filler = load_filler(str(encoder))
        masked = f"the {filler.tokenizer.mask_token} ."
        print(masked, [fill.piece for fill in fill_masks(filler, [masked])[0][0]])
        nlp = spacy.blank("en")
        nlp.add_pipe("bert_encoder", config={"model": {"name": str(encoder)}})
        nlp.initialize()
        print(nlp.get_pipe("bert_encoder").predict([nlp.make_doc("A text of mine.")]).hidden.shape)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
