"""The documents name the settings and options that there are, with their defaults."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bert_spacy.data.convert.formats import FORMATS
from bert_spacy.defaults import DEFAULTS

from .test_entry_points import ENTRY_POINTS, load

DOCS = Path(__file__).parents[2] / "docs"
NEEDED = inspect.Parameter.empty
MULTILABEL = "bert_textcat_multilabel"
GROUPS = ("architectures", "readers", "batchers", "scorers")
FUNCTIONS = {
    name: target
    for group, names in ENTRY_POINTS.items()
    if group in {*(f"spacy_{kind}" for kind in GROUPS), "thinc_optimizers"}
    for name, target in names.items()
}
HEAD_SETTINGS = {"name", "nlp", "model", "scorer", "encoder"}


def read_tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return heading, setting, default of all tables with these columns."""
    found: dict[str, dict[str, Any]] = {}
    heading = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif match := re.match(r"\| `([^`]+)` \| (`[^`]+`|needed) \|", line):
            value = match[2].strip("`")
            default = NEEDED if value == "needed" else json.loads(value)
            found.setdefault(heading, {})[match[1]] = default
    return found


def settings_of(target: str) -> dict[str, Any]:
    """Return the settings of a registered function with their defaults."""
    parameters = inspect.signature(load(target)).parameters
    return {name: p.default for name, p in parameters.items() if name != "encoder"}


@pytest.fixture(scope="module")
def tables():
    return read_tables(DOCS / "settings.md")


@pytest.mark.parametrize("factory", [name for name in DEFAULTS if name != MULTILABEL])
def test_settings_of_components_are_those_of_the_document(tables, factory):
    heading = next(key for key in tables if key.startswith(f"`{factory}`"))
    found = {k: v for k, v in tables[heading].items() if f".{MULTILABEL}." not in k}
    assert found == {
        f"components.{factory}.{path}": value for path, value in flatten(factory).items()
    }


def test_a_classifier_of_several_labels_has_one_more(tables):
    plain, multilabel = flatten("bert_textcat"), flatten(MULTILABEL)
    more = {k: v for k, v in multilabel.items() if k not in plain}
    assert {k: v for k, v in multilabel.items() if k in plain} == plain
    rows = tables["`bert_textcat` and `bert_textcat_multilabel`"].items()
    found = {k: v for k, v in rows if f".{MULTILABEL}." in k}
    assert found == {f"components.{MULTILABEL}.{k}": v for k, v in more.items()}


@pytest.mark.parametrize("factory", list(DEFAULTS))
def test_defaults_of_components_are_those_of_their_functions(factory):
    parameters = set(inspect.signature(load(ENTRY_POINTS["spacy_factories"][factory])).parameters)
    model = settings_of(FUNCTIONS[DEFAULTS[factory]["model"]["@architectures"]])
    expected = (parameters - HEAD_SETTINGS) | {f"model.{name}" for name in model}
    found = flatten(factory)
    assert set(found) == expected
    assert all(found[f"model.{k}"] == v for k, v in model.items() if v is not NEEDED)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_settings_of_functions_are_those_of_the_document(tables, name):
    models = {defaults["model"]["@architectures"] for defaults in DEFAULTS.values()}
    if name not in models:  # those stand with their components
        assert tables.get(f"`{name}`", {}) == settings_of(FUNCTIONS[name])


def test_options_of_formats_are_those_of_the_document():
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if match := re.match(r"\| `--([\w-]+)[^|]*\| ([^|]+) \| [^|]+ \|$", line):
            found[match[1].replace("-", "_")] = set(re.findall(r"`(\w+)`", match[2]))
    expected: dict[str, set[str]] = {}
    for name, form in FORMATS.items():
        fields = dataclasses.fields(form.options) if dataclasses.is_dataclass(form.options) else ()
        for item in fields:
            expected.setdefault(item.name, set()).add(name)
    assert found == expected


def test_every_format_and_every_general_option_is_in_the_document():
    text = (DOCS / "data.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in FORMATS)
    for flag in ("lang", "shard-size", "errors", "strict", "allow-bad"):
        assert f"`--{flag}" in text


def test_links_lead_to_files():
    root = DOCS.parent
    for path in (*root.glob("*.md"), *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def flatten(factory: str) -> dict[str, Any]:
    """Return the settings of a component and its model by path."""
    defaults = DEFAULTS[factory]
    own = {k: v for k, v in defaults.items() if k not in ("model", "scorer")}
    model = {k: v for k, v in defaults["model"].items() if k not in ("@architectures", "encoder")}
    return {**own, **{f"model.{k}": v for k, v in model.items()}}
