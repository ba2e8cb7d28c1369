"""The limits: tokenizer and encoder alone, in a loop over batches sorted by length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from benchmarks.contenders.common import read_inputs

Batch = tuple[list[int], np.ndarray, np.ndarray]


def sorted_batches(ids: Sequence[Sequence[int]], budget: int) -> Iterator[Batch]:
    """Yield batches of similar length, under a number of pieces with padding.

    ids (Sequence[Sequence[int]]): Piece ids of each text.
    budget (int): Most pieces in a batch; a longer text stands alone.
    YIELDS (Batch): Numbers of the texts, padded ids and mask, both of shape (B, P).
    """
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    start = 0
    while start < len(order):
        width = len(ids[order[start]])
        group = order[start : start + max(1, budget // width)]
        padded = np.zeros((len(group), width), dtype=np.int64)
        mask = np.zeros_like(padded)
        for row, i in enumerate(group):
            padded[row, : len(ids[i])] = ids[i]
            mask[row, : len(ids[i])] = 1
        yield group, padded, mask
        start += len(group)


class Loop:
    """Tokenise, sort, run; a subclass has the model.

    settings (dict): "encoder" (a Hugging Face folder), "budget"; perhaps "texts".
    """

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        key = settings.get("texts", "texts")
        self.texts, self.pieces = self.inputs[key], self.inputs["pieces"][key]
        self.budget = settings["budget"]
        self.tokenizer = AutoTokenizer.from_pretrained(settings["encoder"]).backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(512)

    def forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Compute hidden states. Shape (B, P) to (B, P, H)."""
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Give the hidden states of each text."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        found: list[Any] = [None] * len(texts)
        for group, padded, mask in sorted_batches(ids, self.budget):
            hidden = self.forward(padded, mask)
            for row, i in enumerate(group):
                found[i] = hidden[row, : len(ids[i])]
        return found

    def answers(self) -> dict[str, np.ndarray]:
        """Give the mean hidden state of some texts."""
        self.encode(self.texts)
        found = self.encode(self.inputs["check"])
        return {"hidden": np.stack([np.asarray(hidden)[1:-1].mean(0) for hidden in found])}

    def run(self) -> int:
        """Encode all texts; return their pieces."""
        self.encode(self.texts)
        return self.pieces


class TorchLoop(Loop):
    """Transformers' model; "bf16" in the settings asks for autocast."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        self.model = AutoModel.from_pretrained(settings["encoder"]).eval()
        self.half = settings.get("bf16", False)

    @torch.inference_mode()
    def forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Compute hidden states. Shape (B, P) to (B, P, H)."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            output = self.model(torch.from_numpy(ids), torch.from_numpy(mask))
        return output.last_hidden_state.float().numpy()


class OnnxLoop(Loop):
    """onnxruntime on a plain export; "file" is fp32.onnx or int8.onnx."""

    def __init__(self, settings: dict[str, Any]):
        super().__init__(settings)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings["threads"]
        self.session = onnxruntime.InferenceSession(
            str(Path(settings["onnx"]) / settings["file"]),
            options,
            providers=["CPUExecutionProvider"],
        )

    def forward(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Compute hidden states. Shape (B, P) to (B, P, H)."""
        types = np.zeros_like(ids)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return self.session.run(["hidden"], feeds)[0]
