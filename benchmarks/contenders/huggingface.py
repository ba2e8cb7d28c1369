"""Hugging Face pipelines, called as their documentation shows, batch size 1.

A larger batch is slower on texts of mixed length, as pipelines pad and do not sort.
"""

from typing import Any

import numpy as np
from transformers import pipeline

from benchmarks.contenders.common import hooked_means, read_inputs


class TwoModels:
    """text-classification and token-classification, each with an encoder of its own."""

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.texts, self.pieces = self.inputs["texts"], self.inputs["pieces"]["texts"]
        self.classify = pipeline("text-classification", settings["classifier"], device="cpu")
        self.tag = pipeline("token-classification", settings["tagger"], device="cpu")

    def answers(self) -> dict[str, np.ndarray]:
        """Give the labels of all texts, and hidden states of some."""
        rows = self.classify(self.texts, truncation=True)
        self.tag(self.texts)  # as `run` does, so that it is warm for all lengths
        hidden = hooked_means(self.classify.model.bert, self.classify, self.inputs["check"])
        return {"label": np.array([row["label"] for row in rows]), "hidden": hidden}

    def run(self) -> int:
        """Run both over all texts; return the pieces."""
        self.classify(self.texts, truncation=True)
        self.tag(self.texts)
        return self.pieces


class OneText:
    """text-classification, one short text after the other."""

    def __init__(self, settings: dict[str, Any]):
        self.texts = read_inputs(settings)["sentences"][: settings["calls"]]
        self.classify = pipeline("text-classification", settings["classifier"], device="cpu")

    def answers(self) -> dict[str, np.ndarray]:
        """Give the label of each text."""
        return {"label": np.array([self.classify(text)[0]["label"] for text in self.texts])}

    def run(self) -> int:
        """Classify all, one by one; return their number."""
        for text in self.texts:
            self.classify(text)
        return len(self.texts)


class Questions:
    """question-answering over all questions."""

    def __init__(self, settings: dict[str, Any]):
        self.pairs = read_inputs(settings)["questions"]
        self.options = {
            "max_seq_len": settings["window"],
            "doc_stride": settings["overlap"],
            "max_answer_len": settings["answer"],
        }
        self.pipeline = pipeline("question-answering", settings["qa"], device="cpu")

    def _find(self) -> list[str]:
        questions = [pair["question"] for pair in self.pairs]
        contexts = [pair["context"] for pair in self.pairs]
        found = self.pipeline(question=questions, context=contexts, **self.options)
        return [row["answer"] for row in (found if isinstance(found, list) else [found])]

    def answers(self) -> dict[str, np.ndarray]:
        """Give scores of all pieces of some short contexts, and the answers to all."""
        some = [pair for pair in self.pairs if len(pair["context"]) < 800][:8]
        rows = []
        for pair in some:
            inputs = self.pipeline.tokenizer(pair["question"], pair["context"], return_tensors="pt")
            output = self.pipeline.model(**inputs)
            inside = [k for k, part in enumerate(inputs.sequence_ids(0)) if part == 1]
            for logits in zip(output.start_logits[0, inside], output.end_logits[0, inside]):
                rows.append([float(x) for x in logits])
        return {
            "scores": np.array(rows, dtype=np.float32),
            "answer": np.array(self._find()),
        }

    def run(self) -> int:
        """Answer all; return their number."""
        return len(self._find())
