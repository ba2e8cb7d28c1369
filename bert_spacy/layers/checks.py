"""Checks of the numbers in a model's settings."""

import math
from typing import Any

from ..errors import Errors
from ..util import is_finite


def check_number(name: str, value: Any, high: float = math.inf) -> None:
    """Look whether a setting is a number that makes sense.

    name (str): The setting.
    value (Any): Its value.
    high (float): The largest that is allowed.
    RAISES (ValueError): B211 if it is below 0, above `high` or not finite.
    """
    if not is_finite(value) or not 0 <= value <= high:
        allowed = "a finite number, 0 or more" if high == math.inf else f"a number from 0 to {high}"
        raise ValueError(Errors.B211.format(name=name, value=value, allowed=allowed))


def check_width(name: str, value: Any) -> None:
    """Look whether a width is a whole number, 0 or more.

    name (str): The setting.
    value (Any): Its value.
    RAISES (ValueError): B211 if it is not.
    """
    if not isinstance(value, int) or value < 0:
        allowed = "a whole number, 0 or more"
        raise ValueError(Errors.B211.format(name=name, value=value, allowed=allowed))
