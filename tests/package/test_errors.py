"""Every error has a code, every code a use and a test."""

import ast
import re
from pathlib import Path

import pytest

import bert_spacy
from bert_spacy.errors import Errors, Warnings

SOURCE = Path(bert_spacy.__file__).parent
TESTS = Path(__file__).parents[1]
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "errors.py")
TEXT = {path: path.read_text(encoding="utf-8") for path in FILES}
CODES = [name for table in (Errors, Warnings) for name in vars(table) if re.match(r"BW?\d", name)]
# What leaves a command or ends an iteration carries no message of ours.
UNCODED = {"typer.Exit", "typer.BadParameter", "SystemExit", "StopIteration", "AttributeError"}
# What is always caught by a caller that knows the file, and gets its code there.
UNCODED |= {"MalformedError"}


def test_codes_are_defined_once():
    text = (SOURCE / "errors.py").read_text(encoding="utf-8")
    defined = re.findall(r"^    (BW?\d{3}) = ", text, flags=re.MULTILINE)
    assert len(defined) == len(set(defined))
    assert sorted(defined) == sorted(CODES)


@pytest.mark.parametrize("code", CODES)
def test_code_is_used(code):
    table = "Warnings" if code.startswith("BW") else "Errors"
    assert any(f"{table}.{code}" in text for text in TEXT.values())


def test_used_codes_are_defined():
    used = {code for text in TEXT.values() for code in re.findall(r"\.(BW?\d{3})\b", text)}
    assert used <= set(CODES)


def test_messages_carry_their_code():
    for code in CODES:
        table = Warnings if code.startswith("BW") else Errors
        assert getattr(table, code).startswith(f"[{code}] ")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_raises_and_warnings_use_the_table(path):
    tree = ast.parse(TEXT[path])
    local = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    scopes = {
        id(inner): source
        for outer, source in zip(functions, map(ast.unparse, functions))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            source = ast.unparse(node.exc)
            name = source.split("(")[0]
            if isinstance(node.exc, ast.Name | ast.Attribute) and name[0].islower():
                continue  # an exception that was caught or made elsewhere
            if name in UNCODED or name in local:
                continue
            if isinstance(node.exc, ast.Call) and isinstance(node.exc.args[0], ast.Name):
                source = scopes[id(node)]  # the message was made above
            assert "Errors." in source, f"line {node.lineno}: {source}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            source = ast.unparse(node)
            assert "Warnings." in source, f"line {node.lineno}: {source}"


@pytest.mark.parametrize("code", CODES)
def test_code_is_tested(code):
    assert any(
        code in path.read_text(encoding="utf-8")
        for path in TESTS.rglob("test_*.py")
        if path.name != Path(__file__).name
    )
