"""Check the split corpus files.

    python corpus/check.py [--corpus FOLDER]

Prints one table row per task and language, then each problem as `file:line: reason`.
The exit code is 1 if there is a problem.
"""

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

SPLITS = ("train", "dev", "test")
ZH_CLASSES = ("体育", "娱乐", "家居", "房产", "教育", "时尚", "时政", "游戏", "科技", "财经")
EN_CLASSES = ("entertainment", "finance", "politics", "realty", "sports", "technology")
CLASSES = {"zh": frozenset(ZH_CLASSES), "en": frozenset(EN_CLASSES)}
ENTITIES = frozenset({"PER", "ORG", "LOC", "TIME"})
MIN_ITEMS = {
    ("news", "zh"): 600,
    ("news", "en"): 180,
    ("ner", "zh"): 300,
    ("ner", "en"): 80,
    ("qa", "zh"): 60,
    ("qa", "en"): 16,
}
SUFFIX = {"news": "tsv", "ner": "bio", "qa": "json"}
MIN_PER_CLASS = {"zh": 50, "en": 25}
MAX_CLASS_RATIO = 1.5  # largest class over smallest
MIN_ENTITIES = 40  # mentions of each label, all splits together
MIN_QUESTIONS = 3
UNANSWERABLE = (0.1, 0.4)  # allowed share of questions without an answer
SHARED_RUN = {"zh": 16, "en": 8}  # longest run two splits may share: characters, words
SHINGLE = {"zh": 6, "en": 4}  # units of the variety measure: characters, words
MIN_DISTINCT = 0.9  # share of shingles that must differ
MAX_REPEAT = 0.05  # share of the texts that may contain the same shingle
WORD = re.compile(r"\w+(?:['’]\w+)*")
HALF_WIDTH = re.compile(r"[一-鿿][,;:?!]|[,;:?!][一-鿿]")


class Text(NamedTuple):
    """One text of the corpus and where it stands."""

    path: Path
    line: int
    split: str
    text: str
    kind: str  # news, sentence, paragraph or question


class Report:
    """Collects problems and counts."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def add(self, path: Path, line: int, reason: str) -> None:
        """Note one problem as `file:line: reason`."""
        self.problems.append(f"{path}:{line}: {reason}")


def read_news(path: Path, lang: str, split: str, report: Report) -> tuple[list[Text], Counter[str]]:
    """Read `label TAB text` lines and check their form.

    path (Path): File to read.
    lang (str): "zh" or "en", chooses the allowed classes.
    split (str): Name of the split.
    report (Report): Collects the problems.
    RETURNS (tuple): The texts, and the number of lines per class.
    """
    texts: list[Text] = []
    counts: Counter[str] = Counter()
    for number, line in enumerate(read_lines(path), start=1):
        label, tab, text = line.partition("\t")
        if not tab or not text:
            report.add(path, number, "line is not `label TAB text`")
            continue
        if label not in CLASSES[lang]:
            report.add(path, number, f"unknown class '{label}'")
        counts[label] += 1
        texts.append(Text(path, number, split, text, "news"))
    return texts, counts


def read_ner(path: Path, lang: str, split: str, report: Report) -> tuple[list[Text], Counter[str]]:
    """Read `token TAG` lines, check that the tags are legal BIO, and join the sentences.

    path (Path): File to read.
    lang (str): "zh" (a token is one character) or "en" (a token is one word).
    split (str): Name of the split.
    report (Report): Collects the problems.
    RETURNS (tuple): The sentences, and the number of mentions per entity label.
    """
    texts: list[Text] = []
    counts: Counter[str] = Counter()
    tokens: list[str] = []
    previous = "O"
    lines = read_lines(path)
    for number, line in enumerate([*lines, ""], start=1):
        if not line:
            if tokens:
                text = ("" if lang == "zh" else " ").join(tokens)
                texts.append(Text(path, number - len(tokens), split, text, "sentence"))
            elif number <= len(lines):
                report.add(path, number, "empty sentence")
            tokens, previous = [], "O"
            continue
        token, space, tag = line.partition(" ")
        if not token or not space or " " in tag or (lang == "zh" and len(token) != 1):
            report.add(path, number, f"line is not `token TAG`: '{line}'")
        prefix, _, label = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or label not in ENTITIES):
            report.add(path, number, f"unknown tag '{tag}'")
        elif prefix == "I" and previous not in (f"B-{label}", f"I-{label}"):
            report.add(path, number, f"'{tag}' after '{previous}' is not legal BIO")
        counts[label] += prefix == "B"
        tokens.append(token)
        previous = tag
    return texts, counts


def read_qa(path: Path, lang: str, split: str, report: Report) -> tuple[list[Text], Counter[str]]:
    """Read a SQuAD 2.0 file and check its questions and answer offsets.

    path (Path): File to read.
    lang (str): Language, unused: both have the same form.
    split (str): Name of the split.
    report (Report): Collects the problems.
    RETURNS (tuple): Paragraphs and questions, and the number of "has" and "no" answers.
    """
    texts: list[Text] = []
    counts: Counter[str] = Counter()
    content = path.read_text(encoding="utf8")
    try:
        articles = json.loads(content)["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        entries = [
            (p["context"], p["qas"], [check_fields(qa) for qa in p["qas"]]) for p in paragraphs
        ]
    except (ValueError, KeyError, TypeError) as err:
        report.add(path, 1, f"not a SQuAD 2.0 file ({type(err).__name__}: {err})")
        return texts, counts
    lines = content.splitlines()
    ids: set[str] = set()
    for context, qas, _ in entries:
        number = find_line(lines, "context", context)
        texts.append(Text(path, number, split, context, "paragraph"))
        if len(qas) < MIN_QUESTIONS:
            report.add(path, number, f"{len(qas)} questions, at least {MIN_QUESTIONS} needed")
        for qa in qas:
            number = find_line(lines, "id", qa["id"])
            if qa["id"] in ids:
                report.add(path, number, f"id '{qa['id']}' is used twice")
            ids.add(qa["id"])
            texts.append(Text(path, number, split, qa["question"], "question"))
            counts["no" if qa["is_impossible"] else "has"] += 1
            check_answers(context, qa, path, number, report)
    return texts, counts


def check_fields(qa: dict[str, Any]) -> tuple[Any, ...]:
    """Reach for every field of a question, so that a missing one raises KeyError."""
    answers = [(answer["text"], answer["answer_start"]) for answer in qa["answers"]]
    return qa["id"], qa["question"], qa["is_impossible"], answers


def check_answers(context: str, qa: dict[str, Any], path: Path, line: int, report: Report) -> None:
    """Check that answers and `is_impossible` agree and that each answer stands at its offset.

    context (str): The paragraph.
    qa (dict): One question of it.
    path (Path): File the question is in.
    line (int): Line of the question.
    report (Report): Collects the problems.
    """
    if qa["is_impossible"] == bool(qa["answers"]):
        report.add(
            path, line, f"is_impossible is {qa['is_impossible']} with {len(qa['answers'])} answers"
        )
    for answer in qa["answers"]:
        text, start = answer["text"], answer["answer_start"]
        if not text or text != text.strip():
            report.add(path, line, f"answer '{text}' is empty or has outer whitespace")
        elif start < 0 or context[start : start + len(text)] != text:
            report.add(path, line, f"answer '{text}' does not stand at offset {start}")


def read_lines(path: Path) -> list[str]:
    """Read a file and split it at line feeds only, so that odd separators stay visible."""
    return path.read_text(encoding="utf8").removesuffix("\n").split("\n")


def find_line(lines: list[str], field: str, value: str) -> int:
    """Find the line of a JSON field by its value, 1 if it is not written on a line of its own."""
    needle = f'"{field}": {json.dumps(value, ensure_ascii=False)}'
    return next((number for number, line in enumerate(lines, 1) if needle in line), 1)


def check_characters(texts: Iterable[Text], lang: str, report: Report) -> None:
    """Find control characters, stray whitespace and, in Chinese, half-width punctuation.

    texts (Iterable[Text]): Texts to look at.
    lang (str): Their language.
    report (Report): Collects the problems.
    """
    for item in texts:
        bad = [char for char in item.text if unicodedata.category(char)[0] == "C"]
        if bad:
            report.add(item.path, item.line, f"control character U+{ord(bad[0]):04X}")
        spaces = {char for char in item.text if char.isspace() and char not in bad} - {" "}
        if spaces or item.text != item.text.strip() or "  " in item.text:
            report.add(item.path, item.line, "stray whitespace")
        half = HALF_WIDTH.search(item.text) if lang == "zh" else None
        if half:
            report.add(item.path, item.line, f"half-width punctuation in '{half[0]}'")


def check_duplicates(texts: Iterable[Text], report: Report) -> None:
    """Find texts that are equal but for case, punctuation and spaces.

    texts (Iterable[Text]): Texts of one task and language, all splits.
    report (Report): Collects the problems.
    """
    seen: dict[tuple[str, str], Text] = {}
    for item in texts:
        key = (item.kind, "".join(char for char in item.text.casefold() if char.isalnum()))
        first = seen.setdefault(key, item)
        if first is not item:
            what = "duplicate" if first.split == item.split else "leak: same text"
            report.add(item.path, item.line, f"{what} as {first.path.name}:{first.line}")


def check_leaks(texts: Iterable[Text], lang: str, report: Report) -> None:
    """Find texts of different splits that share a long run of characters or words.

    texts (Iterable[Text]): Texts of one task and language, all splits.
    lang (str): Their language, chooses unit and length of the run.
    report (Report): Collects the problems.
    """
    size = SHARED_RUN[lang] + 1
    seen: dict[tuple[str, ...], Text] = {}
    for item in texts:
        found: dict[tuple[Path, int], str] = {}
        for run in shingles(item.text, lang, size):
            first = seen.setdefault(run, item)
            if first.split != item.split:
                found.setdefault((first.path, first.line), show(run, lang))
        for (path, line), shared in found.items():
            report.add(item.path, item.line, f"leak: shares '{shared}' with {path.name}:{line}")


def check_variety(texts: list[Text], lang: str, report: Report) -> tuple[float, list[str]]:
    """Measure how much the texts repeat each other.

    texts (list[Text]): Texts of one task and language, all splits.
    lang (str): Their language, chooses unit and length of a shingle.
    report (Report): Collects the problems.
    RETURNS (tuple): Share of shingles that are distinct, and the most repeated ones.
    """
    total: Counter[tuple[str, ...]] = Counter()
    in_texts: Counter[tuple[str, ...]] = Counter()
    first: dict[tuple[str, ...], Text] = {}
    for item in texts:
        runs = list(shingles(item.text, lang, SHINGLE[lang]))
        total.update(runs)
        in_texts.update(list(dict.fromkeys(runs)))
        for run in runs:
            first.setdefault(run, item)
    distinct = len(total) / max(1, total.total())
    if texts and distinct < MIN_DISTINCT:
        report.add(texts[0].path.parent, 1, f"only {distinct:.1%} of the {lang} shingles differ")
    limit = max(3, MAX_REPEAT * len(texts))
    for run, count in in_texts.most_common():
        if count <= limit:
            break
        item = first[run]
        report.add(item.path, item.line, f"'{show(run, lang)}' is in {count} of {len(texts)} texts")
    return distinct, [f"{show(run, lang)} ({n})" for run, n in in_texts.most_common(3) if n > 1]


def shingles(text: str, lang: str, size: int) -> Iterator[tuple[str, ...]]:
    """Give all runs of `size` characters (zh) or lower-case words (en)."""
    units = list(text) if lang == "zh" else WORD.findall(text.lower())
    return (tuple(units[i : i + size]) for i in range(len(units) - size + 1))


def show(run: tuple[str, ...], lang: str) -> str:
    """Write a shingle as text."""
    return ("" if lang == "zh" else " ").join(run)


def check_counts(
    task: str, lang: str, counts: dict[str, Counter[str]], folder: Path, report: Report
) -> str:
    """Check classes of news, entity labels of NER, and the share of unanswerable questions.

    task (str): "news", "ner" or "qa".
    lang (str): "zh" or "en".
    counts (dict): Per split, the number of items per label.
    folder (Path): Named in problems.
    report (Report): Collects the problems.
    RETURNS (str): Summary for the table.
    """
    total: Counter[str] = sum(counts.values(), Counter())
    if task == "qa":
        share = total["no"] / max(1, total.total())
        low, high = UNANSWERABLE
        if not low <= share <= high:
            report.add(
                folder, 1, f"{lang}: {share:.0%} unanswerable, allowed {low:.0%} to {high:.0%}"
            )
        return f"{total.total()} questions, {share:.0%} unanswerable"
    labels = CLASSES[lang] if task == "news" else ENTITIES
    least = MIN_PER_CLASS[lang] if task == "news" else MIN_ENTITIES
    for label in sorted(labels):
        if total[label] < least:
            report.add(folder, 1, f"{lang}: '{label}' has {total[label]}, at least {least} needed")
        for split in SPLITS:
            if not counts[split][label]:
                report.add(folder, 1, f"{lang}.{split}: no '{label}'")
    sizes = [total[label] for label in labels]
    if task == "news" and max(sizes) > MAX_CLASS_RATIO * min(sizes):
        report.add(folder, 1, f"{lang}: classes from {min(sizes)} to {max(sizes)} are unbalanced")
    return f"{len(labels)} labels, {min(sizes)} to {max(sizes)} each"


READERS = {"news": read_news, "ner": read_ner, "qa": read_qa}


def check_task(corpus: Path, task: str, lang: str, report: Report) -> list[str]:
    """Run every check on one task and language.

    corpus (Path): Folder of the corpus.
    task (str): "news", "ner" or "qa".
    lang (str): "zh" or "en".
    report (Report): Collects the problems.
    RETURNS (list[str]): Cells of the table row.
    """
    texts: list[Text] = []
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: list[int] = []
    for split in SPLITS:
        path = corpus / task / f"{lang}.{split}.{SUFFIX[task]}"
        if not path.is_file():
            report.add(path, 1, "file is missing")
            continue
        items, counts[split] = READERS[task](path, lang, split, report)
        texts.extend(items)
        sizes.append(sum(item.kind != "question" for item in items))
    if sum(sizes) < MIN_ITEMS[task, lang]:
        reason = f"{lang}: {sum(sizes)} items, at least {MIN_ITEMS[task, lang]} needed"
        report.add(corpus / task, 1, reason)
    summary = check_counts(task, lang, counts, corpus / task, report)
    check_characters(texts, lang, report)
    check_duplicates(texts, report)
    check_leaks(texts, lang, report)
    distinct, top = check_variety(texts, lang, report)
    return [task, lang, "/".join(map(str, sizes)), f"{distinct:.1%}", summary, ", ".join(top)]


def main(argv: list[str] | None = None) -> int:
    """Check every task and language, print the table and the problems.

    argv (list[str] | None): Command line arguments, those of the process by default.
    RETURNS (int): Exit code, 1 if there is a problem.
    """
    parser = argparse.ArgumentParser(description="Check the split corpus files.")
    parser.add_argument("--corpus", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    corpus = parser.parse_args(argv).corpus
    report = Report()
    print("task  lang  train/dev/test  distinct  summary | most repeated")
    for task in READERS:
        for lang in CLASSES:
            row = check_task(corpus, task, lang, report)
            print(f"{row[0]:<5} {row[1]:<5} {row[2]:<15} {row[3]:<9} {row[4]} | {row[5]}")
    for problem in report.problems:
        print(problem)
    print(f"{len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
