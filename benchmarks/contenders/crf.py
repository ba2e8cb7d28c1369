"""A linear-chain CRF alone, ours and pytorch-crf, on the same scores."""

from typing import Any

import numpy as np
import torch

from benchmarks.contenders.common import read_inputs
from benchmarks.crf import make_inputs
from bert_spacy.nn.crf import LinearChainCRF

REPEATS = 20


class Crf:
    """Likelihood and backward, or decoding; "task" is "train" or "decode".

    settings (dict): "shape" (batch, length, tags), "task".
    """

    def __init__(self, settings: dict[str, Any]):
        read_inputs(settings)
        self.is_training = settings["task"] == "train"
        emissions, self.tags, self.mask = make_inputs(*settings["shape"], is_ragged=True)
        self.emissions = emissions.requires_grad_()
        n = settings["shape"][2]
        self.weights = [torch.randn(n, n) / 4, torch.randn(n) / 4, torch.randn(n) / 4]
        self.build(n)

    def build(self, n_tags: int) -> None:
        """Make the layer with the shared weights."""
        raise NotImplementedError

    def likelihood(self) -> torch.Tensor:
        """Give the log-likelihood of each sequence. Shape (B,)."""
        raise NotImplementedError

    def decode(self) -> list[list[int]]:
        """Give the best path of each sequence."""
        raise NotImplementedError

    def answers(self) -> dict[str, np.ndarray]:
        """Give likelihoods and paths."""
        paths = [tag for path in self.decode() for tag in path]
        self.run()
        return {"likelihood": self.likelihood().detach().numpy(), "path": np.array(paths)}

    def run(self) -> int:
        """Do the task some times; return how often."""
        for _ in range(REPEATS):
            if self.is_training:
                self.likelihood().sum().backward()
            else:
                with torch.no_grad():
                    self.decode()
        return REPEATS


class Ours(Crf):
    """`bert_spacy.nn.crf.LinearChainCRF`."""

    def build(self, n_tags: int) -> None:
        """Make the layer with the shared weights."""
        self.crf = LinearChainCRF(n_tags)
        with torch.no_grad():
            for name, value in zip(("transitions", "start", "end"), self.weights):
                getattr(self.crf, name).copy_(value)

    def likelihood(self) -> torch.Tensor:
        """Give the log-likelihood of each sequence. Shape (B,)."""
        return self.crf.log_likelihood(self.emissions, self.tags, self.mask)

    def decode(self) -> list[list[int]]:
        """Give the best path of each sequence."""
        best, _ = self.crf.decode(self.emissions.detach(), self.mask)
        lengths = self.mask.sum(1).tolist()
        return [path[:n] for path, n in zip(best.tolist(), lengths)]


class PytorchCrf(Crf):
    """`torchcrf.CRF` of the package pytorch-crf."""

    def build(self, n_tags: int) -> None:
        """Make the layer with the shared weights."""
        from torchcrf import CRF

        self.crf = CRF(n_tags, batch_first=True)
        with torch.no_grad():
            names = ("transitions", "start_transitions", "end_transitions")
            for name, value in zip(names, self.weights):
                getattr(self.crf, name).copy_(value)

    def likelihood(self) -> torch.Tensor:
        """Give the log-likelihood of each sequence. Shape (B,)."""
        return self.crf(self.emissions, self.tags, self.mask, reduction="none")

    def decode(self) -> list[list[int]]:
        """Give the best path of each sequence."""
        return self.crf.decode(self.emissions.detach(), self.mask)
