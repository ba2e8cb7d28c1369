"""Default settings of every component."""

from thinc.api import Config

DEFAULTS = Config().from_str(
    """
[bert_encoder]
keep_outputs = false
adversarial = "none"
adversarial_epsilon = null
r_drop_alpha = 0.0

[bert_encoder.model]
@architectures = "bert-spacy.BertEncoder.v1"
name = "minilm-l6-en"
window = null
stride = null
max_batch_pieces = null
mixed_precision = false
backend = "auto"
precision = "auto"
freeze = "none"
dropout = null
layerwise_decay = 1.0
gradient_checkpointing = false
unfreeze_every = 0
pair_overflow = "window"

[bert_textcat]
loss = "cross_entropy"
label_smoothing = 0.0
focal_gamma = 2.0
class_weights = null

[bert_textcat.scorer]
@scorers = "bert-spacy.textcat_scorer.v1"

[bert_textcat.model]
@architectures = "bert-spacy.TextCatHead.v1"
pooling = "auto"
windows = "mean"
lr_multiplier = 1.0
dropout_samples = 1

[bert_textcat.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"

[bert_textcat_multilabel]
threshold = 0.5
loss = "cross_entropy"
label_smoothing = 0.0
focal_gamma = 2.0
class_weights = null

[bert_textcat_multilabel.scorer]
@scorers = "bert-spacy.textcat_scorer.v1"
multi_label = true

[bert_textcat_multilabel.model]
@architectures = "bert-spacy.TextCatHead.v1"
pooling = "auto"
windows = "mean"
lr_multiplier = 1.0
dropout_samples = 1

[bert_textcat_multilabel.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"

[bert_regressor]

[bert_regressor.scorer]
@scorers = "bert-spacy.regression_scorer.v1"

[bert_regressor.model]
@architectures = "bert-spacy.RegressionHead.v1"
pooling = "auto"
windows = "mean"
lr_multiplier = 1.0

[bert_regressor.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"

[bert_ner]
score_entities = true
n_candidates = 0
candidate_threshold = 0.01
loss = "cross_entropy"
label_smoothing = 0.0
focal_gamma = 2.0
class_weights = null
keep_entities = true

[bert_ner.scorer]
@scorers = "bert-spacy.ner_scorer.v1"

[bert_ner.model]
@architectures = "bert-spacy.CrfTagger.v1"
pooling = "first"
scheme = "bioes"
use_crf = true
lstm_width = 0
lr_multiplier = 10.0
crf_lr_multiplier = 1000.0
transitions = "learned"
constraints = true

[bert_ner.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"

[bert_qa]
null_threshold = 0.0
max_answer_tokens = 30
n_best = 5

[bert_qa.scorer]
@scorers = "bert-spacy.qa_scorer.v1"
language_rule = "auto"

[bert_qa.model]
@architectures = "bert-spacy.SpanQA.v1"
lr_multiplier = 1.0

[bert_qa.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"

[bert_choice]

[bert_choice.scorer]
@scorers = "bert-spacy.choice_scorer.v1"

[bert_choice.model]
@architectures = "bert-spacy.ChoiceHead.v1"
pooling = "auto"
windows = "mean"
lr_multiplier = 1.0

[bert_choice.model.encoder]
@architectures = "bert-spacy.BertListener.v1"
upstream = "*"
"""
)
