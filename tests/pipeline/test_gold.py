"""What is counted in the gold of entities."""

from collections import Counter

import pytest
from spacy.tokens import Span
from spacy.training import Example

from bert_spacy.pipeline.gold import count_gold_steps
from bert_spacy.text.tags import tag_names

from ..util import make_nlp

LABELS = ["PER", "LOC"]
# Texts, entities as tokens, and tokens of which nothing is known.
ROWS = [
    ("anna  was in paris", [(0, 1, "PER"), (4, 5, "LOC")], []),
    ("anna  bob was in london ", [(0, 3, "PER")], [(3, 5)]),
    ("bob lives in london", [(0, 1, "PER")], [(2, 4)]),
    ("  the river", [(2, 3, "LOC")], [(1, 2)]),
    ("a good film", [], [(0, 1)]),
]


def make_examples(nlp):
    for text, ents, missing in ROWS:
        doc = nlp.make_doc(text)
        spans = [Span(doc, start, end, label=label) for start, end, label in ents]
        doc.set_ents(spans, missing=[doc[a:b] for a, b in missing], default="outside")
        yield Example(nlp.make_doc(text), doc)


def test_steps_are_counted_over_known_tokens_without_white_space(bert):
    examples = list(make_examples(make_nlp(bert)))
    counts: Counter = Counter()
    for eg in examples:
        tokens = [token for token in eg.reference if not token.is_space]
        row = ["start", *(f"{t.ent_iob_}-{t.ent_type_}".strip("-") for t in tokens), "end"]
        # Nothing is known of a token whose `ent_iob_` is "".
        counts.update(pair for pair in zip(row, row[1:]) if "" not in pair)
    names = tag_names(LABELS, "bio")
    pairs, start, end = count_gold_steps(examples, LABELS, "bio")
    assert pairs.tolist() == [[counts[a, b] for b in names] for a in names]
    assert start.tolist() == [counts["start", name] for name in names]
    assert end.tolist() == [counts[name, "end"] for name in names]
    assert counts["B-PER", "O"] == 2 and counts["B-PER", "I-PER"] == 1


def test_balanced_weights_count_no_token_of_which_nothing_is_known(bert):
    config = {"model": {"use_crf": False}, "class_weights": "balanced"}
    nlp = make_nlp(bert, ["bert_ner"], configs={"bert_ner": config})
    nlp.initialize(lambda: make_examples(nlp))
    counts = Counter(
        token.ent_type_ or "O"
        for eg in make_examples(nlp)
        for token in eg.reference
        if token.ent_iob != 0
    )
    wanted = {label: sum(counts.values()) / (3 * n) for label, n in counts.items()}
    assert nlp.get_pipe("bert_ner").cfg["class_weights"] == pytest.approx(wanted)
    assert counts["O"] < sum(not token.ent_type for eg in make_examples(nlp) for token in eg.y)
