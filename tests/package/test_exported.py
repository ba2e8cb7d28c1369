"""The public names of the package, and that importing it stays light."""

import subprocess
import sys

import pytest

import bert_spacy
from bert_spacy.data import pairs

FUNCTIONS = ("Answer", "make_pair", "make_question", "make_segments", "set_gold_answers")


def run_python(code: str) -> str:
    """Run code in a new process and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return result.stdout.strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_name_is_that_of_its_module(name: str) -> None:
    assert getattr(bert_spacy, name) is getattr(pairs, name)


def test_all_lists_every_public_name_and_nothing_else() -> None:
    assert sorted(bert_spacy.__all__) == sorted([*FUNCTIONS, "__version__"])


def test_star_import_gives_all_names() -> None:
    namespace: dict[str, object] = {}
    exec("from bert_spacy import *", namespace)
    assert {*FUNCTIONS, "__version__"} <= set(namespace)


def test_dir_lists_names_before_they_are_imported() -> None:
    listed = run_python("import bert_spacy; print(*dir(bert_spacy))").split()
    assert set(FUNCTIONS) <= set(listed)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'make_pears'"):
        bert_spacy.make_pears  # noqa: B018


def test_import_loads_neither_spacy_nor_torch() -> None:
    heavy = "{'spacy', 'thinc', 'torch', 'transformers', 'numpy'}"
    code = f"import sys, bert_spacy; print(sorted({heavy} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_pairs_are_made_through_the_public_names() -> None:
    code = (
        "import spacy, bert_spacy\n"
        "nlp = spacy.blank('en')\n"
        "pair = bert_spacy.make_pair(nlp, 'One text.', 'Another.')\n"
        "doc = bert_spacy.make_question(nlp, 'Who?', 'Ann sings.')\n"
        "bert_spacy.set_gold_answers(doc, [{'text': 'Ann', 'start': 0, 'end': 3}], 'q1')\n"
        "print([s.text for s in pair.spans['segments']], [s.text for s in doc.spans['answers']])"
    )
    assert run_python(code) == "['One text.', 'Another.'] ['Ann']"
