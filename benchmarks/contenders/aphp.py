"""edsnlp: `eds.transformer` and `eds.ner_crf`, in an environment of its own."""

from typing import Any

import edsnlp
import edsnlp.pipes as eds
import numpy as np

from benchmarks.contenders.common import hooked_means, read_inputs

LABELS = ["LOC", "ORG", "PER", "TIME"]


class Pipe:
    """`nlp.pipe` in batches of 64, with the default windows.

    settings (dict): "encoder" (a Hugging Face folder).
    """

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.texts, self.pieces = self.inputs["texts"], self.inputs["pieces"]["texts"]
        self.nlp = edsnlp.blank("eds")
        self.encoder = eds.transformer(model=settings["encoder"], window=128, stride=96)
        ner = eds.ner_crf(
            embedding=self.encoder,
            mode="joint",
            target_span_getter="ents",
            span_setter=["ents"],
            labels=LABELS,
        )
        self.nlp.add_pipe(ner, name="ner")

    def _pipe(self, texts: list[str]) -> int:
        return sum(1 for _ in self.nlp.pipe(texts).set_processing(batch_size=64))

    def answers(self) -> dict[str, np.ndarray]:
        """Give hidden states of some texts, each of which fits into one window."""
        self._pipe(self.texts)
        module = self.nlp.get_pipe(
            "ner"
        ).embedding.transformer.eval()  # a stream leaves it in training
        return {"hidden": hooked_means(module, self.nlp, self.inputs["check"])}

    def run(self) -> int:
        """Annotate all texts; return their pieces."""
        self._pipe(self.texts)
        return self.pieces
