"""Processes, as `nlp.pipe(n_process=2)` starts them: each computes on one thread."""

import multiprocessing
import os
from functools import cache

import torch

_TOKENIZERS = "TOKENIZERS_PARALLELISM"


@cache
def prepare_forks() -> None:
    """Let processes that are forked from now on compute on one thread each.

    OpenMP in a fork waits for ever for the threads that its parent had; with one
    thread it starts none. The processes share the cores as it is. The
    tokenizer's own threads are switched off at the fork too, as otherwise it does so
    by itself with a warning; a value of the user's stays.
    """
    if not hasattr(os, "register_at_fork"):
        return
    ours: list[bool] = []

    def before() -> None:
        ours[:] = [_TOKENIZERS not in os.environ]
        os.environ.setdefault(_TOKENIZERS, "false")

    def after_in_parent() -> None:
        if ours and ours[0]:
            os.environ.pop(_TOKENIZERS, None)

    os.register_at_fork(
        before=before,
        after_in_parent=after_in_parent,
        after_in_child=lambda: torch.set_num_threads(1),
    )


def prepare_spawned() -> None:
    """Compute on one thread if this process was started by another: they share the cores."""
    # `parent_process` is not known yet while components are unpickled.
    if multiprocessing.current_process().name != "MainProcess":
        torch.set_num_threads(1)
