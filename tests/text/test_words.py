"""Answers end where words end."""

import re

import numpy as np
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
        ("建于２０１９年", "０１９", "２０１９"),
        ("ＡＢＣ１公司", "ＢＣ", "ＡＢＣ１"),
        ("ｶﾀｶﾅ", "ﾀ", "ﾀ"),
        ("서울대학교에서", "대학교", "서울대학교에서"),
        ("ภาษาไทย", "ษา", "ษา"),
        ("the  team ", " team ", "team"),
        ("वह दिल्ली में", "दि", "दिल्ली"),
        ("au cafe\u0301 noir", "caf", "cafe\u0301"),
    ],
)
def test_spans_widen_to_whole_words(text, span, expected):
    first = text.index(span)
    start, end = whole_words(text)
    assert text[start[first] : end[first + len(span) - 1]] == expected


def test_places_of_all_characters_agree_with_a_search_for_words():
    text = " an apple-pie,  42nd\tstreet 北京 \ud800 x  "
    start, end = whole_words(text)
    words = [word.span() for word in re.finditer(r"[a-z0-9]+", text)]
    for i, character in enumerate(text):
        a, b = next(((a, b) for a, b in words if a <= i < b), (i, i + 1))
        if character.isspace():
            a = len(text) - len(text[i:].lstrip())
            b = len(text[:i].rstrip())
        assert (start[i], end[i]) == (a, b)
    assert (np.diff(start) >= 0).all() and (np.diff(end) >= 0).all()
    assert [len(part) for part in whole_words("")] == [0, 0]
