"""Pieces on disk are those of the tokenizer, with words and sentences of spaCy."""

import json
import shutil

import numpy as np
import pytest
import spacy
import spacy.lang.zh
from spacy.tokens import DocBin
from transformers import AutoTokenizer

from bert_spacy.data.corpus import Corpus
from bert_spacy.weights.corpus import TextCorpus, make_nlp
from bert_spacy.weights.pretrain.prepare import open_pieces, prepare

TEXTS = [
    "Anna played, and won. Bob  was there!",
    "the river; naïve café - it's",
    "北京是中国的首都。我在上海看电影。",
    "\u200b \x07",
]


@pytest.fixture
def tokenizer(bert):
    return AutoTokenizer.from_pretrained(bert)


def run(tokenizer, tmp_path, texts, **settings):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    by_blank = settings.pop("by_blank", False)
    corpus = TextCorpus([path], by_blank_lines=by_blank)
    settings.setdefault("share", 0.5)
    facts = prepare(tokenizer, {"train": corpus, "dev": corpus}, tmp_path / "out", **settings)
    return facts, open_pieces(tmp_path / "out" / "train")


def words_of(tokenizer, pieces):
    """Join the pieces of each word."""
    ids, starts = pieces.read(np.arange(len(pieces.codes)))
    words: list[list[str]] = []
    for piece, start in zip(tokenizer.convert_ids_to_tokens(ids.tolist()), starts):
        if start:
            words.append([])
        words[-1].append(piece)
    return words


def test_documents_are_those_of_the_tokenizer(tokenizer, tmp_path):
    facts, pieces = run(tokenizer, tmp_path, TEXTS)
    plain = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS[:3]]
    ids, starts = pieces.read(np.arange(len(pieces.codes)))
    assert ids.tolist() == sum(plain, [])
    assert starts.all()
    bounds = pieces.sentences[pieces.documents]
    assert np.diff(bounds).tolist() == [len(row) for row in plain]
    assert facts["train"]["documents"] == 3
    assert facts["train"]["without_pieces"] == 1
    assert facts["train"]["pieces"] == len(ids)


def test_words_are_those_of_spacy(tokenizer, tmp_path):
    nlp = make_nlp("en", "char")
    nlp.add_pipe("sentencizer")
    _, pieces = run(tokenizer, tmp_path, TEXTS[:2], nlp=nlp)
    plain = []
    for doc in spacy.blank("en").pipe(TEXTS[:2]):
        plain += [tokenizer.tokenize(token.text) for token in doc if not token.is_space]
    assert words_of(tokenizer, pieces) == plain
    # Two sentences in the first text, one in the second.
    first = tokenizer("Anna played, and won.", add_special_tokens=False)["input_ids"]
    assert pieces.sentences[1] == len(first)
    assert pieces.documents.tolist() == [0, 2, 3]


def test_chinese_words_are_those_of_jieba(tokenizer, tmp_path):
    jieba = pytest.importorskip("jieba")
    nlp = make_nlp("zh", "jieba")
    nlp.add_pipe("sentencizer")
    _, pieces = run(tokenizer, tmp_path, TEXTS[2:3], nlp=nlp)
    plain = [tokenizer.tokenize(word) for word in jieba.cut(TEXTS[2])]
    assert words_of(tokenizer, pieces) == plain
    assert any(len(word) > 1 for word in plain)
    assert pieces.documents.tolist() == [0, 2]


def test_pieces_that_go_on_stay_with_their_word_where_tokens_are_characters(tokenizer, tmp_path):
    nlp = make_nlp("zh", "char")
    nlp.add_pipe("sentencizer")
    _, pieces = run(tokenizer, tmp_path, ["playing 北京 film13"], nlp=nlp)
    words = [["play", "##ing"], ["北"], ["京"], ["film", "##1", "##3"]]
    assert words_of(tokenizer, pieces) == words


def test_a_word_may_begin_where_the_tokenizer_goes_on(tokenizer, tmp_path):
    nlp = make_nlp("en", "char")
    nlp.add_pipe("sentencizer")
    # As in a language that is written without spaces.
    nlp.tokenizer.add_special_case("filming", [{"ORTH": "film"}, {"ORTH": "ing"}])
    _, pieces = run(tokenizer, tmp_path, ["anna filming"], nlp=nlp)
    assert words_of(tokenizer, pieces) == [["anna"], ["film"], ["##ing"]]


def test_a_missing_segmenter_is_told(monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("no module")

    monkeypatch.setattr(spacy, "blank", fail)
    with pytest.raises(ImportError, match=r"B710.*pip install spacy-pkuseg"):
        make_nlp("zh", "pkuseg")


def test_pkuseg_takes_a_folder_and_downloads_nothing(monkeypatch, tmp_path):
    loaded = []

    def load(pkuseg_model, pkuseg_user_dict):
        loaded.append(pkuseg_model)
        if not list(tmp_path.iterdir()):
            raise KeyError("weights")

    monkeypatch.setattr(spacy.lang.zh, "try_pkuseg_import", load)
    for model in (None, "spacy_ontonotes", str(tmp_path / "missing")):
        with pytest.raises(ValueError, match="B712.*no folder.*pkuseg_model"):
            make_nlp("zh", "pkuseg", model)
    assert not loaded
    with pytest.raises(ValueError, match="B712.*KeyError.*weights"):
        make_nlp("zh", "pkuseg", str(tmp_path))
    (tmp_path / "weights.npz").touch()
    assert make_nlp("zh", "pkuseg", str(tmp_path)).lang == "zh"


def test_every_so_many_documents_are_held_out(tokenizer, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{word}\n" for word in "abcdefghij"), encoding="utf-8")
    prepare(tokenizer, {"train": TextCorpus([path])}, tmp_path / "out", share=0.25)
    found = {}
    for part in ("train", "dev"):
        pieces = open_pieces(tmp_path / "out" / part)
        ids, _ = pieces.read(np.arange(len(pieces.codes)))
        found[part] = "".join(tokenizer.convert_ids_to_tokens(ids.tolist()))
    assert found == {"train": "abcefgij", "dev": "dh"}


def test_blank_lines_part_documents(tokenizer, tmp_path):
    texts = ["anna", "bob won", "", "", "paris", "  ", "london", "berlin"]
    facts, pieces = run(tokenizer, tmp_path, texts, by_blank=True)
    assert facts["train"]["documents"] == 3
    assert pieces.documents.tolist() == [0, 2, 3, 5]
    assert pieces.sentences.tolist() == [0, 1, 3, 4, 5, 6]


def test_all_formats_give_the_same(tokenizer, tmp_path):
    texts = TEXTS[:3]
    (tmp_path / "a").mkdir()
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "a" / "x.jsonl").write_text(lines, encoding="utf-8")
    nlp = spacy.blank("xx")
    (tmp_path / "a" / "y.spacy").write_bytes(DocBin(docs=map(nlp.make_doc, texts)).to_bytes())
    (tmp_path / "a" / "z.txt").write_text("\n".join(texts), encoding="utf-8")
    corpus = TextCorpus([tmp_path / "a"])
    facts = prepare(tokenizer, {"train": corpus, "dev": corpus}, tmp_path / "out")
    assert facts["train"]["documents"] == 9
    pieces = open_pieces(tmp_path / "out" / "train")
    codes = np.asarray(pieces.codes).reshape(3, -1)
    assert (codes == codes[0]).all()


def test_the_files_of_a_folder_are_those_of_training(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    doc = spacy.blank("xx").make_doc("anna")
    for name in ("x.spacy", "a/y.spacy", "a/b/z.spacy"):
        DocBin(docs=[doc]).to_disk(tmp_path / name)
    (tmp_path / "a" / "notes.md").write_text("none")
    found = TextCorpus([tmp_path]).paths
    assert len(found) == 3 and found == Corpus([tmp_path]).find_shards()


def test_the_vocabulary_of_a_model_among_the_texts_is_none(tiny_folder, tmp_path):
    for kind in ("bert", "roberta"):
        shutil.copytree(tiny_folder(kind), tmp_path / "data" / kind)
    (tmp_path / "data" / "bert" / "vocab.txt").touch()
    (tmp_path / "data" / "roberta" / "merges.txt").touch()
    for mark in ("config.json", "albert_config.json", "bert_config.json", "bert_config_tiny.json"):
        folder = tmp_path / "data" / mark.removesuffix(".json")
        folder.mkdir()
        (folder / mark).write_text("{}")
        (folder / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "data" / "vocab.txt").write_text("a text", encoding="utf-8")
    assert list(TextCorpus([tmp_path / "data"])) == ["a text"]


def test_hidden_files_of_a_folder_are_no_texts(tmp_path):
    place = tmp_path / ".hidden" / "data"  # which is named
    for name in (".ipynb_checkpoints/a.txt", "b/.c/d/e.txt", "b/._a.txt", "b/a.txt"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    assert list(TextCorpus([place])) == ["b/a.txt"]
    assert list(TextCorpus([place / "b" / "._a.txt"])) == ["b/._a.txt"]


def test_bad_lines_are_reported_and_cost_themselves_alone(tokenizer, tmp_path):
    """Empty lines, invalid UTF-8, and a line of ten million characters."""
    path = tmp_path / "bad.txt"
    long = b"anna won the game " * 555_556
    assert len(long) > 10_000_000
    path.write_bytes(b"anna\n\n\xff\xfe won\n   \n" + long + b"\nbob\n")
    problems = []
    corpus = TextCorpus([path], problems.append)
    facts = prepare(tokenizer, {"train": corpus, "dev": corpus}, tmp_path / "out")
    assert facts["train"]["empty"] == 2
    assert facts["train"]["bad"] == 1
    assert facts["train"]["long"] == 1
    assert [problem.line for problem in problems] == [3, 5]
    assert str(path) in str(problems[0])
    assert "UTF-8" in str(problems[0])
    # Every word of the long line is there.
    assert facts["train"]["pieces"] == 2 + 4 * 555_556


def test_a_stopped_preparation_leaves_nothing(tokenizer, tmp_path):
    def texts():
        yield "anna"
        raise KeyboardInterrupt

    class Stopped(TextCorpus):
        def __iter__(self):
            return texts()

    path = tmp_path / "text.txt"
    path.write_text("anna\n", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        prepare(tokenizer, {"train": Stopped([path])}, tmp_path / "out", share=0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]
