"""The shipped corpus passes its own checks, and the checks find what they should."""

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CORPUS = Path(__file__).parents[2] / "corpus"


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"corpus_{name}", CORPUS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_script("check")
split = load_script("split")


def texts_of(*rows: tuple[str, str], kind: str = "news") -> list[Any]:
    return [
        check.Text(Path(f"{name}.tsv"), line, name, text, kind)
        for line, (name, text) in enumerate(rows, start=1)
    ]


def squad(contexts: dict[str, list[dict[str, Any]]]) -> str:
    data = [{"title": "t", "paragraphs": [{"context": c, "qas": q}]} for c, q in contexts.items()]
    return json.dumps({"version": "v2.0", "data": data}, ensure_ascii=False, indent=1)


def question(
    qid: str, text: str | None, start: int = 0, impossible: bool = False
) -> dict[str, Any]:
    answers = [] if text is None else [{"text": text, "answer_start": start}]
    return {"id": qid, "question": f"{qid}？", "is_impossible": impossible, "answers": answers}


def test_shipped_corpus_has_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    code = check.main([])
    assert code == 0, capsys.readouterr().out


def test_shipped_splits_are_what_the_sources_give(tmp_path: Path) -> None:
    (tmp_path / "sources").symlink_to(CORPUS / "sources", target_is_directory=True)
    assert split.main(["--corpus", str(tmp_path)]) == 0
    names = [
        f"{task}/{lang}.{part}.{suffix}"
        for task, (_, suffix) in split.TASKS.items()
        for lang in split.LANGS
        for part in ("train", "dev", "test")
    ]
    assert len(names) == 18
    for name in names:
        assert (tmp_path / name).read_bytes() == (CORPUS / name).read_bytes(), name


@pytest.mark.parametrize("name", ["zh", "en"])
def test_qa_answers_stand_at_their_offsets(name: str) -> None:
    data = json.loads((CORPUS / "sources" / "qa" / f"{name}.json").read_text(encoding="utf8"))
    paragraphs = [paragraph for article in data["data"] for paragraph in article["paragraphs"]]
    answers = [
        (paragraph["context"], answer)
        for paragraph in paragraphs
        for qa in paragraph["qas"]
        for answer in qa["answers"]
    ]
    assert len(answers) > 2 * len(paragraphs)
    assert all(c.startswith(a["text"], a["answer_start"]) for c, a in answers)


def test_empty_folder_reports_each_missing_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["--corpus", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("file is missing") == 18
    assert f"{tmp_path / 'ner'}:1: zh: 0 items, at least 300 needed" in out


def test_news_lines_need_label_and_text(tmp_path: Path) -> None:
    path = tmp_path / "zh.train.tsv"
    path.write_text("体育\t球队赢了\n没有标签\n天气\t明天有雨\n", encoding="utf8")
    report = check.Report()
    texts, counts = check.read_news(path, "zh", "train", report)
    assert [text.line for text in texts] == [1, 3]
    assert counts == Counter({"体育": 1, "天气": 1})
    assert report.problems == [
        f"{path}:2: line is not `label TAB text`",
        f"{path}:3: unknown class '天气'",
    ]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("张 B-PER\n三 I-LOC\n", 2, "'I-LOC' after 'B-PER' is not legal BIO"),
        ("在 O\n京 I-LOC\n", 2, "'I-LOC' after 'O' is not legal BIO"),
        ("京 B-LOC\n\n城 I-LOC\n", 3, "'I-LOC' after 'O' is not legal BIO"),
        ("京 B-CITY\n", 1, "unknown tag 'B-CITY'"),
        ("京 S-LOC\n", 1, "unknown tag 'S-LOC'"),
        ("北京 B-LOC\n", 1, "line is not `token TAG`: '北京 B-LOC'"),
        ("京\tB-LOC\n", 1, "line is not `token TAG`"),
        ("京 O\n\n\n城 O\n", 3, "empty sentence"),
    ],
)
def test_illegal_bio_is_found(tmp_path: Path, content: str, line: int, reason: str) -> None:
    path = tmp_path / "zh.train.bio"
    path.write_text(content, encoding="utf8")
    report = check.Report()
    check.read_ner(path, "zh", "train", report)
    assert report.problems[0].startswith(f"{path}:{line}: {reason}")


def test_legal_bio_is_joined_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "en.train.bio"
    path.write_text("Ann B-PER\nLee I-PER\nleft O\n\nRome B-LOC\nParis B-LOC\n", encoding="utf8")
    report = check.Report()
    texts, counts = check.read_ner(path, "en", "train", report)
    assert [(text.text, text.line) for text in texts] == [("Ann Lee left", 1), ("Rome Paris", 5)]
    assert (counts["PER"], counts["LOC"]) == (1, 2)
    assert report.problems == []


def test_wrong_answers_are_found(tmp_path: Path) -> None:
    path = tmp_path / "zh.train.json"
    qas = [
        question("good", "山", 2),
        question("shifted", "山", 1),
        question("past", "山", 99),
        question("spaced", "山 ", 2),
        question("silent", None),
        question("both", "山", 2, impossible=True),
        question("none", None, impossible=True),
        question("none", None, impossible=True),
    ]
    path.write_text(squad({"水和山。": qas, "少。": [question("one", "少")]}), encoding="utf8")
    report = check.Report()
    texts, counts = check.read_qa(path, "zh", "train", report)
    assert (len(texts), counts["has"], counts["no"]) == (11, 6, 3)
    lines = path.read_text(encoding="utf8").splitlines()
    reasons = [problem.split(": ", 1)[1] for problem in report.problems]
    assert reasons == [
        "answer '山' does not stand at offset 1",
        "answer '山' does not stand at offset 99",
        "answer '山 ' is empty or has outer whitespace",
        "is_impossible is False with 0 answers",
        "is_impossible is True with 1 answers",
        "id 'none' is used twice",
        "1 questions, at least 3 needed",
    ]
    number = int(report.problems[0].removeprefix(f"{path}:").split(":")[0])
    assert '"id": "shifted"' in lines[number - 1]


@pytest.mark.parametrize("content", ["{", "[]", '{"data": [{"paragraphs": [{"context": "x"}]}]}'])
def test_broken_squad_files_are_reported(tmp_path: Path, content: str) -> None:
    path = tmp_path / "zh.dev.json"
    path.write_text(content, encoding="utf8")
    report = check.Report()
    assert check.read_qa(path, "zh", "dev", report)[0] == []
    assert len(report.problems) == 1
    assert "not a SQuAD 2.0 file" in report.problems[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("零宽\u200b字", "control character U+200B"),
        ("响铃\x07", "control character U+0007"),
        (" 行首", "stray whitespace"),
        ("行尾 ", "stray whitespace"),
        ("两个  空格", "stray whitespace"),
        ("全角\u3000空格", "stray whitespace"),
        ("不换行\u00a0空格", "stray whitespace"),
        ("半角,逗号", "half-width punctuation in '角,'"),
    ],
)
def test_bad_characters_are_found(text: str, reason: str) -> None:
    report = check.Report()
    check.check_characters(texts_of(("train", "好的文字 A1。"), ("train", text)), "zh", report)
    assert report.problems == [f"train.tsv:2: {reason}"]


def test_duplicates_ignore_case_and_punctuation() -> None:
    report = check.Report()
    rows = [("train", "A fine day."), ("train", "a fine day"), ("dev", "A fine, day!")]
    check.check_duplicates(texts_of(*rows), report)
    assert report.problems == [
        "train.tsv:2: duplicate as train.tsv:1",
        "dev.tsv:3: leak: same text as train.tsv:1",
    ]


@pytest.mark.parametrize(("n_shared", "n_problems"), [(16, 0), (17, 1), (18, 1)])
def test_chinese_leak_is_a_run_over_16_characters(n_shared: int, n_problems: int) -> None:
    shared = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来"[:n_shared]
    report = check.Report()
    rows = [("train", f"甲{shared}乙"), ("train", f"丙{shared}丁"), ("test", f"戊{shared}己")]
    check.check_leaks(texts_of(*rows), "zh", report)
    assert len(report.problems) == n_problems
    assert all(problem.startswith("test.tsv:3: leak") for problem in report.problems)


@pytest.mark.parametrize(("n_shared", "n_problems"), [(8, 0), (9, 1)])
def test_english_leak_is_a_run_over_8_words(n_shared: int, n_problems: int) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    shared = " ".join(words[:n_shared])
    report = check.Report()
    rows = [("train", f"First {shared}."), ("dev", f"Then, {shared.upper()} again")]
    check.check_leaks(texts_of(*rows), "en", report)
    assert len(report.problems) == n_problems


def test_repeated_phrases_lower_variety() -> None:
    report = check.Report()
    rows = [("train", f"记者从有关部门获悉{char}") for char in "甲乙丙丁戊"]
    distinct, top = check.check_variety(texts_of(*rows), "zh", report)
    # five texts of 10 characters have 5 shingles each: 4 shared by all, 1 their own
    assert distinct == pytest.approx((4 + 5) / 25)
    assert "记者从有关部 (5)" in top
    assert len(report.problems) == 1 + 4
    assert "only 36.0% of the zh shingles differ" in report.problems[0]


def test_classes_must_be_large_balanced_and_in_every_split() -> None:
    counts = {name: Counter(dict.fromkeys(check.ZH_CLASSES, 30)) for name in check.SPLITS}
    report = check.Report()
    check.check_counts("news", "zh", counts, Path("news"), report)
    assert report.problems == []
    counts["dev"]["财经"] = counts["test"]["财经"] = 0
    check.check_counts("news", "zh", counts, Path("news"), report)
    assert report.problems == [
        "news:1: zh: '财经' has 30, at least 50 needed",
        "news:1: zh.dev: no '财经'",
        "news:1: zh.test: no '财经'",
        "news:1: zh: classes from 30 to 90 are unbalanced",
    ]


@pytest.mark.parametrize(("n_no", "n_problems"), [(0, 1), (25, 0), (60, 1)])
def test_some_questions_must_be_unanswerable(n_no: int, n_problems: int) -> None:
    counts = {"train": Counter(has=100 - n_no, no=n_no)}
    report = check.Report()
    check.check_counts("qa", "zh", counts, Path("qa"), report)
    assert len(report.problems) == n_problems


def test_cut_is_stable_and_complete() -> None:
    items = [f"text {i}" for i in range(100)]
    parts = split.cut(items, str)
    assert {name: len(part) for name, part in parts.items()} == {"train": 70, "dev": 15, "test": 15}
    assert sorted(parts["train"] + parts["dev"] + parts["test"]) == sorted(items)
    assert split.cut(items[::-1], str) == parts


def test_split_without_sources_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split.main(["--corpus", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("missing: ") == 6
