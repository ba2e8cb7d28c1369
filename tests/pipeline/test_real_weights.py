"""With pretrained weights: batches do not change results, and memory stays bounded."""

import random

import pytest
import spacy
import torch
from spacy.training import Example

from bert_spacy.sources import resolve_name

pytestmark = pytest.mark.slow
LABELS = ("PER", "ORG", "LOC")


def make_pipeline(lang: str, alias: str):
    """Make a classifier and a tagger whose heads give varied output, with no training."""
    try:
        resolve_name(alias)
    except ValueError:
        pytest.skip(f"weights {alias} are not fetched: python -m bert_spacy weights fetch {alias}")
    torch.manual_seed(3)
    nlp = spacy.blank(lang)
    nlp.add_pipe("bert_encoder", config={"model": {"name": alias}})
    for name, labels in (("bert_textcat", "ABCDE"), ("bert_ner", LABELS)):
        pipe = nlp.add_pipe(name)
        for label in labels:
            pipe.add_label(label)
    doc = nlp.make_doc("x")
    nlp.initialize(lambda: [Example(doc, doc.copy())])
    for name in ("bert_textcat", "bert_ner"):
        with torch.no_grad():
            nlp.get_pipe(name).shim.module.output.weight.mul_(20)
    return nlp


def make_texts(lang: str) -> list[str]:
    """Make texts of 5 to 5,000 tokens from a small stock of words."""
    rng = random.Random(0)
    line = "北京 大学 昨天 公布 了 新 的 研究 ， 张 教授 说 。 apple 12 年"
    if lang == "en":
        line = "the bank of England said on Monday that Mrs. Brown 's plan , 3 % , won !"
    words = line.split()
    sizes = [5, 5000, 17, 900, 130, 60, 2500, 8, 300, 45, 33, 700, 12, 1200, 90]
    joint = " " if lang == "en" else ""
    return [joint.join(rng.choice(words) for _ in range(size)) for size in sizes]


@pytest.mark.parametrize(("lang", "alias"), [("en", "minilm-l6-en"), ("zh", "albert-tiny-zh")])
def test_results_do_not_depend_on_the_batch_size(lang, alias):
    nlp = make_pipeline(lang, alias)
    texts = make_texts(lang)
    runs = [list(nlp.pipe(texts, batch_size=size)) for size in (1, 7, 128)]
    for other in runs[1:]:
        for first, second in zip(runs[0], other):
            assert first.cats == pytest.approx(second.cats, abs=1e-4)
            spans = [[(e.start, e.end, e.label_) for e in doc.ents] for doc in (first, second)]
            assert spans[0] == spans[1]
    assert sum(len(doc.ents) for doc in runs[0]) > 20
