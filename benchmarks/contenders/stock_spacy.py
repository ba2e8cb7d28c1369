"""spacy-transformers: a stock `transformer` with the stock `ner` and `textcat` on it."""

from typing import Any

import numpy as np
import spacy

from benchmarks.contenders.common import hooked_means, read_inputs


class Pipe:
    """`nlp.pipe` over all texts.

    settings (dict): "pipeline"; perhaps "exclude".
    """

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.texts, self.pieces = self.inputs["texts"], self.inputs["pieces"]["texts"]
        self.nlp = spacy.load(settings["pipeline"], exclude=settings.get("exclude", []))

    def answers(self) -> dict[str, np.ndarray]:
        """Give hidden states of some texts, each of which fits into one window."""
        self.run()
        module = self.nlp.get_pipe("transformer").model.transformer.eval()
        return {"hidden": hooked_means(module, self.nlp, self.inputs["check"])}

    def run(self) -> int:
        """Annotate all texts; return their pieces."""
        for _ in self.nlp.pipe(self.texts):
            pass
        return self.pieces
