"""Answers end where words end."""

import pytest

from bert_spacy.text.words import whole_words


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("Ellen Farrow scored.", "row scored", "Farrow scored"),
        ("Ellen Farrow scored.", "Ellen Far", "Ellen Farrow"),
        ("the 20th century", "20", "20th"),
        ("well-known (facts)", "facts", "facts"),
        ("well-known", "known", "known"),
        ("北京大学成立于1898年", "大学", "大学"),
        ("北京大学成立于1898年", "189", "1898"),
        ("iPhone手机", "Phone", "iPhone"),
        ("서울대학교에서", "대학교", "서울대학교에서"),
        ("ภาษาไทย", "ษา", "ษา"),
    ],
)
def test_spans_widen_to_whole_words(text, span, expected):
    start = text.index(span)
    a, b = whole_words(text, start, start + len(span))
    assert text[a:b] == expected


def test_an_empty_span_stays_where_it_is():
    assert whole_words("word", 2, 2) == (2, 2)
