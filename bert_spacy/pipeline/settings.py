"""Settings of components, whose one place is the config, and checks of what is fitted."""

from collections.abc import Mapping, Sequence
from typing import Any

from spacy.language import Language

from ..errors import Errors
from ..util import is_finite


def check_value(name: str, what: str, value: Any, allowed: str, is_good: bool) -> None:
    """Refuse a value that cannot be.

    name (str): Name of the component.
    what (str): What has the value.
    value (Any): The value.
    allowed (str): What it may be, in words.
    is_good (bool): Whether it is.
    RAISES (ValueError): B307 if not.
    """
    if not is_good:
        message = Errors.B307.format(what=what, allowed=allowed, value=value, name=name)
        raise ValueError(message)


def check_thresholds(
    name: str, labels: Sequence[str], thresholds: Any, *, with_zero: bool
) -> dict[str, float]:
    """Look whether thresholds of labels are possible.

    name (str): Name of the component.
    labels (Sequence[str]): Its labels.
    thresholds (Any): By label, 0..1; some may be missing.
    with_zero (bool): Whether one may be 0.
    RETURNS (dict[str, float]): The same as plain numbers.
    RAISES (ValueError): B330 for a label that does not exist; B307 for a value out of range.
    """
    is_table = isinstance(thresholds, Mapping)
    check_value(name, "thresholds", thresholds, "a table of numbers by label", is_table)
    for label, value in thresholds.items():
        if label not in labels:
            raise ValueError(Errors.B330.format(label=label, name=name, labels=list(labels)))
        is_good = is_finite(value) and 0 <= value <= 1 and (with_zero or value > 0)
        allowed = "in 0..1" if with_zero else "above 0 and at most 1"
        check_value(name, f"The threshold of {label!r}", value, allowed, is_good)
    return {label: float(value) for label, value in thresholds.items()}


def change_setting(pipe: Any, nlp: Language | None, name: str, value: Any) -> None:
    """Change a setting of a component, and with it the config of its pipeline, which is saved.

    pipe (Any): The component; the setting is an attribute of it.
    nlp (Language | None): The pipeline, if the component is in one.
    name (str): The setting.
    value (Any): Its new value.
    """
    setattr(pipe, name, value)
    if nlp is None:
        return
    for known, other in nlp.components:
        if other is pipe:
            nlp.get_pipe_config(known)[name] = value


def take_old_settings(
    found: dict[str, Any], pipe: Any, nlp: Language | None, usual: Mapping[str, Any]
) -> None:
    """Take the settings out of a cfg, where they were kept before, and overruled the config.

    One to which the config gives another value than the usual stays as the config has it.

    found (dict[str, Any]): The cfg, changed in place.
    pipe (Any): The component.
    nlp (Language | None): The pipeline, if the component is in one.
    usual (Mapping[str, Any]): The factory's own value of each setting.
    RAISES (ValueError): B307 for a value of another kind.
    """
    for name, default in usual.items():
        value = found.pop(name, default)
        is_switch = isinstance(default, bool)
        allowed = "true or false" if is_switch else "a finite number"
        is_good = isinstance(value, bool) if is_switch else is_finite(value)
        check_value(pipe.name, name, value, allowed, is_good)
        if value != default and getattr(pipe, name) == default:
            change_setting(pipe, nlp, name, value)
