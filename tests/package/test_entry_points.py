"""The entry points, the decorators and the README name the same things."""

import configparser
import importlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language
from spacy.util import registry

ROOT = Path(__file__).parents[2]
REGISTRIES = {
    "spacy_architectures": registry.architectures,
    "spacy_readers": registry.readers,
    "spacy_batchers": registry.batchers,
    "spacy_scorers": registry.scorers,
    "spacy_callbacks": registry.callbacks,
    "spacy_loggers": registry.loggers,
    "spacy_misc": registry.misc,
    "thinc_optimizers": registry.optimizers,
    "thinc_schedules": registry.schedules,
}


def read_entry_points() -> dict[str, dict[str, str]]:
    """Return the entry points of setup.cfg: group, name, object."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    section = parser["options.entry_points"]
    return {
        group: dict(map(str.strip, line.split("=")) for line in text.strip().splitlines())  # type: ignore[misc]
        for group, text in section.items()
    }


def load(target: str) -> Any:
    """Return the object that an entry point names."""
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


ENTRY_POINTS = read_entry_points()
NAMES = [
    (group, name) for group, names in ENTRY_POINTS.items() for name in names if name != "bert-spacy"
]


def test_every_group_is_known():
    assert set(ENTRY_POINTS) <= {"console_scripts", "spacy_factories", "spacy_cli", *REGISTRIES}


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_entry_point_is_what_the_decorator_registered(group, name):
    found = load(ENTRY_POINTS[group][name])
    if group == "spacy_factories":
        meta = Language.get_factory_meta(name)
        assert meta.factory == name
        assert found.__module__ == "bert_spacy.factories"
    else:
        assert REGISTRIES[group].get(name) is found


def test_every_registered_name_has_an_entry_point():
    for targets in ENTRY_POINTS.values():
        for target in targets.values():
            load(target)
    for group, catalogue in REGISTRIES.items():
        registered = {
            path[-1]
            for path in _registered(catalogue.namespace)
            if path[-1].startswith("bert-spacy.")
        }
        assert registered == set(ENTRY_POINTS.get(group, {})), group


def test_every_factory_has_an_entry_point():
    internal = {
        name
        for name, make in registry._entry_point_factories.get_all().items()
        if make.__module__ == "bert_spacy.factories"
    }
    assert internal == set(ENTRY_POINTS["spacy_factories"])


def test_console_script_is_callable():
    assert callable(load(ENTRY_POINTS["console_scripts"]["bert-spacy"]))


def test_installed_metadata_agrees():
    try:
        distribution = importlib.metadata.distribution("bert-spacy")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("bert-spacy is not installed, only importable")
    installed: dict[str, dict[str, str]] = {}
    for point in distribution.entry_points:
        installed.setdefault(point.group, {})[point.name] = point.value
    assert installed == ENTRY_POINTS, "setup.cfg has changed: install the package again"


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_readme_names_it(group, name):
    assert f"`{name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def _registered(namespace: tuple[str, ...]) -> list[tuple[str, ...]]:
    catalogue = importlib.import_module("catalogue")
    return [path for path in catalogue.REGISTRY if path[: len(namespace)] == tuple(namespace)]
