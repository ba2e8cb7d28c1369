"""Numbers in the settings of models are looked at when a component is made."""

import pytest
import spacy
from thinc.api import Model

from bert_spacy.layers.choice import build_choice_head_v1
from bert_spacy.layers.elmo import build_elmo_encoder_v1
from bert_spacy.layers.encoder import build_bert_encoder_v1
from bert_spacy.layers.ner import build_crf_tagger_v1
from bert_spacy.layers.qa import build_span_qa_v1
from bert_spacy.layers.regressor import build_regression_head_v1
from bert_spacy.layers.textcat import build_textcat_head_v1

ENCODER = Model("encoder", lambda model, docs, is_train: None)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan"), "x"])
@pytest.mark.parametrize(
    "build, setting",
    [
        (build_textcat_head_v1, "lr_multiplier"),
        (build_regression_head_v1, "lr_multiplier"),
        (build_span_qa_v1, "lr_multiplier"),
        (build_choice_head_v1, "lr_multiplier"),
        (build_crf_tagger_v1, "lr_multiplier"),
        (build_crf_tagger_v1, "crf_lr_multiplier"),
    ],
)
def test_multipliers_of_heads(build, setting, value):
    with pytest.raises(ValueError, match=rf"\[B211\] {setting} cannot be {value!r}"):
        build(ENCODER, **{setting: value})
    build(ENCODER, **{setting: 0.0})


@pytest.mark.parametrize("value", [-3, 2.5])
def test_width_of_the_lstm(value):
    with pytest.raises(ValueError, match=rf"\[B211\] lstm_width cannot be {value}"):
        build_crf_tagger_v1(ENCODER, lstm_width=value)


@pytest.mark.parametrize("build", [build_bert_encoder_v1, build_elmo_encoder_v1])
@pytest.mark.parametrize("value", [-1.0, 1.1, 2.0, float("nan")])
def test_dropout(build, value):
    with pytest.raises(ValueError, match=rf"\[B211\] dropout cannot be {value}.*from 0 to 1"):
        build("none", dropout=value)
    build("none", dropout=1.0)


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "build, setting",
    [(build_bert_encoder_v1, "layerwise_decay"), (build_elmo_encoder_v1, "mix_lr_multiplier")],
)
def test_learning_rates_of_encoders(build, setting, value):
    with pytest.raises(ValueError, match=rf"\[B211\] {setting} cannot be {value}"):
        build("none", **{setting: value})


def test_layers_further_down_never_learn_faster():
    with pytest.raises(ValueError, match=r"\[B211\] layerwise_decay cannot be 1.5.*from 0 to 1"):
        build_bert_encoder_v1("none", layerwise_decay=1.5)
    build_bert_encoder_v1("none", layerwise_decay=1.0)


@pytest.mark.parametrize(
    "factory, setting", [("bert_encoder", "layerwise_decay"), ("bert_textcat", "lr_multiplier")]
)
def test_a_config_is_refused_when_its_component_is_made(factory, setting):
    with pytest.raises(ValueError, match=rf"\[B211\] {setting}"):
        spacy.blank("en").add_pipe(factory, config={"model": {setting: -1.0}})
