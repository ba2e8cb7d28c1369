"""Variants of texts, by a model that is written down in the test and by a tiny one."""

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from transformers import AutoTokenizer, BertForMaskedLM

from bert_spacy.data.docbin import read_docbin
from bert_spacy.data.pairs import get_question, make_question
from bert_spacy.weights.distill import variants
from bert_spacy.weights.distill.augment import augment
from bert_spacy.weights.distill.run import distill
from bert_spacy.weights.distill.settings import make_settings
from bert_spacy.weights.distill.variants import FilledWords
from bert_spacy.weights.pretrain.filling import load_filler

from ..tiny import make_folder
from ..util import textcat_examples, trained
from .vocab_tools import make_masked

WORDS = {"good": ["bad", "##ly", ".", "[SEP]", "good", "fine", "long"], "Paris": ["berlin"]}


def fill(texts):
    found = []
    for text in texts:
        assert text.count("[MASK]") == 1
        old = next((w for w in WORDS if text.replace("[MASK]", w) in SEEN), None)
        found.append(WORDS.get(old, []))
    return found


SEEN: set[str] = set()


def make(texts, **options):
    nlp = spacy.blank("en")
    docs = [nlp(text) for text in texts]
    SEEN.update(texts)
    return list(augment(docs, fill, lambda word: word in WORDS, **options))


def test_words_of_one_piece_are_replaced_in_place():
    docs = make(["A good  film in Paris!", "nothing here"], copies=100, rate=0.5, n_candidates=2)
    texts = {doc.text for doc in docs}
    assert texts == {
        f"A {a}  film in {b}!"
        for a in ("good", "bad", "fine")
        for b in ("Paris", "Berlin")
        if (a, b) != ("good", "Paris")
    }
    assert not any(doc.cats for doc in docs)
    again = make(["A good  film in Paris!"], copies=100, rate=0.5, n_candidates=2)
    assert [doc.text for doc in again] == [doc.text for doc in docs]
    assert {doc.text for doc in make(["good"], copies=3, rate=1.0)} <= {"bad", "fine", "long"}
    assert make(["good"], rate=0.0) == []


def test_letters_of_a_word_that_the_tokenizer_cuts_stay():
    doc = spacy.blank("zh")("新iPad好，A股")  # a token for each character
    variants = augment(
        [doc], lambda texts: [["换"]] * len(texts), lambda word: True, copies=1, rate=1.0
    )
    assert [doc.text for doc in variants] == ["换iPad换，换换"]


def test_segments_stay():
    nlp = spacy.blank("en")
    doc = make_question(nlp, "is it good?", "It was good in Paris.")
    SEEN.add(doc.text)
    variants = list(augment([doc], fill, lambda word: word == "Paris", rate=1.0, copies=2))
    assert len(variants) == 2
    question, context = get_question(variants[0])
    assert (question.text, context.text) == ("is it good?", "It was good in Berlin.")


def test_a_text_with_a_mask_is_left_alone():
    nlp = spacy.blank("en")
    assert list(augment([nlp("good [MASK]")], fill, lambda word: word == "good", rate=1.0)) == []


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    return make_masked(tmp_path_factory.mktemp("masked") / "masked")


@pytest.fixture(scope="module")
def words(masked):
    return FilledWords(load_filler(str(masked)), 1000)


def test_words_are_those_of_the_plain_model(words, masked):
    text = "anna [MASK] in paris"
    tokenizer = AutoTokenizer.from_pretrained(masked)
    model = BertForMaskedLM.from_pretrained(masked).eval()
    batch = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        order = model(**batch).logits[0, 2].argsort(descending=True)
    pieces = tokenizer.convert_ids_to_tokens(order.tolist())
    (found,) = words.fill([text])
    assert not any("##" in word or "unused" in word for word in found)
    assert [word for word in found if word.isalpha()] == [x for x in pieces if x.isalpha()]
    assert words.fill([]) == []


def test_only_known_words_are_pieces(words):
    assert words.is_piece("paris")
    # Unknown is one piece too, but none that is known.
    unknown = "\N{SNOWMAN}"
    assert words.filler.tokenizer.tokenize(unknown) == ["[UNK]"]
    assert not words.is_piece(unknown)
    split = next(w for w in ("parising", "annabob") if len(words.filler.tokenizer.tokenize(w)) > 1)
    assert not words.is_piece(split)


@pytest.mark.parametrize("before", [0, 10, 90, 180])
def test_of_a_long_text_the_model_sees_what_is_around_the_mask(words, before):
    names = ["anna", "bob"] * 90
    text = " ".join([*names[:before], "[MASK]", *names[before:]])
    limit = words.filler.max_pieces // 2
    part = words._cut(text).split(" ")
    assert len(part) == limit
    at = part.index("[MASK]")
    assert part == text.split(" ")[before - at : before - at + limit]
    assert at == limit // 2 or at in (before, limit - 1 - (180 - before))
    assert words.fill([text])[0]
    assert words._cut("a [MASK]") == "a [MASK]"


class Killed(BaseException):
    """Stands for a kill: nothing in the package may catch it and tidy up."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a teacher and its data."""
    path = tmp_path_factory.mktemp("augment")
    nlp = trained(make_folder(path / "bert", "bert"), ["bert_textcat"], steps=5)
    nlp.to_disk(path / "teacher")
    docs = [eg.reference for eg in textcat_examples(nlp)]
    DocBin(docs=docs).to_disk(path / "data.spacy")
    return path


@pytest.fixture
def values(place, masked):
    data = str(place / "data.spacy")
    return {
        "teacher": str(place / "teacher"),
        "train": [data],
        "dev": [data],
        "student": {"layers": 1},
        "augment": {"name": str(masked), "copies": 2, "rate": 0.5},
        "layers": {"steps": 2},
        "heads": {"steps": 2},
        "training": {"batch_size": 8},
    }


def test_a_student_learns_from_variants_too(values, place, tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "DOCS_A_FILE", 2)
    report = distill(make_settings(values), tmp_path / "out")
    folder = tmp_path / "out" / "variants"
    files = sorted(folder.iterdir())
    originals = list(read_docbin(place / "data.spacy", Vocab()))
    made = list(read_docbin(folder, Vocab()))
    assert len(files) > 1
    assert report["variants"] == len(made) > len(originals)
    assert not any(doc.cats or any(token.ent_iob for token in doc) for doc in made)
    # Each has the form of a training text, and other words.
    known = {tuple(doc.text.split()) for doc in originals}
    for doc in made:
        told = tuple(doc.text.split())
        assert told not in known
        near = [a for a in known if len(a) == len(told) and any(x == y for x, y in zip(a, told))]
        assert near or len(told) < 4
    card = (tmp_path / "out/model/bert_encoder/encoder/README.md").read_text(encoding="utf-8")
    assert (
        f"Variants of training texts: {len(made)}, filled in by `{values['augment']['name']}`"[2:]
        in card
    )
    config = (tmp_path / "out" / "heads" / "model-last" / "config.cfg").read_text(encoding="utf-8")
    assert str(folder) in config and str(place / "data.spacy") in config

    # Killed in the midst of the variants and in a phase, it comes to the same.
    plain, updates, n = FilledWords.fill, Language.update, 0

    def killed(*args, **kwargs):
        nonlocal n
        n += 1
        if n == 4:
            raise Killed
        return plain(*args, **kwargs)

    monkeypatch.setattr(FilledWords, "fill", killed)
    settings = make_settings(values)
    with pytest.raises(Killed):
        distill(settings, tmp_path / "again")
    there = [p.name for p in (tmp_path / "again" / "variants").iterdir()]
    assert 0 < len(there) < len(files)

    def kill_update(*args, **kwargs):
        monkeypatch.setattr(Language, "update", updates)
        raise Killed

    monkeypatch.setattr(Language, "update", kill_update)
    with pytest.raises(Killed):
        distill(settings, tmp_path / "again", resume=True)
    again = distill(settings, tmp_path / "again", resume=True)
    for path in files:
        texts = [
            [doc.text for doc in read_docbin(x, Vocab())]
            for x in (path, tmp_path / "again" / "variants" / path.name)
        ]
        assert texts[0] == texts[1]
    assert again["sha256"] == report["sha256"]
    assert again["variants"] == report["variants"]


def test_tokens_that_do_not_follow_from_the_text_stay(words):
    doc = Doc(spacy.blank("en").vocab, words=["anna", "was", "in", "paris", "-berlin"])
    assert doc.has_unknown_spaces
    (other,) = augment([doc], words.fill, words.is_piece, copies=1, rate=1.0)
    assert other.has_unknown_spaces and len(other) == 5 and other[4].text == "-berlin"


def test_models_and_settings_that_cannot_be(values, tmp_path, tiny_folder):
    values["augment"]["name"] = str(tiny_folder("roberta"))
    with pytest.raises(ValueError, match="B703"):
        distill(make_settings(values), tmp_path / "out")
    for name, value in (("rate", 0), ("rate", 1.5), ("copies", 0), ("candidates", "many")):
        with pytest.raises(ValueError, match=f"B722.*augment.{name}"):
            make_settings({**values, "augment": {name: value}})


def test_texts_of_which_nothing_can_change(values, place, tmp_path):
    nlp = spacy.blank("en")
    doc = nlp("?! 12")
    doc.cats = dict.fromkeys(next(read_docbin(place / "data.spacy", Vocab())).cats, 0.0)
    DocBin(docs=[doc]).to_disk(tmp_path / "data.spacy")
    values["train"] = [str(tmp_path / "data.spacy")]
    with pytest.raises(ValueError, match="B740.*rate 0.5"):
        distill(make_settings(values), tmp_path / "out")
