"""The torch modules of the heads. None of them knows what a Doc is."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .crf import LinearChainCRF

INIT_STD = 0.02  # BERT's own, for heads that are one linear layer


class ClassifierHead(nn.Module):
    """Dropout and a linear layer over one vector per text.

    width (int): Width of the encoder, H.
    n_labels (int): Number of classes, L.
    attends (bool): Whether there is a query for `attend`. It begins at zero, where attention
        is the mean.
    """

    def __init__(self, width: int, n_labels: int, *, attends: bool = False):
        super().__init__()
        self.dropout = nn.Dropout(0.1)
        self.output = _linear(width, n_labels)
        self.query = nn.Parameter(torch.zeros(width)) if attends else None

    def forward(self, vectors: Tensor) -> Tensor:
        """Score the classes. Shape (N, H) to (N, L)."""
        return self.output(self.dropout(vectors))


class TaggerHead(nn.Module):
    """Emission scores per token, with an optional BiLSTM and an optional CRF.

    width (int): Width of the encoder, H.
    allowed (tuple[Tensor, Tensor, Tensor]): Which tags may follow each other,
        bool, shape (L, L); begin a text, shape (L,); and end it, shape (L,).
    lstm_width (int): Width of each direction of the BiLSTM; 0 for none.
    use_crf (bool): Whether there are transition scores.
    has_x (bool): Whether one more score stands at the end, which no path goes through.
    learns_transitions (bool): Whether transition scores are learned, or stay as they are set.
    """

    def __init__(
        self,
        width: int,
        allowed: tuple[Tensor, Tensor, Tensor],
        lstm_width: int,
        use_crf: bool,
        *,
        has_x: bool = False,
        learns_transitions: bool = True,
    ):
        super().__init__()
        transitions, start, end = allowed
        self.dropout = nn.Dropout(0.1)
        self.lstm = (
            nn.LSTM(width, lstm_width, batch_first=True, bidirectional=True) if lstm_width else None
        )
        # torch's own first weights, half as large again as BERT's: with those the
        # encoder learns too slowly from a CRF (CoNLL, dev F1 after one epoch: 72
        # instead of 78).
        self.output = nn.Linear(2 * lstm_width if lstm_width else width, len(start) + has_x)
        self.crf = LinearChainCRF(len(start), transitions, start, end) if use_crf else None
        if self.crf is not None:
            self.crf.requires_grad_(learns_transitions)

    def emit(self, states: Tensor) -> Tensor:
        """Score the tags of each token on its own. Shape (N, H) to (N, L)."""
        return self.output(self.dropout(states))

    def read_context(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Run the BiLSTM over each sequence.

        states (Tensor): All sequences, one after the other. Shape (N, H).
        lengths (Tensor): Tokens in each, on the CPU, each at least 1. Shape (D,).
        RETURNS (Tensor): Shape (N, 2 * lstm_width).
        """
        padded = nn.utils.rnn.pad_sequence(list(states.split(lengths.tolist())), batch_first=True)
        packed = pack_padded_sequence(
            self.dropout(padded), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # type: ignore[misc]
        mask = torch.arange(output.shape[1])[None] < lengths[:, None]
        return output[mask.to(output.device)]


class SpanHead(nn.Module):
    """Scores of each piece as first and as last of the answer.

    width (int): Width of the encoder, H.
    """

    def __init__(self, width: int):
        super().__init__()
        self.dropout = nn.Dropout(0.1)
        self.output = _linear(width, 2)

    def forward(self, states: Tensor) -> Tensor:
        """Score start and end. Shape (N, H) to (N, 2)."""
        return self.output(self.dropout(states))


def attend(vectors: Tensor, lengths: Tensor, query: Tensor) -> Tensor:
    """Return the mean of each sequence, weighted by a softmax of products with the query.

    vectors (Tensor): All sequences, one after the other. Shape (N, H).
    lengths (Tensor): Vectors in each, each at least 1. Shape (D,).
    query (Tensor): Shape (H,).
    RETURNS (Tensor): Shape (D, H).
    """
    sequence = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
    scores = vectors @ query
    largest = torch.segment_reduce(scores.detach(), "max", lengths=lengths, unsafe=True)
    weights = (scores - largest[sequence]).exp().unsqueeze(1)
    # The last column sums to the softmax's denominator.
    weighted = torch.cat((weights * vectors, weights), 1)
    sums = weighted.new_zeros(len(lengths), weighted.shape[1]).index_add(0, sequence, weighted)
    return sums[:, :-1] / sums[:, -1:]


def _linear(n_in: int, n_out: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer
