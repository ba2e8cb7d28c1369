"""Fixtures that every test may ask for: tiny encoders, fixed seeds, one thread."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from spacy.util import fix_random_seed

from .tiny import make_folder

torch.set_num_threads(1)
# A busy machine is no failure, and a run can be repeated.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Make every test start from the same random state."""
    fix_random_seed(0)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a tiny model of an architecture."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_folder(tmp_path_factory.mktemp("tiny") / kind, kind)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def bert(tiny_folder: Callable[[str], Path]) -> Path:
    """Return the folder of a tiny BERT."""
    return tiny_folder("bert")
