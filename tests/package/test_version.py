"""One version: in the package, in its metadata and on top of the changelog."""

import importlib.metadata
import re
from pathlib import Path

import pytest

import bert_spacy

ROOT = Path(__file__).parents[2]


def test_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## (\S+)", text, flags=re.MULTILINE)
    assert found
    assert found.group(1) == bert_spacy.__version__


def test_metadata_has_this_version():
    try:
        version = importlib.metadata.version("bert-spacy")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("bert-spacy is not installed, only importable")
    assert version == bert_spacy.__version__, "install the package again"


def test_version_is_a_plain_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", bert_spacy.__version__)
