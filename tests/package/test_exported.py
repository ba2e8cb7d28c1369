"""What the package offers at top level is listed, documented and real, and loads late."""

import inspect
import subprocess
import sys

import pytest

import bert_spacy
from bert_spacy import targets
from bert_spacy.data import pairs

HOMES = {
    "Answer": pairs,
    "make_choice": pairs,
    "make_pair": pairs,
    "make_question": pairs,
    "make_segments": pairs,
    "set_gold_answers": pairs,
    "set_gold_choice": pairs,
    "set_targets": targets,
}
NAMES = tuple(HOMES)


def run_python(code: str) -> str:
    """Run code in a new process and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return result.stdout.strip()


def test_all_is_sorted_and_complete():
    assert bert_spacy.__all__ == sorted([*NAMES, "__version__"])


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_that_of_its_module_and_documented(name):
    assert getattr(bert_spacy, name) is getattr(HOMES[name], name)
    assert inspect.getdoc(getattr(bert_spacy, name))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'make_pears'"):
        bert_spacy.make_pears  # noqa: B018


def test_names_are_listed_before_anything_heavy_is_loaded():
    code = (
        "import sys, bert_spacy\n"
        "print(*dir(bert_spacy))\n"
        "print(*{'spacy', 'thinc', 'torch', 'transformers', 'numpy'} & set(sys.modules), sep=' ')"
    )
    listed, _, heavy = run_python(code).partition("\n")
    assert set(NAMES) <= set(listed.split())
    assert not heavy


def test_public_names_work_in_a_new_process():
    code = (
        "import spacy\n"
        "from bert_spacy import *\n"
        "nlp = spacy.blank('en')\n"
        "pair = make_pair(nlp, 'One text.', 'Another.')\n"
        "doc = make_question(nlp, 'Who?', 'Ann sings.')\n"
        "set_gold_answers(doc, [{'text': 'Ann', 'start': 0, 'end': 3}], 'q1')\n"
        "item = make_choice(nlp, '', 'Who?', ['Ann', 'Bob'])\n"
        "set_gold_choice(item, 1)\n"
        "print([s.text for s in pair.spans['segments']], [s.text for s in doc.spans['answers']])\n"
        "print([s.text for s in item.spans['chosen']])"
    )
    assert run_python(code) == "['One text.', 'Another.'] ['Ann']\n['Bob']"
