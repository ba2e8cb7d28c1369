import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.data.convert import ConllOptions, RowError, RowNote, WordsRow, read_conll
from bert_spacy.data.convert.schemes import decode_tags, detect_scheme


def run(tmp_path, content, name="in.conll", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    items = list(read_conll(path, ConllOptions(**options)))
    rows = [item for item in items if isinstance(item, WordsRow)]
    notes = [(item.line, item.kind) for item in items if isinstance(item, RowNote)]
    bad = [
        (item.line, item.reason)
        for item in items
        if isinstance(item, RowError) and not isinstance(item, RowNote)
    ]
    return rows, bad, notes


def column(words, tags):
    return "".join(f"{word} {tag}\n" for word, tag in zip(words.split(), tags.split()))


SPANS = [(0, 2, "P"), (2, 3, "P"), (4, 7, "L")]


@pytest.mark.parametrize(
    "scheme, tags",
    [
        ("iob1", "I-P I-P B-P O I-L I-L I-L"),
        ("bio", "B-P I-P B-P O B-L I-L I-L"),
        ("bioes", "B-P E-P S-P O B-L I-L E-L"),
        ("bmes", "B-P E-P S-P O B-L M-L E-L"),
        ("biluo", "B-P L-P U-P O B-L I-L L-L"),
    ],
)
def test_schemes_are_found_and_mark_the_same_spans(tmp_path, scheme, tags):
    assert detect_scheme([tags.split()]) == scheme
    assert decode_tags(tags.split(), scheme) == (SPANS, [])
    rows, bad, notes = run(tmp_path, column("a b c d e f g", tags))
    assert rows[0].entities == SPANS and bad == notes == []


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O U-P O", "biluo"),
        ("B-P L-P", "biluo"),
        ("O S-P O", "bioes"),
        ("B-P E-P", "bioes"),
        ("O B-P", "bio"),
        ("O I-P", "iob1"),
    ],
)
def test_a_scheme_is_found_by_one_of_its_letters(tags, scheme):
    assert detect_scheme([tags.split()]) == scheme


def encode(spans, length, scheme):
    """Write spans as tags, straight from what the letters mean."""
    single, end, inside = {"bioes": "SEI", "bmes": "SEM", "biluo": "ULI", "bio": "BII"}[scheme]
    tags = ["O"] * length
    for first, last, label in spans:
        tags[first:last] = [f"{inside}-{label}"] * (last - first)
        tags[first], tags[last - 1] = f"B-{label}", f"{end}-{label}"
        if last - first == 1:
            tags[first] = f"{single}-{label}"
    return tags


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("PQ")), max_size=6),
    st.sampled_from(["bio", "bioes", "bmes", "biluo"]),
)
def test_tags_of_spans_give_the_spans(parts, scheme):
    spans, place = [], 0
    for gap, size, label in parts:
        spans.append((place + gap, place + gap + size, label))
        place += gap + size
    assert decode_tags(encode(spans, place + 1, scheme), scheme) == (spans, [])


def test_labels_may_hold_dots_and_hyphens(tmp_path):
    rows, _, _ = run(tmp_path, "a B-PER.NAM\nb I-PER.NAM\nc B-creative-work\n")
    assert rows[0].entities == [(0, 2, "PER.NAM"), (2, 3, "creative-work")]


def test_orphan_inside_opens_an_entity_and_is_noted(tmp_path):
    rows, bad, notes = run(tmp_path, column("a b c d e", "B-P O I-P I-L I-L"))
    assert rows[0].entities == [(0, 1, "P"), (2, 3, "P"), (3, 5, "L")]
    assert bad == [] and notes == [(3, "odd tag"), (4, "odd tag")]


def test_entities_without_end_tag_are_kept_and_noted(tmp_path):
    rows, _, notes = run(tmp_path, column("a b c d", "B-P M-P O E-L"))
    assert rows[0].entities == [(0, 2, "P"), (3, 4, "L")]
    assert [line for line, _ in notes] == [2, 4]


def test_scheme_is_found_over_the_whole_file(tmp_path):
    # The first sentence alone would be IOB1; a single B that opens shows that it is not.
    rows, _, notes = run(tmp_path, "a I-P\n\nb B-P\n")
    assert [row.entities for row in rows] == [[(0, 1, "P")]] * 2 and notes == [(1, "odd tag")]
    _, _, notes = run(tmp_path, "a I-P\n\nb B-P\n", scheme="iob1")
    assert notes == []


def test_plain_labels_only_if_asked_for(tmp_path):
    content = "WORD\tTAG\nThis\tO\nNew York\tLOC\nBerlin\tLOC\n"
    with pytest.raises(ValueError, match=r"\[B407\].*LOC"):
        run(tmp_path, content)
    rows, bad, _ = run(tmp_path, content, scheme="io", header=True, tag_column="TAG")
    assert rows[0].words == ["This", "New York", "Berlin"] and rows[0].entities == [(1, 3, "LOC")]


def test_tag_of_another_scheme_costs_the_sentence(tmp_path):
    rows, bad, _ = run(tmp_path, "a B-P\n\nb X\nc O\n\nd E-P\ne O\n\nf S-P\n", scheme="bio")
    assert [row.words for row in rows] == [["a"]]
    assert [line for line, _ in bad] == [3, 6, 9] and "'X'" in bad[0][1]


def test_bad_options(tmp_path):
    for options in ({"scheme": "bilou"}, {"doc_size": -1}):
        with pytest.raises(ValueError, match=r"\[B408\]"):
            run(tmp_path, "a O\n", **options)
    with pytest.raises(ValueError, match=r"\[B405\]"):
        run(tmp_path, "a O\n", tag_column="2")
    with pytest.raises(ValueError, match=r"\[B428\].*'form'"):
        run(tmp_path, "form form ner\na b O\n", header=True)


def test_numbers_tell_columns_of_one_name_apart(tmp_path):
    content = "token tag tag\na X B-P\n"
    for options in ({}, {"token_column": "0"}, {"tag_column": "tag"}):
        with pytest.raises(ValueError, match=r"\[B428\].*'tag'"):
            run(tmp_path, content, header=True, **options)
    rows, bad, _ = run(tmp_path, content, header=True, token_column="0", tag_column="2")
    assert rows[0].entities == [(0, 1, "P")] and bad == []


def test_separators(tmp_path):
    # Tabs on every line: spaces belong to the words, even a word that is one.
    rows, bad, _ = run(tmp_path, "New York\tB-L\n \tO\nx\tO\n")
    assert rows[0].words == ["New York", " ", "x"] and bad == []
    # A line between documents needs none.
    rows, bad, _ = run(tmp_path, "-DOCSTART-\n\nNew York\tB-L\nx\tO\n")
    assert rows[0].words == ["New York", "x"] and bad == []
    # Spaces and tabs mixed.
    rows, bad, _ = run(tmp_path, "a  x\tO\nb y B-P\r\n")
    assert rows[0].words == ["a", "b"] and rows[0].entities == [(1, 2, "P")] and bad == []
    # Padded columns with a tab before the last.
    rows, bad, _ = run(tmp_path, "1  a   B-P\t_\n2  bcd O\t_\n", token_column="1", tag_column="2")
    assert rows[0].words == ["a", "bcd"] and bad == []
    # Other white space is a word like any other.
    rows, bad, _ = run(tmp_path, "\u3000 O\n\u2028 B-P\n")
    assert rows[0].words == ["\u3000", "\u2028"] and bad == []


def test_bad_lines_cost_their_sentence(tmp_path):
    content = b"a O\nb O\n\nc O x\nd O\n\ne\nf O\n\ng \xff\n\nh B-P\n"
    rows, bad, _ = run(tmp_path, content)
    assert [row.words for row in rows] == [["a", "b"], ["h"]]
    assert [(line, reason.split(";")[0]) for line, reason in bad] == [
        (4, "3 columns where 2 are expected"),
        (7, "1 columns where 2 are expected"),
        (10, "not valid UTF-8"),
    ]
    _, bad, _ = run(tmp_path, "a\tO\n\tO\n")
    assert [line for line, _ in bad] == [2]


def test_documents_and_doc_size(tmp_path):
    content = (
        "-DOCSTART- -X- O\n\na x B-P\n\nb x I-P\n\nc x O\n\n\n-DOCSTART- -X- O\n\nd x B-P\ne x O\n"
    )
    rows, bad, _ = run(tmp_path, content)
    assert [row.words for row in rows] == [["a"], ["b"], ["c"], ["d", "e"]] and bad == []
    assert [row.line for row in rows] == [3, 5, 7, 12]
    rows, _, _ = run(tmp_path, content, doc_size=2)
    assert [row.words for row in rows] == [["a", "b"], ["c"], ["d", "e"]]
    rows, _, _ = run(tmp_path, content, doc_size=0)
    assert [row.words for row in rows] == [["a", "b", "c"], ["d", "e"]]
    # The sentence end ends the entity, although the next sentence goes on with I-.
    assert rows[0].entities == [(0, 1, "P"), (1, 2, "P")]
    doc, _ = rows[0].make_doc(spacy.blank("en"), [])
    assert [len(sent) for sent in doc.sents] == [1, 1, 1]
    assert run(tmp_path, "a O\n\nb O\n", doc_size=0)[0][0].words == ["a", "b"]


def test_a_comment_that_costs_a_sentence_names_the_option(tmp_path):
    _, bad, _ = run(tmp_path, "# from a book\na O\nb O\n\nc O O\n")
    assert [line for line, _ in bad] == [1, 5]
    assert "--comment-prefix '#'" in bad[0][1] and "--comment-prefix" not in bad[1][1]


def test_a_comment_with_as_many_cells_as_a_word_names_the_option(tmp_path):
    content = "# id 1f domain=train\nhe _ _ O\nin _ _ O\nLeeds _ _ B-LOC\n"
    _, [(line, reason)], _ = run(tmp_path, content)
    assert line == 1 and "--comment-prefix '#'" in reason
    with pytest.raises(ValueError, match=r"\[B407\].*--comment-prefix"):
        run(tmp_path, "# id 1f domain=train\nhe _ _ O\n")


def test_comments(tmp_path):
    content = "# text = a b\n# B-P\n#tag O\n\nb O\n"
    rows, _, _ = run(tmp_path, content.replace("# text = a b\n", ""))
    assert rows[0].words == ["#", "#tag"]  # Words, as no comments are known here.
    rows, bad, _ = run(tmp_path, content, comment_prefix="#")
    assert [row.words for row in rows] == [["b"]] and bad == []
    rows, bad, _ = run(tmp_path, content, name="in.col")
    assert [row.words for row in rows] == [["#tag"], ["b"]] and bad == []


def test_conllu_names_ranges_and_spaces(tmp_path):
    content = (
        "# global.columns = ID FORM NER MISC\n# text = Ann's cat.\n"
        "1-2\tAnn's\t_\t_\n1\tAnn\tB-P\tSpaceAfter=No\n2\t's\tO\t_\n2.1\tx\t_\t_\n"
        "3\tcat\tO\tSpaceAfter=No\n4\t.\tO\t_\n"
    )
    rows, bad, _ = run(tmp_path, content, name="in.conllup", space_column="misc")
    doc, _ = rows[0].make_doc(spacy.blank("en"), [])
    assert doc.text == "Ann's cat. " and [e.text for e in doc.ents] == ["Ann"] and bad == []
    # What a column says goes before what the language says.
    assert rows[0].make_doc(spacy.blank("zh"), [])[0].text == doc.text


def test_one_sentence_per_line(tmp_path):
    content = "Ann|NN|B-P sings|VB|O\n\nBob|NN|B-P\n"
    rows, bad, _ = run(tmp_path, content)
    assert [row.words for row in rows] == [["Ann", "sings"], ["Bob"]] and bad == []
    assert [row.line for row in rows] == [1, 3]


def test_spaces_go_by_language_or_option(tmp_path):
    (row,), _, _ = run(tmp_path, "北 B-L\n京 I-L\n好 O\n")
    chinese, _ = row.make_doc(spacy.blank("zh"), [])
    assert chinese.text == "北京好" and [e.text for e in chinese.ents] == ["北京"]
    other, _ = row.make_doc(spacy.blank("xx"), [])
    assert other.has_unknown_spaces and [token.text for token in other] == ["北", "京", "好"]
    for lang, no_spaces, text in [("xx", True, "北京好"), ("zh", False, "北 京 好 ")]:
        (row,), _, _ = run(tmp_path, "北 B-L\n京 I-L\n好 O\n", no_spaces=no_spaces)
        assert row.make_doc(spacy.blank(lang), [])[0].text == text


def test_no_entity_is_not_missing_gold(tmp_path):
    (row,), _, _ = run(tmp_path, "a O\nb O\n")
    doc, _ = row.make_doc(spacy.blank("en"), [])
    assert [token.ent_iob_ for token in doc] == ["O", "O"]


def test_digit_after_every_word_is_taken_off(tmp_path):
    content = "".join(f"{char}{i % 3} O\n" for i, char in enumerate("一二三四五六七八九十" * 2))
    rows, _, notes = run(tmp_path, content)
    assert "".join(rows[0].words) == "一二三四五六七八九十" * 2 and notes == [(1, "index")]
    assert run(tmp_path, content, strip_index=False)[0][0].words[0] == "一0"
    assert run(tmp_path, content + "好 O\n")[0][0].words[0] == "一0"


def test_control_characters_and_marks(tmp_path):
    content = "\ufeffa\x00b B-P\n\x07 I-P\nc\ufeff I-P\n\ufffd O\n"
    rows, bad, notes = run(tmp_path, content)
    assert rows[0].words == ["ab", "c\ufeff", "\ufffd"] and rows[0].entities == [(0, 2, "P")]
    assert bad == [] and notes == [(1, "control characters"), (2, "control characters")]
    assert run(tmp_path, "a O\n\n\x07 O\n\nb O\n")[0][-1].words == ["b"]


def test_empty_file(tmp_path):
    for content in ("", "\n\n", "-DOCSTART- -X- O\n\n"):
        for header in (None, True):
            assert run(tmp_path, content, header=header) == ([], [], [])
