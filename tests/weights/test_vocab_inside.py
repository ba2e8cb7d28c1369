"""Words split as they do within a text, behind a space and without one."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from bert_spacy.weights.vocab.analyze import analyze
from bert_spacy.weights.vocab.extend import extend
from bert_spacy.weights.vocab.folder import open_source
from bert_spacy.weights.vocab.inside import encode_glued, encode_words

from ..tiny import SPECIAL
from .vocab_tools import make_masked, pieces_of, save_with

CHINESE = "我在北京看电影\n北京在看电影\n电影,在北京\n"


@pytest.fixture(scope="module")
def unigram(tmp_path_factory):
    """Save a tiny BERT whose pieces hold the space before a word."""
    path = tmp_path_factory.mktemp("unigram") / "model"
    rows = [*((piece, 0.0) for piece in SPECIAL), ("\u2581", -4.0), ("\u2581the", -4.0)]
    rows += [(x, -5.0) for x in [*"我在看电影,abdenorstuwz", "北京"]]
    backend = Tokenizer(models.Unigram(rows, unk_id=1))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return save_with(path, backend)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder, tmp_path, words):
    """Return the reasons why words are left out, by word."""
    found = []
    path = write(tmp_path / "w.txt", "\n".join(words))
    extend(str(folder), path, tmp_path / "new", on_problem=found.append)
    return {words[problem.line - 1]: problem.reason for problem in found}


def test_chinese_words_do_not_split_from_a_space_that_is_not_there(unigram, tmp_path):
    pytest.importorskip("jieba")
    corpus = write(tmp_path / "c.txt", CHINESE)
    options = {"lang": "zh", "segmenter": "jieba", "min_count": 1}
    report = analyze(str(unigram), [corpus], tmp_path / "out.json", **options)
    assert [(row["word"], row["count"], row["pieces"]) for row in report["most_frequent"]] == [
        ("电影", 3, ["电", "影"])
    ]


def test_marks_behind_words_do_not_split(tiny_folder, tmp_path):
    # "Ġ", "," would come of a comma behind a space alone.
    lines = "the team won the game in Paris, and Anna was there.\nin Paris, in Paris.\nthe , in"
    corpus = write(tmp_path / "c.txt", lines)
    report = analyze(str(tiny_folder("roberta")), [corpus], tmp_path / "out.json", min_count=1)
    found = {row["word"]: (row["count"], row["pieces"]) for row in report["most_frequent"]}
    assert found[","] == (1, ["Ġ", ","]) and "." not in found
    # Line starts count as spaces.
    assert "the" not in found and "in" not in found


def test_pieces_are_those_of_the_text(unigram, tiny_folder):
    for folder in (unigram, tiny_folder("roberta")):
        backend = open_source(str(folder)).backend
        for left, word in [("the", " the"), ("we", " note"), ("the", ","), ("在", "北京")]:
            whole = backend.encode(left + word, add_special_tokens=False).ids
            size = len(backend.encode(left, add_special_tokens=False).ids)
            is_spaced = word[0] == " "
            found = (
                encode_words(backend, [word[1:]], " ") if is_spaced
                else encode_glued(backend, [word])
            )  # fmt: skip
            assert found[0][0] == whole[size:]


def test_a_neighbour_that_shares_a_piece_is_left_away(unigram):
    # Both are unknown, and one piece.
    backend = open_source(str(unigram)).backend
    assert encode_glued(backend, ["\u9f98"])[0][1] == ["\u9f98"]
    assert encode_words(backend, ["北京"])[0][1] == ["北京"]
    assert encode_words(backend, ["note"], " ")[0][1] == ["\u2581", "n", "o", "t", "e"]


def test_words_that_are_pieces_within_a_text_are_told_so(unigram, tiny_folder, tmp_path):
    found = problems_of(unigram, tmp_path, ["在", "北京", "电影", ",", "the"])
    assert {word: found[word].split("'")[-1] for word in found} == {
        "在": " is a piece already",
        "北京": " is a piece already",
        ",": " is a piece already, which comes without a space before it",
        "the": " is a piece already",
    }
    assert pieces_of(tmp_path / "new", "我在电影").count("电影") == 1


def test_what_keeps_words_from_being_new_is_named(tmp_path):
    folder = make_masked(tmp_path / "m")
    words = ["[MASK]ed", "##x", "##xx", "[unused1]", "kubernetes"]
    found = problems_of(folder, tmp_path, words)
    assert "the token '[MASK]' cuts it" in found["[MASK]ed"]
    assert found["##x"] == "'##x' is a piece already, which continues a word"
    assert found["##xx"] == "'##xx' begins as the middle of a word does"
    assert "the tokenizer never comes to it" in found["[unused1]"]
    assert "kubernetes" not in found
