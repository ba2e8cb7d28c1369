"""The example of regression runs and learns its pairs."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "regression.py"


def test_it_learns_its_pairs(bert, capsys):
    if not EXAMPLE.exists():
        pytest.skip("the examples are not installed with the package")
    module = runpy.run_path(str(EXAMPLE))
    module["main"].__globals__["N_STEPS"] = 150  # a tiny model learns slowly at this rate
    module["main"](str(bert))
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    gold, found = np.array(rows, dtype=float).T
    assert len(gold) == 6 and np.corrcoef(gold, found)[0, 1] > 0.5
