"""The regressor's model: one vector per Doc, one number per target."""

from functools import partial

from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..nn.heads import ClassifierHead
from ..types import EncoderBatch
from .head import build_head
from .textcat import Pooling, Windows, pool_docs


@registry.architectures("bert-spacy.RegressionHead.v1")
def build_regression_head_v1(
    encoder: Model[list[Doc], EncoderBatch],
    pooling: Pooling = "auto",
    windows: Windows = "mean",
    lr_multiplier: float = 1.0,
) -> Model[list[Doc], Tensor]:
    """Build the model of a regressor.

    encoder (Model[list[Doc], EncoderBatch]): A listener, or an encoder of its own.
    pooling (str): "pooler" for the pretrained pooler over [CLS], "cls" for its
        hidden state, "mean" for the mean of all pieces, "auto" for the pooler
        where the model has one and the mean otherwise.
    windows (str): How the vectors of several windows are combined: "mean", "max", or
        "attention" for a mean with learned weights, which begins as the plain one. The mean of
        all pieces needs no combining.
    lr_multiplier (float): Learning rate of this head as a multiple of the
        optimiser's.
    RETURNS (Model[list[Doc], Tensor]): Standardised values, shape (D, L).
    RAISES (ValueError): B211 for a multiplier out of range.
    """
    return build_head(
        "bert_regressor",
        encoder,
        partial(ClassifierHead, attends=windows == "attention"),
        compute,
        {"": lr_multiplier},
        {"pooling": pooling, "windows": windows},
    )


def compute(model: Model, batch: EncoderBatch) -> Tensor:
    """Pool each Doc and give its values. Shape (D, L)."""
    return model.shims[0].module(pool_docs(model, batch))
