"""`vocab prune`: fewer pieces, and the corpus does not feel it."""

import json
import random

import pytest
import spacy
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertTokenizerFast,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.vocab import prune as module
from bert_spacy.weights.vocab.extend import extend
from bert_spacy.weights.vocab.needed import choose_ids
from bert_spacy.weights.vocab.prune import prune

from ..tiny import LINES, SPECIAL, WORDS
from ..util import make_nlp
from .vocab_tools import PLAIN, checksums, hidden, make_masked, pieces_of

ROWS = "bert.embeddings.word_embeddings.weight"
BIAS = "cls.predictions.bias"


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    torch.manual_seed(1)
    return make_masked(tmp_path_factory.mktemp("masked") / "model")


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def vocab_of(folder):
    return AutoTokenizer.from_pretrained(folder).get_vocab()


def assert_same(before, after, texts):
    """Check pieces as strings, and hidden states to the bit."""
    for text in texts:
        assert pieces_of(before, text) == pieces_of(after, text)
        assert torch.equal(hidden(before, text)[1], hidden(after, text)[1])


def test_the_corpus_does_not_feel_it(masked, tmp_path):
    report = prune(str(masked), [write(tmp_path / "c.txt", PLAIN)], tmp_path / "new")
    assert_same(masked, tmp_path / "new", PLAIN)
    old, new = vocab_of(masked), vocab_of(tmp_path / "new")
    assert sorted(new.values()) == list(range(len(new)))
    assert report["vocabulary"] == {"before": len(old), "after": len(new)}
    assert {"the", "team", "won", "game", "was", "paris", "[MASK]"} <= new.keys() < old.keys()
    seen = {piece for text in PLAIN for piece in pieces_of(masked, text)}
    assert old.keys() - new.keys() == {
        piece
        for piece in old.keys() - seen
        if len(piece.removeprefix("##")) > 1 and piece not in SPECIAL
    }
    assert AutoConfig.from_pretrained(tmp_path / "new").vocab_size == len(new)
    weights = [load_file(folder / "model.safetensors") for folder in (masked, tmp_path / "new")]
    for piece, number in new.items():
        for name in (ROWS, BIAS):
            assert torch.equal(weights[1][name][number], weights[0][name][old[piece]])
    assert report["texts_changed"] == 0 and report["largest_difference"] == 0.0
    assert report["megabytes"]["after"]["weights"] <= report["megabytes"]["before"]["weights"]
    assert report["speed"] > 0
    written = json.loads((tmp_path / "new" / "vocab_report.json").read_text(encoding="utf-8"))
    assert written == {key: value for key, value in report.items() if key != "speed"}
    assert report["checksum"] == checksums(tmp_path / "new")["model.safetensors"]
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert report["checksum"] in card
    assert f"{report['megabytes']['after']['weights']} after" in card
    prune(str(masked), [tmp_path / "c.txt"], tmp_path / "again")
    assert checksums(tmp_path / "new") == checksums(tmp_path / "again")


def test_the_masked_word_head_follows(masked, tmp_path):
    prune(str(masked), [write(tmp_path / "c.txt", PLAIN)], tmp_path / "new")
    old, new = vocab_of(masked), vocab_of(tmp_path / "new")
    new_model, info = AutoModelForMaskedLM.from_pretrained(
        tmp_path / "new", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"]
    a = AutoModelForMaskedLM.from_pretrained(masked).eval()
    left = a(torch.tensor([[old[x] for x in ("[CLS]", "the", "[MASK]", "[SEP]")]])).logits
    right = new_model.eval()(
        torch.tensor([[new[x] for x in ("[CLS]", "the", "[MASK]", "[SEP]")]])
    ).logits
    order = [old[piece] for piece in sorted(new, key=new.__getitem__)]
    assert torch.allclose(left[..., order], right, atol=1e-5)


def test_masked_words_show_what_rare_pieces_cost(masked, tmp_path):
    lines = ["paris won the game", "the game", "the game"]
    corpus = write(tmp_path / "c.txt", lines)
    report = prune(str(masked), [corpus], tmp_path / "new", min_count=2)
    wanted = []
    for folder in (masked, tmp_path / "new"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer(lines[0], return_tensors="pt")["input_ids"]
        n_pieces = len(tokenizer.tokenize("paris"))  # 1, and 5 when "paris" is gone
        hidden_ids = ids.clone()
        hidden_ids[0, 1 : 1 + n_pieces] = tokenizer.mask_token_id
        model = AutoModelForMaskedLM.from_pretrained(folder).eval()
        with torch.no_grad():
            shares = model(hidden_ids).logits[0].softmax(-1)
        product = 1.0
        for place in range(1, 1 + n_pieces):
            product *= float(shares[place, ids[0, place]])
        wanted.append(1 / product)
    # Of the words but each text's last, the first is masked; the next would be the eighth.
    found = report["masked_words"]
    assert [found[when]["perplexity"] for when in found] == pytest.approx(wanted, rel=1e-4)
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "Masked words" in card and "not measured" not in card


def test_without_a_head_it_says_that_nothing_is_measured(bert, tmp_path):
    corpus, output = write(tmp_path / "c.txt", LINES), tmp_path / "new"
    done = CliRunner().invoke(app, ["vocab", "prune", str(bert), str(corpus), "-o", str(output)])
    assert done.exit_code == 0, done.output
    for text in (done.output, (output / "README.md").read_text(encoding="utf-8")):
        assert "not measured, for want of a masked-word head" in " ".join(text.split())


def test_unknown_words_stay_unknown(tmp_path):
    """A word that fails after a long piece must not succeed by a shorter one."""
    raw = make_masked(tmp_path / "raw")
    spec = json.loads((raw / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = spec["model"]["vocab"]
    # "filmß": film, then nothing. Without "film": fil, ##mß.
    for piece in ("fil", "##mß"):
        vocab[piece] = vocab.pop(next(p for p in vocab if p.startswith("[unused")))
    (raw / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    (raw / "vocab.txt").unlink()
    texts = ["filmß", "mß fil"]
    assert pieces_of(raw, "filmß") == ["[UNK]"]
    corpus = write(tmp_path / "c.txt", ["filmß and " + "fil " * 3, "a", "x" * 101, *texts])
    prune(str(raw), [corpus], tmp_path / "new")
    assert_same(raw, tmp_path / "new", texts)
    assert "film" in vocab_of(tmp_path / "new")


def test_other_text_is_still_written_in_characters(masked, tmp_path):
    prune(str(masked), [write(tmp_path / "c.txt", ["the"])], tmp_path / "new")
    assert pieces_of(tmp_path / "new", "good!") == ["g", "##o", "##o", "##d", "!"]
    assert pieces_of(tmp_path / "new", "北京 7") == ["北", "京", "7"]


def test_pieces_that_cannot_come_are_no_core(tmp_path):
    raw = make_masked(tmp_path / "raw", n_unused=2)
    for name in ("tokenizer.json", "vocab.txt"):
        text = (raw / name).read_text(encoding="utf-8")
        text = text.replace("[unused1]", "##北").replace("[unused2]", "##é")
        (raw / name).write_text(text, encoding="utf-8")
    prune(str(raw), [write(tmp_path / "c.txt", PLAIN)], tmp_path / "new")
    assert "##北" not in vocab_of(tmp_path / "new") and "##a" in vocab_of(tmp_path / "new")


def test_rare_pieces_go_with_min_count(masked, tmp_path):
    lines = ["the game", "the game", "the paris film", "北京"]
    corpus = write(tmp_path / "c.txt", lines)
    report = prune(str(masked), [corpus], tmp_path / "new", min_count=2)
    vocab = vocab_of(tmp_path / "new")
    assert {"the", "game"} < vocab.keys() and not {"paris", "film"} & vocab.keys()
    assert report["texts_changed"] == 1
    assert report["pieces_of_corpus"] == {"before": 9, "after": 2 + 2 + (1 + 5 + 4) + 2}
    assert report["unknown_rate"] == {"before": 0.0, "after": 0.0}
    assert_same(masked, tmp_path / "new", ["the game", "北京"])


def test_rare_pieces_with_characters_of_their_own_stay(tmp_path):
    raw = make_masked(tmp_path / "raw")
    for name in ("tokenizer.json", "vocab.txt"):
        text = (raw / name).read_text(encoding="utf-8")
        (raw / name).write_text(text.replace("[unused1]", "straße"), encoding="utf-8")
    corpus = write(tmp_path / "c.txt", ["straße", "the the"])
    report = prune(str(raw), [corpus], tmp_path / "new", min_count=2)
    assert report["unknown_rate"]["after"] == 0 and "straße" in vocab_of(tmp_path / "new")


@pytest.mark.parametrize("kind", ["albert", "distilbert", "electra", "modernbert", "roberta"])
def test_other_architectures(tiny_folder, tmp_path, kind):
    folder = tiny_folder(kind)
    texts = LINES[:2]
    report = prune(str(folder), [write(tmp_path / "c.txt", texts)], tmp_path / "new")
    assert report["masked_words"] is None  # no head
    assert report["vocabulary"]["after"] < report["vocabulary"]["before"]
    assert_same(folder, tmp_path / "new", [text.strip() for text in texts])
    other = "Zebra 北京 \U0001f600"
    unknown = AutoTokenizer.from_pretrained(tmp_path / "new").unk_token
    if kind == "roberta":  # all bytes are left
        assert unknown not in pieces_of(tmp_path / "new", other)


def test_many_random_texts_of_merged_pieces(tiny_folder, tmp_path):
    rng = random.Random(0)
    stock = " ".join(LINES).split()
    texts = [" ".join(rng.choices(stock[:20], k=6)) for _ in range(50)]
    prune(str(tiny_folder("roberta")), [write(tmp_path / "c.txt", texts)], tmp_path / "new")
    for text in texts:
        assert pieces_of(tiny_folder("roberta"), text) == pieces_of(tmp_path / "new", text)


def test_unigram(tmp_path):
    raw = make_masked(tmp_path / "raw")
    rows = [("<unk>", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[PAD]", 0.0), ("[MASK]", 0.0)]
    rows += [(f"\u2581{word}", -5.0 - i) for i, word in enumerate(WORDS[:20])]
    rows += [(x, -12.0) for x in "abcdefghijklmnopqrstuvwxyz\u2581"] + [("zzzz", -40.0)]
    backend = Tokenizer(models.Unigram(rows, unk_id=0))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    for path in raw.iterdir():
        if path.name not in ("model.safetensors", "config.json"):
            path.unlink()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", cls_token="[CLS]", sep_token="[SEP]",
        pad_token="[PAD]", mask_token="[MASK]",
    ).save_pretrained(raw)  # fmt: skip
    texts = ["The team won in Paris", "the 北 teams", "abc"]
    prune(str(raw), [write(tmp_path / "c.txt", texts)], tmp_path / "new")
    assert_same(raw, tmp_path / "new", texts)
    old, new = vocab_of(raw), vocab_of(tmp_path / "new")
    assert len(new) < len(old) and "\u2581london" in old.keys() - new.keys() and "zzzz" in new
    report = extend(
        str(tmp_path / "new"), write(tmp_path / "w.txt", ["kubernetes"]), tmp_path / "ext"
    )
    number = report["words"][0]["id"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "ext")
    assert tokenizer("the kubernetes")["input_ids"].count(number) == 1
    assert_same(tmp_path / "new", tmp_path / "ext", texts)


def test_added_tokens_stay(masked, tmp_path):
    extend(str(masked), write(tmp_path / "w.txt", ["covid-19", "北京", "kuber"]), tmp_path / "ext")
    texts = ["the covid-19 in 北京", "bob"]
    prune(str(tmp_path / "ext"), [write(tmp_path / "c.txt", texts)], tmp_path / "new")
    assert_same(tmp_path / "ext", tmp_path / "new", texts)
    vocab = vocab_of(tmp_path / "new")
    assert {"covid-19", "北京"} < vocab.keys() and "kuber" not in vocab
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "Licence as stated: not known" in card and "1 files, 2 texts" in card


def test_a_pipeline_on_the_folder_is_saved_and_loaded(masked, tmp_path):
    prune(str(masked), [write(tmp_path / "c.txt", PLAIN)], tmp_path / "new")
    old, nlp = make_nlp(masked), make_nlp(tmp_path / "new")
    old.initialize()
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    for text in PLAIN:
        states = [
            n.get_pipe("bert_encoder").predict([n.make_doc(text)]).hidden for n in (old, nlp, again)
        ]
        assert torch.equal(states[0], states[1]) and torch.equal(states[1], states[2])


def test_a_check_that_fails_writes_nothing(masked, tmp_path, monkeypatch):
    def lose(source, usage, min_count):
        return [i for i in choose_ids(source, usage, min_count) if i != source.pieces["team"]]

    monkeypatch.setattr(module, "choose_ids", lose)
    corpus = write(tmp_path / "c.txt", PLAIN)
    with pytest.raises(ValueError, match=r"\[B678\].*changes 1 texts"):
        prune(str(masked), [corpus], tmp_path / "new")
    assert list(tmp_path.iterdir()) == [corpus]


def test_bad_input_is_refused(masked, tmp_path):
    corpus = write(tmp_path / "c.txt", PLAIN)
    with pytest.raises(ValueError, match=r"\[B674\].*min_count"):
        prune(str(masked), [corpus], tmp_path / "new", min_count=0)
    with pytest.raises(ValueError, match=r"\[B676\]"):
        prune(str(masked), [corpus], masked)
    old = make_masked(tmp_path / "old")
    inside = write(old / "c.txt", PLAIN)
    with pytest.raises(ValueError, match=r"\[B676\].*holds what is read"):
        prune(str(masked), [inside], old)
    assert inside.is_file()
    with pytest.raises(ValueError, match=r"\[B670\]"):
        prune(str(masked), [tmp_path / "none"], tmp_path / "new")
    raw = make_masked(tmp_path / "raw")
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(raw)
    with pytest.raises(ValueError, match=r"\[B673\].*WordLevel"):
        prune(str(raw), [corpus], tmp_path / "new")


def test_the_command(masked, tmp_path):
    corpus = write(tmp_path / "c.txt", PLAIN)
    corpus.write_bytes(corpus.read_bytes() + b"\xff\n")
    arguments = ["vocab", "prune", str(masked), str(corpus), "-o", str(tmp_path / "new")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "c.txt:4" in done.output and "1 bad" in done.output
    assert "not measured" not in done.output
    rare = CliRunner().invoke(app, [*arguments, "--min-count", "2"])
    assert rare.exit_code == 0 and "texts have other pieces" in rare.output
    lost = CliRunner().invoke(app, [*arguments, "--min-count", "0"])
    assert lost.exit_code == 1 and "B674" in lost.output


def test_positions_that_count_from_the_padding_piece(tmp_path):
    """RoBERTa's positions begin behind the id of padding, so that id must not move."""
    pieces = ["[unused1]", "[unused2]", *SPECIAL, "the", "team", "won"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    config = RobertaConfig(
        vocab_size=len(pieces), pad_token_id=2, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=70,
    )  # fmt: skip
    for part in (RobertaModel(config), tokenizer):
        part.save_pretrained(tmp_path / "raw")
    corpus = write(tmp_path / "c.txt", ["the team"])
    report = prune(str(tmp_path / "raw"), [corpus], tmp_path / "new")
    assert report["vocabulary"] == {"before": 10, "after": 9}
    assert_same(tmp_path / "raw", tmp_path / "new", ["the team", "team the the"])
