"""Reader of the tasks of multiple choice, in plain Python."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ChoiceItem:
    """A question about a context, its choices, and the index of the right one."""

    context: str
    question: str
    choices: list[str]
    gold: int

    @property
    def label(self) -> str:
        """Give the index as text, for scoring."""
        return str(self.gold)


def read_c3(path: Path) -> list[ChoiceItem]:
    """Read documents of paragraphs, questions and an id; the paragraphs are joined by lines."""
    items = []
    for paragraphs, questions, _ in json.loads(path.read_text(encoding="utf8")):
        for row in questions:
            gold = row["choice"].index(row["answer"])
            items.append(ChoiceItem("\n".join(paragraphs), row["question"], row["choice"], gold))
    return items
