"""Every module imports from lower floors alone, and at its top."""

import ast
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

import bert_spacy

SOURCE = Path(bert_spacy.__file__).parent
ROOT = Path(__file__).parents[2]
FLOORS = {
    "errors": 0,
    "types": 0,
    "util": 0,
    "sources": 0,
    "segments": 1,
    "scored": 1,
    "targets": 1,
    "nn": 1,
    "text": 1,
    "layers": 2,
    "data": 2,
    "scoring": 2,
    "training": 2,
    "pipeline": 3,
    "factories": 4,
    "weights": 5,
    "report": 5,
    "glue": 5,
    "cli": 6,
    "__main__": 7,
}
# The package itself offers a few names of data/, loaded when they are first asked for.
EXEMPT = {"__init__"}
# Where an import inside of a function keeps `import bert_spacy` or `--help` light.
LAZY = {"__init__", "factories", "cli"}
FOREIGN = {"nn": {"spacy", "thinc"}, "text": {"spacy", "thinc", "torch", "transformers"}}
LIMIT = 400
FILES = sorted(path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))


def part_of(path: Path) -> str:
    """Return the package or module on the first level that a file belongs to."""
    return path.parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool, bool]]:
    """Yield absolute names of imported modules; inside a function; for type checks alone."""
    tree = ast.parse((SOURCE / path).read_text(encoding="utf-8"))
    package = ("bert_spacy", *path.parts[:-1])
    stack: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    while stack:
        node, inner, typing = stack.pop()
        for child in ast.iter_child_nodes(node):
            stack.append(
                (
                    child,
                    inner or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
                    typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)),
                )
            )
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, inner, typing
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *((node.module,) if node.module else ())))
            if node.module:
                yield stem, inner, typing
            else:
                for alias in node.names:
                    yield f"{stem}.{alias.name}", inner, typing


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_come_from_lower_floors(path):
    part = part_of(path)
    if part in EXEMPT:
        return
    assert part in FLOORS, f"{part} has no floor: give it one here and in ARCHITECTURE.md"
    for name, _, _ in imports(path):
        if not name.startswith("bert_spacy"):
            continue
        other = (name.split(".") + [""])[1]
        if other in ("", part) or (other == "errors" and part != "types"):
            continue
        assert FLOORS[other] < FLOORS[part], f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_inside_of_functions(path):
    if part_of(path) in LAZY:
        return
    inner = [name for name, inside, _ in imports(path) if inside]
    assert not inner, f"{path} imports {inner} inside of a function"


@pytest.mark.parametrize("path", [p for p in FILES if part_of(p) in FOREIGN], ids=str)
def test_low_floors_do_not_see_spacy_or_torch(path):
    roots = {name.split(".")[0] for name, _, _ in imports(path)}
    assert not roots & FOREIGN[part_of(path)]


def test_every_foreign_package_is_a_dependency():
    setup = ConfigParser(delimiters=("=",))
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    declared = setup["options"]["install_requires"] + setup["options.extras_require"]["report"]
    names = {line.split(">")[0].strip().replace("-", "_") for line in declared.splitlines() if line}
    roots = {name.split(".")[0] for path in FILES for name, _, _ in imports(path)}
    foreign = roots - sys.stdlib_module_names - {"bert_spacy"}
    assert foreign <= names


# The table of messages is looked up, not read.
@pytest.mark.parametrize("path", [path for path in FILES if path.name != "errors.py"], ids=str)
def test_files_are_short(path):
    lines = (SOURCE / path).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LIMIT
