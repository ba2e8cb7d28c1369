"""Time LinearChainCRF against the pytorch-crf package and print one JSON line.

    pip install pytorch-crf && python -m benchmarks.crf

The two run in turn, so that a slow spell of the machine hits both; a ratio above 1 means that ours
is faster. Before timing, likelihoods and paths of both are compared.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torchcrf import CRF

from bert_spacy.nn.crf import LinearChainCRF


def run_in_turn(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Time each call once per round, in seconds, after three rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 3):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if i >= 3:
                times[name].append(time.perf_counter() - begin)
    return times


def make_inputs(batch: int, length: int, n_tags: int, is_ragged: bool) -> tuple[Tensor, ...]:
    """Draw emissions, tags and mask; ragged lengths lie between half and full length."""
    emissions = torch.randn(batch, length, n_tags) * 3
    tags = torch.randint(n_tags, (batch, length))
    lengths = torch.full((batch,), length)
    if is_ragged:
        lengths[1:] = torch.randint(length // 2, length + 1, (batch - 1,))
    return emissions, tags, torch.arange(length) < lengths[:, None]


def compare(batch: int, length: int, n_tags: int, is_ragged: bool, rounds: int) -> dict[str, float]:
    """Give median milliseconds and median ratios (theirs / ours) for one shape."""
    emissions, tags, mask = make_inputs(batch, length, n_tags, is_ragged)
    theirs, ours = CRF(n_tags, batch_first=True), LinearChainCRF(n_tags)
    with torch.no_grad():
        ours.transitions.copy_(theirs.transitions)
        ours.start.copy_(theirs.start_transitions)
        ours.end.copy_(theirs.end_transitions)
    expected = theirs(emissions, tags, mask, reduction="none")
    torch.testing.assert_close(ours.log_likelihood(emissions, tags, mask), expected)
    paths = [path[: len(row)] for path, row in zip(ours.decode(emissions, mask)[0].tolist(), mask)]
    lengths = mask.sum(1).tolist()
    assert [path[:n] for path, n in zip(paths, lengths)] == theirs.decode(emissions, mask)
    leaf = emissions.requires_grad_()

    def train_ours() -> None:
        ours.log_likelihood(leaf, tags, mask).sum().backward()

    def train_theirs() -> None:
        theirs(leaf, tags, mask).backward()

    def decode_ours() -> None:
        ours.decode(leaf.detach(), mask)

    def decode_theirs() -> None:
        theirs.decode(leaf.detach(), mask)

    result = {}
    pairs = {"train": (train_ours, train_theirs), "decode": (decode_ours, decode_theirs)}
    for name, (mine, other) in pairs.items():
        times = run_in_turn({"ours": mine, "theirs": other}, rounds)
        ratios = [b / a for a, b in zip(times["ours"], times["theirs"])]
        result[f"{name}_ms"] = round(1000 * median(times["ours"]), 2)
        result[f"{name}_ratio"] = round(median(ratios), 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--tags", type=int, default=21)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    result = {
        name: compare(args.batch, args.length, args.tags, is_ragged, args.rounds)
        for name, is_ragged in (("full", False), ("ragged", True))
    }
    print(json.dumps({"shape": [args.batch, args.length, args.tags], **result}))


if __name__ == "__main__":
    main()
