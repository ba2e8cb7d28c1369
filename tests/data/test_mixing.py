"""`bert-spacy.MixedCorpus.v1`: shares, order, and the two ways of spaCy's loop to read it."""

from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest
import spacy
from spacy.training import Example
from spacy.training.loop import create_train_batches
from spacy.util import registry
from thinc.api import Config

from bert_spacy.data.mixing import count_draws, create_mixed_corpus_v1
from bert_spacy.data.pairs import get_segments, make_question

NLP = spacy.blank("en")


def reader(name, n):
    """Return a reader of n Docs: name 0, name 1, ..."""

    def read(nlp):
        for i in range(n):
            reference = nlp.make_doc(f"{name} {i}")
            yield Example(nlp.make_doc(reference.text), reference)

    return read


def streaming(max_epochs=-2):
    return spacy.blank("en", config={"training": {"max_epochs": max_epochs}})


def texts(corpus, nlp=NLP):
    return [eg.reference.text for eg in corpus(nlp)]


def names(rows):
    return Counter(row.split()[0] for row in rows)


SIZES = {"a": 40, "b": 10, "c": 2}
CORPORA = {name: reader(name, n) for name, n in SIZES.items()}


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.5, 1.0])
def test_counts_are_in_the_shares_of_the_formula(alpha):
    sizes = [100_000, 2_500, 300]
    counts = count_draws(sizes, alpha)
    assert counts[0] == sizes[0]  # each of the largest once
    for n, count in zip(sizes, counts):
        assert count >= n
        assert count == pytest.approx(counts[0] * (n / sizes[0]) ** alpha, abs=0.5)


def test_proportional_is_each_doc_once():
    rows = texts(create_mixed_corpus_v1(CORPORA, "proportional"))
    assert sorted(rows) == sorted(f"{name} {i}" for name, n in SIZES.items() for i in range(n))


def test_square_root_repeats_small_corpora():
    rows = texts(create_mixed_corpus_v1(CORPORA, "sqrt"))
    # 40 * (10 / 40) ** 0.5, 40 * (2 / 40) ** 0.5
    assert names(rows) == {"a": 40, "b": 20, "c": 9}
    each = Counter(rows)
    assert {each[f"b {i}"] for i in range(10)} == {2}
    assert {each[f"c {i}"] for i in range(2)} == {4, 5}


def test_annealed_follows_the_formula():
    corpus = create_mixed_corpus_v1(CORPORA, "annealed", epochs=5)
    nlp = streaming()
    for e in range(1, 8):
        alpha = float(1 - Fraction(8, 10) * Fraction(min(e, 5) - 1, 5 - 1))
        counts = names(texts(corpus, nlp))
        assert counts["a"] == 40
        for name, n in SIZES.items():
            assert counts[name] / 40 == pytest.approx(n**alpha / 40**alpha, abs=0.5 / 40)


def test_docs_are_exhausted_before_they_come_again_over_epochs():
    corpus = create_mixed_corpus_v1({"a": reader("a", 40), "b": reader("b", 7)}, "sqrt")
    rows = [row for _ in range(10) for row in texts(corpus)]
    for name, n in (("a", 40), ("b", 7)):
        mine = [row for row in rows if row.startswith(name)]
        passes = [mine[i : i + n] for i in range(0, len(mine) - n + 1, n)]
        assert len(passes) >= 10
        for one in passes:
            assert sorted(one) == sorted(f"{name} {i}" for i in range(n))
        assert len({tuple(one) for one in passes}) == len(passes)


def test_corpora_are_mixed_and_not_one_after_the_other():
    rows = texts(create_mixed_corpus_v1({"a": reader("a", 200), "b": reader("b", 200)}))
    assert all(5 < names(rows[i : i + 40])["a"] < 35 for i in range(0, 400, 40))


def test_seeds_repeat():
    def rows(seed):
        corpus = create_mixed_corpus_v1(CORPORA, "sqrt", seed=seed)
        return [texts(corpus) for _ in range(3)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    first, second, _ = rows(1)
    assert first != second


def test_another_pipeline_begins_at_the_first_epoch():
    corpus = create_mixed_corpus_v1(CORPORA, "sqrt")
    first = texts(corpus)
    assert texts(corpus) != first
    assert texts(corpus, spacy.blank("en")) == first


def test_repeated_docs_are_different_objects_and_keep_their_segments():
    def read(nlp):
        reference = make_question(nlp, "who", "")
        yield Example(make_question(nlp, "who", ""), reference)

    corpus = create_mixed_corpus_v1({"a": reader("a", 9), "b": read})
    mine = [eg for eg in corpus(NLP) if eg.reference.text.startswith("who")]
    assert len(mine) == 3
    assert len({id(eg.predicted) for eg in mine}) == 3
    for example in mine:
        marks = [(s.text, s.label_) for s in get_segments(example.predicted)]
        assert marks == [("who", "question"), ("", "context")]


@pytest.mark.parametrize(
    "settings",
    [
        {"mixing": "fair"},
        {"mixing": "annealed"},
        {"mixing": "annealed", "epochs": 1},
        {"mixing": "sqrt", "epochs": 3},
        {"corpora": {}},
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings):
    with pytest.raises(ValueError, match=r"\[B551\]"):
        create_mixed_corpus_v1(**{"corpora": CORPORA, **settings})


def test_an_empty_corpus_is_named():
    corpus = create_mixed_corpus_v1({**CORPORA, "none": reader("none", 0)})
    with pytest.raises(ValueError, match=r"\[B552\].*'none'"):
        list(corpus(NLP))


@pytest.mark.parametrize(
    ("max_epochs", "mixing"), [(0, "annealed"), (3, "annealed"), (-1, "annealed"), (-1, "sqrt")]
)
def test_streams_that_would_not_serve_are_refused(max_epochs, mixing):
    corpus = create_mixed_corpus_v1(CORPORA, mixing, epochs=3 if mixing == "annealed" else 0)
    with pytest.raises(ValueError, match=rf"\[B553\].*max_epochs = {max_epochs}"):
        list(corpus(streaming(max_epochs)))


CONFIG = """
[corpora]

[corpora.train]
@readers = "bert-spacy.MixedCorpus.v1"
mixing = "annealed"
epochs = 2

[corpora.train.corpora]

[corpora.train.corpora.news]
@readers = "bert-spacy.Corpus.v1"
path = "news.spacy"

[corpora.train.corpora.films]
@readers = "spacy.Corpus.v1"
path = "films.spacy"
gold_preproc = false
"""


def test_readers_are_named_in_the_config():
    config = Config().from_str(CONFIG)
    corpus = registry.resolve(config["corpora"], validate=True)["train"]
    assert set(corpus.corpora) == {"news", "films"}
    assert (corpus.mixing, corpus.epochs) == ("annealed", 2)


def test_the_loop_of_spacy_draws_an_epoch_with_each_call():
    corpus = create_mixed_corpus_v1(CORPORA, "annealed", epochs=3)
    batches = create_train_batches(streaming(), corpus, lambda egs: ([eg] for eg in egs), -2)
    counts = Counter()
    for epoch, (example,) in islice(batches, 500):
        counts[epoch, example.reference.text.split()[0]] += 1
    assert counts[0, "c"] == 2
    assert counts[1, "c"] == round(40 * (2 / 40) ** 0.6)
    assert counts[2, "c"] == counts[3, "c"] == round(40 * (2 / 40) ** 0.2)
    assert counts[0, "a"] == counts[2, "a"] == 40
