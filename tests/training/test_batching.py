import math

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from bert_spacy.data.pairs import make_choice
from bert_spacy.training.batching import create_batch_by_pieces_v1, estimate_pieces

NLP = spacy.blank("en")


def examples_of(lengths):
    docs = [NLP.make_doc("word " * n) for n in lengths]
    return [Example(doc, doc) for doc in docs]


@given(
    st.lists(st.integers(0, 30), max_size=25),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(1, 90)),
    st.integers(1, 3),
)
def test_every_example_comes_once_within_the_limits(lengths, size, most, buffer):
    examples = examples_of(lengths)
    batches = list(create_batch_by_pieces_v1(size, most, buffer)(iter(examples)))
    assert sorted(map(id, examples)) == sorted(id(eg) for batch in batches for eg in batch)
    for batch in batches:
        assert 1 <= len(batch) <= size
        longest = max(estimate_pieces(eg.predicted) for eg in batch)
        assert most is None or len(batch) == 1 or longest * len(batch) <= most


def test_batches_are_as_large_as_the_limits_allow():
    examples = examples_of([10] * 12)
    each = estimate_pieces(examples[0].predicted)

    def sizes(**settings):
        return [len(batch) for batch in create_batch_by_pieces_v1(**settings)(examples)]

    assert sizes(size=6) == [6, 6]
    assert sizes(size=6, max_pieces=4 * each) == [4, 4, 4]
    assert sorted(sizes(size=6, max_pieces=6 * each - 1)) == [2, 5, 5]


def test_a_source_is_read_a_buffer_at_a_time():
    read = []

    def source():
        for example in examples_of([3] * 40):
            read.append(example)
            yield example

    batches = create_batch_by_pieces_v1(2, buffer=3)(source())
    for n in range(1, 8):
        next(batches)
        assert len(read) == 6 * math.ceil(n / 3)


def test_docs_with_different_kinds_of_gold_do_not_share_a_batch():
    examples = examples_of([3] * 24)
    kinds = ["cats", "ents", "answers", "choice", "target", "none"] * 4
    for eg, kind in zip(examples, kinds):
        doc = eg.reference
        if kind == "cats":
            doc.cats = {"a": 1.0}
        elif kind == "ents":
            doc.set_ents([], default="outside")
        elif kind != "none":
            name = {"answers": "answers", "choice": "chosen", "target": "regression"}[kind]
            doc.spans[name] = []
    names = dict(zip(map(id, examples), kinds))

    def run(**settings):
        batches = create_batch_by_pieces_v1(4, **settings)(examples)
        return [sorted(names[id(eg)] for eg in batch) for batch in batches]

    assert sorted(run()) == sorted([kind] * 4 for kind in set(kinds))
    assert any(len(set(batch)) > 1 for batch in run(same_gold=False))


def test_order_depends_on_the_seed_alone_and_changes_between_epochs():
    examples = examples_of(range(40))

    def run(seed):
        batcher = create_batch_by_pieces_v1(2, seed=seed)
        return [[[len(eg.x) for eg in b] for b in batcher(examples)] for _ in range(2)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    first, second = run(1)
    assert first != second
    assert all(max(b) - min(b) <= 1 for b in first)


@pytest.mark.parametrize("setting", ["size", "buffer", "max_pieces"])
@pytest.mark.parametrize("value", [0, -5])
def test_values_below_one_are_refused(setting, value):
    with pytest.raises(ValueError, match=rf"\[B521\].*{setting}.*{value}"):
        create_batch_by_pieces_v1(**{setting: value})


def test_estimate_is_never_less_than_two():
    assert estimate_pieces(NLP.make_doc("")) == 2


def test_a_han_character_is_one_piece():
    assert estimate_pieces(spacy.blank("zh").make_doc("北京" * 10)) == 2 + 20


def test_a_context_counts_once_for_each_choice():
    one = estimate_pieces(NLP.make_doc("word " * 100))
    for n in (2, 4):
        item = make_choice(NLP, "word " * 90, "word " * 9, ["word"] * n)
        assert abs(estimate_pieces(item) - n * one) <= 2 * n


def test_han_characters_count_in_long_tokens_too():
    words = Doc(NLP.vocab, words=["北京大学", "iPhone", "好"], spaces=[False] * 3)
    assert estimate_pieces(words) == 2 + 5 + 1
    assert estimate_pieces(NLP.make_doc("https://example.com/" + "a" * 340)) == 2 + 60
