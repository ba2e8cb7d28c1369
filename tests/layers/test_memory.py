"""Freed memory is kept, seen from outside: by the page faults of a process."""

import ctypes
import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from bert_spacy.layers.memory import keep_freed_memory

if {keep}:
    keep_freed_memory()

def faults():
    for _ in range(5):
        torch.zeros(64 * 2**18)  # 64 MB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

faults()
before = faults()
print(faults() - before)
"""


def count_faults(keep, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="needs glibc",
)
def test_freed_memory_is_used_again():
    assert count_faults(keep=False) > 16384
    assert count_faults(keep=True) < 1000
    # Who sets malloc up in the environment knows better.
    assert count_faults(keep=True, MALLOC_TRIM_THRESHOLD_="131072") > 16384
