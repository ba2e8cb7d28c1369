"""What the component writes about its certainty, and what survives on the way."""

import pytest
import spacy
import torch
from spacy.pipeline.functions import merge_entities
from spacy.tokens import Doc, DocBin, Span

from bert_spacy.pipeline.entities import write_candidates, write_entities
from bert_spacy.pipeline.given import find_presets, read_presets
from bert_spacy.scored import PLACES, SCORES, get_score, read_scored, write_scored
from bert_spacy.text.tags import tag_names

from ..util import make_nlp, ner_examples, trained

TEXT = "bob lives in london"


@pytest.fixture(scope="module")
def nlp(bert):
    return trained(bert, ["bert_ner"], steps=60)


@pytest.fixture
def head(nlp):
    head = nlp.get_pipe("bert_ner")
    head.cfg["temperature"] = 4.0  # it has learned by heart, and is too sure to tell apart
    before = dict(head.cfg), head.n_candidates, head.candidate_threshold, head.score_entities
    yield head
    cfg, head.n_candidates, head.candidate_threshold, head.score_entities = before
    head.cfg.clear()
    head.cfg.update(cfg)


def scored(doc, key):
    return [(s.start, s.end, s.label_, round(p, 9)) for s, p in read_scored(doc, key)]


def test_entities_have_the_probability_that_the_crf_gives_them(nlp, head):
    docs = list(nlp.pipe([TEXT, "", " ", "anna was in paris"]))
    assert [len(doc.ents) for doc in docs] == [2, 0, 0, 2]
    asked = head.span_probability(docs, [doc.ents for doc in docs])
    for doc, values in zip(docs, asked):
        assert [ent._.score for ent in doc.ents] == pytest.approx(values)
        assert all(0 < value <= 1 for value in values)
    assert docs[0][1:2]._.score is None
    first = docs[0].ents[0]
    assert Doc.char_span(docs[0], first.start_char, first.end_char, label="LOC")._.score is None
    head.score_entities = False
    assert nlp(TEXT).ents[0]._.score is None


def test_scores_survive_bytes_copies_and_processes(nlp, head):
    head.n_candidates = 3
    head.candidate_threshold = 1e-6
    doc = nlp(TEXT)
    wanted = [scored(doc, key) for key in ("bert_ner_scores", "bert_ner_candidates")]
    assert len(wanted[0]) == 2 and len(wanted[1]) == 3
    [back] = DocBin(docs=[doc]).get_docs(nlp.vocab)
    others = [doc.copy(), Doc(nlp.vocab).from_bytes(doc.to_bytes()), back]
    others += nlp.pipe([TEXT, TEXT], n_process=2, batch_size=1)
    for other in others:
        found = [scored(other, key) for key in ("bert_ner_scores", "bert_ner_candidates")]
        for a, b in zip(found, wanted):
            assert [row[:3] for row in a] == [row[:3] for row in b]
            assert [row[3] for row in a] == pytest.approx([row[3] for row in b], abs=1e-6)
    assert others[2].ents[0]._.score == doc.ents[0]._.score
    assert Doc.from_docs([doc, doc]).ents[0]._.score is None  # spaCy drops the attrs


class CountingList(list):
    """A list that knows how often all of it was read."""

    n_read = 0

    def __iter__(self):
        self.n_read += 1
        return super().__iter__()


class Group:
    """A span group of many places with scores."""

    def __init__(self, n):
        self.places = CountingList([2 * i, 2 * i + 1, "PER"] for i in range(n))
        self.attrs = {PLACES: self.places, SCORES: [i / n for i in range(n)]}


class DocOfMany:
    """What a score is read from."""

    def __init__(self, n):
        self.spans = {"bert_ner_scores": Group(n)}


class Place:
    def __init__(self, doc, at):
        self.doc, self.start_char, self.end_char, self.label_ = doc, at, at + 1, "PER"


def test_scores_of_many_entities_are_found_by_reading_them_once():
    doc = DocOfMany(50)
    spans = [Place(doc, 2 * i) for i in range(50)]
    assert [get_score(span) for span in spans] == [i / 50 for i in range(50)]
    assert get_score(Place(doc, 1)) is None
    assert doc.spans["bert_ner_scores"].places.n_read == 1


def test_tokens_that_are_merged_later_cost_neither_the_scores_nor_the_doc(nlp):
    doc = nlp.make_doc("new paris and bob")
    doc.set_ents([Span(doc, 0, 2, label="LOC")])
    person = Span(doc, 3, 4, label="PER")
    write_entities(doc, [person], "bert_ner", [0.75], presets=find_presets(doc))
    merge_entities(doc)
    [back] = DocBin(docs=[doc]).get_docs(spacy.blank("en").vocab)
    for other in (doc, doc.copy(), Doc(nlp.vocab).from_bytes(doc.to_bytes()), back):
        assert [token.text for token in other] == ["new paris", "and", "bob"]
        assert [ent._.score for ent in other.ents] == [None, 0.75]
        assert read_presets(other, "bert_ner") == [(0, 1, "LOC")]
        assert scored(other, "bert_ner_scores") == [(2, 3, "PER", 0.75)]
    assert [ent["label"] for ent in doc.to_json()["ents"]] == ["LOC", "PER"]


def test_scores_are_those_of_the_last_writing_and_outlive_merged_tokens(nlp, head):
    doc = nlp("the team won in new paris")
    for score, span in ((0.25, doc[4:6]), (0.5, doc[1:2]), (0.25, doc[1:2])):
        label = Span(doc, span.start, span.end, label="LOC")
        write_scored(doc, "bert_ner_scores", [label], [score])
        found = [Span(doc, a, b, label="LOC")._.score for a, b in ((4, 6), (1, 2))]
        assert found == [score if span.start == a else None for a in (4, 1)]
    write_scored(doc, "bert_ner_scores", [Span(doc, 4, 6, label="LOC")], [0.75])
    assert Span(doc, 4, 6, label="LOC")._.score == 0.75
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[1:3])
        retokenizer.merge(doc[4:6])
    assert doc[3].text == "new paris"
    assert Span(doc, 3, 4, label="LOC")._.score == 0.75


def test_a_second_run_replaces_and_earlier_entities_keep_their_scores(nlp, head):
    head.n_candidates = 2
    head.candidate_threshold = 1e-6
    doc = nlp(TEXT)
    once = scored(doc, "bert_ner_scores"), scored(doc, "bert_ner_candidates")
    again = nlp(doc)
    # What was found is given now, and the candidates are those that are free of it.
    assert scored(again, "bert_ner_scores") == once[0]
    found = [
        sorted(row[:3] for row in rows) for rows in (scored(again, "bert_ner_candidates"), once[1])
    ]
    assert found[0] == found[1]
    head.n_candidates = 0
    assert "bert_ner_candidates" not in nlp(again).spans
    head.set_thresholds({"LOC": 1.0})
    kept = nlp(doc)  # what an earlier run has found stays, with what it knew
    assert scored(kept, "bert_ner_scores") == once[0]
    assert [ent.label_ for ent in kept.ents] == ["PER", "LOC"]


def test_what_falls_under_a_threshold_is_a_candidate(nlp, head):
    before = nlp(TEXT)
    per, loc = before.ents
    assert (per.label_, loc.label_) == ("PER", "LOC")
    head.set_thresholds({"LOC": loc._.score + 1e-6})
    doc = nlp(TEXT)
    assert [ent.label_ for ent in doc.ents] == ["PER"]
    [(span, score)] = read_scored(doc, "bert_ner_candidates")
    assert (span.text, span.label_, score) == ("london", "LOC", pytest.approx(loc._.score))
    assert span._.score == score
    head.set_thresholds({"LOC": loc._.score - 1e-6, "PER": 0.0})
    assert len(nlp(TEXT).ents) == 2
    with pytest.raises(ValueError, match=r"\[B330\].*GPE"):
        head.set_thresholds({"GPE": 0.5})
    with pytest.raises(ValueError, match="B307"):
        head.set_thresholds({"LOC": 1.5})


def test_candidates_of_several_components_stand_together(nlp, head, monkeypatch):
    def found(doc):
        return [(s.text, s.label_) for s, _ in read_scored(doc, "bert_ner_candidates")]

    head.set_thresholds({"LOC": 1.0})
    doc = nlp(TEXT)
    assert found(doc) == [("london", "LOC")]
    monkeypatch.setattr(head, "name", "second")
    # The second has none of its own, and what it gives as an entity is no candidate any more.
    write_candidates(doc, [], [], "second")
    assert found(doc) == [("london", "LOC")]
    write_candidates(doc, [doc[0:1], doc[2:3]], [0.0, 1.0], "second")
    assert found(doc)[0] == ("in", "") and len(found(doc)) == 3
    write_candidates(doc, [doc[2:3]], [0.5], "second")
    assert len(found(doc)) == 2
    head.set_thresholds({})
    assert "london" in [ent.text for ent in nlp(doc).ents]
    assert ("london", "LOC") not in found(doc)


def test_a_candidate_that_cuts_a_merged_token_takes_no_other_with_it(nlp):
    doc = nlp.make_doc("new paris and bob")
    write_candidates(doc, [Span(doc, 1, 2, label="LOC")], [0.75], "first")
    write_candidates(doc, [Span(doc, 3, 4, label="PER")], [0.5], "second")
    with doc.retokenize() as retokenizer:
        retokenizer.merge(doc[0:2])
    write_candidates(doc, [], [], "first")
    assert scored(doc, "bert_ner_candidates") == [(2, 3, "PER", 0.5)]


def test_candidates_are_the_best_of_what_is_no_entity(nlp, head):
    head.n_candidates = 4
    head.candidate_threshold = 1e-9
    doc = nlp(TEXT)
    rows = read_scored(doc, "bert_ner_candidates")
    values = [score for _, score in rows]
    assert len(rows) == 4
    assert values == sorted(values, reverse=True)
    ents = {(ent.start, ent.end, ent.label_) for ent in doc.ents}
    every = [
        (a, b, label)
        for a in range(len(doc))
        for b in range(a + 1, len(doc) + 1)
        for label in head.labels
        if (a, b, label) not in ents
    ]
    [all_values] = head.span_probability([doc], [every])
    assert values == pytest.approx(sorted(all_values, reverse=True)[:4], rel=1e-4)


def test_temperature_changes_probabilities_and_no_entity(nlp, head):
    cold = nlp(TEXT)
    head.cfg["temperature"] = 6.0
    warm = nlp(TEXT)
    assert [(e.start, e.end, e.label_) for e in warm.ents] == [
        (e.start, e.end, e.label_) for e in cold.ents
    ]
    assert all(a._.score > b._.score for a, b in zip(cold.ents, warm.ents))


def test_tags_and_taggings_on_request(nlp, head):
    docs = [nlp.make_doc(text) for text in (TEXT, "", "anna  was")]
    tables = head.tag_probability(docs)
    names = tag_names(head.labels, "bioes")
    assert [table.shape for table in tables] == [(len(doc), len(names)) for doc in docs]
    for table in tables:
        assert table.sum(1) == pytest.approx(1.0)
    assert tables[2][1, 0] == 1.0  # white space has no piece
    assert names[tables[0][0].argmax()] == "S-PER"
    taggings = head.best_taggings(docs, k=4)
    assert [len(rows) for rows in taggings] == [4, 1, 4]
    assert taggings[1] == [([], 1.0)]
    ents, share = taggings[0][0]
    assert [(e.start, e.end, e.label_) for e in ents] == [
        (e.start, e.end, e.label_) for e in nlp(TEXT).ents
    ]
    shares = [p for _, p in taggings[0]]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 1 + 1e-9
    assert share <= min(head.span_probability(docs[:1], [ents])[0]) + 1e-9
    assert all(doc.spans.get("bert_ner_scores") is None for doc in docs)


def test_requests_that_cannot_be_met(bert, nlp, head):
    doc = nlp.make_doc(TEXT)
    for span in [(0, 0, "PER"), (-1, 1, "PER"), (0, 9, "PER"), (0, 1, "GPE")]:
        with pytest.raises(ValueError, match="B331"):
            head.span_probability([doc], [[span]])
    with pytest.raises(ValueError, match="B333"):
        head.span_probability([doc], [])
    for k in (0, 1.5):
        with pytest.raises(ValueError, match=f"B307.*{k}"):
            head.best_taggings([doc], k=k)
    stranger = spacy.blank("en").make_doc(TEXT)
    with pytest.raises(ValueError, match="B332"):
        head.tag_probability([stranger])
    assert head.span_probability([nlp.make_doc("anna  was")], [[(1, 2, "PER")]]) == [[0.0]]
    for config in ({"n_candidates": -1}, {"candidate_threshold": 0.0}):
        with pytest.raises(ValueError, match="B307"):
            make_nlp(bert, ["bert_ner"], configs={"bert_ner": config})


def test_what_was_fitted_is_saved_and_an_older_cfg_loads(bert, nlp, head, tmp_path):
    head.cfg["temperature"] = 2.0
    head.set_thresholds({"PER": 0.25})
    nlp.to_disk(tmp_path / "new")
    other = spacy.load(tmp_path / "new")
    assert other.get_pipe("bert_ner").cfg == head.cfg
    ents = other(TEXT).ents
    assert [e._.score for e in ents] == pytest.approx([e._.score for e in nlp(TEXT).ents])
    path = tmp_path / "new" / "bert_ner" / "cfg"
    path.write_text('{"labels": ["LOC", "PER"]}')
    config = tmp_path / "new" / "config.cfg"
    lines = config.read_text().splitlines()
    new = ("score_entities", "n_candidates", "candidate_threshold")
    config.write_text("\n".join(line for line in lines if not line.startswith(new)))
    old = spacy.load(tmp_path / "new").get_pipe("bert_ner")
    assert old.cfg == {"labels": ["LOC", "PER"], "temperature": 1.0, "thresholds": {}}
    path.write_text('{"labels": ["LOC", "PER"], "thresholds": {"GPE": 0.5}}')
    with pytest.raises(ValueError, match="B330"):
        spacy.load(tmp_path / "new")


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_without_crf_tokens_give_the_probability(bert, scheme):
    model = {"use_crf": False, "scheme": scheme}
    nlp = make_nlp(bert, ["bert_ner"], configs={"bert_ner": {"model": model}})
    examples = ner_examples(nlp)
    nlp.initialize(lambda: examples)
    head = nlp.get_pipe("bert_ner")
    torch.nn.init.normal_(head.shim.module.output.weight, std=1)
    doc = nlp(TEXT)
    [table] = head.tag_probability([doc])
    names = tag_names(head.labels, scheme)
    [found] = head.span_probability([doc], [[(0, 1, "PER")]])
    p = dict(zip(names, table[0]))
    go_on = sum(q for name, q in zip(names, table[1]) if name in ("I-PER", "E-PER"))
    wanted = (p["B-PER"] + p["I-PER"]) * (1 - go_on) + p.get("S-PER", 0) + p.get("E-PER", 0)
    assert found == pytest.approx([wanted])
