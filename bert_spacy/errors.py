"""Every error and warning of the package, with its code.

Bands: 0xx text, 1xx nn, 2xx layers, 3xx pipeline, 4xx data, 5xx scoring and
training, 6xx command line, 8xx weights and files, 9xx should not happen. A message says what is
wrong, the value, what is allowed, and what to do.
"""


class _Coded(type):
    """Prefix each message with its code, as in ``[B401] ...``."""

    def __getattribute__(cls, name: str) -> str:
        message = super().__getattribute__(name)
        return message if name.startswith("_") else f"[{name}] {message}"


class Errors(metaclass=_Coded):
    # 0xx text

    # 1xx nn

    # 2xx layers

    # 3xx pipeline

    # 4xx data

    # 5xx scoring and training

    # 6xx command line

    # 8xx weights and files

    # 9xx should not happen
    B901 = "Internal state is inconsistent: {detail}. Please report this with the text at hand."


class Warnings(metaclass=_Coded):
    # 0xx text

    # 1xx nn

    # 2xx layers

    # 3xx pipeline

    # 4xx data

    # 5xx scoring and training

    # 6xx command line

    # 8xx weights and files
    pass
