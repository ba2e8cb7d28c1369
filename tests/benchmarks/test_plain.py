from types import SimpleNamespace

import torch

from benchmarks import plain


class _Runner:
    def __init__(self, *args):
        self.model = torch.nn.Linear(1, 1)

    def make_windows(self, items):
        return [0]

    def rate(self, name, base):
        return base


def test_a_correlation_below_zero_is_kept(monkeypatch):
    scores = iter([-3.0, -2.0, -4.0, 5.0])
    monkeypatch.setitem(plain.KINDS, "regress", _Runner)
    monkeypatch.setattr(plain, "resolve_name", lambda name: name)
    monkeypatch.setattr(plain, "train_epoch", lambda *args: 0.0)
    monkeypatch.setattr(plain, "evaluate", lambda *args, **kwargs: next(scores))
    task = SimpleNamespace(kind="regress", epochs=3)
    splits = {"train": [], "dev": [], "test": []}
    assert plain.run(task, splits, "bert-base-cased", 0) == (-2.0, 5.0)
