"""Row counts over the public data sets, against readings that share no code with ours."""

import json
import os
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import spacy

from bert_spacy.data.convert import (
    ConllOptions,
    QuestionRow,
    RowNote,
    SquadOptions,
    TableOptions,
    TextRow,
    WordsRow,
    make_docs,
    read_rows,
)

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("BERT_SPACY_DATA", ROOT.parent / "shared")) / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no data sets at {DATA}; set BERT_SPACY_DATA to their folder"
)
N_DOCS = 20


def run(name, file, lang, options=None):
    """Return rows, bad rows and note counts; make a few Docs, to see that it works."""
    items = list(read_rows(name, [DATA / file], options))
    rows = [item for item in items if isinstance(item, (TextRow, WordsRow, QuestionRow))]
    notes = Counter(item.kind for item in items if isinstance(item, RowNote))
    docs = list(make_docs(spacy.blank(lang), islice(rows, N_DOCS), []))
    assert len(docs) == min(N_DOCS, len(rows))
    return rows, len(items) - len(rows) - sum(notes.values()), notes


def lines_of(file):
    """Return the lines of a file, cut at line feeds alone, without a last empty one."""
    text = (DATA / file).read_bytes().decode("utf-8")
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")


def printable(text):
    return "".join(c for c in text if c in "\t\n\r" or not (ord(c) < 32 or 127 <= ord(c) < 160))


TSV = [
    ("thucnews_titles/train.txt", "zh", False, 0, 1, {}),
    ("thucnews_titles/dev.txt", "zh", False, 0, 1, {}),
    ("thucnews_titles/test.txt", "zh", False, 0, 1, {}),
    ("thucnews_fulltext/train.txt", "zh", False, 1, 0, {}),
    ("thucnews_fulltext/dev.txt", "zh", False, 1, 0, {}),
    ("thucnews_fulltext/test.txt", "zh", False, 1, 0, {}),
    ("tnews/train.tsv", "zh", False, 0, 1, {}),
    ("tnews/dev.tsv", "zh", False, 0, 1, {}),
    ("tnews/test.tsv", "zh", False, 0, 1, {}),
    ("chnsenticorp/train.tsv", "zh", True, 1, 0, {}),
    ("chnsenticorp/dev.tsv", "zh", True, 1, 0, {}),
    ("chnsenticorp/test.tsv", "zh", True, 1, 0, {}),
    ("bbc_news/cnews.train.txt", "en", False, 1, 0, {}),
    ("bbc_news/cnews.val.txt", "en", False, 1, 0, {}),
    ("bbc_news/cnews.test.txt", "en", False, 1, 0, {}),
    ("glue/SST-2/train.tsv", "en", True, 0, 1, {}),
    ("glue/SST-2/dev.tsv", "en", True, 0, 1, {}),
    ("glue/SST-2/test.tsv", "en", True, 0, 1, {}),
    ("glue/CoLA/train.tsv", "en", False, 3, 1, {"text_column": "3", "label_column": "1"}),
    ("glue/CoLA/dev.tsv", "en", False, 3, 1, {"text_column": "3", "label_column": "1"}),
    ("glue/CoLA/test.tsv", "en", False, 3, 1, {"text_column": "3", "label_column": "1"}),
]


@pytest.mark.parametrize("file, lang, header, text, label, options", TSV)
def test_tsv(file, lang, header, text, label, options):
    rows, n_bad, _ = run("tsv", file, lang, TableOptions(**options))
    cells = [line.split("\t") for line in lines_of(file)[header:]]
    expected = [(printable(row[text]).strip(), {row[label]: 1.0}) for row in cells]
    assert [(row.text, row.cats) for row in rows] == expected and n_bad == 0


def test_label_map_of_thucnews():
    names = lines_of("thucnews_titles/class.txt")
    options = TableOptions(label_map=DATA / "thucnews_titles" / "class.txt")
    rows, n_bad, _ = run("tsv", "thucnews_titles/test.txt", "zh", options)
    numbers = [int(line.split("\t")[1]) for line in lines_of("thucnews_titles/test.txt")]
    assert [row.cats for row in rows] == [{names[n]: 1.0} for n in numbers] and n_bad == 0


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_csv_waimai(split):
    file = f"waimai_10k/{split}.csv"
    rows, n_bad, notes = run("csv", file, "zh")
    # A label, a comma, and a text that may stand in quotes.
    found = re.findall(
        r'^([01]),("(?:[^"]|"")*"|[^"\n][^\n]*)$', "\n".join(lines_of(file)[1:]), re.MULTILINE
    )
    texts = [t[1:-1].replace('""', '"') if t[0] == '"' else t for _, t in found]
    expected = [({label: 1.0}, printable(t).strip()) for (label, _), t in zip(found, texts)]
    assert [(row.cats, row.text) for row in rows] == expected and n_bad == 0
    assert notes == (Counter({"control characters": 1}) if split == "test" else Counter())


@pytest.mark.parametrize("split, count", [("train", 2000), ("dev", 500), ("test", 500)])
def test_csv_online_shopping(split, count):
    file = f"online_shopping_10_cats/{split}.csv"
    rows, n_bad, _ = run("csv", file, "zh", TableOptions(label_column="cat"))
    starts = re.findall(r"^(\w+),[01],", "\n".join(lines_of(file)[1:]), re.MULTILINE)
    assert [list(row.cats) for row in rows] == [[cat] for cat in starts]
    assert len(rows) == count and n_bad == 0
    labels, _, _ = run("csv", file, "zh", TableOptions(label_column="label"))
    assert {label for row in labels for label in row.cats} == {"0", "1"}


CONLL = [
    ("conll2003/eng.train", "en"),
    ("conll2003/eng.testa", "en"),
    ("conll2003/eng.testb", "en"),
    ("wnut17/wnut17train.conll", "en"),
    ("wnut17/emerging.dev.conll", "en"),
    ("wnut17/emerging.test.annotated", "en"),
    ("msra_ner/train.txt", "zh"),
    ("msra_ner/dev.txt", "zh"),
    ("msra_ner/test.txt", "zh"),
    ("weibo_ner/weiboNER_2nd_conll.train", "zh"),
    ("weibo_ner/weiboNER_2nd_conll.dev", "zh"),
    ("weibo_ner/weiboNER_2nd_conll.test", "zh"),
    ("resume_ner/train.char.bmes", "zh"),
    ("resume_ner/dev.char.bmes", "zh"),
    ("resume_ner/test.char.bmes", "zh"),
    ("formats/people.txt", "zh"),
    ("formats/conll_2003_example.txt", "en"),
    ("formats/ner_example_data/ner-token-per-line.iob", "en"),
    ("formats/ner_example_data/ner-token-per-line-with-pos.iob", "en"),
    ("formats/ner_example_data/ner-token-per-line-conll2003.iob", "en"),
]


def read_blocks(file):
    """Cut a column file into sentences of (word, tag) by hand."""
    text = "\n".join(lines_of(file)).removeprefix("\ufeff")
    blocks = [block.strip("\n") for block in re.split(r"\n[ \t]*\n", text)]
    pairs = [[re.split(r"[ \t]", line) for line in block.split("\n")] for block in blocks if block]
    return [
        [(cells[0], cells[-1]) for cells in block if cells[0] != "-DOCSTART-"]
        for block in pairs
        if block != [] and block[0][0] != "-DOCSTART-"
    ]


def count_entities(blocks):
    """Count entity starts by looking at pairs of neighbours."""
    counts = Counter()
    for block in blocks:
        for (_, before), (_, tag) in zip([("", "O"), *block], block):
            same = before != "O" and before[0] not in "ES" and before[2:] == tag[2:]
            if tag[0] in "BS" or (tag != "O" and not same):
                counts[tag[2:]] += 1
    return counts


@pytest.mark.parametrize("file, lang", CONLL)
def test_conll(file, lang):
    rows, n_bad, notes = run("conll", file, lang)
    blocks = read_blocks(file)
    words = [[word for word, _ in block] for block in blocks]
    if "weibo" in file:
        words = [[word[:-1] for word in block] for block in words]
    assert [row.words for row in rows] == words and n_bad == 0
    found = Counter(label for row in rows for _, _, label in row.entities)
    assert found == count_entities(blocks)
    # Tags that continue, but follow O or another label; other files have none.
    orphans = {"msra_ner/test.txt": 3, "resume_ner/train.char.bmes": 2}
    if "weibo" not in file:
        assert notes == Counter({"odd tag": orphans[file]} if file in orphans else {})


@pytest.mark.parametrize("file", [file for file, _ in CONLL[:3]])
def test_conll2003_documents(file):
    rows, _, _ = run("conll", file, "en", ConllOptions(doc_size=0))
    text = "\n".join(lines_of(file))
    assert len(rows) == sum(
        bool(part.split("\n", 1)[-1].strip()) for part in text.split("-DOCSTART-")[1:]
    )


@pytest.mark.parametrize(
    "file, options, n_rows, n_words, n_entities",
    [
        ("column_with_whitespaces/eng.train", {"tag_column": "1"}, 1, 8, 1),
        ("column_with_whitespaces/eng.testa", {"tag_column": "1"}, 1, 8, 1),
        ("column_with_whitespaces/eng.testb", {"tag_column": "1"}, 1, 8, 1),
        ("column_corpus_options/eng.train", {"scheme": "io", "header": True}, 1, 3, 1),
        ("column_corpus_options/eng.testa", {"scheme": "io", "header": True}, 1, 3, 0),
        ("column_corpus_options/eng.testb", {"scheme": "io", "header": True}, 1, 3, 0),
        ("conllu/train.conllup", {}, 5, 63, 14),
        ("conllu/train.conllu", {"token_column": "1", "tag_column": "3"}, 4, 35, 11),
        ("ner_example_data/ner-sent-per-line.iob", {}, 2, 66, 7),
    ],
)
def test_odd_column_files(file, options, n_rows, n_words, n_entities):
    rows, n_bad, _ = run("conll", f"formats/{file}", "en", ConllOptions(**options))
    assert len(rows) == n_rows and n_bad == 0
    assert sum(len(row.entities) for row in rows) == n_entities
    assert sum(len(row.words) for row in rows) == n_words


@pytest.mark.parametrize("file", ["conll_example.txt", "conllu/universal_dependencies.conllu"])
def test_column_files_without_entities_are_refused(file):
    with pytest.raises(ValueError, match=r"\[B407\]"):
        run("conll", f"formats/{file}", "en")


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_cluener(split):
    file = f"cluener/{split}.json"
    rows, n_bad, notes = run("cluener", file, "zh")
    expected = [json.loads(line) for line in lines_of(file)]
    assert [row.text for row in rows] == [item["text"] for item in expected]
    assert n_bad == 0 and not notes
    for row, item in zip(rows, expected):
        found = {(row.text[start:end], start, label) for start, end, label in row.entities}
        assert found == {
            (surface, place[0], label)
            for label, surfaces in item["label"].items()
            for surface, places in surfaces.items()
            for place in places
        }


# Repaired and unaligned answers, and questions that cannot be used.
SQUAD = [
    ("squad1/train-v1.1.json", "en", 0, 0, 0),
    ("squad1/dev-v1.1.json", "en", 0, 0, 0),
    ("squad1/test-v1.1.json", "en", 0, 0, 0),
    ("squad2/train-v2.0.json", "en", 0, 0, 0),
    ("squad2/dev-v2.0.json", "en", 0, 0, 0),
    ("squad2/test-v2.0.json", "en", 0, 0, 0),
    ("drcd/train.json", "zh", 0, 0, 0),
    ("drcd/dev.json", "zh", 0, 0, 0),
    ("drcd/test.json", "zh", 0, 0, 0),
    ("cmrc2018/train.json", "zh", 9, 0, 0),
    ("cmrc2018/dev.json", "zh", 5, 0, 2),
    ("cmrc2018/test.json", "zh", 0, 28, 0),
]


@pytest.mark.parametrize("file, lang, n_repaired, n_unaligned, n_bad", SQUAD)
def test_squad(file, lang, n_repaired, n_unaligned, n_bad):
    rows, found_bad, notes = run("squad", file, lang, SquadOptions(keep_unaligned=True))
    data = json.loads((DATA / file).read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in data for paragraph in article["paragraphs"]]
    qas = [(p["context"], qa) for p in paragraphs for qa in p["qas"]]
    assert found_bad == n_bad == sum(not qa["question"].strip() for _, qa in qas)
    qas = [(context, qa) for context, qa in qas if qa["question"].strip()]
    assert [row.qid for row in rows] == [qa["id"] for _, qa in qas]
    assert [row.question for row in rows] == [qa["question"].strip() for _, qa in qas]
    for row, (context, qa) in zip(rows, qas):
        gold = [] if qa.get("is_impossible") else qa["answers"]
        assert row.context == context and len(row.answers) == len(gold)
        for answer, given in zip(row.answers, gold):
            assert answer["text"] == given["text"]
            start = answer["start"]
            assert start == -1 or context[start : answer["end"]] == given["text"]
            if given["answer_start"] >= 0 and context.startswith(
                given["text"], given["answer_start"]
            ):
                assert start == given["answer_start"]
    assert (notes["repaired"], notes["unaligned"]) == (n_repaired, n_unaligned)
    dropped, _, _ = run("squad", file, lang)
    assert len(dropped) == sum(
        not row.answers or any(answer["start"] >= 0 for answer in row.answers) for row in rows
    )
