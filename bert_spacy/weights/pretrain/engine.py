"""transformers' Trainer, with losses that do not depend on the number of processes."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import get_scheduler
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer import Trainer
from transformers.training_args import TrainingArguments

from ...errors import Errors
from .examples import Examples, Share, collate
from .packing import NO_PAIR
from .settings import Settings
from .task import PretrainTask

# Written last into a checkpoint; without it the folder is a torn one.
COMPLETE = "complete"
DEFAULTS = {
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "logging_steps": 10,
    "save_steps": 500,
    "eval_steps": 500,
    "save_total_limit": 2,
    "report_to": "none",
}


def make_arguments(
    settings: Settings, work: Path, logs: Path, use_cpu: bool | None = None
) -> TrainingArguments:
    """Make the Trainer's settings; a step is the same for any number of processes.

    settings (Settings): The config.
    work (Path): Folder for checkpoints.
    logs (Path): Folder for the curves of TensorBoard, unless the config names one.
    use_cpu (bool | None): Compute on the CPU, or not; None to go by the config.
    RETURNS (TrainingArguments): The settings. With them, the processes have found each other.
    RAISES (ValueError): B701 if the windows of a step cannot be shared by the processes, or
        for a value that transformers does not take, or a logger that is not installed; B709
        for one process with several GPUs.
    """
    given = {**DEFAULTS, "logging_dir": str(logs), **settings.trainer}
    if use_cpu is not None:
        given["use_cpu"] = use_cpu
    if not torch.cuda.is_available():
        given.setdefault("use_cpu", True)
    try:
        args = TrainingArguments(
            output_dir=str(work / "checkpoints"),
            seed=settings.main.seed,
            eval_strategy="steps",
            save_strategy="steps",
            save_safetensors=True,
            ddp_find_unused_parameters=False,
            **given,
        )
        _try_schedule(args)
    except (TypeError, ValueError, ImportError) as err:
        allowed = f"what TrainingArguments of transformers takes, but: {err}"
        raise ValueError(
            Errors.B701.format(name="trainer", value=settings.trainer, allowed=allowed)
        ) from err
    if args.fp16 and args.device.type == "cpu":
        allowed = "false on a CPU, which computes in bf16 or float32"
        raise ValueError(Errors.B701.format(name="trainer.fp16", value=True, allowed=allowed))
    loggers = get_available_reporting_integrations()
    if missing := set(args.report_to or ()).difference(loggers):
        allowed = f"none, or what is installed: {', '.join(loggers) or 'nothing'}"
        raise ValueError(
            Errors.B701.format(
                name="trainer.report_to", value=", ".join(sorted(missing)), allowed=allowed
            )
        )
    if args.n_gpu > 1:
        raise ValueError(Errors.B709.format(n_gpu=args.n_gpu))
    total = settings.main.batch_size
    if total % args.world_size:
        allowed = f"a multiple of the {args.world_size} processes"
        raise ValueError(
            Errors.B701.format(name="pretrain.batch_size", value=total, allowed=allowed)
        )
    own = total // args.world_size
    rounds = next(
        n for n in range(1, own + 1) if not own % n and own // n <= settings.main.device_batch
    )
    args.per_device_train_batch_size = own // rounds
    args.gradient_accumulation_steps = rounds
    return args


def _try_schedule(args: TrainingArguments) -> None:
    """Make optimizer and schedule for nothing: the Trainer makes them when all has been read."""
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(args)
    schedule = get_scheduler(
        args.lr_scheduler_type,
        kind([torch.nn.Parameter(torch.zeros(1))], **settings),
        args.get_warmup_steps(args.max_steps),
        args.max_steps,
        scheduler_specific_kwargs=args.lr_scheduler_kwargs,
    )
    schedule.lr_lambdas[0](args.max_steps - 1)


def find_checkpoint(work: Path) -> Path | None:
    """Return the newest complete checkpoint of a stopped run."""
    folders = [path.parent for path in (work / "checkpoints").glob(f"checkpoint-*/{COMPLETE}")]
    return max(folders, key=lambda path: int(path.name.split("-")[1]), default=None)


class PretrainTrainer(Trainer):
    """Gives each process its examples, adds up losses over all, and keeps weights alone.

    task (PretrainTask): The model.
    args (TrainingArguments): From `make_arguments`.
    train (Examples): What is learnt.
    dev (Examples): Held-out text.
    pad_id (int): Id of the padding piece.
    dev_windows (int): Most held-out windows, 0 for all.
    frequent_id (int): The piece that a guess without reading would be.
    """

    def __init__(
        self,
        task: PretrainTask,
        args: TrainingArguments,
        train: Examples,
        dev: Examples,
        pad_id: int,
        dev_windows: int,
        frequent_id: int,
    ):
        self.task, self.train_examples, self.dev_examples = task, train, dev
        self.collate = partial(collate, pad_id=pad_id)
        self.frequent_id = frequent_id
        n_dev = min(dev.n_windows, dev_windows or dev.n_windows)
        share = Share(args.process_index, args.world_size, n_dev)
        self.dev_share = Subset(dev, list(share))
        super().__init__(task, args, train_dataset=train, eval_dataset=self.dev_share)
        # `compute_loss` has divided by all pieces of a step already.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> DataLoader:
        """Return the examples of this process; a resumed run passes over numbers, not text."""
        args = self.args
        total = args.max_steps * args.gradient_accumulation_steps * args.world_size
        share = Share(args.process_index, args.world_size, total * args.per_device_train_batch_size)
        return DataLoader(
            self.train_examples,
            batch_size=args.per_device_train_batch_size,
            sampler=share,
            collate_fn=self.collate,
            num_workers=args.dataloader_num_workers,
        )

    def get_batch_samples(self, epoch_iterator: Iterator, *rest: Any) -> tuple[list, Tensor | None]:
        """Return the batches of a step, and its hidden pieces and pairs in all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, *rest)
        counts = torch.zeros(2, device=self.args.device)
        for batch in batches:
            counts += counts.new_tensor([len(batch["labels"]), (batch["pairs"] != NO_PAIR).sum()])
        return batches, self.accelerator.reduce(counts, "sum").clamp(min=1)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Return this process's part of the loss of the step.

        Gradients are averaged over the processes, so each part counts that many times.
        """
        words, pairs, _ = model(**inputs)
        counts = num_items_in_batch
        loss = words / counts[0] + pairs / counts[1] if counts is not None else words + pairs
        return loss * self.args.world_size

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure on the held-out text, each process on its share, once for each step."""
        for row in self.state.log_history:  # that of a stopped run as well
            if row.get("step") == self.state.global_step and "eval_loss" in row:
                names = (name for name in row if name.startswith("eval_"))
                return {name.removeprefix("eval_"): row[name] for name in names}
        task = self.task.eval()
        sums = torch.zeros(7, dtype=torch.float64)
        loader = DataLoader(
            self.dev_share,
            batch_size=self.args.per_device_train_batch_size,
            collate_fn=self.collate,
        )
        for batch in loader:
            labels, pairs = batch["labels"], batch["pairs"]
            with torch.inference_mode(), self.compute_loss_context_manager():
                words, sentences, right = task(**self._prepare_inputs(batch))
            sums += torch.tensor(
                [
                    words.item(),
                    len(labels),
                    right[0].item(),
                    (labels == self.frequent_id).sum().item(),
                    sentences.item(),
                    (pairs != NO_PAIR).sum().item(),
                    right[1].item(),
                ],
                dtype=torch.float64,
            )
        metrics = summarize(self.accelerator.reduce(sums.to(self.args.device), "sum").tolist())
        self.log({f"eval_{name}": value for name, value in metrics.items()})
        return metrics

    def log(self, logs: dict[str, float], *rest: Any) -> None:
        """Log, with the number of times that the corpus was seen as "epoch"."""
        args = self.args
        per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.state.epoch = self.state.global_step * per_step / self.train_examples.n_windows
        super().log(logs, *rest)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.task.model.save_pretrained(output_dir, safe_serialization=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint) / "model.safetensors"
        # Tied weights are there once.
        self.task.model.load_state_dict(load_file(path), strict=False)
        self.task.model.tie_weights()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.args.device.type != "cpu":
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # Of several processes the Trainer asks torch for the device "cpu:0", which it refuses.
        parts: list[tuple[Any, str]] = [
            (self.optimizer, "optimizer.pt"),
            (self.lr_scheduler, "scheduler.pt"),
        ]
        for part, name in parts:
            state = torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            part.load_state_dict(state)

    def _rotate_checkpoints(self, use_mtime: bool = False, output_dir: Any = None) -> None:
        # Their numbers tell the order; times may be the same.
        super()._rotate_checkpoints(use_mtime=False, output_dir=output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self.args.output_dir or "") / f"checkpoint-{self.state.global_step}"
            (folder / COMPLETE).touch()


def summarize(sums: list[float]) -> dict[str, float]:
    """Turn sums over the held-out text into what is shown.

    sums (list[float]): Loss of hidden pieces, their number, how many were right, and how many
        are the most frequent piece; loss of pairs, their number, how many were right.
    RETURNS (dict[str, float]): "loss", "perplexity", "masked_accuracy", "frequent_accuracy"
        and, with a sentence task, "sentence_loss" and "sentence_accuracy".
    """
    word_loss, n_words, right, frequent, pair_loss, n_pairs, pairs_right = sums
    n_words = max(n_words, 1.0)
    loss = word_loss / n_words
    metrics = {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "masked_accuracy": right / n_words,
        "frequent_accuracy": frequent / n_words,
    }
    if n_pairs:
        metrics["sentence_loss"] = pair_loss / n_pairs
        metrics["sentence_accuracy"] = pairs_right / n_pairs
    return metrics
