"""Files of GLUE with labels or without, and prediction files in the leaderboard's format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spacy.language import Language
from spacy.tokens import Doc

from ..data.convert.pairs import GLUE
from ..data.convert.rows import RowError, RowNote
from ..data.convert.text import clean_text, is_broken, read_lines, read_number
from ..data.pairs import make_pair
from ..errors import Errors
from ..util import atomic_file
from .tasks import GlueTask

_INDEX = ("index", "id")


@dataclass(frozen=True)
class Item:
    """A row to predict.

    index (str): How the prediction file refers to it.
    texts (tuple[str, ...]): One text or two.
    gold (str | float | None): Label or score, None without any.
    """

    index: str
    texts: tuple[str, ...]
    gold: str | float | None

    def make_doc(self, nlp: Language) -> Doc:
        """Make the Doc to predict on."""
        if len(self.texts) == 2:
            return make_pair(nlp, *self.texts)
        return nlp.make_doc(self.texts[0])


def read_items(path: Path, task: GlueTask) -> tuple[list[Item], list[RowError]]:
    """Read the rows of a dev or test file.

    Test files as published have an index and no gold; gold is read where its column is there.
    Without an index rows are counted from 0. A row with an empty text or without usable gold is
    kept, as the leaderboard wants a prediction for each.

    path (Path): The file.
    task (GlueTask): Its task.
    RETURNS (tuple[list[Item], list[RowError]]): The rows; those that cannot be predicted, and a
        `RowNote` for each that is kept in spite of something.
    RAISES (ValueError): B646 if columns are missing.
    """
    lines = list(read_lines(path))
    first = [cell.strip() for cell in lines[0][1].split("\t")] if lines else []
    format_ = GLUE[task.name]
    numbers, label = format_.texts, format_.label
    if set(task.columns) <= set(first):
        places = [first.index(name) for name in task.columns]
        # CoLA has names for its columns in the test file alone.
        named = label if not label.isdigit() else "label"
        gold_place = first.index(named) if named in first else None
        index_place = next((first.index(name) for name in _INDEX if name in first), None)
        width, lines = len(first), lines[1:]
    elif label.isdigit() and len(first) > int(numbers[0]):
        places, gold_place, index_place, width = [int(n) for n in numbers], int(label), None, 4
    else:
        names = ", ".join(task.columns)
        raise ValueError(Errors.B646.format(path=path, columns=names, found=", ".join(first)))
    items: list[Item] = []
    problems: list[RowError] = []
    for count, (number, line) in enumerate(lines):
        cells = line.split("\t")
        reason = "" if len(cells) == width else f"{len(cells)} columns where {width} are expected"
        texts = [] if reason else [clean_text(cells[place]).text.strip() for place in places]
        if is_broken(line):
            reason = "not valid UTF-8"
        if reason:
            problems.append(RowError(str(path), number, reason))
            continue
        if not all(texts):
            reason = "a text is empty; it is predicted even so"
            problems.append(RowNote(str(path), number, reason, "empty text"))
        gold: str | float | None = None
        if gold_place is not None:
            cell = cells[gold_place].strip()
            fault = format_.find_fault(cell)
            if fault:
                reason = f"{fault}; it is predicted and not scored"
                problems.append(RowNote(str(path), number, reason, "no gold"))
            else:
                gold = read_number(cell) if task.is_regression else cell
        index = str(count) if index_place is None else cells[index_place].strip()
        items.append(Item(index, tuple(texts), gold))
    return items, problems


def write_predictions(
    path: Path, items: Sequence[Item], predictions: Sequence[str | float]
) -> None:
    """Write `index TAB prediction` lines under a header, as the leaderboard takes them.

    path (Path): The file.
    items (Sequence[Item]): The rows.
    predictions (Sequence[str | float]): A label as in the training data, or a score, for each.
    """
    with atomic_file(path) as file_:
        file_.write("index\tprediction\n")
        for item, value in zip(items, predictions, strict=True):
            shown = value if isinstance(value, str) else f"{value:.4f}"
            file_.write(f"{item.index}\t{shown}\n")
