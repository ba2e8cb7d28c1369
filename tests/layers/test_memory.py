"""Freed memory is kept, seen from outside: by the page faults of a process."""

import ctypes
import os
import statistics
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from bert_spacy.layers.memory import keep_freed_memory

if {keep}:
    keep_freed_memory()

def count():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

# Each block is 1 MB smaller than the last, which had 256 pages for each: it fits where the last
# was, even if something small has been put beside or into that place meanwhile.
for megabytes in range(64, 48, -1):
    before = count()
    torch.zeros(megabytes * 2**18)
    print(count() - before)
"""


def count_faults(keep, **environment):
    """Return the page faults of a block of more than 12,288 pages: the median of later ones."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(keep=keep)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return statistics.median(map(int, done.stdout.split()[4:]))


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="needs glibc",
)
def test_freed_memory_is_used_again():
    assert count_faults(keep=False) > 12288
    assert count_faults(keep=True) < 300
    # Who sets malloc up in the environment knows better.
    assert count_faults(keep=True, MALLOC_TRIM_THRESHOLD_="131072") > 12288
