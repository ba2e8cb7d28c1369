"""Training a classifier by `nlp.update`, in our pipeline and in spacy-transformers'."""

from typing import Any

import numpy as np
from spacy.training import Example
from thinc.api import Adam

from benchmarks import build
from benchmarks.contenders.common import hooked_means, read_inputs, walk_batches

CLASSES = ["NO", "YES"]


class Updates:
    """Takes steps as `spacy train` does: update all components, then let each step."""

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.settings = settings
        self.nlp, self.optimizer = self.make()
        self.walk = walk_batches(self.inputs, settings)

    def make(self) -> tuple[Any, Any]:
        """Make pipeline and optimiser."""
        raise NotImplementedError

    def hidden(self) -> np.ndarray:
        """Give hidden states of some texts."""
        raise NotImplementedError

    def examples(self, batch: list[int]) -> list[Example]:
        """Make the Examples of a batch."""
        found = []
        for i in batch:
            doc = self.nlp.make_doc(self.inputs["sentences"][i])
            label = CLASSES[self.inputs["labels"][i]]
            cats = {name: float(name == label) for name in CLASSES}
            found.append(Example.from_dict(doc, {"cats": cats}))
        return found

    def answers(self) -> dict[str, np.ndarray]:
        """Give hidden states before any step, then take some steps."""
        hidden = self.hidden()
        self.run()
        return {"hidden": hidden}

    def run(self) -> int:
        """Take as many steps as the settings say; return the examples."""
        done = 0
        for batch in next(self.walk):
            self.nlp.update(self.examples(batch), sgd=False, drop=0.1)
            for _, component in self.nlp.pipeline:
                component.finish_update(self.optimizer)
            done += len(batch)
        return done


class Ours(Updates):
    """`bert_encoder` and `bert_textcat`; "model" in the settings goes to the encoder."""

    def make(self) -> tuple[Any, Any]:
        """Make pipeline and optimiser."""
        nlp = build.make_pipeline("en", build.WEIGHTS, [], **self.settings.get("model", {}))
        nlp.add_pipe("bert_textcat")
        for label in CLASSES:
            nlp.get_pipe("bert_textcat").add_label(label)
        build.initialize(nlp)
        return nlp, build.bert_optimizer(5e-5)

    def hidden(self) -> np.ndarray:
        """Give hidden states of some texts."""
        docs = [self.nlp.make_doc(text) for text in self.inputs["check"]]
        batch = self.nlp.get_pipe("bert_encoder").predict(docs)
        rows = zip(batch.layout.doc_pieces[:-1], batch.layout.doc_pieces[1:])
        return np.stack([batch.hidden[a:b].mean(0).numpy() for a, b in rows])


class Stock(Updates):
    """`transformer` and `textcat`, with thinc's Adam as in spaCy's own configs."""

    def make(self) -> tuple[Any, Any]:
        """Make pipeline and optimiser."""
        nlp = build.stock_pipeline(["textcat"], CLASSES)
        build.initialize(nlp)
        return nlp, Adam(5e-5, L2=0.01, L2_is_weight_decay=True, grad_clip=1.0)

    def hidden(self) -> np.ndarray:
        """Give hidden states of some texts."""
        module = self.nlp.get_pipe("transformer").model.transformer.eval()
        return hooked_means(module, self.nlp, self.inputs["check"])
