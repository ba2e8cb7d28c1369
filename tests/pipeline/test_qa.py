import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from bert_spacy.data.pairs import make_pair, make_question, set_gold_answers
from bert_spacy.layers import encoder as encoder_module

from ..util import make_nlp, qa_examples, question_example, textcat_examples, train_steps

# Limits of answers are small here.
pytestmark = pytest.mark.filterwarnings(r"ignore:\[BW305\]")
LONG = "the team won the game and anna was in paris with bob " * 5


def make_qa(folder, examples=None, **settings):
    config = {k: settings.pop(k) for k in list(settings) if k in ("null_threshold", "n_best")}
    if "max_answer_tokens" in settings:
        config["max_answer_tokens"] = settings.pop("max_answer_tokens")
    nlp = make_nlp(folder, ["bert_qa"], configs={"bert_qa": config}, **settings)
    examples = examples or qa_examples(nlp)
    nlp.initialize(lambda: examples)
    return nlp


def scores_of(nlp, docs):
    encoder = nlp.get_pipe("bert_encoder")
    encoder.set_annotations(docs, encoder.predict(docs))
    return nlp.get_pipe("bert_qa").predict(docs)


def set_weights(nlp, seed):
    """Give the head large random weights, so that scores differ."""
    torch.manual_seed(seed)
    torch.nn.init.normal_(nlp.get_pipe("bert_qa").shim.module.output.weight, std=2)


def tokens_of(doc, scores, row):
    start, end = scores.piece_start[row], scores.piece_end[row]
    return [t.i for t in doc if t.idx < end and t.idx + len(t) > start]


def best_by_hand(doc, scores, i, most):
    """Score every pair of pieces; return the best text and its score, all in Python."""
    found = []
    rows = range(int(scores.offsets[i]), int(scores.offsets[i + 1]))
    held = {row: tokens_of(doc, scores, row) for row in rows}
    for a in rows:
        for b in rows:
            if not (held[a] and held[b] and a <= b and held[b][0] - held[a][0] < most):
                continue
            # An answer that begins or ends inside a word takes the whole word.
            words = [w.span() for w in re.finditer(r"\w+", doc.text)]
            first, last = int(scores.piece_start[a]), int(scores.piece_end[b])
            first = min([first, *(x for x, y in words if x < first < y)])
            last = max([last, *(y for x, y in words if x < last < y)])
            text = doc.text[first:last].strip()
            at = doc.text.index(text, first)
            found.append((float(scores.scores[a, 0] + scores.scores[b, 1]), text, at))
    return sorted(found, reverse=True)


def fold_by_hand(found, n_best):
    """Choose the best ones of spans; others of the same text or mostly the same place are out."""
    chosen = []
    for _, text, at in found:
        mine = set(range(at, at + len(text)))
        others = [(t, set(range(a, a + len(t)))) for t, a in chosen]
        if text and all(
            text != t and len(mine & place) / len(mine | place) < 0.5 for t, place in others
        ):
            chosen.append((text, at))
    return [text for text, _ in chosen[:n_best]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("most", [1, 2, 5])
def test_answers_are_the_best_of_all_spans(tiny_folder, seed, most):
    kind = ("bert", "roberta")[seed % 2]
    nlp = make_qa(tiny_folder(kind), max_answer_tokens=most, n_best=4, null_threshold=1e9)
    set_weights(nlp, seed)
    docs = [
        make_question(nlp, "who won", "unbelievable players"),
        make_question(nlp, "", "the team"),
        make_question(nlp, "where", "anna was in paris , bob too"),
    ]
    scores = scores_of(nlp, docs)
    nlp.get_pipe("bert_qa").set_annotations(docs, scores)
    for i, doc in enumerate(docs):
        wanted = best_by_hand(doc, scores, i, most)
        answers = doc._.answers
        assert answers[0].text == wanted[0][1]
        assert [a.text for a in answers] == fold_by_hand(wanted, 4)
        context = doc.spans["segments"][-1]
        for answer in answers:
            assert context.text[answer.start_char : answer.end_char] == answer.text
            assert answer.text in answer.span.text
            assert len(answer.span) <= most
            assert answer.span.start >= context.start
        levels = [a.score for a in answers]
        assert levels == sorted(levels, reverse=True) and sum(levels) <= 1.0001
        null = doc.spans["answers"].attrs["null_score"]
        assert null == pytest.approx(float(scores.null[i].sum()) - wanted[0][0], abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("knows_null", [True, False])
def test_probabilities_are_those_of_an_enumeration_over_all_windows(bert, temperature, knows_null):
    nlp = make_qa(bert, window=24, stride=16, null_threshold=1e9, max_answer_tokens=4, n_best=6)
    head = nlp.get_pipe("bert_qa")
    head.cfg["knows_null"] = knows_null
    head.set_temperature(temperature)
    set_weights(nlp, 3)
    docs = [
        make_question(nlp, "where was anna", LONG),
        nlp.make_doc("no question"),
        make_pair(nlp, "no question", "and no context"),
        make_question(nlp, "who", "unbelievable team , the team , unbelievable players"),
        make_question(nlp, "who", ""),
    ]
    scores = scores_of(nlp, docs)
    alone = [scores_of(nlp, [doc]) for doc in docs]
    head.set_annotations(docs, scores)
    assert "answers" not in docs[1].spans and "answers" not in docs[2].spans
    for i in (0, 3):
        spans = best_by_hand(docs[i], scores, i, 4)
        null = float(scores.null[i].sum()) if knows_null else -np.inf
        mass = np.exp((np.array([null, *(score for score, _, _ in spans)])) / temperature)
        share = mass / mass.sum()
        assert docs[i]._.no_answer == (pytest.approx(share[0], abs=1e-6) if knows_null else None)
        assert len(docs[i]._.answers) == 6
        for answer in docs[i]._.answers:
            same = [p for p, (_, text, _) in zip(share[1:], spans) if text == answer.text]
            assert answer.probability == pytest.approx(sum(same), abs=1e-6)
        best = docs[i].spans["answers"].attrs["best_probability"]
        assert best == docs[i]._.answers[0].probability
        own = head.find_answers([docs[i]], alone[i])[0]
        assert [a["text"] for a in own.answers] == [a.text for a in docs[i]._.answers]
        assert own.null_probability == pytest.approx(docs[i]._.no_answer or 0.0, abs=1e-5)
    assert docs[4]._.no_answer == (1.0 if knows_null else None)
    assert docs[1]._.no_answer is None


def test_a_context_of_one_word_and_many_spans_is_read_to_the_end(bert):
    nlp = make_qa(bert, null_threshold=1e9, n_best=3)
    set_weights(nlp, 2)
    # All spans within the long word are one answer; others come after very many of them.
    doc = make_question(nlp, "who", "a" + "b" * 90 + " won paris")
    scores = scores_of(nlp, [doc])
    word = scores.piece_token == scores.piece_token[0]
    assert word.sum() > 30
    scores.scores[torch.from_numpy(word)] += 100.0
    nlp.get_pipe("bert_qa").set_annotations([doc], scores)
    assert [a.text for a in doc._.answers] == fold_by_hand(best_by_hand(doc, scores, 0, 30), 3)
    assert len(doc._.answers) > 1


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_temperature_must_be_possible(bert, value):
    nlp = make_nlp(bert, ["bert_qa", "bert_regressor"])
    with pytest.raises(ValueError, match=r"\[B307\].*temperature"):
        nlp.get_pipe("bert_qa").set_temperature(value)
    with pytest.raises(ValueError, match=r"\[B370\]"):
        nlp.get_pipe("bert_regressor").set_temperature(1.0)


def test_threshold_decides_between_answer_and_none(bert):
    nlp = make_qa(bert)
    head = nlp.get_pipe("bert_qa")
    text = ("who won", "the team won the game")
    head.null_threshold = 1e9
    doc = nlp(make_question(nlp, *text))
    null = doc.spans["answers"].attrs["null_score"]
    wanted = [answer.text for answer in doc._.answers]
    for threshold, answered in ((null + 0.01, True), (null - 0.01, False)):
        head.null_threshold = threshold
        doc = nlp(make_question(nlp, *text))
        assert bool(doc._.answers) == answered
        assert bool(len(doc.spans["answers"])) == answered
        attrs = doc.spans["answers"].attrs
        offered = attrs["answers"] if answered else attrs["withheld"]
        assert [answer["text"] for answer in offered] == wanted and wanted
        assert answered or not attrs["answers"]
        assert 0 < doc._.no_answer < 1 and 0 < doc.spans["answers"].attrs["best_probability"] < 1
        assert doc.spans["answers"].attrs["null_score"] == pytest.approx(null, abs=1e-5)


def test_without_unanswerable_training_questions_there_is_always_an_answer(bert):
    nlp = make_qa(bert, examples=qa_examples(spacy.blank("en"))[:3], null_threshold=-1e9)
    doc = nlp(make_question(nlp, "who won", "the team won the game"))
    assert doc._.answers and doc.spans["answers"].attrs["null_score"] is None


@pytest.mark.parametrize("setting", ["n_best", "max_answer_tokens"])
def test_settings_below_one_are_refused(bert, setting):
    with pytest.raises(ValueError, match=rf"\[B307\].*{setting}"):
        make_nlp(bert, ["bert_qa"], configs={"bert_qa": {setting: 0}})


@pytest.mark.parametrize("value", [float("nan"), None, "high"])
def test_threshold_must_be_a_number(bert, value):
    nlp = make_qa(bert)
    with pytest.raises(ValueError, match=r"\[B307\].*null_threshold"):
        nlp.get_pipe("bert_qa").set_null_threshold(value)


def test_docs_without_a_question_and_empty_contexts_have_no_answer(bert):
    nlp = make_qa(bert, null_threshold=1e9)
    plain, pair = nlp("the team won"), nlp(make_pair(nlp, "the team", "won"))
    assert "answers" not in plain.spans and "answers" not in pair.spans
    assert plain._.answers == [] and pair._.answers == []
    for question in ("", "who"):
        doc = nlp(make_question(nlp, question, ""))
        assert doc._.answers == [] and doc.spans["answers"].attrs["answers"] == []


def test_all_windows_of_a_question_are_considered_together(bert):
    nlp = make_qa(bert, window=24, stride=16, null_threshold=1e9)
    set_weights(nlp, 1)
    doc = make_question(nlp, "where was anna", LONG)
    scores = scores_of(nlp, [doc])
    layout = nlp.get_pipe("bert_encoder").predict([doc]).layout
    assert layout.doc_windows[-1] >= 5
    wanted = best_by_hand(doc, scores, 0, 30)[0]
    assert nlp(doc)._.answers[0].text == wanted[1]
    module, batch = nlp.get_pipe("bert_qa").shim.module, nlp.get_pipe("bert_encoder").predict([doc])
    with torch.no_grad():
        windows = module(batch.cls)
    assert torch.allclose(scores.null[0], windows[windows.sum(1).argmin()], atol=1e-5)


def test_gold_in_a_late_window_is_learned(bert):
    nlp = spacy.blank("en")
    context = LONG + "bob lives in london"
    example = question_example(nlp, "where does bob live", context, "london")
    nlp = make_qa(bert, examples=[example], window=24, stride=16)
    for _ in range(6):
        train_steps(nlp, [example], 25)
        answers = nlp(example.predicted.copy())._.answers
        if answers and answers[0].text == "london":
            break
    assert answers[0].text == "london" and answers[0].start_char == len(LONG) + 13


def test_loss_is_the_cross_entropy_over_the_whole_context(bert):
    nlp = make_qa(bert, window=24, stride=16)
    rows = [("where was anna", LONG, "paris"), ("who", "a good film", None)]
    examples = [question_example(nlp, *row) for row in rows]
    examples.insert(1, Example.from_dict(nlp.make_doc("no question"), {"cats": {"a": 1.0}}))
    scores = scores_of(nlp, [eg.predicted for eg in examples])
    loss = nlp.get_pipe("bert_qa").compute_loss(examples, scores)
    total = 0.0
    for i, answer in ((0, "paris"), (2, None)):
        part = slice(int(scores.offsets[i]), int(scores.offsets[i + 1]))
        base = examples[i].predicted.spans["segments"][1].start_char
        for k in (0, 1):
            column = torch.cat([scores.null[i, k : k + 1], scores.scores[part, k]])
            target = 0
            if answer is not None:
                at = base + rows[0][1].index(answer) + (len(answer) if k else 0)
                edge = scores.piece_end if k else scores.piece_start
                target = 1 + int(np.flatnonzero(edge[part] == at)[0])
            total += float(-torch.log_softmax(column, 0)[target]) / 2
    assert float(loss) == pytest.approx(total / 2, rel=1e-5)


def gold(nlp, context, answers):
    reference = make_question(nlp, "who", context)
    set_gold_answers(reference, answers)
    return Example(make_question(nlp, "who", context), reference)


def test_answers_outside_of_the_context_are_for_scoring_alone(bert):
    nlp = make_qa(bert)
    head = nlp.get_pipe("bert_qa")
    missing = {"text": "rome", "start": -1, "end": -1}
    example = gold(nlp, "anna was in paris", [missing])
    scores = scores_of(nlp, [example.predicted])
    assert head.compute_loss([example], scores) is None
    second = gold(nlp, "anna was in paris", [missing, {"text": "anna", "start": 0, "end": 4}])
    first = gold(nlp, "anna was in paris", [{"text": "anna", "start": 0, "end": 4}])
    scores = scores_of(nlp, [first.predicted, second.predicted])
    one, two = (
        head.compute_loss([eg], scores_of(nlp, [eg.predicted])).detach() for eg in (first, second)
    )
    assert float(one) == pytest.approx(float(two))
    assert nlp.evaluate([example])["qa_f1"] == 0.0


def test_answer_without_a_piece_is_reported(bert):
    nlp = make_qa(bert)
    example = gold(nlp, "anna   was", [{"text": " ", "start": 5, "end": 6}])
    with pytest.warns(UserWarning, match=r"\[BW300\].*1 gold answers"):
        losses = train_steps(nlp, [example], 1)
    assert losses[0]["bert_qa"] == 0.0


def test_answers_that_are_too_long_to_be_given_are_told(bert):
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": str(bert)}})
    nlp.add_pipe("bert_qa", config={"max_answer_tokens": 2})
    both = [{"text": "anna was in", "start": 0, "end": 11}, {"text": "anna", "start": 0, "end": 4}]
    examples = [
        gold(nlp, "anna was in paris", both[:1]),
        gold(nlp, "anna was in paris", both),  # one of them can be given
        gold(nlp, "anna was in paris", []),
    ]
    with pytest.warns(UserWarning, match=r"\[BW305\] 1 of 3 questions.* = 2; the longest has 3"):
        nlp.initialize(lambda: examples)


def test_no_answer_teaches_nothing_where_none_was_known(bert):
    nlp = make_qa(bert)
    (head := nlp.get_pipe("bert_qa")).cfg["knows_null"] = False
    known = gold(nlp, "anna was in paris", [{"text": "anna", "start": 0, "end": 4}])
    alone = head.compute_loss([known], scores_of(nlp, [known.predicted]))
    examples = [known, gold(nlp, "anna was in paris", [])]
    scores = scores_of(nlp, [eg.predicted for eg in examples])
    with pytest.warns(UserWarning, match=r"\[BW304\] 1 questions"):
        assert float(head.compute_loss(examples, scores)) == pytest.approx(float(alone))
    twice = scores_of(nlp, [eg.predicted for eg in examples * 2])
    with pytest.warns(UserWarning, match=r"\[BW304\] 1 questions"):
        head.compute_loss(examples * 2, twice)  # as R-Drop does


def test_long_question_is_shortened_with_a_warning(bert):
    nlp = make_qa(bert, window=24, stride=16, null_threshold=1e9)
    doc = make_question(nlp, LONG, "anna was in paris and bob in london with the team")
    with pytest.warns(UserWarning, match=r"\[BW001\] 1 of 1 Docs .*24 pieces"):
        doc = nlp(doc)
    assert doc._.answers
    with pytest.warns(UserWarning, match=r"\[BW001\]"):
        layout = nlp.get_pipe("bert_encoder").predict([doc]).layout
    assert (layout.piece_segment == 0).sum() == 24 - 3 - 5
    with pytest.warns(UserWarning, match=r"\[BW001\]"):
        train_steps(nlp, [question_example(nlp, LONG, "anna was in paris", "paris")], 1)


def test_question_that_fits_beside_a_short_context_is_left_whole(bert):
    question = "the team won the game and anna was in paris with the good film"  # 17 pieces
    doc = make_question(spacy.blank("en"), question, "paris")
    whole = make_qa(bert, window=21).get_pipe("bert_encoder").predict([doc]).layout
    assert (whole.piece_segment == 0).sum() == 17
    with pytest.warns(UserWarning, match=r"\[BW001\].*17 pieces"):
        cut = make_qa(bert, window=20).get_pipe("bert_encoder").predict([doc]).layout
    assert (cut.piece_segment == 0).sum() == 16


def test_ask_gives_spans_of_the_doc_that_was_asked(bert):
    nlp = make_qa(bert, null_threshold=1e9)
    train_steps(nlp, qa_examples(nlp), 60)
    doc = nlp("  anna was in paris")
    before = (doc.text, dict(doc.spans))
    answers = doc._.ask("where was anna")
    assert answers and all(a.span.doc is doc for a in answers)
    for answer in answers:
        assert doc.text[answer.start_char : answer.end_char] == answer.text
        assert answer.text in answer.span.text
    several = doc._.ask(["where was anna", "who won", ""])
    assert [a.text for a in several[0]] == [a.text for a in answers]
    alone = nlp(make_question(nlp, "where was anna", doc.text))._.answers
    assert [replace(a, span=None) for a in alone] == [replace(a, span=None) for a in answers]
    assert len(several) == 3
    assert doc._.ask([]) == []
    assert (doc.text, dict(doc.spans)) == before
    assert nlp("")._.ask("who") == []
    for wrong in (None, 5, ["who", 5]):
        with pytest.raises(ValueError, match=r"\[B423\]"):
            doc._.ask(wrong)
    assert nlp.pipe_names == ["bert_encoder", "bert_qa"]


def test_many_questions_are_one_stream_of_packed_windows(bert, monkeypatch):
    nlp = make_qa(bert)
    set_weights(nlp, 0)
    doc = nlp("the team won the game and anna was in paris")
    words = ["anna", "bob", "paris", "london", "the game"]
    questions = [f"{w} {' '.join(x)}" for w in ("who", "where") for x in product(words, words)] * 2
    one_by_one = [doc._.ask(question) for question in questions]
    asked, runs = [], []
    encoder, run = nlp.get_pipe("bert_encoder"), encoder_module._Runner.run
    predict = encoder.predict
    monkeypatch.setattr(encoder, "predict", lambda x: asked.append(len(x)) or predict(x))
    monkeypatch.setattr(
        *(encoder_module._Runner, "run"), lambda self, x: runs.append(len(x)) or run(self, x)
    )
    together = doc._.ask(questions)
    assert asked == [100] and sum(runs) == 100 and len(runs) < 5
    for a, b in zip(together, one_by_one, strict=True):
        assert [x.text for x in a] == [x.text for x in b] and len(a) > 0
        np.testing.assert_allclose([x.score for x in a], [x.score for x in b], atol=1e-4)


def test_ask_switches_nothing_off_meanwhile(bert, monkeypatch):
    nlp = make_nlp(bert, ["bert_textcat", "bert_qa"])
    examples = [*textcat_examples(nlp), *qa_examples(nlp)]
    nlp.initialize(lambda: examples)
    doc, seen = nlp("anna was in paris"), []
    encoder = nlp.get_pipe("bert_encoder")
    predict = encoder.predict

    def watch(docs):
        seen.append(list(nlp.pipe_names))
        return predict(docs)

    monkeypatch.setattr(encoder, "predict", watch)
    doc._.ask("where was anna")
    # Another thread may be running the whole pipeline.
    assert seen == [["bert_encoder", "bert_textcat", "bert_qa"]]
    assert len(encoder.store) == 0


def test_ask_needs_a_pipeline_that_answers(bert):
    make_nlp(bert, ["bert_qa"])  # defines doc._.ask
    other = spacy.blank("en")
    with pytest.raises(ValueError, match=r"\[B306\]"):
        other("anna")._.ask("who")
    nlp = make_qa(bert)
    with nlp.select_pipes(disable="bert_qa"), pytest.raises(ValueError, match=r"\[B306\]"):
        nlp("anna")._.ask("who")


def test_answers_survive_docbin(bert):
    nlp = make_qa(bert, null_threshold=1e9)
    docs = list(nlp.pipe(make_question(nlp, q, LONG) for q in ("who won", "")))
    data = DocBin(docs=docs).to_bytes()
    back = list(DocBin().from_bytes(data).get_docs(spacy.blank("en").vocab))
    for doc, other in zip(docs, back):
        assert isinstance(other, Doc) and other._.no_answer == doc._.no_answer
        left, right = doc._.answers, other._.answers
        assert [replace(a, span=None) for a in left] == [replace(a, span=None) for a in right]
        assert [a.span.text for a in left] == [a.span.text for a in right]
