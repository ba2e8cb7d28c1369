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
    B400 = (
        "Cannot join segments: got {texts} texts and {labels} labels. "
        "Give one label per text and at least one text."
    )
    B402 = (
        "Answers need a Doc with a question and a context, and this one has none: {text!r}. "
        "Make it with bert_spacy.make_question(nlp, question, context)."
    )
    B403 = (
        "Answer [{start}, {end}) does not lie in the context of {limit} characters. "
        "Give character offsets within the context, start <= end."
    )

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
