"""The tagger's model: one row of tag scores per token."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model
from torch import Tensor

from ..nn.heads import TaggerHead
from ..text.tags import allowed_transitions, find_pieces
from ..types import EncoderBatch, Ints
from .checks import check_width
from .head import build_head


@dataclass(frozen=True)
class TagScores:
    """Tag scores of all tokens that have pieces, Doc after Doc.

    emissions (Tensor): Shape (N, L).
    lengths (Ints): Such tokens per Doc. Shape (D,).
    tokens (Ints): Index of each within its Doc. Shape (N,).
    kinds (Tensor | None): In training with the scheme "biox", the log-probability that of the
        token's pieces those are X that are not the first. Shape (N,).
    """

    emissions: Tensor
    lengths: Ints
    tokens: Ints
    kinds: Tensor | None = None


@registry.architectures("bert-spacy.CrfTagger.v1")
def build_crf_tagger_v1(
    encoder: Model[list[Doc], EncoderBatch],
    pooling: Literal["first", "mean"] = "first",
    scheme: Literal["bio", "bioes", "biox"] = "bioes",
    use_crf: bool = True,
    lstm_width: int = 0,
    lr_multiplier: float = 10.0,
    crf_lr_multiplier: float = 1000.0,
    transitions: Literal["learned", "counted", "tuned"] = "learned",
    constraints: bool = True,
) -> Model[list[Doc], TagScores]:
    """Build the model of a tagger with a linear-chain CRF.

    encoder (Model[list[Doc], EncoderBatch]): A listener, or an encoder of its own.
    pooling (str): A token is its "first" piece, or the "mean" of its pieces.
    scheme (str): Tags "bio", "bioes" or "biox". With "bioes" the last token of an entity and
        one that is a whole entity have tags of their own. With "biox" each piece has a tag:
        the first of a token one of "bio", the others X.
    use_crf (bool): Learn and decode whole sequences; otherwise each token has a
        softmax of its own.
    lstm_width (int): Width of each direction of a BiLSTM; 0 for none.
    lr_multiplier (float): Learning rate of this head as a multiple of the
        optimiser's.
    crf_lr_multiplier (float): The same for transition, start and end scores,
        which hardly move at an encoder's rate.
    transitions (str): These scores are "learned" from 0; "counted", the logs of how often tags
        follow each other in the training data, and stay so; or "tuned", learned from there.
    constraints (bool): The CRF allows no tags but those that follow the scheme; otherwise it
        has to learn that, and what does not follow is read as conlleval does.
    RETURNS (Model[list[Doc], TagScores]): The model.
    RAISES (ValueError): B211 for a multiplier or a width out of range.
    """
    check_width("lstm_width", lstm_width)
    return build_head(
        "bert_ner",
        encoder,
        make_tagger,
        compute,
        {"crf.": crf_lr_multiplier, "": lr_multiplier},
        {
            "by_token": True,
            "pooling": pooling,
            "scheme": scheme,
            "use_crf": use_crf,
            "lstm_width": lstm_width,
            "transitions": transitions,
            "constraints": constraints,
        },
    )


def make_tagger(
    width: int,
    n_labels: int,
    scheme: str,
    lstm_width: int,
    use_crf: bool,
    constraints: bool = True,
    transitions: str = "learned",
) -> TaggerHead:
    """Make the torch module.

    width (int): Width of the encoder, H.
    n_labels (int): Number of entity labels; tags follow from the scheme.
    scheme (str): "bio", "bioes" or "biox".
    lstm_width (int): Width of each direction of the BiLSTM; 0 for none.
    use_crf (bool): Whether there are transition scores.
    constraints (bool): Whether the CRF holds to the scheme.
    transitions (str): Transition scores stay as they are if "counted".
    RETURNS (TaggerHead): The module, its weights random.
    """
    steps, start, end = map(torch.from_numpy, allowed_transitions(n_labels, scheme))
    if not constraints:
        steps, start, end = (torch.ones_like(mask) for mask in (steps, start, end))
    return TaggerHead(
        width,
        (steps, start, end),
        lstm_width,
        use_crf,
        has_x=scheme == "biox",
        learns_transitions=transitions != "counted",
    )


def compute(model: Model, batch: EncoderBatch) -> TagScores:
    """Score the tags of every token that has pieces."""
    module: TaggerHead = model.shims[0].module
    layout = batch.layout
    first = layout.first_rows()
    tokens = np.flatnonzero(first >= 0)
    doc_of = np.repeat(np.arange(layout.n_docs), np.diff(layout.doc_tokens))[tokens]
    lengths = np.bincount(doc_of, minlength=layout.n_docs)
    local = tokens - layout.doc_tokens[:-1][doc_of]
    apply = None if module.lstm is not None else module.emit
    if model.attrs["scheme"] == "biox":
        states, kinds = _score_pieces(module, batch, tokens, first[tokens], doc_of)
        return TagScores(states.float(), lengths, local, kinds)
    if model.attrs["pooling"] == "first":
        states = batch.rows(first[tokens], apply)
    else:
        states = _mean_rows(batch, tokens, apply)
    if module.lstm is not None and len(tokens):
        sizes = torch.from_numpy(lengths[lengths > 0])
        states = module.output(module.read_context(states, sizes))
    return TagScores(states.float(), lengths, local)


def _mean_rows(batch: EncoderBatch, tokens: Ints, apply) -> Tensor:  # noqa: ANN001
    # The mean of scores is the score of the mean: all of it is linear.
    layout = batch.layout
    counts = np.diff(layout.align_starts)[tokens]
    rows = batch.rows(layout.align_rows, apply)
    at = torch.from_numpy(np.repeat(np.arange(len(tokens)), counts)).to(rows.device)
    total = rows.new_zeros((len(tokens), rows.shape[1])).index_add(0, at, rows)
    return total / torch.from_numpy(counts).to(rows).unsqueeze(1)


def _score_pieces(
    module: TaggerHead, batch: EncoderBatch, tokens: Ints, first: Ints, doc_of: Ints
) -> tuple[Tensor, Tensor | None]:
    """Score the tags of first pieces; in training, also how well X is told from the others.

    X leaves the chain of tags alone. What the pieces are is known from the text, so the likelihood
    of all tags is that of the tokens' tags times that of X at each piece, a softmax of its own.
    """
    if module.lstm is None and not module.training:
        return batch.rows(first, module.emit)[:, :-1], None
    layout = batch.layout
    rows, token, is_x = find_pieces(layout.align_starts, layout.align_rows)
    place = np.searchsorted(tokens, token)
    states = batch.rows(rows, module.emit if module.lstm is None else None)
    if module.lstm is not None:
        sizes = np.bincount(doc_of[place], minlength=layout.n_docs)
        states = (
            states.new_zeros((0, module.output.out_features))
            if not len(rows)
            else (module.output(module.read_context(states, torch.from_numpy(sizes[sizes > 0]))))
        )
    emissions = states[torch.from_numpy(np.searchsorted(rows, first)).to(states.device)][:, :-1]
    if not module.training:
        return emissions, None
    scores = states.float()
    other = torch.logsumexp(scores[:, :-1], 1)
    wanted = torch.where(torch.from_numpy(is_x).to(scores.device), scores[:, -1], other)
    each = wanted - torch.logsumexp(scores, 1)
    at = torch.from_numpy(place).to(scores.device)
    return emissions, each.new_zeros(len(tokens)).index_add(0, at, each)
