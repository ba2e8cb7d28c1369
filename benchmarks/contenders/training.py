"""Loops of training a classifier in torch and Transformers alone, and in the Trainer."""

import tempfile
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.contenders.common import hooked_means, read_inputs, walk_batches

RATE = 5e-5


class Loop:
    """Forward, backward, clip, step; fp32 and torch's AdamW.

    settings (dict): "classifier" (a Hugging Face folder), "batches" and perhaps "steps" (a run);
        "pad_to" pads every text to that many pieces, as tutorials do; "fused" asks for the fused
        optimiser, "bf16" for autocast.
    """

    def __init__(self, settings: dict[str, Any]):
        self.inputs = read_inputs(settings)
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings["classifier"])
        self.model = AutoModelForSequenceClassification.from_pretrained(settings["classifier"])
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=RATE,
            weight_decay=0.01,
            fused=True if settings.get("fused") else None,
        )
        self.walk = walk_batches(self.inputs, settings)

    def tokenize(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Pad a batch to its longest text, or to the fixed length."""
        pad_to = self.settings.get("pad_to")
        return self.tokenizer(
            texts,
            padding="max_length" if pad_to else True,
            max_length=pad_to or 512,
            truncation=True,
            return_tensors="pt",
        )

    def answers(self) -> dict[str, np.ndarray]:
        """Give hidden states before any step, then take some steps."""
        self.model.eval()
        with torch.no_grad():
            hidden = hooked_means(
                self.model.bert,
                lambda text: self.model(**self.tokenizer([text], return_tensors="pt")),
                self.inputs["check"],
            )
        self.run()
        return {"hidden": hidden}

    def run(self) -> int:
        """Take as many steps as the settings say; return the examples."""
        self.model.train()
        done = 0
        for batch in next(self.walk):
            labels = torch.tensor([self.inputs["labels"][i] for i in batch])
            encoded = self.tokenize([self.inputs["sentences"][i] for i in batch])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.get("bf16", False)):
                loss = self.model(**encoded, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            done += len(batch)
        return done


class TrainerLoop:
    """`transformers.Trainer` with `group_by_length`, its dynamic padding and defaults.

    settings (dict): As of `Loop`, without "pad_to" and "fused".
    """

    def __init__(self, settings: dict[str, Any]):
        import accelerate  # noqa: F401 - without it the Trainer fails late and at length

        self.inputs = read_inputs(settings)
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings["classifier"])
        self.model = AutoModelForSequenceClassification.from_pretrained(settings["classifier"])
        self.folder = tempfile.TemporaryDirectory()
        ids = self.tokenizer(self.inputs["sentences"])["input_ids"]
        self.rows = [{"input_ids": x, "labels": y} for x, y in zip(ids, self.inputs["labels"])]
        self.walk = walk_batches(self.inputs, settings)

    def answers(self) -> dict[str, np.ndarray]:
        """Give hidden states before any step, then take some steps."""
        self.model.eval()
        with torch.no_grad():
            hidden = hooked_means(
                self.model.bert,
                lambda text: self.model(**self.tokenizer([text], return_tensors="pt")),
                self.inputs["check"],
            )
        self.run()
        return {"hidden": hidden}

    def run(self) -> dict[str, float]:
        """Train on the sentences of as many batches as the settings say.

        RETURNS (dict[str, float]): The examples, and the seconds of the steps as the Trainer
            counts them: what it does once before, the other loops have done when they start.
        """
        from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

        rows = [self.rows[i] for batch in next(self.walk) for i in batch]
        arguments = TrainingArguments(
            self.folder.name,
            per_device_train_batch_size=16,
            num_train_epochs=1,
            learning_rate=RATE,
            group_by_length=True,
            bf16=self.settings.get("bf16", False),
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(self.tokenizer)
        trainer = Trainer(self.model, arguments, train_dataset=rows, data_collator=collator)
        return {"units": len(rows), "seconds": trainer.train().metrics["train_runtime"]}
