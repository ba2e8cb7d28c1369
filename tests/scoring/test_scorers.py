"""The registered scorers over Examples of a mixed corpus."""

import pickle

import pytest
import spacy
from spacy import registry
from spacy.scorer import Scorer
from spacy.tokens import Doc, SpanGroup
from spacy.training import Example

from bert_spacy.data.pairs import make_question, set_answers, set_gold_answers
from bert_spacy.scoring.ner import create_ner_scorer_v1
from bert_spacy.scoring.qa import create_qa_scorer_v1
from bert_spacy.scoring.textcat import create_textcat_scorer_v1, true_labels


@pytest.fixture(scope="module")
def nlp():
    return spacy.blank("en")


def question_example(nlp, question, context, golds, predicted):
    """Make an Example; None for golds or predicted leaves the answers out."""
    docs = []
    for texts in (predicted, golds):
        doc = make_question(nlp, question, context)
        if texts is not None:
            found = [(text, context.find(text)) for text in texts]
            set_answers(
                doc,
                [
                    {"text": t, "start": at, "end": at + len(t) if at >= 0 else -1}
                    for t, at in found
                ],
            )
        docs.append(doc)
    return Example(*docs)


def cats_example(nlp, predicted, gold):
    docs = [nlp.make_doc("a text"), nlp.make_doc("a text")]
    docs[0].cats, docs[1].cats = predicted, gold
    return Example(*docs)


def test_qa_scores_by_hand(nlp):
    context = "The Denver Broncos won in Santa Clara."
    examples = [
        question_example(nlp, "Who?", context, ["Denver Broncos"], ["The Denver Broncos"]),
        question_example(nlp, "Where?", context, ["Santa Clara"], ["Clara", "Santa Clara"]),
        question_example(nlp, "Why?", context, [], []),
        question_example(nlp, "When?", context, [], ["Clara"]),
        question_example(nlp, "What?", context, None, ["Clara"]),
        question_example(nlp, "Who?", context, ["Denver"], None),
    ]
    scores = create_qa_scorer_v1()(examples)
    assert scores["qa_n"] == 5
    assert scores["qa_em"] == pytest.approx(2 / 5)
    assert scores["qa_f1"] == pytest.approx((1 + 2 / 3 + 1 + 0 + 0) / 5)
    assert scores["qa_em_answerable"] == pytest.approx(1 / 3)
    assert scores["qa_f1_answerable"] == pytest.approx((1 + 2 / 3) / 3)
    assert scores["qa_no_answer_acc"] == pytest.approx(1 / 2)


def test_qa_gold_of_an_article_alone_earns_nothing_for_no_answer(nlp):
    eg = question_example(nlp, "Where?", "In the Paris.", ["the", "Paris"], [])
    scores = create_qa_scorer_v1("squad")([eg])
    assert (scores["qa_em"], scores["qa_f1"], scores["qa_em_answerable"]) == (0, 0, 0)


def test_qa_scores_are_none_without_gold(nlp):
    scores = create_qa_scorer_v1()([question_example(nlp, "Who?", "He.", None, ["He"])])
    assert scores.pop("qa_n") == 0
    assert set(scores.values()) == {None}
    answerable = [question_example(nlp, "Who?", "He.", ["He"], ["He"])]
    assert create_qa_scorer_v1()(answerable)["qa_no_answer_acc"] is None


def test_qa_probabilities_of_what_is_given_are_judged(nlp):
    rows = [
        (["He"], 0.8, 0.1, ["He"]),  # right
        (["He"], 0.4, 0.5, ["ran"]),  # wrong, though "no answer" is more probable
        ([], 0.3, 0.6, []),  # right to give none
        ([], None, None, ["He"]),  # nothing known
    ]
    examples = []
    for predicted, best, null, golds in rows:
        answers = [{"text": text, "start": 0, "end": 2} for text in predicted]
        eg = question_example(nlp, "Who?", "He ran.", golds, predicted)
        attrs = {} if best is None else {"best_probability": best, "null_probability": null}
        set_answers(eg.predicted, answers, **attrs)
        examples.append(eg)
    scores = create_qa_scorer_v1()(examples)
    assert scores["qa_brier"] == pytest.approx((0.2**2 + 0.4**2 + 0.4**2) / 3)
    assert scores["qa_ece"] == pytest.approx((0.2 + 0.4 + 0.4) / 3)
    assert scores["qa_agreement"] == pytest.approx(2 / 3)
    assert scores["qa_n"] == 4


def withheld_example(nlp, golds, best, null_score):
    eg = question_example(nlp, "Who?", "He ran.", golds, [])
    withheld = [{"text": best, "start": 0, "end": 2}] if best else []
    set_answers(eg.predicted, [], null_score=null_score, withheld=withheld)
    return eg


def test_qa_best_scores_are_those_of_the_best_threshold(nlp):
    examples = [
        withheld_example(nlp, ["He"], "He", -1.0),
        withheld_example(nlp, [], "ran", 0.5),
        withheld_example(nlp, ["He ran"], "He", 1.0),  # F1 2/3, and no exact match
        withheld_example(nlp, [], "ran", 3.0),
        withheld_example(nlp, [], None, None),  # nothing to answer with
        question_example(nlp, "Who?", "He ran.", ["He"], None),
    ]
    scores = create_qa_scorer_v1()(examples)
    assert scores["qa_f1"] == pytest.approx(3 / 6)
    assert scores["qa_best_em"] == pytest.approx(4 / 6)
    assert scores["qa_best_f1"] == pytest.approx(4 / 6)
    assert scores["qa_best_threshold"] == pytest.approx(-0.25)
    # With one question less without an answer, the third is worth giving.
    del examples[1]
    scores = create_qa_scorer_v1()(examples)
    assert scores["qa_best_em"] == pytest.approx(3 / 5)
    assert scores["qa_best_f1"] == pytest.approx((3 + 2 / 3) / 5)
    assert scores["qa_best_threshold"] == pytest.approx(2.0)


def test_qa_best_scores_need_questions_of_both_kinds_and_what_was_withheld(nlp):
    none = {"qa_best_em": None, "qa_best_f1": None, "qa_best_threshold": None}
    gold, free = withheld_example(nlp, ["He"], "He", 0.0), withheld_example(nlp, [], "He", 0.0)
    foreign = question_example(nlp, "Who?", "He ran.", ["He"], ["He"])
    silent = question_example(nlp, "Who?", "He ran.", [], None)
    for examples in (
        [gold],
        [free, free],
        [gold, free, foreign],
        [gold, free, foreign, silent],
        [foreign, silent],
    ):
        scores = create_qa_scorer_v1()(examples)
        assert {name: scores[name] for name in none} == none


def test_qa_rule_is_chosen_by_script(nlp):
    eg = question_example(nlp, "何时？", "它于1998年8月发布。", ["1998年8月"], ["1998年"])
    units = 2 * 2 / (4 + 2)
    assert create_qa_scorer_v1("auto")([eg])["qa_f1"] == pytest.approx(units)
    assert create_qa_scorer_v1("cmrc")([eg])["qa_f1"] == pytest.approx(units)
    assert create_qa_scorer_v1("squad")([eg])["qa_f1"] == 0
    # A Latin answer in a Chinese context still follows the Chinese rule.
    eg = question_example(nlp, "谁？", "由光荣公司和A-force开发。", ["A-force"], ["Aforce"])
    assert create_qa_scorer_v1("auto")([eg])["qa_em"] == 1
    # And a Latin answer in a Latin context that of SQuAD, whatever the question is written in.
    eg = question_example(nlp, "谁赢了这场比赛？", "Denver won.", ["Denver"], ["the Denver"])
    assert create_qa_scorer_v1("auto")([eg])["qa_em"] == 1


def test_qa_best_scores_follow_the_rule_as_well(nlp):
    examples = [withheld_example(nlp, ["the He"], "He", -1.0), withheld_example(nlp, [], "He", 1.0)]
    # Articles count by the rule of CMRC.
    for rule, best in [("squad", 1.0), ("cmrc", 1 / 2), ("auto", 1.0)]:
        assert create_qa_scorer_v1(rule)(examples)["qa_best_em"] == best


def test_qa_spans_without_attrs_give_the_texts(nlp):
    gold = make_question(nlp, "Who?", "Denver won.")
    gold.spans["answers"] = SpanGroup(gold, name="answers", spans=[gold[2:3]])
    predicted = make_question(nlp, "Who?", "Denver won.")
    set_gold_answers(predicted, [{"text": "Denver", "start": 0, "end": 6}])
    assert create_qa_scorer_v1()([Example(predicted, gold)])["qa_em"] == 1


def test_qa_unknown_rule():
    with pytest.raises(ValueError, match=r"\[B503\]"):
        create_qa_scorer_v1("drcd")


def test_textcat_equals_spacy_on_complete_data(nlp):
    pairs = [("A", "A"), ("A", "B"), ("C", "C"), ("B", "B"), ("B", "C"), ("C", "A")]
    examples = [
        cats_example(
            nlp,
            {label: 0.6 if label == guess else 0.2 for label in "ABC"},
            {label: float(label == gold) for label in "ABC"},
        )
        for guess, gold in pairs
    ]
    expected = Scorer.score_cats(examples, "cats", labels=["A", "B", "C"], multi_label=False)
    scorer = create_textcat_scorer_v1()
    # The best label has 0.6, and half of them are right.
    expected["cats_ece"] = pytest.approx(0.1)
    expected["cats_brier"] = pytest.approx((3 * 0.4**2 + 3 * 0.6**2) / 6)
    assert scorer(examples, labels=("A", "B", "C")) == expected
    assert scorer(examples) == expected
    assert expected["cats_micro_f"] == pytest.approx(3 / 6)
    # Docs without gold change nothing.
    more = [*examples, cats_example(nlp, {"A": 0.9, "B": 0.1, "C": 0.0}, {})]
    assert scorer(more, labels=("A", "B", "C")) == expected


def test_textcat_partial_gold_of_exclusive_labels(nlp):
    scorer = create_textcat_scorer_v1()
    predicted = {"A": 0.1, "B": 0.9}
    right = [cats_example(nlp, predicted, {"B": 1.0})]
    assert scorer(right, labels=["A", "B"])["cats_micro_f"] == 1
    # Neither "not A" alone nor "none of them" says which label is right.
    undecided = [cats_example(nlp, predicted, gold) for gold in ({"A": 0.0}, {"A": 0.0, "B": 0.0})]
    assert set(scorer(undecided, labels=["A", "B"]).values()) == {None}
    # Gold for another classifier's labels is no gold for this one.
    other = [cats_example(nlp, predicted, {"X": 1.0, "Y": 0.0})]
    assert scorer(other, labels=["A", "B"])["cats_score"] is None
    # A true label that no component knows is an error, one that another knows is not.
    more = [*right, cats_example(nlp, predicted, {"A": 0.0, "B": 0.0, "Z": 1.0})]
    for unknown, precision in ((["Z"], 1 / 2), ([], 1)):
        scores = scorer(more, labels=["A", "B"], unknown=unknown)
        assert scores["cats_micro_p"] == pytest.approx(precision)


def test_textcat_soft_gold_of_exclusive_labels_scores_as_sure_gold(nlp):
    rows = [("A", 0.7, 0.9), ("A", 0.6, 0.6), ("B", 0.9, 0.8), ("B", 0.55, 0.7)]
    other = {"A": "B", "B": "A"}

    def score(soft):
        examples = [
            cats_example(
                nlp,
                {label: p, other[label]: 1 - p},
                {label: gold, other[label]: 1 - gold} if soft else {label: 1.0, other[label]: 0.0},
            )
            for label, gold, p in rows
        ]
        return create_textcat_scorer_v1()(examples, labels=["A", "B"])

    assert score(True) == score(False)
    assert score(True)["cats_macro_auc"] == 1.0


def test_true_labels():
    soft = {"A": 0.4, "B": 0.3, "C": 0.0, "D": 0.4}
    assert true_labels(soft, multi_label=True) == []
    assert true_labels(soft, multi_label=False) == ["A", "D"]
    sure = {"A": 1.0, "B": 0.5, "C": 0.4}
    assert true_labels(sure, multi_label=True) == ["A", "B"]
    assert true_labels(sure, multi_label=False) == ["A", "B"]
    for multi_label in (False, True):
        assert true_labels({}, multi_label=multi_label) == []
        assert true_labels({"A": 0.0}, multi_label=multi_label) == []


@pytest.mark.parametrize("multi_label", [False, True])
def test_textcat_labels_that_nobody_knows_are_missed(nlp, multi_label):
    predicted = {"A": 0.1, "B": 0.9}
    examples = [
        cats_example(nlp, predicted, {"A": 0.0, "B": 1.0}),
        cats_example(nlp, predicted, {"A": 0.0, "B": 0.0, "Z": 1.0}),
        cats_example(nlp, predicted, {"Z": 1.0}),
    ]
    scorer = create_textcat_scorer_v1(multi_label=multi_label)
    scores = scorer(examples, labels=["A", "B"], unknown=["Z"])
    assert scores["cats_micro_r"] == pytest.approx(1 / 3)
    assert scores["cats_f_per_type"]["Z"]["r"] == 0
    named = create_textcat_scorer_v1(positive_label="B")
    scores = named(examples[:2], labels=["A", "B"], unknown=["Z"])
    assert scores["cats_score_desc"] == "F (B)"
    assert scores["cats_score"] == scores["cats_f_per_type"]["B"]["f"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "multi_label"), [(["A", "B"], False), (["A", "B", "C"], False), (["A", "C"], True)]
)
def test_textcat_positive_label_must_be_one_of_two(nlp, labels, multi_label):
    scorer = create_textcat_scorer_v1(positive_label="C", multi_label=multi_label)
    with pytest.raises(ValueError, match=r"\[B506\].*'C'"):
        scorer([cats_example(nlp, {"A": 1.0}, {"A": 1.0})], labels=labels)


def test_textcat_true_labels_of_other_components_hide_none_of_ours(nlp):
    eg = cats_example(nlp, {"A": 0.1, "B": 0.9}, {"X": 1.0, "Y": 0.0, "A": 0.0, "B": 1.0})
    scores = create_textcat_scorer_v1()([eg], labels=["A", "B"], unknown=["X"])
    assert scores["cats_micro_f"] == 1


def test_textcat_missing_prediction_is_wrong(nlp):
    examples = [
        cats_example(nlp, {}, {"AA": 1.0, "BB": 0.0}),
        cats_example(nlp, {"AA": 0.9, "BB": 0.1}, {"AA": 1.0, "BB": 0.0}),
    ]
    scores = create_textcat_scorer_v1()(examples, labels=["AA", "BB"])
    assert scores["cats_micro_r"] == pytest.approx(1 / 2)
    assert scores["cats_micro_p"] == pytest.approx(1 / 2)


def test_textcat_multi_label_leaves_unknown_labels_out(nlp):
    examples = [
        cats_example(nlp, {"A": 0.9, "B": 0.9}, {"A": 1.0}),
        cats_example(nlp, {"A": 0.1, "B": 0.9}, {"A": 1.0, "B": 1.0}),
        cats_example(nlp, {"A": 0.9, "B": 0.9}, {}),
    ]
    scores = create_textcat_scorer_v1(multi_label=True)(examples, labels=["A", "B"])
    assert scores["cats_f_per_type"]["B"]["p"] == 1
    assert scores["cats_f_per_type"]["A"]["r"] == pytest.approx(1 / 2)
    assert scores["cats_micro_p"] == 1


@pytest.mark.parametrize("own", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_textcat_thresholds_of_labels_move_what_is_given_and_not_the_ranking(nlp, own, threshold):
    p, y = [0.9, 0.2, 0.6, 0.4, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0]
    examples = [cats_example(nlp, {"A": a}, {"A": b}) for a, b in zip(p, y)]
    scorer = create_textcat_scorer_v1(multi_label=True, threshold=threshold)
    scores = scorer(examples, labels=["A"], thresholds={"A": own})
    pairs = [(a > b) for a, hit in zip(p, y) for b, other in zip(p, y) if hit and not other]
    assert scores["cats_macro_auc"] == pytest.approx(sum(pairs) / len(pairs))
    given = [a >= own for a in p]
    hits = sum(a and b for a, b in zip(given, y))
    assert scores["cats_macro_f"] == pytest.approx(2 * hits / (sum(given) + sum(y)))


def test_ner_skips_docs_without_annotation(nlp):
    def example(predicted, gold):
        docs = [Doc(nlp.vocab, words=["Ada", "met", "Bob"]) for _ in range(2)]
        for doc, ents in zip(docs, (predicted, gold)):
            if ents is not None:
                spans = [doc.char_span(a, b, label=label) for a, b, label in ents]
                doc.set_ents(spans, default="outside")
        return Example(*docs)

    scored = [
        example([(0, 3, "PER"), (8, 11, "ORG")], [(0, 3, "PER"), (8, 11, "PER")]),
        example([(0, 3, "PER")], []),
    ]
    missing = [example([(0, 3, "PER")], None)]
    scorer = create_ner_scorer_v1()
    scores = scorer(scored + missing)
    assert scores["ents_p"] == pytest.approx(1 / 3)
    assert scores["ents_r"] == pytest.approx(1 / 2)
    assert scores["ents_per_type"]["ORG"]["p"] == 0
    assert set(scorer(missing).values()) == {None}


def test_scorers_are_registered_and_can_be_pickled(nlp):
    for name in ("qa_scorer", "textcat_scorer", "ner_scorer"):
        scorer = registry.scorers.get(f"bert-spacy.{name}.v1")()
        assert pickle.loads(pickle.dumps(scorer))([]) == scorer([])  # noqa: S301
