"""Settings of `pretrain` that do not go together are told before anything is read."""

import pytest

from bert_spacy.weights.pretrain.run import pretrain
from bert_spacy.weights.pretrain.settings import read_settings

from .tools import make_config, make_corpus


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus.txt")


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_scheduler_kwargs": {"a": 1}},
        {"lr_scheduler_type": "warmup_stable_decay"},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": "x"}},
        {"optim": "galore_adamw"},
    ],
)
def test_a_schedule_that_cannot_be_is_told_before_anything_is_read(bert, tmp_path, settings):
    changes = {f"trainer__{name}": value for name, value in settings.items()}
    with pytest.raises(ValueError, match=r"B701.*wrong trainer:"):
        pretrain(make_config(tmp_path / "nowhere.txt", bert, **changes), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_schedule_of_its_own_settings_trains(bert, corpus, tmp_path):
    changes = {"type": "polynomial", "kwargs": {"power": 2.0, "lr_end": 1e-5}}
    changes = {f"trainer__lr_scheduler_{name}": value for name, value in changes.items()}
    result = pretrain(make_config(corpus, bert, **changes), tmp_path / "out")
    rates = [row["learning_rate"] for row in result.curve if "learning_rate" in row]
    expected = [(0.001 - 1e-5) * (1 - step / 4) ** 2 + 1e-5 for step in range(4)]
    assert rates == pytest.approx(expected)


def test_words_are_masked_where_there_are_words(bert, corpus, tmp_path):
    """In Chinese a character is a token unless a segmenter finds words."""
    zh = {"corpus__lang": "zh", "masking__unit": "word"}
    with pytest.raises(ValueError, match=r"B701.*masking\.unit.*corpus\.segmenter.*jieba"):
        read_settings(make_config(corpus, bert, **zh))
    for segmenter in ("jieba", "pkuseg"):
        read_settings(make_config(corpus, bert, **zh, corpus__segmenter=segmenter))
        with pytest.raises(ValueError, match=r"B701.*corpus\.segmenter.*char where.*'en'"):
            read_settings(make_config(corpus, bert, corpus__segmenter=segmenter))
    zh["masking__unit"] = "span"  # of characters
    read_settings(make_config(corpus, bert, **zh))
