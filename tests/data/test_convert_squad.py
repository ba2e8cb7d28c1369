import json

import pytest
import spacy

from bert_spacy.data.convert import QuestionRow, RowNote, SquadOptions, convert, read_squad
from bert_spacy.data.convert.squad import find_answer
from bert_spacy.data.docbin import read_docbin
from bert_spacy.data.pairs import get_question

CONTEXT = "Ann went to Bonn. Later Ann went home to Ulm."


def question(answers, text="Who?", **extra):
    given = [{"text": answer, "answer_start": start} for answer, start in answers]
    return {"question": text, "id": "q1", "answers": given, **extra}


def write(tmp_path, *qas, context=CONTEXT):
    path = tmp_path / "in.json"
    content = {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def run(path, **options):
    items = list(read_squad(path, SquadOptions(**options)))
    rows = [item for item in items if isinstance(item, QuestionRow)]
    notes = [(item.line, item.kind) for item in items if isinstance(item, RowNote)]
    bad = [i for i in items if not isinstance(i, (QuestionRow, RowNote))]
    return rows, [(item.line, item.reason) for item in bad], notes


def test_doc_holds_segments_and_all_answers(tmp_path):
    path = write(
        tmp_path,
        question([("Bonn", 12), ("to Bonn", 9)], "  Where? \n", is_impossible=False),
        question([], "Why?", is_impossible=True, plausible_answers=[{"text": "x"}]),
    )
    nlp = spacy.blank("en")
    summary = convert(nlp, "squad", [path], tmp_path / "o.spacy")
    first, second = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    asked, context = get_question(first)
    assert asked.text == "Where?" and context.text == CONTEXT
    group = first.spans["answers"]
    assert [span.text for span in group] == ["Bonn", "to Bonn"]
    assert group.attrs["id"] == "q1" and group.attrs["answers"] == [
        {"text": "Bonn", "start": 12, "end": 16},
        {"text": "to Bonn", "start": 9, "end": 16},
    ]
    assert second.spans["answers"].attrs["answers"] == [] and not second.spans["answers"]
    assert summary.labels == {"answer": 1, "no answer": 1} and not summary.bad


def test_answers_of_a_question_marked_impossible_are_not_gold(tmp_path):
    (row,), bad, _ = run(write(tmp_path, question([("Ann", 0)], is_impossible=True)))
    assert row.answers == [] and bad == []


@pytest.mark.parametrize(
    "text, stated, found",
    [
        ("Ann", 0, 0),
        ("Ann", 24, 24),
        ("Ann", 20, 24),  # Nearest of two.
        ("Ann", 3, 0),
        ("nn", 0, 1),
        ("Ulm", 2, 41),  # Once in the context, and so however far.
        ("Ulm", -1, 41),
        ("Ann", -1, None),  # Twice, and no offset to choose by.
        ("Ann", 75, None),  # More than 50 from both.
        ("Ann", 74, 24),
        ("Rom", 0, None),
    ],
)
def test_where_answers_are_found(text, stated, found):
    assert find_answer(CONTEXT, text, stated) == found


def test_repaired_answers_are_noted(tmp_path):
    (row,), bad, notes = run(write(tmp_path, question([("Ulm", 40)])))
    assert row.answers == [{"text": "Ulm", "start": 41, "end": 44}] and bad == []
    assert notes == [("data[0].paragraphs[0].qas[0] id=q1", "repaired")]


def test_answer_with_edge_spaces_is_kept_as_it_is(tmp_path):
    (row,), _, notes = run(write(tmp_path, question([(" Bonn", 11)])))
    assert row.answers == [{"text": " Bonn", "start": 11, "end": 16}] and notes == []


def test_unaligned_answers(tmp_path):
    path = write(tmp_path, question([("Rom", 3)]), question([("Rom", 3), ("Ann", 0)]))
    rows, bad, notes = run(path)
    assert [row.answers for row in rows] == [[{"text": "Ann", "start": 0, "end": 3}]]
    assert len(bad) == 2 and notes == [] and "id=q1" in bad[0][0]
    rows, bad, notes = run(path, keep_unaligned=True)
    assert rows[0].answers == [{"text": "Rom", "start": -1, "end": -1}]
    assert [answer["start"] for answer in rows[1].answers] == [-1, 0]
    assert bad == [] and [kind for _, kind in notes] == ["unaligned"] * 2
    doc, _ = rows[0].make_doc(spacy.blank("en"), [])
    assert len(doc.spans["answers"]) == 0 and doc.spans["answers"].attrs["answers"]


def test_control_characters_move_the_offsets(tmp_path):
    context = "\x00Ann \x07went to B\x08onn.\n"
    path = write(tmp_path, question([("B\x08onn", 14)], "W\x00ho?"), context=context)
    (row,), bad, notes = run(path)
    assert row.context == "Ann went to Bonn.\n" and row.question == "Who?"
    assert row.answers == [{"text": "Bonn", "start": 12, "end": 16}] and bad == []
    assert [kind for _, kind in notes] == ["control characters"]


def test_bad_questions_name_their_place(tmp_path):
    qas = [
        question([("Ann", 0)], "  "),
        question([]),
        question([("  ", 4)]),
        {"id": 5, "answers": []},
        "no object",
        question([("Ann", "0")]),
        question([("\ud800", 0)]),
        {"id": 8, "question": "Who?", "answers": ["Ann"]},
        question([("Ann", 0)], "Wh\ud800o?"),
        question([("Ann", 0)]),
    ]
    rows, bad, _ = run(write(tmp_path, *qas))
    assert len(rows) == 1
    places = [f"data[0].paragraphs[0].qas[{k}]" for k in range(9)]
    ids = [" id=q1"] * 3 + [" id=5", ""] + [" id=q1"] * 2 + [" id=8", " id=q1"]
    assert [line for line, _ in bad] == [place + id_ for place, id_ in zip(places, ids)]


@pytest.mark.parametrize(
    "content, line",
    [
        ("{}", "data"),
        ("[1]", "data[0]"),
        ('{"data": [{"title": "t"}]}', "data[0]"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "data[0].paragraphs[0]"),
        ('{"data": [{"paragraphs": [{"context": "c"}]}]}', "data[0].paragraphs[0]"),
        (
            '{"data": [{"paragraphs": [{"context": "\\ud800 Ann", "qas": [{"question": "Who?", '
            '"answers": [{"text": "Ann", "answer_start": 2}]}]}]}]}',
            "data[0].paragraphs[0]",
        ),
        ('{"data":\n [1,,2]}', 2),
        ("", 1),
        ("[" * 100_000, 1),
        ('{"data": NaN}', 1),
        ("9" * 5000, 1),
    ],
)
def test_broken_files_are_reported(tmp_path, content, line):
    path = tmp_path / "in.json"
    path.write_text(content)
    rows, bad, _ = run(path)
    assert rows == [] and [place for place, _ in bad] == [line]


def test_broken_bytes_and_mark(tmp_path):
    path = tmp_path / "in.json"
    path.write_bytes(b'{"data":\n\n "\xff"}')
    assert run(path)[1] == [(3, "not valid UTF-8 (byte 0xff)")]
    good = write(tmp_path, question([("Ann", 0)]))
    good.write_bytes(b"\xef\xbb\xbf" + good.read_bytes())
    assert len(run(good)[0]) == 1


def flat(qid, question, texts, starts):
    answers = {"text": texts, "answer_start": starts}
    return {"id": qid, "title": "t", "context": CONTEXT, "question": question, "answers": answers}


FLAT = [
    flat("a", "Where?", ["Bonn", "to Bonn"], [12, 9]),
    flat("b", "Why?", [], []),
    flat("c", "Who?", ["Ann"], []),
]


@pytest.mark.parametrize("name", ["lines.json", "lines.jsonl", "list.json", "data.json"])
def test_questions_that_have_each_its_context(tmp_path, name):
    path = tmp_path / name
    if name.startswith("lines"):
        path.write_text("\n".join(map(json.dumps, [*FLAT, [1]])))
        places = ["3 id=c", 4]
    else:
        path.write_text(json.dumps([*FLAT, 1] if name[0] == "l" else {"data": [*FLAT, 1]}))
        places = ["data[2] id=c", "data[3]"]
    rows, bad, notes = run(path)
    assert [(row.qid, row.question, row.context) for row in rows] == [
        ("a", "Where?", CONTEXT),
        ("b", "Why?", CONTEXT),
    ]
    assert [(x["text"], x["start"]) for x in rows[0].answers] == [("Bonn", 12), ("to Bonn", 9)]
    assert rows[1].answers == [] and notes == []
    assert [line for line, _ in bad] == places
    assert bad[0][1] == "'answers' has not as many 'text' as 'answer_start'"


def test_the_first_layout_of_cmrc(tmp_path):
    qas = [
        {"query_id": "1", "query_text": "Where?", "answers": ["Bonn", "Ulm"]},
        {"query_id": "2", "query_text": "Who?", "answers": ["Ann"]},
        {"query_id": "3", "query_text": "When?", "answers": ["today"]},
    ]
    path = tmp_path / "in.json"
    path.write_text(json.dumps([{"context_id": "x", "context_text": CONTEXT, "qas": qas}]))
    rows, bad, notes = run(path)
    assert [(row.qid, row.question) for row in rows] == [("1", "Where?"), ("2", "Who?")]
    places = [[(x["text"], x["start"]) for x in row.answers] for row in rows]
    assert places == [[("Bonn", 12), ("Ulm", 41)], [("Ann", 0)]]
    assert notes == [("data[0].qas[1] id=2", "first place")]
    [(place, reason)] = bad
    assert place == "data[0].qas[2] id=3" and "does not stand in the context" in reason


@pytest.mark.parametrize("indent", [None, 2])
def test_a_file_may_hold_one_question_alone(tmp_path, indent):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(FLAT[0], indent=indent))
    rows, bad, notes = run(path)
    assert [(row.qid, row.line, row.context) for row in rows] == [("a", "1 id=a", CONTEXT)]
    assert not bad


def test_an_id_that_cannot_be_written_is_a_bad_row(tmp_path):
    path = write(tmp_path, question([("Bonn", 12)], id="\ud800"), question([("Bonn", 12)]))
    rows, bad, _ = run(path)
    assert bad == [("data[0].paragraphs[0].qas[0]", "the id holds a lone surrogate")]
    assert [row.qid for row in rows] == ["q1"]


def test_an_answer_at_the_end_of_a_context_with_a_space_behind(tmp_path):
    path = write(tmp_path, question([("Bonn ", 12)]), context="Ann lives in Bonn ")
    nlp = spacy.blank("en")
    assert not convert(nlp, "squad", [path], tmp_path / "o.spacy").bad
    (doc,) = read_docbin(tmp_path / "o.spacy", nlp.vocab)
    assert [span.text for span in doc.spans["answers"]] == ["Bonn"]
