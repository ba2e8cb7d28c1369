import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import spacy
import torch
from spacy.tokens import DocBin
from spacy.training import Example

from benchmarks import ours, plain
from benchmarks.choice_tasks import ChoiceItem
from benchmarks.pairs import ValueItem
from benchmarks.tasks import TASKS, QuestionItem, TagItem, TextItem
from bert_spacy.training.optimizer import create_adamw_v1
from tests.util import make_nlp

ITEMS = {
    "classify": [TextItem(f"a good film {i}", "ab"[i % 2]) for i in range(70)],
    "regress": [ValueItem("anna won", f"bob won {i}", i / 7) for i in range(70)],
    "tag": [TagItem(["anna", "won"], [(0, 1, "PER")]) for _ in range(70)],
    "answer": [QuestionItem(f"{i}", "who won", "anna won", [("anna", 0)]) for i in range(70)],
    "choose": [ChoiceItem("anna won", "who won", ["anna", "bob"], 0) for _ in range(70)],
}


class _Runner:
    def __init__(self, *args):
        self.model = torch.nn.Linear(1, 1)

    def make_windows(self, items):
        return [0]

    def rate(self, name, base):
        return base


def test_a_correlation_below_zero_is_kept(monkeypatch):
    scores = iter([-3.0, -2.0, -4.0, 5.0])
    monkeypatch.setitem(plain.KINDS, "regress", _Runner)
    monkeypatch.setattr(plain, "resolve_name", lambda name: name)
    monkeypatch.setattr(plain, "train_epoch", lambda *args: 0.0)
    monkeypatch.setattr(plain, "evaluate", lambda *args, **kwargs: next(scores))
    task = SimpleNamespace(kind="regress", epochs=3)
    splits = {"train": [], "dev": [], "test": []}
    assert plain.run(task, splits, "bert-base-cased", 0) == (-2.0, 5.0)


# Questions.

CONTEXT = "  ".join(f"paris {i} naïve, working (Bob's) games" for i in range(12))


@pytest.fixture
def answerer(bert, monkeypatch):
    monkeypatch.setattr(plain, "STRIDE", 12)
    task = replace(TASKS["squad1"], max_pieces=32, max_answer=5)
    return plain.Answerer(task, str(bert), [])


def test_gold_is_the_answer_in_each_window_that_holds_it(answerer):
    words = list(re.finditer(r"[^\s,()']+", CONTEXT))
    spans = [(a.start(), b.end()) for a, b in zip(words, words[1:])]
    items = [
        QuestionItem("", "who won", CONTEXT, [("lost", -1), (CONTEXT[a:b], a), ("paris", 0)])
        for a, b in spans
    ]
    found = dict.fromkeys(range(len(items)), 0)
    for window in answerer.make_windows(items):
        begin, end = spans[window["item"]]
        context = [offset for offset, inside in zip(window["offsets"], window["context"]) if inside]
        if context[0][0] <= begin and end <= context[-1][1]:
            first, last = window["gold"]
            assert window["context"][first] and window["context"][last]
            assert (window["offsets"][first][0], window["offsets"][last][1]) == (begin, end)
            found[window["item"]] += 1
        else:
            assert window["gold"] == (0, 0)
    assert min(found.values()) >= 1
    assert max(found.values()) > 1


def test_spaces_around_an_answer_are_none_of_it_and_no_answer_is_cls(answerer):
    spaced = QuestionItem("", "who won", "the  team  won", [("  team ", 3)])
    none = QuestionItem("", "who won", "the team won", [])
    windows = answerer.make_windows([spaced, none])
    first, last = windows[0]["gold"]
    assert "the  team  won"[windows[0]["offsets"][first][0] : windows[0]["offsets"][last][1]] == (
        "team"
    )
    assert windows[1]["gold"] == (0, 0)


def test_the_best_span_is_that_of_brute_force(answerer):
    for _ in range(50):
        context = [False] * 4 + (torch.rand(9) < 0.8).tolist() + [False]
        context[7] = True
        starts, ends = torch.randn(20), torch.randn(20)  # padded to the longest of a batch
        score, first, last = answerer._best_span({"context": context}, starts, ends)
        assert (score, first, last) == max(
            (float(starts[i] + ends[j]), i, j)
            for i in range(len(context))
            for j in range(i, min(i + 5, len(context)))
            if context[i] and context[j]
        )


# The recipe, on both sides.


def part_of(name):
    """Name a parameter alike on both sides."""
    inside = re.search(r"(embeddings|encoder\.layer|pooler)\..*", name)
    if inside:
        return inside[0]
    name = name.replace("start_transitions", "start").replace("end_transitions", "end")
    return re.sub(r"^(linear|classifier|qa_outputs|score)\.", "output.", name)


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("base", [5e-5, 1e-4])
def test_rates_and_decay_of_both_sides(kind, base, bert):
    if kind == "tag":
        pytest.importorskip("torchcrf")
    task = next(task for task in TASKS.values() if task.kind == kind)
    runner = plain.KINDS[kind](task, str(bert), ITEMS[kind])
    optimizer, _ = plain.make_optimizer(runner, base, 100)
    names = [part_of(name) for name, _ in runner.model.named_parameters()]
    theirs = {
        name: (group["initial_lr"], group["weight_decay"])
        for name, group in zip(names, optimizer.param_groups)
    }
    for name, (rate, decay) in theirs.items():
        by = 1000 if name.startswith("crf.") else 10 if (kind, name[:6]) == ("tag", "output") else 1
        assert rate == pytest.approx(base * by), name
        plainly = name.endswith("bias") or "LayerNorm" in name
        assert decay == (0 if plainly else 0.01), name
    nlp = make_nlp(bert, [ours.COMPONENTS[kind]])
    examples = [Example(ours.make_doc(nlp, x), ours.make_gold(nlp, x)) for x in ITEMS[kind]]
    nlp.initialize(lambda: examples)
    adam, our = create_adamw_v1(base), {}
    for _, pipe in nlp.pipeline:
        shim = pipe.model.shims[0]
        module = getattr(shim, "encoder", None) or shim.module
        for group in adam._make(module, shim.learning_rate_scale).param_groups:
            for name in group["names"]:
                our[part_of(name)] = (base * group["scale"], group["weight_decay"])
    # A pooler is the task's on one side, and of the encoder on the other whether it is read or not.
    assert {name for name in our.keys() ^ theirs.keys() if "pooler" not in name} == set()
    for name in our.keys() & theirs.keys():
        rate, decay = theirs[name]
        # The one difference, of which docs/benchmarks.md tells.
        decay = 0.0 if name.startswith("crf.") else decay
        assert our[name] == pytest.approx((rate, decay)), name


@pytest.mark.parametrize(
    "name, scores",
    [
        ("SST-2", {"task_score": 1.0, "cats_score": None}),
        ("STS-B", {"regression_score": 1.0}),
        ("cluener", {"ents_f": 1.0}),
        ("squad1", {"qa_f1": 1.0}),
        ("squad2", {"qa_best_f1": 1.0, "qa_f1": None}),
        ("c3", {"choice_acc": 1.0}),
    ],
)
def test_configs_follow_the_task(name, scores, bert, tmp_path):
    task = TASKS[name]
    nlp = spacy.blank("en")
    docs = [ours.make_gold(nlp, item) for item in ITEMS[task.kind]]
    DocBin(docs=docs).to_disk(tmp_path / "train.spacy")
    config = ours.make_config(task, str(bert), 3, tmp_path)
    training = config["training"]
    steps = task.epochs * 5  # 70 items in batches of 16
    assert (training["max_steps"], training["eval_frequency"], training["seed"]) == (steps, 5, 3)
    assert training["score_weights"] == scores
    rate = training["optimizer"]["learn_rate"]
    assert (rate["initial_rate"], rate["total_steps"]) == (5e-5, steps)
    assert rate["warmup_steps"] == steps // 10 > 0
    encoder, head = (config["components"][x] for x in config["nlp"]["pipeline"])
    assert encoder["model"]["window"] == task.max_pieces
    assert head["factory"] == ours.COMPONENTS[task.kind]
    if task.kind == "answer":
        assert head["max_answer_tokens"] == task.max_answer
