"""Training is what a plain loop of Transformers and torch does: the same losses, the same weights.

The other side has the model of Transformers with a torch head, its own loss, torch's AdamW and a
linear warm-up. Both begin with the same weights and see the same batches, without dropout.
"""

import itertools

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from bert_spacy.training.optimizer import create_adamw_v1

from ..util import CATS, ENTS, QUESTIONS, TEXTS, make_nlp, ner_examples, qa_examples
from ..util import textcat_examples as classifier_examples

STEPS, RATE, HEAD_RATE, CRF_RATE = 12, 1e-3, 1e-2, 1.0
TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


def rates():
    """Return a warm-up of three steps and a linear fall."""
    return [RATE * min((i + 1) / 3, (STEPS - i) / (STEPS - 2)) for i in range(STEPS)]


class Classes:
    """Transformers' own classifier."""

    pipe, make, config = "bert_textcat", staticmethod(classifier_examples), {}

    def __init__(self, folder, head):
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
        self.model.classifier.load_state_dict(head.output.state_dict())
        self.parts = [self.model.bert], [self.model.classifier]
        self.batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")

    def loss(self, ids):
        gold = torch.tensor([sorted(set(CATS)).index(CATS[i]) for i in ids])
        return self.model(**pick(self.batch, ids), labels=gold).loss


class Answers:
    """Transformers' model for questions; an answer is in the context or, for none, at [CLS].

    None of these questions is longer than a window.
    """

    pipe, make, config = "bert_qa", staticmethod(qa_examples), {}

    def __init__(self, folder, head):
        self.model = AutoModelForQuestionAnswering.from_pretrained(folder)
        self.model.qa_outputs.load_state_dict(head.output.state_dict())
        self.parts = [self.model.bert], [self.model.qa_outputs]
        self.batch = AutoTokenizer.from_pretrained(folder)(
            [q for q, _, _ in QUESTIONS],
            [context for _, context, _ in QUESTIONS],
            padding=True,
            return_tensors="pt",
        )

    def loss(self, ids):
        starts, ends = torch.tensor([self.find(i) for i in ids]).T
        out = self.model(**pick(self.batch, ids))
        parts = [self.batch.sequence_ids(i) for i in ids]
        outside = torch.tensor([[part != 1 for part in row] for row in parts])
        outside[:, 0] = False
        both = zip((out.start_logits, out.end_logits), (starts, ends))
        return sum(
            nn.functional.cross_entropy(scores.masked_fill(outside, -torch.inf), gold) / 2
            for scores, gold in both
        )

    def find(self, i):
        """Return the first and last piece of the answer; [CLS] for none."""
        _, context, answer = QUESTIONS[i]
        if answer is None:
            return 0, 0
        start = context.index(answer)
        places = (start, start + len(answer) - 1)
        return tuple(self.batch.char_to_token(i, place, sequence_index=1) for place in places)


class Tags:
    """A linear layer on the first piece of each word, and a CRF that sums over all paths."""

    pipe, make = "bert_ner", staticmethod(ner_examples)
    config = {"model": {"constraints": False, "scheme": "bio"}}

    def __init__(self, folder, head):
        self.encoder = AutoModel.from_pretrained(folder, add_pooling_layer=False)
        self.output = nn.Linear(self.encoder.config.hidden_size, len(TAGS))
        self.output.load_state_dict(head.output.state_dict())
        self.crf = nn.ParameterDict(
            {
                "transitions": torch.zeros(len(TAGS), len(TAGS)),
                "start": torch.zeros(len(TAGS)),
                "end": torch.zeros(len(TAGS)),
            }
        )
        self.parts = [self.encoder], [self.output, self.crf]
        self.batch = AutoTokenizer.from_pretrained(folder)(
            [text.split() for text in TEXTS],
            is_split_into_words=True,
            padding=True,
            return_tensors="pt",
        )

    def loss(self, ids):
        hidden = self.encoder(**pick(self.batch, ids)).last_hidden_state
        losses = []
        for row, i in zip(hidden, ids):
            words = TEXTS[i].split()
            first = [self.batch.word_to_tokens(i, k).start for k in range(len(words))]
            emissions = self.output(row[first])
            paths = torch.tensor(list(itertools.product(range(len(TAGS)), repeat=len(words))))
            total = torch.logsumexp(self.score(emissions, paths), 0)
            losses.append(total - self.score(emissions, torch.tensor([self.gold(i, words)]))[0])
        return torch.stack(losses).mean()

    def score(self, emissions, paths):
        """Score paths. Shapes (T, L) and (N, T) to (N,)."""
        crf = self.crf
        scores = emissions[torch.arange(len(emissions)), paths].sum(1)
        steps = crf["transitions"][paths[:, :-1], paths[:, 1:]].sum(1)
        return scores + steps + crf["start"][paths[:, 0]] + crf["end"][paths[:, -1]]

    def gold(self, i, words):
        """Return the tags; each entity here is one word."""
        starts = [len(" ".join(words[:k])) + (k > 0) for k in range(len(words))]
        label = {start: f"B-{name}" for start, _, name in ENTS[i]}
        return [TAGS.index(label.get(start, "O")) for start in starts]


def pick(batch, ids):
    """Return some rows of a batch."""
    return {name: rows[ids] for name, rows in batch.items()}


def silence(module):
    """Turn off all dropout."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout_prob"):
            part.dropout_prob = 0.0


def make_groups(parts):
    """Return torch's groups: rates by part, and no decay of biases, norms and the CRF."""
    groups = []
    for part in itertools.chain(*parts):
        for name, parameter in part.named_parameters():
            is_crf = isinstance(part, nn.ParameterDict)
            by = CRF_RATE if is_crf else HEAD_RATE if part in parts[1] else RATE
            none = is_crf or name.endswith("bias") or "norm" in name.lower()
            groups.append(
                {"params": [parameter], "by": by / RATE, "weight_decay": 0.0 if none else 0.01}
            )
    return groups


@pytest.mark.parametrize("kind", [Classes, Answers, Tags])
def test_training_is_that_of_a_plain_loop(bert, kind):
    multiplier = {"lr_multiplier": HEAD_RATE / RATE}
    config = {"model": {**kind.config.get("model", {}), **multiplier}}
    nlp = make_nlp(bert, [kind.pipe], configs={kind.pipe: config})
    examples = kind.make(nlp)
    nlp.initialize(lambda: examples)
    head = nlp.get_pipe(kind.pipe).shim.module
    silence(head)
    encoder = nlp.get_pipe("bert_encoder").model.shims[0].encoder.model
    plain = kind(bert, head)
    for part in itertools.chain(*plain.parts):
        silence(part)
        part.train()
    theirs, sizes = dict(plain.parts[0][0].named_parameters()), {}
    sgd = create_adamw_v1()
    torch_optimizer = torch.optim.AdamW(make_groups(plain.parts), lr=RATE)
    for step, rate in enumerate(rates()):
        ids = [step % 4, (step + 1) % 4]
        sgd.learn_rate, losses = rate, {}
        nlp.update([examples[i] for i in ids], sgd=sgd, drop=0.0, losses=losses)
        loss = plain.loss(ids)
        loss.backward()
        for name, values in theirs.items():
            sizes[name] = max(sizes.get(name, 0.0), values.grad.abs().max().item())
        for parts in plain.parts:
            nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 1.0)
        for group in torch_optimizer.param_groups:
            group["lr"] = rate * group["by"]
        torch_optimizer.step()
        torch_optimizer.zero_grad()
        assert losses[kind.pipe] == pytest.approx(loss.item(), rel=1e-4)
    ours = dict(encoder.named_parameters())
    # Some gradients are 0 but for rounding, such as those of the keys' biases; Adam takes that
    # for a direction.
    learnt = [name for name, size in sizes.items() if size > 1e-6]
    assert len(learnt) >= 0.9 * len(sizes)
    for name in learnt:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-4, msg=name)
    torch.testing.assert_close(head.output.weight, plain.parts[1][0].weight, rtol=0, atol=1e-4)
