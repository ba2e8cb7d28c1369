"""What contenders share: threads, inputs, and hidden states to compare.

Imports nothing of bert_spacy, as some contenders live where it is not installed.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def read_inputs(settings: dict[str, Any]) -> dict[str, Any]:
    """Set the number of threads and read the texts of the run."""
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    return json.loads(Path(settings["inputs"]).read_text(encoding="utf8"))


def walk_batches(inputs: dict[str, Any], settings: dict[str, Any]) -> Iterator[list[list[int]]]:
    """Yield the training batches of one run after the other, the same for all contenders.

    inputs (dict): "batches", through which the runs walk round and round.
    settings (dict): "batches" (by which a run moves on); "steps" takes so many of them alone.
    YIELDS (list[list[int]]): Numbers of sentences in each batch.
    """
    batches = itertools.cycle(inputs["batches"])
    while True:
        yield list(itertools.islice(batches, settings["batches"]))[: settings.get("steps")]


def hooked_means(module: nn.Module, run: Callable[[str], Any], texts: Sequence[str]) -> np.ndarray:
    """Give the mean hidden state of the pieces of each text, special ones left out.

    module (nn.Module): The Hugging Face encoder inside of a contender.
    run (Callable): Runs the contender on one text.
    texts (Sequence[str]): Texts that fit into one window.
    RETURNS (np.ndarray): Shape (len(texts), H).
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output.last_hidden_state
        seen.append(hidden.detach().float())

    hook = module.register_forward_hook(keep)
    means = []
    for text in texts:
        seen.clear()
        run(text)
        if len(seen) != 1 or seen[0].shape[0] != 1:
            raise ValueError(f"one text made {len(seen)} calls of the encoder")
        means.append(seen[0][0, 1:-1].mean(0).numpy())
    hook.remove()
    return np.stack(means)
