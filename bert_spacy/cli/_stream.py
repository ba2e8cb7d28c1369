"""Run a pipeline over rows so that one bad text costs that text alone."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, cast

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import raise_error

from ._rows import BadRow, InputRow, make_doc


def stream(
    nlp: Language,
    rows: Iterable[InputRow | BadRow],
    *,
    batch_size: int | None = None,
    n_process: int = 1,
) -> Iterator[tuple[InputRow, Doc] | BadRow]:
    """Process rows in batches, and those of a batch that failed one by one.

    nlp (Language): The pipeline. Its error handler is replaced meanwhile.
    rows (Iterable[InputRow | BadRow]): The rows; bad ones are passed on.
    batch_size (int): Docs per batch; the pipeline's own if None.
    n_process (int): Number of processes.
    YIELDS (tuple[InputRow, Doc] | BadRow): Each row, in the order of the input.
    RAISES (OSError): If the input can't be read to its end.
    """
    feed = _Feed(nlp, rows)
    old_handler = nlp.default_error_handler
    nlp.set_error_handler(_skip)  # type: ignore[arg-type]
    try:
        while not feed.has_ended:
            n_read = feed.n_read
            docs = nlp.pipe(feed.docs(), as_tuples=True, batch_size=batch_size, n_process=n_process)
            try:
                for doc, line in docs:
                    yield from feed.take_before(line)
                    yield feed.take(), doc
            except Exception:  # A component that has no error handler may raise anything.
                if feed.n_read == n_read:
                    raise
            yield from feed.take_before(None)
    finally:
        nlp.set_error_handler(old_handler)
    if feed.error is not None:
        raise feed.error


class _Feed:
    """The rows on their way: read, but not yet returned by the pipeline."""

    def __init__(self, nlp: Language, rows: Iterable[InputRow | BadRow]) -> None:
        self.nlp = nlp
        self.rows = iter(rows)
        self.pending: deque[InputRow | BadRow] = deque()
        self.n_read = 0
        self.has_ended = False
        self.error: Exception | None = None

    def docs(self) -> Iterator[tuple[Doc, int]]:
        """Yield the Docs of good rows with their lines; remember all rows."""
        while True:
            try:
                row = next(self.rows)
            except StopIteration:
                self.has_ended = True
                return
            except (OSError, ValueError) as err:  # Not the pipeline's failure: told at the end.
                self.error = err
                self.has_ended = True
                return
            self.n_read += 1
            doc, row = self._make_doc(row)
            self.pending.append(row)
            if doc is not None:
                yield doc, row.line

    def take(self) -> InputRow:
        """Return the oldest row, whose Doc has come back."""
        return cast(InputRow, self.pending.popleft())

    def take_before(self, line: int | None) -> Iterator[tuple[InputRow, Doc] | BadRow]:
        """Yield the bad rows before a line, and try those again that the pipeline dropped."""
        while self.pending and self.pending[0].line != line:
            row = self.pending.popleft()
            yield row if isinstance(row, BadRow) else self._retry(row)

    def _make_doc(self, row: InputRow | BadRow) -> tuple[Doc | None, InputRow | BadRow]:
        if isinstance(row, BadRow):
            return None, row
        try:
            return make_doc(self.nlp, row), row
        except Exception as err:  # A tokenizer may raise anything.
            return None, _failed(row, err)

    def _retry(self, row: InputRow) -> tuple[InputRow, Doc] | BadRow:
        self.nlp.set_error_handler(raise_error)
        try:
            return row, self.nlp(make_doc(self.nlp, row))
        except Exception as err:  # A component may raise anything.
            return _failed(row, err)
        finally:
            self.nlp.set_error_handler(_skip)  # type: ignore[arg-type]


def _failed(row: InputRow, err: Exception) -> BadRow:
    return BadRow(
        row.line, f"the pipeline failed: {type(err).__name__}: {err}", {**row.extra, **row.texts}
    )


def _skip(name: Any, component: Any, docs: Any, error: Exception) -> None:
    """Drop the Docs of a failed batch; they are tried again one by one."""
