"""No entity goes over the border of sentences that were set before the tagger ran."""

import pytest
import torch
from spacy.tokens import DocBin, Span
from spacy.training import Example

from ..util import make_nlp, ner_examples

TEXT = "anna was in paris . bob in london"
BORDER = 5


def make_greedy(folder, *, before=(), after=(), **model):
    """A pipeline whose tagger sees one entity in a whole text, wherever it may."""
    nlp = make_nlp(folder, before)
    nlp.add_pipe("bert_ner", config={"model": model})
    for name in after:
        nlp.add_pipe(name)
    nlp.initialize(lambda: ner_examples(nlp))
    head = nlp.get_pipe("bert_ner")
    head.cfg["temperature"] = 4.0
    with torch.no_grad():  # every token wants to be inside an entity of the first label
        head.shim.module.output.weight.zero_()
        head.shim.module.output.bias.zero_()
        head.shim.module.output.bias[2] = 5.0
    return nlp, head


def places(ents, label=None):
    return [(x.start, x.end) for x in ents if label in (None, x.label_)]


@pytest.mark.parametrize("scheme", ["bio", "bioes", "biox"])
@pytest.mark.parametrize("use_crf", [True, False])
def test_no_entity_reaches_into_the_next_sentence(bert, scheme, use_crf):
    nlp, head = make_greedy(bert, before=["sentencizer"], scheme=scheme, use_crf=use_crf)
    head.n_candidates, head.candidate_threshold = 50, 1e-6
    with nlp.select_pipes(disable="sentencizer"):
        whole = nlp(TEXT)
        assert any(start < BORDER < end for start, end in places(whole.ents))
        assert "bert_ner_borders" not in whole.spans
    doc = nlp(TEXT)
    spans = [*doc.ents, *doc.spans["bert_ner_candidates"]]
    assert doc.ents and not any(start < BORDER < end for start, end in places(spans))
    # Probabilities on request are on the same condition.
    label = head.labels[0]
    wanted = [(0, BORDER + 1, label), (0, BORDER, label), *doc.ents]
    across, within, *own = head.span_probability([doc], [wanted])[0]
    assert across == 0.0 < within
    assert own == pytest.approx([ent._.score for ent in doc.ents])
    for ents, share in head.best_taggings([doc], k=5)[0]:
        assert share > 0 and not any(start < BORDER < end for start, end in places(ents))


def test_each_sentence_has_the_probabilities_that_it_has_alone(bert):
    # The chain sees nothing of a token but its scores, and these are the same for all tokens. A
    # border leaves transitions between the last tag of one sentence and the first of the next, so
    # without these the sentences have nothing to do with each other.
    nlp, head = make_greedy(bert, before=["sentencizer"], scheme="bio")
    with torch.no_grad():
        for param in head.shim.module.crf.parameters():
            param.zero_()
    table = head.tag_probability([nlp(TEXT)])[0]
    for start, text in ((0, "anna was in paris ."), (BORDER, "bob in london")):
        alone = head.tag_probability([nlp(text)])[0]
        assert table[start : start + len(alone)] == pytest.approx(alone)


def test_what_is_asked_is_on_the_condition_of_when_the_tagger_ran(bert):
    nlp, head = make_greedy(bert, before=["sentencizer"])
    label = head.labels[0]
    across = [[(0, BORDER + 1, label)]]
    later, other = make_greedy(bert, after=["sentencizer"])
    doc = later(TEXT)
    assert len(list(doc.sents)) == 2 and places(doc.ents) == [(0, 8)]
    assert other.span_probability([doc], [doc.ents])[0] == pytest.approx([doc.ents[0]._.score])
    other.set_thresholds({label: 1.0})  # so that no entity keeps the border away
    doc = later(TEXT)
    assert not doc.ents and len(list(doc.sents)) == 2
    assert other.span_probability([doc], across)[0][0] > 0
    # A Doc that no tagger has seen is taken as one would see it.
    fresh = nlp.get_pipe("sentencizer")(nlp.make_doc(TEXT))
    bare = nlp.make_doc(TEXT)
    assert head.span_probability([fresh], across)[0] == [0.0]
    assert head.span_probability([bare], across)[0][0] > 0
    # Borders outlive saving, merged tokens and sentences that are set anew.
    doc = nlp(TEXT)
    [back] = DocBin(docs=[doc]).get_docs(nlp.vocab)
    back[BORDER].is_sent_start = False
    assert head.span_probability([back], across)[0] == [0.0]
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    assert head.span_probability([doc], [[(0, BORDER, label)]])[0] == [0.0]
    assert head.span_probability([doc], [[(0, BORDER - 1, label)]])[0][0] > 0


@pytest.mark.parametrize("label", ["PER", "RULE"])
def test_a_given_entity_over_a_border_stays_whole(bert, label):
    nlp, head = make_greedy(bert, before=["sentencizer"])
    for _ in range(2):
        doc = nlp.make_doc(TEXT)
        doc.ents = [Span(doc, 3, 7, label=label)]
        doc = nlp(doc)
        assert (3, 7) in places(doc.ents, label)
        assert len(doc.ents) > 1
        head.score_entities = False
    # One that the tagger itself has found before sentences were set is given then, too.
    head.score_entities = True
    with nlp.select_pipes(disable="sentencizer"):
        first = nlp(TEXT)
    again = nlp(first)
    assert places(again.ents) == [(0, 8)]
    assert head.span_probability([again], [again.ents])[0] == pytest.approx([again.ents[0]._.score])
    head.keep_entities = False
    again = nlp(first)
    assert places(again.ents) == [(0, BORDER), (BORDER, 8)]


def test_calibrate_judges_what_is_found_within_sentences(bert):
    nlp, head = make_greedy(bert, before=["sentencizer"])
    reference = nlp.make_doc(TEXT)
    label = head.labels[0]
    spans = [Span(reference, start, end, label) for start, end in ((0, BORDER), (BORDER, 8))]
    reference.set_ents(spans, default="outside")
    outcomes = head.judge([Example(nlp.make_doc(TEXT), reference)])
    assert outcomes.hit.tolist() == [True, True]


def test_gold_over_a_border_is_learnt_as_ever(bert):
    nlp, head = make_greedy(bert)
    gold = {"entities": [(12, 23, "PER")]}
    losses = []
    for starts in (None, [BORDER]):
        example = Example.from_dict(nlp.make_doc(TEXT), gold)
        for i in starts or ():
            example.predicted[i].is_sent_start = True
        sums: dict[str, float] = {}
        nlp.update([example], sgd=False, losses=sums)
        losses.append(sums["bert_ner"])
    assert losses[0] == losses[1] > 0
