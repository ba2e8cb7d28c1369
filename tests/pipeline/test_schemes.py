"""Tagging on pieces, counted transitions and a CRF without constraints."""

import math

import pytest
import spacy
import torch
from spacy.training import Example

from bert_spacy.text.tags import tag_names

from ..util import make_nlp, ner_examples, same_weights, train_steps, weights

TEXTS = ["anna played xyz", "", "  the film", "bobby"]
GOLD = [[(0, 4, "PER"), (12, 15, "LOC")], [], [], [(0, 5, "PER")]]


def make_ner(folder, examples=None, **model):
    nlp = make_nlp(folder, ["bert_ner"], configs={"bert_ner": {"model": model}})
    examples = examples or ner_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def train_loss(nlp, examples):
    """The loss and output of a training pass, without dropout."""
    head, encoder = nlp.get_pipe("bert_ner"), nlp.get_pipe("bert_encoder")
    docs = [eg.predicted for eg in examples]
    batch = encoder.model.predict(docs)
    head.shim.module.train()
    for part in head.shim.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    output = head.model.attrs["compute"](head.model, batch)
    return float(head.compute_loss(examples, output).detach()), output, batch


@pytest.mark.parametrize("lstm_width", [0, 4])
@pytest.mark.parametrize("use_crf", [True, False])
def test_pieces_that_begin_no_token_learn_x(bert, use_crf, lstm_width):
    nlp = make_ner(bert, scheme="biox", use_crf=use_crf, lstm_width=lstm_width)
    examples = [
        Example.from_dict(nlp.make_doc(text), {"entities": ents}) for text, ents in zip(TEXTS, GOLD)
    ]
    found, output, batch = train_loss(nlp, examples)
    head = nlp.get_pipe("bert_ner")
    module, layout = head.shim.module, batch.layout
    names = [*tag_names(head.labels, "biox"), "X"]
    total, n_tokens = 0.0, 0
    for d, eg in enumerate(examples):
        # A Doc by itself: its pieces, those of each token, and a softmax at each piece.
        rows = batch.hidden[layout.doc_pieces[d] : layout.doc_pieces[d + 1]]
        if not len(rows):
            continue
        if module.lstm is not None:
            rows = module.lstm(rows[None])[0][0]
        scores = module.output(rows)
        shares = torch.log_softmax(scores, 1).detach()
        gold = dict.fromkeys(range(len(eg.predicted)), 0)
        for ent in eg.reference.ents:
            for token in ent:
                prefix = "B" if token.i == ent.start else "I"
                gold[token.i] = names.index(f"{prefix}-{ent.label_}")
        firsts, tags = [], []
        for t, token in enumerate(eg.predicted):
            at = layout.doc_tokens[d] + t
            pieces = layout.align_rows[layout.align_starts[at] : layout.align_starts[at + 1]]
            pieces = pieces - layout.doc_pieces[d]
            assert (len(pieces) == 0) == token.is_space
            if not len(pieces):
                continue
            n_tokens += 1
            firsts.append(int(pieces[0]))
            tags.append(gold[t])
            total -= float(shares[pieces[1:], -1].sum())
            if use_crf:
                total -= math.log(1 - float(shares[pieces[0], -1].exp()))
            else:
                total -= float(shares[pieces[0], gold[t]])
        if use_crf:
            emissions, mask = scores[firsts][None, :, :-1], torch.ones(1, len(firsts)).bool()
            value = module.crf.log_likelihood(emissions, torch.tensor([tags]), mask)
            total -= float(value.detach())
    n_docs = sum(len(eg.predicted) > 0 for eg in examples)
    assert found == pytest.approx(total / (n_docs if use_crf else n_tokens), rel=1e-4)
    assert output.emissions.shape[1] == len(names) - 1


def test_a_tagger_on_pieces_speaks_in_tokens(bert):
    nlp = make_ner(bert, scheme="biox", lstm_width=4)
    head = nlp.get_pipe("bert_ner")
    torch.nn.init.normal_(head.shim.module.output.weight, std=3)
    docs = list(nlp.pipe(TEXTS))
    tables = head.tag_probability(docs)
    assert [table.shape for table in tables] == [(len(doc), 5) for doc in docs]
    for doc in docs:
        [values] = head.span_probability([doc], [doc.ents])
        assert values == pytest.approx([ent._.score for ent in doc.ents])


def count_by_hand(head, examples, n_tags, constraints):
    """Log frequencies of what follows each tag, each count one higher; from tag names alone."""
    names = tag_names(head.labels, "bio")
    counts = {}
    for eg in examples:
        row = ["start", *(f"{t.ent_iob_}-{t.ent_type_}".rstrip("-") for t in eg.reference), "end"]
        for pair in zip(row, row[1:]):
            counts[pair] = counts.get(pair, 0) + 1

    def may_follow(a, b):
        if not constraints or not b.startswith("I-"):
            return True
        return a[1:] == b[1:]

    table = {}
    for a in ["start", *names]:
        after = [b for b in [*names, "end"] if may_follow(a, b) and (a, b) != ("start", "end")]
        whole = sum(counts.get((a, b), 0) + 1 for b in after)
        table.update({(a, b): math.log((counts.get((a, b), 0) + 1) / whole) for b in after})
    return names, table


@pytest.mark.parametrize("constraints", [True, False])
@pytest.mark.parametrize("transitions", ["counted", "tuned"])
def test_transitions_begin_as_log_frequencies(bert, tmp_path, transitions, constraints):
    nlp = make_ner(bert, transitions=transitions, constraints=constraints, scheme="bio")
    examples = ner_examples(nlp)
    head = nlp.get_pipe("bert_ner")
    names, table = count_by_hand(head, examples, 5, constraints)
    crf = head.shim.module.crf
    for (a, b), value in table.items():
        if a == "start":
            found = crf.start[names.index(b)]
        elif b == "end":
            found = crf.end[names.index(a)]
        else:
            found = crf.transitions[names.index(a), names.index(b)]
        assert float(found.detach()) == pytest.approx(value, abs=1e-6)
    before = weights(crf)
    train_steps(nlp, examples, 3)
    assert same_weights(weights(crf), before) == (transitions == "counted")
    nlp.to_disk(tmp_path / "p")
    again = spacy.load(tmp_path / "p").get_pipe("bert_ner")
    assert same_weights(weights(again.shim.module), weights(head.shim.module))
    learns = [p.requires_grad for p in again.shim.module.crf.parameters()]
    assert learns == [transitions == "tuned"] * 3


def test_without_constraints_any_tag_may_follow(bert):
    nlp = make_ner(bert, constraints=False, scheme="bioes")
    crf = nlp.get_pipe("bert_ner").shim.module.crf
    assert crf.transitions_mask.all() and crf.start_mask.all() and crf.end_mask.all()
    torch.nn.init.normal_(nlp.get_pipe("bert_ner").shim.module.output.weight, std=3)
    doc = nlp("anna was in paris with bob")
    assert all(0 < ent._.score <= 1 for ent in doc.ents)


def test_usual_settings_are_written_as_they_ever_were(bert):
    settings = make_ner(bert).get_pipe("bert_ner").module_settings()
    assert set(settings) == {"n_labels", "scheme", "lstm_width", "use_crf"}


def test_settings_that_do_not_go_together(bert):
    for model, code in (
        ({"scheme": "biox", "pooling": "mean"}, "B361"),
        ({"use_crf": False, "transitions": "counted"}, "B362"),
    ):
        with pytest.raises(ValueError, match=code):
            make_nlp(bert, ["bert_ner"], configs={"bert_ner": {"model": model}})
    config = {"bert_ner": {"model": {"transitions": "counted"}}}
    nlp = make_nlp(bert, ["bert_ner"], configs=config)
    nlp.get_pipe("bert_ner").add_label("PER")
    with pytest.raises(ValueError, match="B360"):
        nlp.initialize(lambda: [Example.from_dict(nlp.make_doc("anna was"), {})])
