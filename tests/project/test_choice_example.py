"""The example of multiple choice trains, and says what it chose and how sure it is."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "choice.py"


def test_it_learns_and_chooses(bert, capsys):
    if not EXAMPLE.exists():
        pytest.skip("the examples are not installed with the package")
    module = runpy.run_path(str(EXAMPLE))
    module["main"](str(bert))
    lines = capsys.readouterr().out.splitlines()
    steps = [line.split(":")[0] for line in lines if line.startswith("step")]
    assert steps == ["step 10", "step 20", "step 30"]
    assert len(lines) == 3 + len(module["NEW"])
    for line, (context, question, choices) in zip(lines[3:], module["NEW"]):
        assert line.startswith(f"{context} {question} -> ")
        chosen, shares = line.split(" -> ")[1].split(" ", 1)
        scores = [float(score) for score in re.findall(r"\d\.\d\d", shares)]
        assert len(scores) == len(choices) and sum(scores) == pytest.approx(1, abs=0.02)
        assert scores[choices.index(chosen)] == max(scores)
