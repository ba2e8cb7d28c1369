import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from bert_spacy.nn.encoder import clean_tokenizer
from bert_spacy.text.pieces import encode_texts, read_template, shorten, shorten_pairs

from ..tiny import ARCHITECTURES

HARD = [
    "",
    "  \t\n ",
    "\U0001f600",
    "a\u200bb \u202eabc\u202c",
    "\x00\x01a\x7f",
    "北京 is 大",
    "naïve ﬁne ㍿",
    "x" * 300,
    "☃☃ ☃",
]


@pytest.fixture(params=ARCHITECTURES)
def tokenizer(request, tiny_folder):
    return clean_tokenizer(AutoTokenizer.from_pretrained(tiny_folder(request.param)))


def test_template_rebuilds_what_the_tokenizer_builds(tokenizer):
    template = read_template(tokenizer)
    a, b = encode_texts(tokenizer, ["anna was"]), encode_texts(tokenizer, ["in paris"])
    alone = [*template.prefix, *a.ids, *template.suffix]
    assert alone == tokenizer("anna was")["input_ids"]
    both = [*template.prefix, *a.ids, *template.infix, *b.ids, *template.suffix]
    pair = tokenizer("anna was", "in paris")
    assert both == pair["input_ids"]
    assert template.count(np.array([1, 2])).tolist() == [
        len(alone) - len(a.ids),
        len(both) - len(a.ids) - len(b.ids),
    ]
    if "token_type_ids" in pair:
        first = len(template.prefix) + len(a.ids) + len(template.infix)
        kinds = [template.types[0]] * first + [template.types[1]] * (len(both) - first)
        assert kinds == pair["token_type_ids"]
    assert template.cls_index == 0


def test_pieces_and_offsets_of_hard_texts(tokenizer):
    pieces = encode_texts(tokenizer, HARD)
    assert len(pieces.counts) == len(HARD)
    at = 0
    for text, count in zip(HARD, pieces.counts):
        rows = slice(at, at + count)
        alone = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert pieces.ids[rows].tolist() == alone
        assert (np.diff(pieces.start[rows]) >= 0).all()
        assert (np.diff(pieces.end[rows]) >= 0).all()
        if count:
            assert pieces.start[rows].min() >= 0 and pieces.end[rows].max() <= len(text)
        at += count


def test_no_texts_give_no_pieces(tokenizer):
    pieces = encode_texts(tokenizer, [])
    assert len(pieces.ids) == len(pieces.counts) == len(pieces.start) == 0


def truncate_seq_pair(a, b, most):
    """Shorten two lists as run_classifier.py of BERT does."""
    while len(a) + len(b) > most:
        (a if len(a) > len(b) else b).pop()
    return len(a), len(b)


SIZE = st.integers(0, 30)


@given(st.lists(st.tuples(SIZE, SIZE, SIZE), min_size=1))
def test_pairs_are_shortened_as_in_the_original(rows):
    counts, most = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    wanted = [truncate_seq_pair([0] * a, [0] * b, room) for a, b, room in rows]
    assert shorten_pairs(counts, most).tolist() == [list(pair) for pair in wanted]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(0, 80))
def test_shorten_takes_from_the_longest_first(lengths, most):
    kept = shorten(lengths, most)
    assert all(0 <= k <= n for k, n in zip(kept, lengths))
    assert sum(kept) == min(sum(lengths), most)
    cut = [k for k, n in zip(kept, lengths) if k < n]
    whole = [k for k, n in zip(kept, lengths) if k == n]
    if cut:
        assert max(cut) - min(cut) <= 1
        assert max(whole, default=0) <= max(cut) + 1


def test_equal_texts_are_encoded_once_and_all_get_their_pieces(tokenizer):
    texts = ["anna was", "", "in paris", "anna was", "", "in paris", "anna was"]
    alone = [encode_texts(tokenizer, [text]) for text in texts]
    given_ = []

    class Counting:
        no_truncation = no_padding = staticmethod(lambda: None)

        def encode_batch(self, batch, **settings):
            given_.extend(batch)
            return tokenizer.backend_tokenizer.encode_batch(batch, **settings)

    class Outer:
        backend_tokenizer = Counting()

    pieces = encode_texts(Outer(), texts)
    assert given_ == ["anna was", "", "in paris"]
    for name in ("ids", "start", "end", "counts"):
        wanted = np.concatenate([getattr(one, name) for one in alone])
        np.testing.assert_array_equal(getattr(pieces, name), wanted)


def test_a_call_by_others_does_not_shorten_or_pad(tokenizer):
    texts = ["the team won the good game", "paris"]
    expected = encode_texts(tokenizer, texts)
    tokenizer(["x"], truncation=True, max_length=4, padding="max_length")
    found = encode_texts(tokenizer, texts)
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.ids.tolist() == expected.ids.tolist()
