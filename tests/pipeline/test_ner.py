import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example

from bert_spacy.data.pairs import make_pair, make_question
from bert_spacy.scored import find_spans

from ..util import make_nlp, ner_examples, train_steps, trained


def make_ner(folder, examples=None, **model):
    nlp = make_nlp(folder, ["bert_ner"], configs={"bert_ner": {"model": model}})
    examples = examples or ner_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def loss_of(nlp, examples):
    head = nlp.get_pipe("bert_ner")
    docs = [eg.predicted for eg in examples]
    encoder = nlp.get_pipe("bert_encoder")
    encoder.set_annotations(docs, encoder.predict(docs))
    output = head.predict(docs)
    with torch.no_grad():
        return head.compute_loss(examples, output), output


def spans_of(doc):
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


@pytest.mark.parametrize(
    "model",
    [
        {"scheme": "bio"},
        {"scheme": "bioes", "pooling": "mean"},
        {"scheme": "bioes", "use_crf": False},
        {"scheme": "bio", "use_crf": False, "lstm_width": 8},
        {"scheme": "bio", "lstm_width": 8, "pooling": "mean"},
        {"scheme": "biox"},
        {"scheme": "biox", "lstm_width": 8, "transitions": "tuned"},
        {"scheme": "biox", "use_crf": False},
        {"scheme": "bioes", "constraints": False},
        {"scheme": "bio", "transitions": "counted"},
    ],
)
def test_every_kind_of_tagger_learns_by_heart(bert, model):
    nlp = make_ner(bert, **model)
    examples = ner_examples(nlp)
    wanted = [spans_of(eg.reference) for eg in examples]
    for _ in range(8):
        train_steps(nlp, examples, 25)
        docs = list(nlp.pipe([eg.predicted.copy() for eg in examples]))
        if [spans_of(doc) for doc in docs] == wanted:
            break
    assert [spans_of(doc) for doc in docs] == wanted
    hard = list(nlp.pipe(["", " ", "\n\n", "☃", "anna " * 100]))
    assert [len(doc.ents) for doc in hard[:3]] == [0, 0, 0]
    alone = list(nlp.pipe(["", " "]))  # a batch without any token to tag
    assert [doc.ents for doc in alone] == [(), ()]
    train_steps(nlp, [Example.from_dict(nlp.make_doc(" "), {"entities": []})], 1)


def test_a_doc_without_entities_is_gold_and_one_without_annotation_is_not(bert):
    nlp = make_ner(bert)
    bare = Example.from_dict(nlp.make_doc("anna was"), {})
    none = Example.from_dict(nlp.make_doc("anna was"), {"entities": []})
    assert loss_of(nlp, [bare])[0] is None
    alone, _ = loss_of(nlp, [none])
    assert alone > 0
    both, _ = loss_of(nlp, [bare, none])
    assert both == pytest.approx(float(alone), rel=1e-5)


@pytest.mark.parametrize("use_crf", [True, False])
def test_tokens_without_gold_may_have_any_tag(bert, use_crf):
    nlp = make_ner(bert, use_crf=use_crf, scheme="bio")
    predicted = nlp.make_doc("anna was in paris")
    reference = nlp.make_doc("anna was in paris")
    reference.set_ents([Span(reference, 0, 1, "PER")], missing=[reference[1:3]], default="outside")
    found, output = loss_of(nlp, [Example(predicted, reference)])
    head = nlp.get_pipe("bert_ner")
    names = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    gold = [names.index("B-PER"), None, None, names.index("O")]
    emissions = output.emissions
    if use_crf:
        allowed = torch.ones(1, 4, 5, dtype=torch.bool)
        for i, tag in enumerate(gold):
            if tag is not None:
                allowed[0, i] = False
                allowed[0, i, tag] = True
        mask = torch.ones(1, 4, dtype=torch.bool)
        value, _ = head.shim.module.crf.log_likelihood_partial(emissions[None], allowed, mask)
        wanted = -float(value[0].detach())
    else:
        scores = torch.log_softmax(emissions, 1)
        wanted = -float(scores[0, gold[0]] + scores[3, gold[3]]) / 2
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_misaligned_entities_are_missing_not_negative(bert):
    nlp = make_ner(bert)
    text = "anna was in paris"
    with pytest.warns(UserWarning, match="W030"):
        odd = Example.from_dict(nlp.make_doc(text), {"entities": [(0, 4, "PER"), (12, 15, "LOC")]})
        assert odd.get_aligned_ner()[3] is None
        found, _ = loss_of(nlp, [odd])
    reference = nlp.make_doc(text)
    reference.set_ents([Span(reference, 0, 1, "PER")], missing=[reference[3:4]], default="outside")
    wanted, _ = loss_of(nlp, [Example(nlp.make_doc(text), reference)])
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


def test_gold_that_cuts_tokens_of_the_pipeline_is_warned_of(bert):
    nlp = make_nlp(bert, ["bert_ner"])
    reference = Doc(nlp.vocab, words=["an", "na", "was", "here"], spaces=[False, True, True, False])
    reference.set_ents([Span(reference, 0, 1, "PER"), Span(reference, 3, 4, "LOC")])
    examples = [Example(nlp.make_doc(reference.text), reference), *ner_examples(nlp)]
    n = sum(len(eg.reference.ents) for eg in examples)
    with pytest.warns(UserWarning, match=rf"\[BW303\] 1 of {n} .*'an' in 'anna'.*bert_ner"):
        nlp.initialize(lambda: examples)
    assert set(nlp.get_pipe("bert_ner").labels) >= {"PER", "LOC"}


def test_gold_on_other_tokens_is_aligned(bert):
    nlp = make_ner(bert)
    words = ["an", "na", "was", "in", "par", "is"]
    spaces = [False, True, True, True, False, False]
    reference = Doc(nlp.vocab, words=words, spaces=spaces)
    reference.set_ents([Span(reference, 0, 2, "PER"), Span(reference, 4, 6, "LOC")])
    found, _ = loss_of(nlp, [Example(nlp.make_doc(reference.text), reference)])
    plain = {"entities": [(0, 4, "PER"), (12, 17, "LOC")]}
    wanted, _ = loss_of(nlp, [Example.from_dict(nlp.make_doc(reference.text), plain)])
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)


def test_label_that_training_never_saw_is_left_out_with_a_warning(bert):
    nlp = make_ner(bert)
    gold = {"entities": [(0, 4, "PER"), (12, 17, "GPE")]}
    example = Example.from_dict(nlp.make_doc("anna was in paris"), gold)
    with pytest.warns(UserWarning, match=r"\[BW301\].*GPE"):
        found, _ = loss_of(nlp, [example])
    assert found > 0
    only = Example.from_dict(nlp.make_doc("paris"), {"entities": [(0, 5, "GPE")]})
    with pytest.warns(UserWarning, match=r"\[BW301\]"):
        loss, _ = loss_of(nlp, [only])
    assert loss is None or float(loss) == pytest.approx(0, abs=1e-6)
    with pytest.warns(UserWarning, match=r"\[BW301\]"):
        history = train_steps(nlp, [only], 2)
    assert np.isfinite(history[-1]["bert_ner"])
    assert nlp.evaluate([example])["ents_r"] is not None


def test_spaces_inside_of_an_entity_do_not_cut_it(bert):
    nlp = make_ner(bert)
    text = "anna   bob was"
    example = Example.from_dict(nlp.make_doc(text), {"entities": [(0, 10, "PER")]})
    assert [t.text for t in example.predicted] == ["anna", "  ", "bob", "was"]
    for _ in range(8):
        train_steps(nlp, [example], 25)
        if spans_of(nlp(text)) == [(0, 10, "PER")]:
            break
    assert spans_of(nlp(text)) == [(0, 10, "PER")]


@pytest.fixture(scope="module")
def learned(bert):
    nlp = trained(bert, ["bert_ner"], steps=120)
    assert spans_of(nlp("bob lives in london")) == [(0, 3, "PER"), (13, 19, "LOC")]
    return nlp


@pytest.fixture
def ruled(learned):
    ruler = learned.add_pipe("entity_ruler", first=True)
    ruler.add_patterns(
        [
            {"label": "VERB", "pattern": "lives", "id": "live"},
            {"label": "X", "pattern": "in london"},
            {"label": "LOC", "pattern": "bob was"},
        ]
    )
    head = learned.get_pipe("bert_ner")
    yield learned
    learned.remove_pipe("entity_ruler")
    head.keep_entities = True
    head.n_candidates, head.candidate_threshold = 0, 0.01
    head.cfg["temperature"] = 1.0


def test_entities_of_earlier_components_are_kept(ruled):
    text = "bob lives in london"
    doc = ruled(text)
    assert spans_of(doc) == [(0, 3, "PER"), (4, 9, "VERB"), (10, 19, "X")]
    assert doc.ents[1].id_ == "live"
    assert [ent._.score is None for ent in doc.ents] == [False, True, True]
    again = ruled(ruled(text))
    assert spans_of(again) == spans_of(doc)
    assert [ent._.score for ent in again.ents] == [ent._.score for ent in doc.ents]
    # A label that the model knows, where it sees something else.
    assert spans_of(ruled("bob was in paris"))[0] == (0, 7, "LOC")
    assert spans_of(ruled("anna was in paris"))[0] == (0, 4, "PER")


def test_entities_of_earlier_components_give_way_on_request(ruled):
    ruled.get_pipe("bert_ner").keep_entities = False
    doc = ruled("bob lives in london")
    assert spans_of(doc) == [(0, 3, "PER"), (4, 9, "VERB"), (13, 19, "LOC")]
    assert "bert_ner_fixed" not in doc.spans


def test_blocked_tokens_are_in_no_entity_and_outside_ones_are_free(learned):
    docs = [learned.make_doc("bob lives in london") for _ in range(2)]
    docs[0].set_ents([], blocked=[docs[0][3:4]], default="outside")
    docs[1].set_ents([], default="outside")
    found = list(learned.pipe(docs))
    assert [spans_of(doc) for doc in found] == [
        [(0, 3, "PER")],
        [(0, 3, "PER"), (13, 19, "LOC")],
    ]
    assert [(token.ent_iob, token.ent_type_) for token in found[0]] == [
        (3, "PER"),
        (2, ""),
        (2, ""),
        (3, ""),
    ]


def test_what_a_tagger_has_found_itself_is_no_condition(bert):
    nlp = make_nlp(bert, ["bert_ner"])
    nlp.add_pipe("bert_ner", name="later")
    nlp.initialize(lambda: ner_examples(nlp))
    train_steps(nlp, ner_examples(nlp), 10)
    first, later = nlp.get_pipe("bert_ner"), nlp.get_pipe("later")
    first.cfg["temperature"] = 4.0
    spans = [(0, 1, "PER"), (0, 1, "LOC"), (3, 4, "LOC")]
    fresh = nlp.make_doc("anna was in paris")
    [wanted], [taggings] = first.span_probability([fresh], [spans]), first.best_taggings([fresh])
    for doc in (nlp("anna was in paris"), nlp(nlp("anna was in paris"))):
        assert doc.ents
        assert first.span_probability([doc], [spans])[0] == pytest.approx(wanted)
        [found] = first.best_taggings([doc])
        assert [share for _, share in found] == pytest.approx([share for _, share in taggings])
        # To the later one they were given.
        assert later.span_probability([doc], [doc.ents])[0] == pytest.approx([1.0] * len(doc.ents))


def test_what_is_asked_later_is_on_the_same_condition(ruled):
    head = ruled.get_pipe("bert_ner")
    head.cfg["temperature"] = 4.0
    head.n_candidates, head.candidate_threshold = 5, 1e-9
    doc = ruled("bob lives in london")
    free = ruled("anna was in paris")
    for one in (doc, free):
        own = [ent for ent in one.ents if ent._.score is not None]
        [values] = head.span_probability([one], [own])
        assert values == pytest.approx([ent._.score for ent in own])
        # Candidates lie where nothing is fixed.
        fixed = {token.i for span in find_spans(one, "bert_ner_fixed") for token in span}
        assert bool(fixed) == (one is doc)
        spans = list(one.spans.get("bert_ner_candidates", ()))
        assert spans
        assert all(fixed.isdisjoint(range(span.start, span.end)) for span in spans)
        [values] = head.span_probability([one], [spans])
        assert values == pytest.approx([span._.score for span in spans])
    [table] = head.tag_probability([doc])
    assert table[1:, 0] == pytest.approx(1.0)
    [taggings] = head.best_taggings([doc], k=9)
    # PER, LOC or nothing at "bob".
    assert len(taggings) == 3 and sum(share for _, share in taggings) == pytest.approx(1.0)
    [back] = DocBin(docs=[doc]).get_docs(ruled.vocab)
    assert head.span_probability([back], [[(0, 1, "PER")]])[0] == pytest.approx(
        [doc.ents[0]._.score]
    )


def test_a_fixed_span_of_white_space_parts_what_is_around_it(bert):
    nlp = make_ner(bert)
    text = "anna   bob was"
    example = Example.from_dict(nlp.make_doc(text), {"entities": [(0, 10, "PER")]})
    for _ in range(8):
        train_steps(nlp, [example], 25)
        if spans_of(nlp(text)) == [(0, 10, "PER")]:
            break
    doc = nlp.make_doc(text)
    doc.ents = [Span(doc, 1, 2, label="SPACE")]
    found = nlp(doc).ents
    assert "SPACE" in [ent.label_ for ent in found]
    assert all(ent.label_ == "SPACE" or not ent.start <= 1 < ent.end for ent in found)
    bare = nlp.make_doc("   ")
    bare.ents = [Span(bare, 0, 1, label="SPACE")]
    assert [ent.label_ for ent in nlp(bare).ents] == ["SPACE"]


def test_entities_on_predicted_docs_do_not_reach_the_loss(bert):
    nlp = make_ner(bert)
    examples = ner_examples(nlp)
    assert not any(eg.predicted.has_annotation("ENT_IOB") for eg in examples)
    wanted, _ = loss_of(nlp, examples)
    told = ner_examples(nlp)
    for eg in told:
        eg.predicted.set_ents([Span(eg.predicted, 0, 1, "LOC")])
    found, _ = loss_of(nlp, told)
    assert float(found) == float(wanted)


def test_no_illegal_sequence_comes_out(bert):
    nlp = make_ner(bert, scheme="bioes", crf_lr_multiplier=1.0)
    head = nlp.get_pipe("bert_ner")
    torch.nn.init.normal_(head.shim.module.output.weight, std=20)
    docs = list(nlp.pipe(["anna was in paris with bob " * n for n in (1, 2, 30)]))
    for doc in docs:
        tags = [f"{t.ent_iob_}-{t.ent_type_}" if t.ent_type_ else t.ent_iob_ for t in doc]
        assert all(tag == "O" or tag[0] in "BI" for tag in tags)
        assert not any(b[0] == "I" and a == "O" for a, b in zip(tags, tags[1:]))
    assert spacy.training.offsets_to_biluo_tags(docs[0], spans_of(docs[0]))


@pytest.mark.parametrize("scheme", ["bio", "bioes", "biox"])
@pytest.mark.parametrize("use_crf", [True, False])
def test_no_entity_reaches_from_one_text_of_a_pair_into_the_next(bert, scheme, use_crf):
    nlp = make_ner(bert, scheme=scheme, use_crf=use_crf)
    head = nlp.get_pipe("bert_ner")
    one, two = "anna was in paris", "bob in london"
    with torch.no_grad():  # every token wants to be inside an entity of the first label
        head.shim.module.output.weight.zero_()
        head.shim.module.output.bias.zero_()
        head.shim.module.output.bias[2] = 5.0
    whole = nlp(f"{one} {two}")
    assert any(ent.start < 4 < ent.end for ent in whole.ents)
    for doc in (make_pair(nlp, one, two), make_question(nlp, one, two)):
        doc = nlp(doc)
        border = doc.spans["segments"][1].start
        assert doc.ents and not any(ent.start < border < ent.end for ent in doc.ents)
        label = head.labels[0]
        spans = [(0, border + 1, label), (0, border, label)]
        across, within = head.span_probability([doc], [spans])[0]
        assert across == 0.0 < within
