"""Which config may go on from a checkpoint."""

import pytest

from bert_spacy.training.checkpoint import CONFIG, check_config

OLD = """
[nlp]
pipeline = ["a","b"]

[components]

[components.a]
factory = "a"

[components.b]
factory = "b"

[components.b.model]
@architectures = "x.v1"

[components.b.model.*.first]
@layers = "first.v1"
width = 8

[components.b.model.*.second]
@layers = "second.v1"

[corpora]

[corpora.dev]
@readers = "bert-spacy.Corpus.v1"
path = "dev"

[corpora.train]
@readers = "bert-spacy.MixedCorpus.v1"
seed = 0

[corpora.train.corpora]

[corpora.train.corpora.large]
@readers = "bert-spacy.Corpus.v1"
path = "large"

[corpora.train.corpora.small]
@readers = "bert-spacy.Corpus.v1"
path = "small"

[training]
seed = 0
max_steps = 10

[training.score_weights]
"""


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / CONFIG).write_text(OLD, encoding="utf-8")
    return tmp_path


def change(*pairs):
    text = OLD
    for before, after in pairs:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def swap(text, *starts):
    """Put the second of two neighbouring blocks before the first; each ends where one begins."""
    at = [text.index(start) for start in starts]
    first, second = text[at[0] : at[1]], text[at[1] : at[2]]
    return text[: at[0]] + second + first + text[at[2] :]


@pytest.mark.parametrize(
    "text",
    [
        change(("seed = 0\nmax_steps = 10", "max_steps = 10\nseed = 0")),
        swap(OLD, "[components.a]", "[components.b]", "[corpora]"),
        swap(OLD, "[corpora.dev]", "[corpora.train]", "[training]"),
        swap(OLD, "[corpora]", "[training]\n", "[training.score_weights]"),
        change(("width = 8", "width   =   8"), ('["a","b"]', '["a", "b"]')),
    ],
)
def test_equal_values_go_on_in_any_order(checkpoint, text):
    assert text != OLD
    check_config(checkpoint, text)


@pytest.mark.parametrize(
    "text, difference",
    [
        (
            swap(
                OLD, "[corpora.train.corpora.large]", "[corpora.train.corpora.small]", "[training]"
            ),
            "order of corpora.train.corpora: large, small -> small, large",
        ),
        (
            swap(OLD, "[components.b.model.*.first]", "[components.b.model.*.second]", "[corpora]"),
            "order of components.b.model.*: first, second -> second, first",
        ),
        (change(('["a","b"]', '["b","a"]')), 'nlp.pipeline: ["a", "b"] -> ["b", "a"]'),
        (
            change(("[training.score_weights]", "[training.before_update]")),
            "training.before_update: (unset) -> (an empty section); "
            "training.score_weights: (an empty section) -> (unset)",
        ),
        (change(('path = "dev"', 'path = "中文"')), 'corpora.dev.path: "dev" -> "中文"'),
        (
            change(
                ("[corpora.train.corpora.small]", "[corpora.train.corpora.tiny]"),
                ("max_steps = 10", "max_steps = 10.0"),
            ),
            'corpora.train.corpora.small.@readers: "bert-spacy.Corpus.v1" -> (unset); '
            'corpora.train.corpora.small.path: "small" -> (unset); '
            'corpora.train.corpora.tiny.@readers: (unset) -> "bert-spacy.Corpus.v1"; '
            'corpora.train.corpora.tiny.path: (unset) -> "small"; '
            "training.max_steps: 10 -> 10.0",
        ),
    ],
)
def test_what_differs_is_named(checkpoint, text, difference):
    with pytest.raises(ValueError, match="B541") as caught:
        check_config(checkpoint, text)
    assert f"then -> now: {difference}. Set" in str(caught.value)


def test_a_config_that_was_cut_is_damaged(checkpoint):
    (checkpoint / CONFIG).write_text(OLD[:-20], encoding="utf-8")
    with pytest.raises(ValueError, match="B540"):
        check_config(checkpoint, OLD)
