"""Choices against plain Transformers: one row per choice, a softmax over the rows of an item."""

import math
import warnings

import numpy as np
import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from transformers import AutoTokenizer

from bert_spacy import make_choice, set_gold_choice
from bert_spacy.data.pairs import make_question, make_segments
from bert_spacy.segments import get_choice, get_choices

from ..elmo import make_elmo
from ..util import (
    ITEMS,
    assert_close,
    choice_example,
    choice_examples,
    cut,
    encoder_of,
    gradients,
    make_nlp,
    plain_run,
    predictions,
    train_steps,
    trained,
)

LONG = "anna lives in paris and bob won the game in london " * 8
MORE = [
    *(item[:3] for item in ITEMS),
    ("", "", ["the film", "the team"]),
    ("The team, won!", "Who  works", ["Bob.", "anna played the game", "北京"]),
]


def make_choices(bert, **settings):
    return trained(bert, ["bert_choice"], steps=4, **settings)


def plain_rows(nlp, bert, context, question, choices):
    """Run the plain model on each row as run_swag does; return the pooled vectors. (n, H)."""
    tokenizer = AutoTokenizer.from_pretrained(bert)
    first = context or question
    seconds = [f"{question} {choice}" if context else choice for choice in choices]
    rows = tokenizer([first] * len(seconds), seconds, padding=True, return_tensors="pt")
    with torch.no_grad():
        return encoder_of(nlp).model.eval()(**rows).pooler_output


def test_scores_equal_those_of_plain_rows(bert):
    nlp = make_choices(bert)
    head = nlp.get_pipe("bert_choice").shim.module.output
    for item in MORE:
        doc = nlp(make_choice(nlp, *item))
        scores = (plain_rows(nlp, bert, *item) @ head.weight.T + head.bias)[:, 0].tolist()
        powers = [math.exp(score) for score in scores]
        wanted = [power / sum(powers) for power in powers]
        np.testing.assert_allclose(doc._.choice_scores, wanted, atol=1e-5)
        assert doc._.choice == wanted.index(max(wanted))
        assert doc.spans["chosen"][0].text == item[2][doc._.choice]


def test_loss_and_gradient_equal_those_of_plain_rows(bert):
    nlp = make_choices(bert)
    examples = choice_examples(nlp)
    head = nlp.get_pipe("bert_choice")
    output = head.shim.module.output
    pooled = [plain_rows(nlp, bert, *item[:3]) for item in ITEMS]
    weight = output.weight.detach().clone().requires_grad_()
    losses = []
    for vectors, (*_, gold) in zip(pooled, ITEMS):
        scores = (vectors @ weight.T)[:, 0]
        losses.append(torch.log(torch.exp(scores).sum()) - scores[gold])
    wanted = sum(losses) / len(losses)
    wanted.backward()
    found = {}
    output.zero_grad()
    nlp.update(examples, sgd=False, drop=0.0, losses=found)
    assert found["bert_choice"] == pytest.approx(float(wanted.detach()), abs=1e-5)
    grad = gradients(head.shim.module)["output.weight"]
    np.testing.assert_allclose(grad.numpy(), weight.grad.numpy(), atol=1e-5)


def test_long_context_has_windows_for_each_choice(bert):
    nlp = make_choices(bert, window=24, stride=16)
    encoder = nlp.get_pipe("bert_encoder")
    choices = ["paris", "the good team in london", "bob"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is cut off
        doc = nlp(make_choice(nlp, LONG, "where was anna", choices))
        batch = encoder.predict([doc])
    tokenizer = AutoTokenizer.from_pretrained(bert)
    context = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    module = nlp.get_pipe("bert_choice").shim.module.output
    scores, n_windows = [], []
    for choice in choices:
        second = tokenizer(f"where was anna {choice}", add_special_tokens=False)["input_ids"]
        room = 24 - 3 - len(second)
        starts, length = cut(len(context), room, 16)
        vectors = []
        for start in starts:
            ids = [2, *context[start : start + length], 3, *second, 3]
            types = [0] * (length + 2) + [1] * (len(second) + 1)
            vectors.append(plain_run(encoder_of(nlp), ids, types).pooler_output.detach())
        mean = torch.cat(vectors).mean(0)
        scores.append((mean @ module.weight[0] + module.bias).item())
        n_windows.append(len(starts))
    assert np.bincount(batch.layout.window_choice).tolist() == n_windows
    assert n_windows[1] > n_windows[0] > 1
    wanted = torch.softmax(torch.tensor(scores), 0).tolist()
    np.testing.assert_allclose(doc._.choice_scores, wanted, atol=1e-5)


@pytest.mark.parametrize("settings", [{"windows": "max"}, {"pooling": "cls"}])
def test_windows_and_pooling_change_what_is_scored(bert, settings):
    head = {"bert_choice": {"model": settings}}
    nlp = make_nlp(bert, ["bert_choice"], window=24, stride=16, configs=head)
    nlp.initialize(lambda: choice_examples(nlp))
    doc = make_choice(nlp, LONG, "where", ["paris", "london"])
    batch = nlp.get_pipe("bert_encoder").predict([doc])
    vectors = batch.cls if settings.get("pooling") == "cls" else batch.pooled
    parts = [vectors[torch.from_numpy(batch.layout.window_choice == k)] for k in (0, 1)]
    pooled = [x.amax(0) if "windows" in settings else x.mean(0) for x in parts]
    module = nlp.get_pipe("bert_choice").shim.module.output
    wanted = torch.softmax((torch.stack(pooled) @ module.weight.T)[:, 0], 0).tolist()
    np.testing.assert_allclose(nlp(doc)._.choice_scores, wanted, atol=1e-5)


def test_a_question_too_long_for_a_window_is_shortened_with_a_warning(bert):
    nlp = make_choices(bert, window=24, stride=16)
    doc = make_choice(nlp, "anna was in paris with the team of bob", LONG, ["bob", "the film"])
    with pytest.warns(UserWarning, match=r"\[BW001\] 1 of 1 Docs .*24 pieces"):
        layout = nlp.get_pipe("bert_encoder").predict([doc]).layout
    pieces = np.bincount(layout.piece_segment)
    assert pieces[0] == 12 and pieces[2:].tolist() == [1, 2]  # the question alone is cut
    assert pieces[1] + 2 == 24 - 3 - 5  # a quarter of 21 is left to the context


def test_neighbours_change_nothing(bert):
    nlp = make_choices(bert, window=24, stride=16)
    docs = [make_choice(nlp, *item) for item in [*MORE, (LONG, "who", ["anna", "bob", "the"])]]
    docs += [nlp.make_doc("anna was in paris"), make_question(nlp, "who", LONG), nlp.make_doc("")]
    alone = predictions(nlp(doc.copy()) for doc in docs)
    for order in (docs, docs[::-1]):
        found = predictions(nlp.pipe([doc.copy() for doc in order], batch_size=5))
        assert_close(found, alone if order is docs else alone[::-1], 1e-5)


def test_pieces_of_the_context_are_those_of_the_first_choice(bert):
    nlp = make_choices(bert)
    encoder = nlp.get_pipe("bert_encoder")
    context, question, choices = ITEMS[1][:3]
    batch = encoder.predict([make_choice(nlp, context, question, choices)])
    for k, choice in enumerate(choices):
        row = encoder.predict([make_segments(nlp, [context, f"{question} {choice}"], ["a", "b"])])
        n = len(row.hidden) - 1
        if k == 0:
            np.testing.assert_allclose(batch.hidden[:n], row.hidden[:n], atol=1e-5)
        np.testing.assert_allclose(batch.hidden[n + k], row.hidden[n], atol=1e-5)
        np.testing.assert_allclose(batch.pooled[k], row.pooled[0], atol=1e-5)


def test_temperature_divides_the_scores(bert):
    nlp = make_choices(bert)
    head = nlp.get_pipe("bert_choice")
    before = np.array(nlp(make_choice(nlp, *MORE[1]))._.choice_scores)
    head.cfg["temperature"] = 2.5
    after = nlp(make_choice(nlp, *MORE[1]))._.choice_scores
    wanted = before ** (1 / 2.5)
    np.testing.assert_allclose(after, wanted / wanted.sum(), atol=1e-5)


def test_gold_and_predictions_survive_files(bert, tmp_path):
    nlp = make_choices(bert)
    gold = make_choice(nlp, *MORE[1])
    set_gold_choice(gold, 2)
    docs = [gold, *nlp.pipe(make_choice(nlp, *item) for item in MORE)]
    DocBin(docs=docs).to_disk(tmp_path / "docs.spacy")
    again = list(DocBin().from_disk(tmp_path / "docs.spacy").get_docs(spacy.blank("en").vocab))
    again += [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in docs]
    for new, old in zip(again, docs * 2):
        assert (new._.choice, new._.choice_scores) == (old._.choice, old._.choice_scores)
        assert [s.text for s in get_choices(new)] == [s.text for s in get_choices(old)]
    assert again[0]._.choice == 2 and again[0]._.choice_scores == []


def test_docs_that_are_no_items_pass_as_they_are(bert):
    nlp = make_choices(bert)
    labels = ["context", "question", "answer", "answer"]
    others = [nlp.make_doc("anna"), make_segments(nlp, ["a", "b", "c", "d"], labels)]
    for doc in nlp.pipe(others):
        assert doc._.choice is None and doc._.choice_scores == []
    example = Example(nlp.make_doc("anna"), nlp.make_doc("anna"))
    assert train_steps(nlp, [example], 1) == [{"bert_encoder": 0.0, "bert_choice": 0.0}]


def test_items_that_cannot_be_are_refused():
    nlp = spacy.blank("en")
    for choices in ([], ["one"], "two", None, 2):
        with pytest.raises(ValueError, match=r"\[B420\]"):
            make_choice(nlp, "anna", "who", choices)
    for choices in (["one", None], [2, "two"]):
        with pytest.raises(ValueError, match=r"\[B423\] .*(None|2)"):
            make_choice(nlp, "anna", "who", choices)
    with pytest.raises(ValueError, match=r"\[B421\] Choice 1 "):
        make_choice(nlp, "anna", "who", ["one", " \n"])
    doc = make_choice(nlp, "anna", "who", ["one", "two"])
    for index in (2, -1, True, "1", None):
        with pytest.raises(ValueError, match=r"\[B422\].*2 choices"):
            set_gold_choice(doc, index)
    set_gold_choice(doc, np.int64(1))
    assert get_choice(doc) == 1 and type(get_choice(doc)) is int
    with pytest.raises(ValueError, match=r"\[B422\].*0 choices"):
        set_gold_choice(nlp.make_doc("anna"), 0)


def test_a_doc_with_one_choice_or_damaged_gold_is_an_error_of_its_own(bert):
    nlp = make_choices(bert)
    one = make_segments(nlp, ["anna", "who", "bob"], ["context", "question", "choice"])
    with pytest.raises(ValueError, match=r"\[B350\].*one choice"):
        nlp(one.copy())
    lost = []
    nlp.get_pipe("bert_choice").set_error_handler(lambda *args: lost.append(args))
    good = [make_choice(nlp, *item) for item in MORE]
    found = list(nlp.pipe([*good[:2], one, *good[2:]]))
    assert all(doc is other for doc, other in zip(found, good))
    assert [docs for _, _, docs, _ in lost] == [[one]]
    example = choice_example(nlp, *ITEMS[0])
    example.reference.spans["chosen"].attrs["index"] = 7
    with pytest.raises(ValueError, match=r"\[B422\] There is no choice 7 "):
        nlp.update([example])
    plain = Example(nlp.make_doc("anna"), choice_examples(nlp)[0].reference)
    with pytest.raises(ValueError, match=r"\[B352\].* 0 choices .* 2\."):
        nlp.update([plain])


def test_an_encoder_that_reads_no_choices_is_refused(tmp_path):
    elmo = {"@architectures": "bert-spacy.ElmoEncoder.v1"}
    nlp = make_nlp(make_elmo(tmp_path / "elmo"), ["bert_choice"], **elmo)
    nlp.initialize(lambda: choice_examples(nlp))
    with pytest.raises(ValueError, match=r"\[B351\].*got 1 scores for the 2 choices"):
        nlp(make_choice(nlp, *MORE[0]))
    assert nlp("anna").text == "anna"


@pytest.mark.parametrize("pooling", ["pooler", "auto"])
def test_a_pooler_that_is_not_there_is_told(tiny_folder, pooling):
    config = {"bert_choice": {"model": {"pooling": pooling}}}
    nlp = make_nlp(tiny_folder("distilbert"), ["bert_choice"], configs=config)
    nlp.initialize(lambda: choice_examples(nlp))
    if pooling == "auto":
        assert train_steps(nlp, choice_examples(nlp), 1)[0]["bert_choice"] > 0
        return
    with pytest.raises(ValueError, match=r"\[B219\].*'bert_choice'.*'auto'"):
        train_steps(nlp, choice_examples(nlp), 1)
