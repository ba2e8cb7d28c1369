"""`vocab extend`: new words are one piece, and everything else stays to the bit."""

import json
import shutil

import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from spacy.cli.package import package
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.vocab.extend import extend
from bert_spacy.weights.vocab.prune import prune

from ..tiny import LINES
from ..util import encoder_of, make_nlp
from .vocab_tools import PLAIN, checksums, hidden, make_masked, pieces_of

WORDS = ["kubernetes", "Zürich", "covid-19"]
ROWS = "bert.embeddings.word_embeddings.weight"
BIAS = "cls.predictions.bias"


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    torch.manual_seed(1)
    return make_masked(tmp_path_factory.mktemp("masked") / "model")


def word_list(path, words=WORDS):
    path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    return path


def ids_of(folder, text):
    return AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("mode", ["append", "unused"])
@pytest.mark.parametrize("init", ["mean", "normal"])
def test_new_words_are_one_piece_and_the_rest_stays(masked, tmp_path, mode, init):
    problems = []
    report = extend(
        str(masked), word_list(tmp_path / "w.txt"), tmp_path / "new", mode=mode, init=init,
        on_problem=problems.append,
    )  # fmt: skip
    assert not problems and report["added"] == 3 and report["added_tokens"] == 1
    old, new = (load_file(folder / "model.safetensors") for folder in (masked, tmp_path / "new"))
    n_old = len(old[ROWS])
    ids = [row["id"] for row in report["words"]]
    assert ids == ([5, 6, 7] if mode == "unused" else [n_old, n_old + 1, n_old + 2])
    assert len(new[ROWS]) == n_old + 3 * (mode == "append")
    assert AutoConfig.from_pretrained(tmp_path / "new").vocab_size == len(new[ROWS])
    for text in ("kubernetes", "Kubernetes,", "(zurich)", "ZÜRICH", "covid-19", "a COVID-19!"):
        assert len(set(ids_of(tmp_path / "new", text)) & set(ids)) == 1, text
    assert ids_of(tmp_path / "new", "x Zürich")[1:] == [ids[1]]
    assert ids[2] not in ids_of(tmp_path / "new", "covid-190 xcovid-19 covid 19")
    for text in PLAIN:
        before, after = hidden(masked, text), hidden(tmp_path / "new", text)
        assert before[0] == after[0] and torch.equal(before[1], after[1])
    for name, value in old.items():
        kept = [i for i in range(n_old) if i not in ids] if name in (ROWS, BIAS) else slice(None)
        assert torch.equal(value[kept], new[name][kept]), name
    for word, number in zip(WORDS, ids):
        rows = old[ROWS][ids_of(masked, word)]
        if init == "mean":
            assert torch.allclose(new[ROWS][number], rows.mean(0), atol=1e-6)
            bias = old[BIAS][ids_of(masked, word)].mean()
            assert new[BIAS][number].item() == pytest.approx(bias.item(), abs=1e-6)
        else:
            assert 0 < new[ROWS][number].abs().max() <= 0.04 and new[BIAS][number] == 0
    again = extend(
        str(masked), tmp_path / "w.txt", tmp_path / "again", mode=mode, init=init
    )  # fmt: skip
    assert again == report and checksums(tmp_path / "new") == checksums(tmp_path / "again")
    if init == "normal":
        extend(str(masked), tmp_path / "w.txt", tmp_path / "other", mode=mode, init=init, seed=1)
        other = load_file(tmp_path / "other" / "model.safetensors")
        assert not torch.equal(other[ROWS][ids[0]], new[ROWS][ids[0]])


def test_the_masked_word_head_knows_the_new_words(masked, tmp_path):
    extend(str(masked), word_list(tmp_path / "w.txt"), tmp_path / "new")
    old = AutoModelForMaskedLM.from_pretrained(masked).eval()
    new, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]
    ids = torch.tensor([ids_of(masked, "the [MASK] won")])
    a, b = old(ids).logits, new.eval()(ids).logits
    assert torch.allclose(a, b[..., : a.shape[-1]], atol=1e-6)
    # The row of a mean gives the mean of the scores.
    parts = ids_of(masked, "kubernetes")
    assert torch.allclose(b[..., a.shape[-1]], a[..., parts].mean(-1), atol=1e-5)


def test_untied_decoders_and_spare_rows_follow(masked, tmp_path):
    raw = make_masked(tmp_path / "raw", tie_word_embeddings=False)
    state = load_file(raw / "model.safetensors")
    decoder = "cls.predictions.decoder.weight"
    for name in (ROWS, BIAS, decoder, "cls.predictions.decoder.bias"):
        spare = state.get(name, state[BIAS])
        state[name] = torch.cat([spare, torch.ones(5, *spare.shape[1:])]).clone()
    save_file(state, raw / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((raw / "config.json").read_text())
    (raw / "config.json").write_text(json.dumps({**config, "vocab_size": len(state[ROWS])}))
    report = extend(str(raw), word_list(tmp_path / "w.txt"), tmp_path / "new")
    assert report["rows_before"] == report["rows_after"]
    new = load_file(tmp_path / "new" / "model.safetensors")
    number, parts = report["words"][0]["id"], ids_of(raw, "kubernetes")
    assert number == len(state[ROWS]) - 5
    for name in (ROWS, decoder):
        assert torch.allclose(new[name][number], state[name][parts].mean(0), atol=1e-6)
        assert torch.equal(new[name][-1], state[name][-1])
    assert not torch.equal(new[ROWS][number], new[decoder][number])


def test_a_width_of_as_many_as_there_are_pieces_makes_no_more_rows(masked, tmp_path):
    size = len(AutoTokenizer.from_pretrained(masked))
    width = size + size % 2
    raw = make_masked(tmp_path / "raw", n_unused=3 + size % 2, hidden_size=width)
    assert len(load_file(raw / "model.safetensors")[ROWS]) == width
    report = extend(str(raw), word_list(tmp_path / "w.txt"), tmp_path / "new")
    assert report["rows_after"] == width + len(WORDS)
    _, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"]


def test_chinese_words_become_added_tokens_wherever_they_stand(masked, tmp_path):
    words = word_list(tmp_path / "w.txt", ["北京大学", "北京", "大学", "龘", "AI门"])
    report = extend(str(masked), words, tmp_path / "new")
    assert report["added_tokens"] == 4 and report["added"] == 5
    # 学 and 龘 were unknown; of these, 龘 alone had no other piece.
    assert report["only_unknown_before"] == 1
    by_word = {row["word"]: row["id"] for row in report["words"]}
    old = ids_of(masked, "我在看")
    assert ids_of(tmp_path / "new", "我在北京大学看") == [*old[:2], by_word["北京大学"], old[2]]
    assert ids_of(tmp_path / "new", "北京 大学") == [by_word["北京"], by_word["大学"]]
    assert ids_of(tmp_path / "new", "ai门AI门") == [by_word["AI门"]] * 2
    assert ids_of(tmp_path / "new", "龘") == [by_word["龘"]]
    rows = load_file(masked / "model.safetensors")[ROWS]
    new = load_file(tmp_path / "new" / "model.safetensors")[ROWS]
    known = [n for n in ids_of(masked, "大学") if n != 1]
    assert torch.allclose(new[by_word["大学"]], rows[known].mean(0), atol=1e-6)
    assert torch.equal(new[by_word["龘"]], rows[1])
    text = "京北 学大 海"
    assert torch.equal(hidden(masked, text)[1], hidden(tmp_path / "new", text)[1])


def test_longer_words_take_the_new_piece_as_their_start(masked, tmp_path):
    extend(str(masked), word_list(tmp_path / "w.txt", ["kuber"]), tmp_path / "new")
    assert pieces_of(tmp_path / "new", "kubers teamkuber") == [
        "kuber", "##s", *pieces_of(masked, "teamkuber")
    ]  # fmt: skip


BAD = [
    ("the", "a piece already"),
    ("THE", "a piece already"),
    ("[MASK]", "a piece already"),
    ("two words", "white space"),
    ("tab\tbed", "white space"),
    (" lead", "white space"),
    ("kubernetes", "line 1 again"),
    ("KUBERNETES", "line 1 again"),
    ("a\u0007b", "control characters"),
    ("\u0301", "nothing is left"),
    ("x" * 101, "101 characters"),
    ("字" * 101, "101 characters"),
    ("two words " * 1_000_000, "10000000 characters"),
]


def test_bad_words_are_told_by_line_and_left_out(masked, tmp_path):
    lines = ["kubernetes", "", *(word for word, _ in BAD)]
    path = word_list(tmp_path / "w.txt", lines)
    path.write_bytes(path.read_bytes() + b"\xff\xfe\nlastword")
    problems = []
    report = extend(str(masked), path, tmp_path / "new", on_problem=problems.append)
    assert [row["word"] for row in report["words"]] == ["kubernetes", "lastword"]
    expected = [reason for _, reason in BAD] + ["not valid UTF-8"]
    assert [p.line for p in problems] == list(range(3, 3 + len(expected)))
    for problem, reason in zip(problems, expected):
        assert reason in problem.reason and problem.path == str(path)
        assert len(problem.reason) < 100
    assert len(report["left_out"]) == len(expected) and report["blank_lines"] == 1


@pytest.mark.parametrize("words", [[], ["", " "], ["the", "two words"]])
def test_a_list_without_a_usable_word_is_refused(masked, tmp_path, words):
    with pytest.raises(ValueError, match=r"\[B672\]"):
        extend(str(masked), word_list(tmp_path / "w.txt", words), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_more_words_than_unused_pieces_are_refused(masked, tmp_path):
    words = word_list(tmp_path / "w.txt", [*WORDS, "fourth"])
    with pytest.raises(ValueError, match=r"\[B675\].*4 new words and 3 unused"):
        extend(str(masked), words, tmp_path / "new", mode="unused")
    assert extend(str(masked), words, tmp_path / "new")["added"] == 4


@pytest.mark.parametrize("options", [{"mode": "other"}, {"init": "zero"}])
def test_bad_settings_are_refused(masked, tmp_path, options):
    with pytest.raises(ValueError, match=r"\[B674\]"):
        extend(str(masked), word_list(tmp_path / "w.txt"), tmp_path / "new", **options)


def test_outputs_that_would_lose_something_are_refused(masked, tmp_path):
    words = word_list(tmp_path / "w.txt")
    for output in (masked, masked.parent, words, tmp_path):
        with pytest.raises(ValueError, match=r"\[B676\]"):
            extend(str(masked), words, output)
    assert words.is_file()
    (masked / "words.txt").write_bytes(words.read_bytes())
    with pytest.raises(ValueError, match=r"\[B676\].*holds what is read"):
        extend("albert-tiny-zh", masked / "words.txt", masked)
    for mode in ("unused", "append"):  # a model may be replaced by the next
        extend(str(masked), words, tmp_path / "new", mode=mode)


def test_folders_that_do_not_fit_are_refused(masked, tmp_path):
    words, raw = word_list(tmp_path / "w.txt"), make_masked(tmp_path / "raw")
    state = load_file(raw / "model.safetensors")
    save_file({**state, ROWS: state[ROWS][:-1].clone()}, raw / "model.safetensors")
    with pytest.raises(ValueError, match=r"\[B677\].*id"):
        extend(str(raw), words, tmp_path / "new")
    save_file({"x": state[ROWS]}, raw / "model.safetensors")
    with pytest.raises(ValueError, match=r"\[B677\].*word_embeddings"):
        extend(str(raw), words, tmp_path / "new")
    (raw / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"\[B100\]"):
        extend(str(raw), words, tmp_path / "new")
    with pytest.raises(ValueError, match=r"\[B804\]"):
        extend("hub/name", words, tmp_path / "new")


def test_byte_level_words_become_added_tokens(tiny_folder, tmp_path):
    folder = tiny_folder("roberta")
    words = word_list(tmp_path / "w.txt", ["kubernetes", "covid-19"])
    report = extend(str(folder), words, tmp_path / "new")
    assert report["added_tokens"] == 2
    numbers = [row["id"] for row in report["words"]]
    start, end = ids_of(folder, "the"), ids_of(folder, " is")
    assert ids_of(tmp_path / "new", "the kubernetes is") == [*start, numbers[0], *end]
    assert ids_of(tmp_path / "new", "the (covid-19)").count(numbers[1]) == 1
    assert numbers[0] not in ids_of(tmp_path / "new", "xkubernetes kubernetesx")
    for text in LINES:
        before, after = hidden(folder, text), hidden(tmp_path / "new", text)
        assert before[0] == after[0] and torch.equal(before[1], after[1])
    with pytest.raises(ValueError, match=r"\[B673\].*BPE"):
        extend(str(folder), words, tmp_path / "other", mode="unused")


def test_other_tokenizers_are_refused(masked, tmp_path):
    raw = make_masked(tmp_path / "raw")
    vocab = {"[UNK]": 0, "[CLS]": 1, "the": 2}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(raw)
    with pytest.raises(ValueError, match=r"\[B673\].*WordLevel"):
        extend(str(raw), word_list(tmp_path / "w.txt"), tmp_path / "new")


@pytest.mark.parametrize("kind", ["albert", "distilbert", "electra", "modernbert"])
def test_other_architectures(tiny_folder, tmp_path, kind):
    folder = tiny_folder(kind)
    report = extend(str(folder), word_list(tmp_path / "w.txt"), tmp_path / "new")
    assert ids_of(tmp_path / "new", "Kubernetes") == [report["words"][0]["id"]]
    for text in PLAIN:
        assert torch.equal(hidden(folder, text)[1], hidden(tmp_path / "new", text)[1])


def test_a_pipeline_on_the_folder_is_saved_and_loaded(masked, tmp_path):
    words = word_list(tmp_path / "w.txt", ["kubernetes", "covid-19", "北京大学"])
    numbers = [r["id"] for r in extend(str(masked), words, tmp_path / "new")["words"]]
    # Save and load the plain way first, and once more by the pipeline.
    AutoTokenizer.from_pretrained(tmp_path / "new").save_pretrained(tmp_path / "copy")
    text = "Kubernetes in 北京大学: covid-19"
    assert ids_of(tmp_path / "copy", text) == ids_of(tmp_path / "new", text)
    nlp = make_nlp(tmp_path / "new")
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    tokenizer = encoder_of(again).tokenizer
    assert set(numbers) < set(tokenizer(text)["input_ids"])
    states = [n.get_pipe("bert_encoder").predict([n.make_doc(text)]).hidden for n in (nlp, again)]
    assert torch.equal(*states)
    model = tmp_path / "pipeline" / "bert_encoder" / "encoder"
    assert torch.equal(hidden(model, text)[1], hidden(tmp_path / "new", text)[1])


def test_the_command_and_the_card(masked, tmp_path):
    words = word_list(tmp_path / "w.txt", [*WORDS, "two words"])
    arguments = ["vocab", "extend", str(masked), str(words), str(tmp_path / "new")]
    done = CliRunner().invoke(app, [*arguments, "--mode", "unused"])
    assert done.exit_code == 0 and "3 words added, 1 lines left out" in done.output
    assert "w.txt:4" in done.output
    card = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "--mode unused" in card and str(masked) in card and "Licence" in card
    lost = CliRunner().invoke(app, [*arguments, "--mode", "other"])
    assert lost.exit_code == 1 and "B674" in lost.output


def test_a_packaged_pipeline_keeps_new_words(tmp_path):
    """Extended, pruned, packaged, and loaded without the folders."""
    raw = make_masked(tmp_path / "raw")
    extend(str(raw), word_list(tmp_path / "w.txt", ["kubernetes", "covid-19"]), tmp_path / "ext")
    text = "the kubernetes team in covid-19"
    corpus = word_list(tmp_path / "c.txt", [text])
    prune(str(tmp_path / "ext"), [corpus], tmp_path / "new")
    nlp = make_nlp(tmp_path / "new")
    nlp.initialize()
    nlp.to_disk(tmp_path / "model")
    wanted = nlp.get_pipe("bert_encoder").predict([nlp.make_doc(text)]).hidden
    (tmp_path / "packages").mkdir()
    package(
        *(tmp_path / "model", tmp_path / "packages"),
        name="vocab", version="1.0.0", create_sdist=False, silent=True,
    )  # fmt: skip
    for name in ("raw", "ext", "new", "model"):
        shutil.rmtree(tmp_path / name)
    (found,) = (tmp_path / "packages").rglob("config.cfg")
    again = spacy.load(found.parent)
    tokenizer = encoder_of(again).tokenizer
    assert {"kubernetes", "covid-19"} <= set(tokenizer.tokenize(text))
    hidden_again = again.get_pipe("bert_encoder").predict([again.make_doc(text)]).hidden
    assert torch.equal(hidden_again, wanted)
