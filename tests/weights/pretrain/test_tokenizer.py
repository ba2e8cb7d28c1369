"""A new vocabulary knows its text, and is the same each time."""

import itertools
import json
import random
from collections import Counter

import pytest
from transformers import AutoTokenizer
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.pretrain.tokenizer import SPECIAL, train_tokenizer

from .tools import make_corpus


@pytest.fixture
def corpus(tmp_path):
    path = make_corpus(tmp_path / "corpus.txt")
    with path.open("a", encoding="utf-8") as file_:
        file_.write("Café NAÏVE 北京是中国的首都\n")
    return path


def test_it_knows_the_text(corpus, tmp_path):
    report = train_tokenizer([corpus], tmp_path / "out", size=120)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert report["pieces"] == len(tokenizer) <= 120
    # The most frequent words are whole.
    for word in ("paris", "anna", "the", "lives"):
        assert tokenizer.tokenize(word) == [word]
    # A Chinese character always stands for itself.
    assert "京" in tokenizer.get_vocab()
    assert "##京" not in tokenizer.get_vocab()
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == SPECIAL
    assert tokenizer.is_fast
    for text in corpus.read_text(encoding="utf-8").splitlines():
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.convert_ids_to_tokens(ids)[1:-1] == tokenizer.tokenize(text)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert report["checksum"] in card
    assert "corpus.txt" in card


def test_it_has_the_size_that_was_asked_for(tmp_path):
    path = tmp_path / "many.txt"
    words = ("".join(pair) for pair in itertools.product("abcdefgh", repeat=4))
    path.write_text(" ".join([*words] * 2), encoding="utf-8")
    assert train_tokenizer([path], tmp_path / "out", size=150)["pieces"] == 150


def test_many_characters_do_not_pass_the_size(tmp_path):
    """Of 3,000 Chinese characters and 26 letters, which take two pieces, the most frequent stay."""
    path, letters = tmp_path / "zh.txt", "abcdefghijklmnopqrstuvwxyz"
    characters = [chr(0x4E00 + i) for i in range(3000)]
    counts = {x: 3 if i < 400 else 1 for i, x in enumerate(characters)}
    lines = ["".join(x * n for x, n in counts.items()), letters, letters[::-1]]
    path.write_text("\n".join(lines), encoding="utf-8")
    report = train_tokenizer([path], tmp_path / "out", size=500)
    assert report["pieces"] <= 500
    pieces = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    wanted = {*characters[:400], *letters, *(f"##{x}" for x in letters)}
    assert wanted <= set(pieces)
    # 500 less 5 special ones, 400 and 52: room for 43 of the characters that come once.
    assert len(set(pieces) & set(characters[400:])) == 43
    assert report["rare_characters"] == 2600 - 43
    done = CliRunner().invoke(
        app, ["train-tokenizer", str(path), "-o", str(tmp_path / "out"), "--size", "500"]
    )
    assert "2557 characters, the rarest, have no piece" in " ".join(done.output.split())


def test_a_repeat_is_the_same(corpus, tmp_path):
    sums = [train_tokenizer([corpus], tmp_path / x, size=200)["checksum"] for x in "abcd"]
    assert len(set(sums)) == 1


def test_rare_characters_are_left_out(corpus, tmp_path):
    train_tokenizer([corpus], tmp_path / "out", size=200, max_characters=20)
    pieces = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    text = corpus.read_text(encoding="utf-8").lower().replace(" ", "").replace("\n", "")
    counts = Counter(text)
    kept = {piece for piece in pieces if len(piece) == 1}
    assert len(kept) == 20
    assert min(counts[x] for x in kept) >= max(counts[x] for x in counts if x not in kept)


def test_case_can_be_kept(corpus, tmp_path):
    train_tokenizer([corpus], tmp_path / "out", size=300, lowercase=False, min_count=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert "".join(tokenizer.tokenize("Café")).replace("##", "") == "Café"


def test_words_that_are_too_long_to_be_used_are_not_learnt_from(corpus, tmp_path):
    plain = train_tokenizer([corpus], tmp_path / "plain", size=500, min_count=1)
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=5000)
    with corpus.open("a", encoding="utf-8") as file_:
        file_.write(f"anna {''.join(letters)} bob, {'z' * 101}!\nanna, bob!\n")
    report = train_tokenizer([corpus], tmp_path / "long", size=500, min_count=1)
    assert (plain["long_words"], report["long_words"]) == (0, 2)
    kept = AutoTokenizer.from_pretrained(tmp_path / "plain").get_vocab()
    assert set(AutoTokenizer.from_pretrained(tmp_path / "long").get_vocab()) <= {*kept, ",", "!"}


def test_no_model_and_no_corpus_is_replaced(corpus, tiny_folder, tmp_path):
    folder = tiny_folder("bert")
    with pytest.raises(ValueError, match=r"\[B676\].*weights would be lost"):
        train_tokenizer([corpus], folder)
    assert (folder / "model.safetensors").is_file()
    train_tokenizer([corpus], tmp_path / "out", size=200)
    inside = make_corpus(tmp_path / "out" / "corpus.txt")
    with pytest.raises(ValueError, match=r"\[B676\].*holds what is read"):
        train_tokenizer([inside], tmp_path / "out", size=200)


def test_bad_settings_and_texts(corpus, tmp_path):
    for name, value in (("size", 5), ("min_count", 0), ("max_characters", 0), ("window", 1)):
        with pytest.raises(ValueError, match=f"B674.*{name}"):
            train_tokenizer([corpus], tmp_path / "out", **{name: value})
    (tmp_path / "other.txt").write_bytes(b"\xff\n\n")
    with pytest.raises(ValueError, match="B671"):
        train_tokenizer([tmp_path / "other.txt"], tmp_path / "out")
    with pytest.raises(ValueError, match="B676"):
        train_tokenizer([corpus], tmp_path)
    assert not (tmp_path / "out").exists()


def test_one_document_and_a_line_that_is_read_in_parts(tmp_path):
    path, problems = tmp_path / "text.txt", []
    path.write_text("anna won the game\n", encoding="utf-8")
    report = train_tokenizer([path], tmp_path / "one", size=100, min_count=1)
    assert report["corpus"]["texts"] == 1
    assert AutoTokenizer.from_pretrained(tmp_path / "one").tokenize("anna won") == ["anna", "won"]
    path.write_text("anna won the game " * 55_556 + "\n", encoding="utf-8")
    report = train_tokenizer([path], tmp_path / "long", size=100, on_problem=problems.append)
    assert report["corpus"]["long"] == 1 and report["corpus"]["characters"] > 1_000_000
    assert len(problems) == 1 and "processed in" in str(problems[0])
    assert AutoTokenizer.from_pretrained(tmp_path / "long").tokenize("the game") == ["the", "game"]


def test_the_command(corpus, tmp_path):
    with corpus.open("ab") as file_:
        file_.write(b"\xff broken\n")
    args = ["train-tokenizer", str(corpus), "-o", str(tmp_path / "out"), "--size", "100"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert "1 bad" in done.output
    assert "UTF-8" in done.output
    report = json.loads((tmp_path / "out" / "tokenizer_report.json").read_text())
    assert report["corpus"]["bad"] == 1
    done = CliRunner().invoke(app, [*args[:-1], "7"])
    assert done.exit_code == 1
    assert "B674" in done.output
