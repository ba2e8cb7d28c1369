"""Plain Transformers fine-tuning, without spaCy: what the package is compared with.

Recipe: AdamW with decay 0.01 (none on biases and LayerNorm), linear warm-up over
10 % of the steps and linear decay, gradient clip 1.0, length-bucketed batches of 16,
bf16 autocast in training where the processor has it, the best epoch on dev kept.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from benchmarks.metrics import read_bio, tune_threshold
from benchmarks.pairs import ValueItem
from benchmarks.plain_choice import Chooser
from benchmarks.tasks import QuestionItem, Score, TagItem, Task, TextItem, encoder_rate, main_score
from bert_spacy.nn.encoder import has_bfloat16
from bert_spacy.sources import resolve_name

BATCH_SIZE = 16
STRIDE = 128
# Of the tagger, as multiples of the encoder's rate.
HEAD_FACTOR, CRF_FACTOR = 10.0, 1000.0

# One encoder input: piece ids under "input_ids" and "token_type_ids", gold under other names.
Window = dict[str, Any]


class Classifier:
    """Fine-tune a sequence classifier; with values for gold, a regressor of one number."""

    def __init__(self, task: Task, folder: str, train: list[TextItem] | list[ValueItem]) -> None:
        self.task = task
        self.labels = sorted({item.label for item in train if not isinstance(item, ValueItem)})
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: nn.Module = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(self.labels) or 1
        )

    def make_windows(self, items: Sequence[Any]) -> list[Window]:
        """Encode one window per text or pair."""
        texts = [[item.text for item in items]]
        if hasattr(items[0], "text_b"):
            texts.append([item.text_b for item in items])
        encoded = self.tokenizer(*texts, truncation=True, max_length=self.task.max_pieces)
        windows = _make_windows(encoded)
        for window, item in zip(windows, items):
            window["label"] = self.labels.index(item.label) if self.labels else item.value
        return windows

    def loss(self, windows: list[Window]) -> Tensor:
        """Compute the cross-entropy of a batch, or the mean squared error."""
        labels = torch.tensor([window["label"] for window in windows])
        return self.model(**_pad(windows, self.tokenizer), labels=labels).loss

    def predict(self, items: Sequence[Any], is_dev: bool = False) -> list[Any]:
        """Predict one label or number per text."""
        windows = self.make_windows(items)
        found: dict[int, Any] = {}
        for ids in _sorted_batches(windows):
            logits = self.model(**_pad([windows[i] for i in ids], self.tokenizer)).logits
            if self.labels:
                found.update(zip(ids, (self.labels[k] for k in logits.argmax(1).tolist())))
            else:
                found.update(zip(ids, logits[:, 0].tolist()))
        return [found[i] for i in range(len(items))]

    def rate(self, name: str, base: float) -> float:
        """Give the learning rate of a parameter."""
        return base


class TaggerNet(nn.Module):
    """An encoder, a linear layer on the first piece of each word, and a CRF."""

    def __init__(self, folder: str, n_tags: int) -> None:
        from torchcrf import CRF  # needed by taggers alone

        super().__init__()
        config = AutoConfig.from_pretrained(folder)
        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.linear = nn.Linear(config.hidden_size, n_tags)
        self.crf = CRF(n_tags, batch_first=True)

    def forward(self, batch: dict[str, Tensor], places: Tensor) -> Tensor:
        """Compute emissions. Shape (B, T, L), from places of first pieces (B, T)."""
        states = self.encoder(**batch).last_hidden_state  # (B, P, H)
        states = states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))
        return self.linear(self.dropout(states)).float()


class Tagger:
    """Fine-tune a CRF tagger over the first piece of each word or character."""

    def __init__(self, task: Task, folder: str, train: list[TagItem]) -> None:
        self.task = task
        labels = sorted({label for item in train for _, _, label in item.spans})
        self.tags = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = TaggerNet(folder, len(self.tags))

    def make_windows(self, items: Sequence[TagItem]) -> list[Window]:
        """Encode one window per text, with the words that have a piece in it."""
        encoded = self.tokenizer(
            [item.words for item in items],
            is_split_into_words=True,
            truncation=True,
            max_length=self.task.max_pieces,
        )
        windows = _make_windows(encoded)
        for i, (window, item) in enumerate(zip(windows, items)):
            firsts: dict[int, int] = {}
            for piece, word in enumerate(encoded.word_ids(i)):
                if word is not None:
                    firsts.setdefault(word, piece)
            tags = ["O"] * len(item.words)
            for start, end, label in item.flat_spans():
                tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
            window["words"] = list(firsts)
            window["places"] = list(firsts.values())
            window["tags"] = [self.tags.index(tags[word]) for word in firsts]
        return windows

    def emissions(self, windows: list[Window]) -> tuple[Tensor, Tensor]:
        """Compute emissions (B, T, L) and the mask of words (B, T)."""
        places = _pad_rows([window["places"] for window in windows])
        mask = _pad_rows([[1] * len(window["places"]) for window in windows]).bool()
        return self.model(_pad(windows, self.tokenizer), places), mask

    def loss(self, windows: list[Window]) -> Tensor:
        """Compute the mean negative log-likelihood of a batch."""
        emissions, mask = self.emissions(windows)
        tags = _pad_rows([window["tags"] for window in windows])
        with torch.autocast("cpu", enabled=False):
            return -self.model.crf(emissions, tags, mask=mask, reduction="mean")

    def predict(self, items: Sequence[TagItem], is_dev: bool = False) -> list[list]:
        """Predict the spans of each text."""
        windows = self.make_windows(items)
        found: dict[int, list] = {}
        for ids in _sorted_batches(windows):
            paths = self.model.crf.decode(*self.emissions([windows[i] for i in ids]))
            for i, path in zip(ids, paths):
                words = windows[i]["words"]
                spans = read_bio([self.tags[tag] for tag in path])
                found[i] = [(words[a], words[b - 1] + 1, label) for a, b, label in spans]
        return [found[i] for i in range(len(items))]

    def rate(self, name: str, base: float) -> float:
        """Give the learning rate of a parameter."""
        if name.startswith("crf."):
            return base * CRF_FACTOR
        return base * HEAD_FACTOR if name.startswith("linear.") else base


class Answerer:
    """Fine-tune a span model; all windows of a question compete for its answer."""

    def __init__(self, task: Task, folder: str, train: list[QuestionItem]) -> None:
        self.task = task
        self.threshold = 0.0
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model: nn.Module = AutoModelForQuestionAnswering.from_pretrained(folder)

    def make_windows(self, items: Sequence[QuestionItem]) -> list[Window]:
        """Encode the windows of each question; without answer inside, gold is [CLS]."""
        encoded = self.tokenizer(
            [item.question for item in items],
            [item.context for item in items],
            truncation="only_second",
            max_length=self.task.max_pieces,
            stride=STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        windows = _make_windows(encoded)
        for i, window in enumerate(windows):
            window["item"] = encoded["overflow_to_sample_mapping"][i]
            window["offsets"] = encoded["offset_mapping"][i]
            window["context"] = [part == 1 for part in encoded.sequence_ids(i)]
            window["gold"] = self._gold_places(window, items[window["item"]])
        return windows

    def _gold_places(self, window: Window, item: QuestionItem) -> tuple[int, int]:
        """Give the first and last piece of the answer, or (0, 0) if it is not inside."""
        located = [answer for answer in item.answers if answer[1] >= 0]
        if not located:
            return 0, 0
        text, start = located[0]
        end = start + len(text)
        start += len(text) - len(text.lstrip())
        end -= len(text) - len(text.rstrip())
        pieces = [k for k, inside in enumerate(window["context"]) if inside]
        offsets = window["offsets"]
        if offsets[pieces[0]][0] > start or offsets[pieces[-1]][1] < end:
            return 0, 0
        inside = [k for k in pieces if offsets[k][1] > start and offsets[k][0] < end]
        return (inside[0], inside[-1]) if inside else (0, 0)

    def loss(self, windows: list[Window]) -> Tensor:
        """Compute the mean cross-entropy of the first and last pieces."""
        starts, ends = torch.tensor([window["gold"] for window in windows]).T
        batch = _pad(windows, self.tokenizer)
        return self.model(**batch, start_positions=starts, end_positions=ends).loss

    def predict(self, items: Sequence[QuestionItem], is_dev: bool = False) -> list[str]:
        """Predict one answer per question; on dev, tune the threshold for none."""
        windows = self.make_windows(items)
        best = [(-1e9, "")] * len(items)
        nulls = [1e9] * len(items)
        for ids in _sorted_batches(windows):
            out = self.model(**_pad([windows[i] for i in ids], self.tokenizer))
            for i, starts, ends in zip(ids, out.start_logits, out.end_logits):
                window = windows[i]
                item = window["item"]
                score, first, last = self._best_span(window, starts, ends)
                nulls[item] = min(nulls[item], float(starts[0] + ends[0]))
                if score > best[item][0]:
                    begin, end = window["offsets"][first][0], window["offsets"][last][1]
                    best[item] = (score, items[item].context[begin:end])
        texts = [text for _, text in best]
        if not self.task.has_null:
            return texts
        gaps = [null - score for null, (score, _) in zip(nulls, best)]
        if is_dev:
            self.threshold = tune_threshold([item.texts for item in items], texts, gaps)
        return ["" if gap > self.threshold else text for text, gap in zip(texts, gaps)]

    def _best_span(self, window: Window, starts: Tensor, ends: Tensor) -> tuple[float, int, int]:
        """Give score, first and last piece of the best span in the context."""
        length = len(window["context"])
        outside = ~torch.tensor(window["context"])
        starts = starts[:length].masked_fill(outside, -1e9)
        ends = ends[:length].masked_fill(outside, -1e9)
        scores = starts.unsqueeze(1) + ends.unsqueeze(0)  # (P, P)
        band = torch.ones_like(scores).triu().tril(self.task.max_answer - 1).bool()
        scores = scores.masked_fill(~band, -1e9)
        place = int(scores.argmax())
        return float(scores.max()), place // length, place % length

    def rate(self, name: str, base: float) -> float:
        """Give the learning rate of a parameter."""
        return base


KINDS: dict[str, Any] = {
    "classify": Classifier,
    "regress": Classifier,
    "tag": Tagger,
    "answer": Answerer,
    "choose": Chooser,
}


def run(task: Task, splits: dict[str, list], weights: str, seed: int) -> tuple[Score, Score]:
    """Fine-tune on train, choose the epoch on dev, and score dev and test.

    task (Task): The task.
    splits (dict[str, list]): Items for "train", "dev" and "test".
    weights (str): Alias, folder or hub name of the encoder.
    seed (int): Fixes the head's first weights, the order and the dropout.
    RETURNS (tuple[Score, Score]): Scores on dev and test at the best epoch.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    train = [item for item in splits["train"] if getattr(item, "is_trainable", True)]
    runner = KINDS[task.kind](task, resolve_name(weights), train)
    windows = runner.make_windows(train)
    steps = task.epochs * -(-len(windows) // BATCH_SIZE)
    optimizer, schedule = make_optimizer(runner, encoder_rate(weights), steps)
    best: Score = 0.0
    state: dict[str, Tensor] = {}
    threshold = 0.0
    for epoch in range(task.epochs):
        mean = train_epoch(runner, windows, optimizer, schedule, rng)
        dev = evaluate(runner, splits["dev"], is_dev=True)
        print(f"epoch {epoch + 1}: loss {mean:.4f}, dev {dev}", flush=True)
        if not state or main_score(dev) > main_score(best):
            best = dev
            state = {name: value.clone() for name, value in runner.model.state_dict().items()}
            threshold = getattr(runner, "threshold", 0.0)
    runner.model.load_state_dict(state)
    runner.threshold = threshold
    return best, evaluate(runner, splits["test"])


def make_optimizer(
    runner: Any, base: float, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Make AdamW with one group per parameter, and the warm-up schedule."""
    groups = [
        {
            "params": [parameter],
            "lr": runner.rate(name, base),
            "weight_decay": 0.0 if name.endswith("bias") or "norm" in name.lower() else 0.01,
        }
        for name, parameter in runner.model.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups, lr=base, fused=True)
    warmup = max(1, round(0.1 * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def train_epoch(
    runner: Any, windows: list[Window], optimizer: Any, schedule: Any, rng: random.Random
) -> float:
    """Train on all windows once and return the mean loss."""
    runner.model.train()
    total = 0.0
    batches = list(shuffled_batches(windows, rng))
    for ids in batches:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_bfloat16("cpu")):
            loss = runner.loss([windows[i] for i in ids])
        loss.backward()
        nn.utils.clip_grad_norm_(runner.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        total += loss.item()
    return total / len(batches)


@torch.inference_mode()
def evaluate(runner: Any, items: list, is_dev: bool = False) -> Score:
    """Predict in fp32 and score."""
    runner.model.eval()
    return runner.task.score(items, runner.predict(items, is_dev=is_dev))


def shuffled_batches(windows: list[Window], rng: random.Random) -> Iterator[list[int]]:
    """Yield batches of similar length: sort within random pools, then mix the batches."""
    order = list(range(len(windows)))
    rng.shuffle(order)
    pool = 50 * BATCH_SIZE
    batches = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: len(windows[i]["input_ids"]))
        batches += [part[i : i + BATCH_SIZE] for i in range(0, len(part), BATCH_SIZE)]
    rng.shuffle(batches)
    yield from batches


def _sorted_batches(windows: list[Window]) -> Iterator[list[int]]:
    """Yield batches by length, for prediction."""
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]["input_ids"]))
    for start in range(0, len(order), BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def _make_windows(encoded: Any) -> list[Window]:
    """Split an encoding into one dictionary per window."""
    rows = zip(encoded["input_ids"], encoded["token_type_ids"])
    return [{"input_ids": ids, "token_type_ids": types} for ids, types in rows]


def _pad(windows: list[Window], tokenizer: PreTrainedTokenizerFast) -> dict[str, Tensor]:
    """Stack the windows of a batch to the longest, with their attention mask."""
    ids = [window["input_ids"] for window in windows]
    return {
        "input_ids": _pad_rows(ids, tokenizer.pad_token_id),
        "token_type_ids": _pad_rows([window["token_type_ids"] for window in windows]),
        "attention_mask": _pad_rows([[1] * len(row) for row in ids]),
    }


def _pad_rows(rows: list[list[int]], value: int = 0) -> Tensor:
    """Stack lists of numbers to the longest."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)
