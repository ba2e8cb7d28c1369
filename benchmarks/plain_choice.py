"""Plain Transformers fine-tuning on multiple choice: one row per choice, a softmax over them."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from benchmarks.choice_tasks import ChoiceItem

# Items in a batch of prediction.
BATCH_SIZE = 16


class ChoiceNet(nn.Module):
    """An encoder, its pooler, and a linear layer that scores each row."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.linear = nn.Linear(config.hidden_size, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Score the rows. Shape (B, P) to (B,)."""
        return self.linear(self.dropout(self.encoder(**batch).pooler_output)).float().squeeze(1)


class Chooser:
    """Fine-tune a scorer of choices."""

    def __init__(self, task: Any, folder: str, train: list[ChoiceItem]) -> None:
        self.task = task
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: nn.Module = ChoiceNet(folder)

    def make_windows(self, items: Sequence[ChoiceItem]) -> list[dict[str, Any]]:
        """Encode the rows of each item, [CLS] context [SEP] question and choice [SEP].

        Of an item that is too long the longer part, which is the context, is cut at its end.
        """
        windows = []
        for item in items:
            encoded = self.tokenizer(
                [item.context] * len(item.choices),
                [item.question + choice for choice in item.choices],
                truncation="longest_first",
                max_length=self.task.max_pieces,
            )
            rows = zip(encoded["input_ids"], encoded["token_type_ids"])
            made = [{"input_ids": ids, "token_type_ids": types} for ids, types in rows]
            longest = max(encoded["input_ids"], key=len)  # by which batches are made
            windows.append({"input_ids": longest, "rows": made, "gold": item.gold})
        return windows

    def scores(self, windows: list[dict[str, Any]]) -> list[Tensor]:
        """Score the choices of a batch of items, one tensor of (n,) each."""
        rows = [row for window in windows for row in window["rows"]]
        batch = self.tokenizer.pad(rows, return_tensors="pt")
        return list(self.model(dict(batch)).split([len(window["rows"]) for window in windows]))

    def loss(self, windows: list[dict[str, Any]]) -> Tensor:
        """Compute the cross-entropy of a batch, by a loop over its items."""
        losses = [
            torch.nn.functional.cross_entropy(scores[None], torch.tensor([window["gold"]]))
            for scores, window in zip(self.scores(windows), windows)
        ]
        return torch.stack(losses).mean()

    def predict(self, items: Sequence[ChoiceItem], is_dev: bool = False) -> list[str]:
        """Predict one index per item, as text."""
        windows = self.make_windows(items)
        found: dict[int, str] = {}
        for ids in _sorted_batches(windows):
            scores = self.scores([windows[i] for i in ids])
            found.update(zip(ids, (str(int(row.argmax())) for row in scores)))
        return [found[i] for i in range(len(items))]

    def rate(self, name: str, base: float) -> float:
        """Give the learning rate of a parameter."""
        return base


def _sorted_batches(windows: list[dict[str, Any]]) -> Iterator[list[int]]:
    """Yield batches by length, for prediction."""
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]["input_ids"]))
    for start in range(0, len(order), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]
