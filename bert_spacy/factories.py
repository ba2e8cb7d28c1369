"""The factories of every component; light to import.

spaCy imports this module with every `spacy.blank` and `spacy.load`, so nothing
here imports transformers or torch until a component is made.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spacy.language import Language
from thinc.api import Model

from .defaults import DEFAULTS

if TYPE_CHECKING:
    from .pipeline.choice import BertChoice
    from .pipeline.encoder import BertEncoder
    from .pipeline.ner import BertEntityRecognizer
    from .pipeline.qa import BertQuestionAnswerer
    from .pipeline.regressor import BertRegressor
    from .pipeline.textcat import BertTextCategorizer
    from .pipeline.textcat_multilabel import BertMultilabelTextCategorizer


@Language.factory(
    "bert_encoder", assigns=["doc._.trf_data"], default_config=DEFAULTS["bert_encoder"]
)
def make_bert_encoder(
    nlp: Language,
    name: str,
    model: Model,
    keep_outputs: bool,
    adversarial: str,
    adversarial_epsilon: float | None,
    r_drop_alpha: float,
) -> "BertEncoder":
    """Make the shared encoder.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], EncoderBatch]): From `bert-spacy.BertEncoder.v1`.
    keep_outputs (bool): Leave `doc._.trf_data` on every Doc.
    adversarial (str): Train each batch once more with weights moved against it: "fgm" moves the
        word embeddings, "awp" all weight matrices; or "none".
    adversarial_epsilon (float): How far; None for 1.0 with "fgm" and 0.01 with "awp".
    r_drop_alpha (float): Weight of the divergence of two predictions with different dropout;
        0 to predict once.
    """
    from .nn.adversarial import Adversary
    from .pipeline.encoder import BertEncoder

    adversary = None if adversarial == "none" else Adversary(adversarial, adversarial_epsilon)
    return BertEncoder(
        nlp,
        model,
        name,
        keep_outputs=keep_outputs,
        adversary=adversary,
        r_drop_alpha=r_drop_alpha,
    )


@Language.factory(
    "bert_textcat",
    assigns=["doc.cats"],
    default_config=DEFAULTS["bert_textcat"],
    default_score_weights={
        "cats_score": 1.0,
        "cats_macro_f": None,
        "cats_micro_f": None,
        "cats_macro_auc": None,
    },
)
def make_bert_textcat(
    nlp: Language,
    name: str,
    model: Model,
    loss: str,
    label_smoothing: float,
    focal_gamma: float,
    class_weights: dict[str, float] | str | None,
    scorer: Callable[..., Any] | None,
) -> "BertTextCategorizer":
    """Make a classifier of exclusive classes.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], Tensor]): From `bert-spacy.TextCatHead.v1`.
    loss (str): "cross_entropy", "focal" or "dice".
    label_smoothing (float): Share of the gold that is spread over all labels, 0 to below
        1; with cross-entropy alone.
    focal_gamma (float): How far the focal loss turns away from easy texts, 0 or more.
    class_weights (dict[str, float] | str): How much a text of each class counts in the loss;
        "balanced" to count it in the training data; None for 1 each.
    scorer (Callable): Scores Examples.
    """
    from .nn.losses import Loss
    from .pipeline.textcat import BertTextCategorizer

    _register(nlp)
    return BertTextCategorizer(
        nlp.vocab,
        model,
        name,
        loss=Loss(loss, label_smoothing, focal_gamma),
        class_weights=class_weights,
        scorer=scorer,
    )


@Language.factory(
    "bert_textcat_multilabel",
    assigns=["doc.cats"],
    default_config=DEFAULTS["bert_textcat_multilabel"],
    default_score_weights={
        "cats_score": 1.0,
        "cats_macro_f": None,
        "cats_micro_f": None,
        "cats_macro_auc": None,
    },
)
def make_bert_textcat_multilabel(
    nlp: Language,
    name: str,
    model: Model,
    threshold: float,
    loss: str,
    label_smoothing: float,
    focal_gamma: float,
    class_weights: dict[str, float] | str | None,
    scorer: Callable[..., Any] | None,
) -> "BertMultilabelTextCategorizer":
    """Make a classifier of labels that do not exclude each other.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], Tensor]): From `bert-spacy.TextCatHead.v1`.
    threshold (float): Probability from which a label counts as given, if `calibrate` has fitted
        none to it.
    loss (str): "cross_entropy", "focal" or "dice".
    label_smoothing (float): Share of the gold that is spread over all labels, 0 to below
        1; with cross-entropy alone.
    focal_gamma (float): How far the focal loss turns away from easy texts, 0 or more.
    class_weights (dict[str, float] | str): How much a text with each label counts in the loss;
        "balanced" to count it in the training data; None for 1 each.
    scorer (Callable): Scores Examples.
    """
    from .nn.losses import Loss
    from .pipeline.textcat_multilabel import BertMultilabelTextCategorizer

    _register(nlp)
    return BertMultilabelTextCategorizer(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        loss=Loss(loss, label_smoothing, focal_gamma),
        class_weights=class_weights,
        scorer=scorer,
    )


@Language.factory(
    "bert_regressor",
    assigns=["doc._.regression", "doc.spans"],
    default_config=DEFAULTS["bert_regressor"],
    default_score_weights={
        "regression_score": 1.0,
        "regression_pearson": None,
        "regression_spearman": None,
        "regression_per_target": None,
    },
)
def make_bert_regressor(
    nlp: Language, name: str, model: Model, scorer: Callable[..., Any] | None
) -> "BertRegressor":
    """Make a regressor of one or more targets.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], Tensor]): From `bert-spacy.RegressionHead.v1`.
    scorer (Callable): Scores Examples.
    """
    from .pipeline.regressor import BertRegressor

    _register(nlp)
    return BertRegressor(nlp.vocab, model, name, scorer=scorer)


@Language.factory(
    "bert_ner",
    assigns=["doc.ents", "doc.spans", "token.ent_iob", "token.ent_type", "span._.score"],
    default_config=DEFAULTS["bert_ner"],
    default_score_weights={
        "ents_f": 1.0,
        "ents_p": None,
        "ents_r": None,
        "ents_per_type": None,
    },
)
def make_bert_ner(
    nlp: Language,
    name: str,
    model: Model,
    score_entities: bool,
    n_candidates: int,
    candidate_threshold: float,
    loss: str,
    label_smoothing: float,
    focal_gamma: float,
    class_weights: dict[str, float] | str | None,
    keep_entities: bool,
    scorer: Callable[..., Any] | None,
) -> "BertEntityRecognizer":
    """Make a named-entity recogniser.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], TagScores]): From `bert-spacy.CrfTagger.v1`.
    score_entities (bool): Give each entity its probability, `span._.score`.
    n_candidates (int): Most candidates beside the entities of a Doc, in
        `doc.spans["bert_ner_candidates"]`; 0 for none.
    candidate_threshold (float): Smallest probability of a candidate, above 0.
    loss (str): "cross_entropy", "focal" or "dice" of each token. This and the next three are for
        a model with use_crf = false.
    label_smoothing (float): Share of the gold that is spread over all tags, 0 to below 1;
        with cross-entropy alone.
    focal_gamma (float): How far the focal loss turns away from easy tokens, 0 or more.
    class_weights (dict[str, float] | str): How much a token of each label, or "O", counts in the
        loss; "balanced" to count it in the training data; None for 1 each.
    keep_entities (bool): Entities and blocked tokens of earlier components stay, and
        the others are found around them.
    scorer (Callable): Scores Examples.
    """
    from .nn.losses import Loss
    from .pipeline.ner import BertEntityRecognizer

    _register(nlp)
    return BertEntityRecognizer(
        nlp.vocab,
        model,
        name,
        score_entities=score_entities,
        n_candidates=n_candidates,
        candidate_threshold=candidate_threshold,
        loss=Loss(loss, label_smoothing, focal_gamma),
        class_weights=class_weights,
        keep_entities=keep_entities,
        scorer=scorer,
    )


@Language.factory(
    "bert_qa",
    assigns=["doc._.answers", "doc._.no_answer", "doc.spans"],
    default_config=DEFAULTS["bert_qa"],
    default_score_weights={
        "qa_f1": 1.0,
        "qa_em": None,
        "qa_no_answer_acc": None,
        "qa_best_f1": None,
    },
)
def make_bert_qa(
    nlp: Language,
    name: str,
    model: Model,
    null_threshold: float,
    max_answer_tokens: int,
    n_best: int,
    scorer: Callable[..., Any] | None,
) -> "BertQuestionAnswerer":
    """Make an extractive question answerer.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], SpanScores]): From `bert-spacy.SpanQA.v1`.
    null_threshold (float): "No answer" wins if its score exceeds that of the
        best answer by more than this.
    max_answer_tokens (int): Longest answer, in tokens.
    n_best (int): Most answers to give.
    scorer (Callable): Scores Examples.
    """
    from .pipeline.qa import BertQuestionAnswerer

    return BertQuestionAnswerer(
        nlp,
        model,
        name,
        null_threshold=null_threshold,
        max_answer_tokens=max_answer_tokens,
        n_best=n_best,
        scorer=scorer,
    )


@Language.factory(
    "bert_choice",
    assigns=["doc._.choice", "doc._.choice_scores", "doc.spans"],
    default_config=DEFAULTS["bert_choice"],
    default_score_weights={"choice_acc": 1.0, "choice_ece": None},
)
def make_bert_choice(
    nlp: Language, name: str, model: Model, scorer: Callable[..., Any] | None
) -> "BertChoice":
    """Make a component that chooses one of several answers, continuations or statements.

    nlp (Language): The pipeline.
    name (str): Name in the pipeline.
    model (Model[list[Doc], ChoiceScores]): From `bert-spacy.ChoiceHead.v1`.
    scorer (Callable): Scores Examples.
    """
    from .pipeline.choice import BertChoice

    _register(nlp)
    return BertChoice(nlp.vocab, model, name, scorer=scorer)


def _register(nlp: Language) -> None:
    """Let a head find its pipeline, whatever encoder it has."""
    from .pipeline.known import register_pipeline

    register_pipeline(nlp)
