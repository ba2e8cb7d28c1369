"""A teacher and its data for all tests of `distill`."""

import pytest
from spacy.tokens import DocBin

from ...tiny import LINES, make_folder
from ...util import ANY_ENCODER, all_examples, trained


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """Return a folder with a teacher and its data."""
    path = tmp_path_factory.mktemp("distill")
    nlp = trained(make_folder(path / "bert", "bert"), ANY_ENCODER, steps=20)
    nlp.to_disk(path / "teacher")
    docs = [eg.reference for eg in all_examples(nlp, ANY_ENCODER) * 2]
    DocBin(docs=docs).to_disk(path / "data.spacy")
    (path / "texts.txt").write_text("\n".join(line.strip() for line in LINES * 4), encoding="utf-8")
    return path


@pytest.fixture
def values(place):
    data = str(place / "data.spacy")
    return {
        "teacher": str(place / "teacher"),
        "train": [data],
        "dev": [data],
        "student": {"layers": 1, "dropout": 0.0},
        "layers": {"epochs": 2, "learn_rate": 0.003},
        "heads": {"epochs": 2, "learn_rate": 0.003, "temperature": 2.0},
        "training": {"batch_size": 8},
    }
