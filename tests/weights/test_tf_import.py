"""`import-tf` and `export-tf`: the same tensors and the same hidden states, or a coded error."""

import io
import json
import sys
from functools import partial

import numpy as np
import pytest
import spacy
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoTokenizer,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    BertModel,
)
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.weights.tf.bundle import Bundle
from bert_spacy.weights.tf.exporting import export_tf
from bert_spacy.weights.tf.importing import import_tf
from bert_spacy.weights.vocab.extend import extend

from ..tiny import make_folder, vocabulary
from .tf_models import (
    SIZES,
    albert_variables,
    bert_variables,
    make_model,
    object_albert_variables,
    object_variables,
    save,
    write,
)
from .vocab_tools import checksums

IDS = torch.tensor([[2, 9, 40, 77, 12, 3], [2, 8, 8, 101, 3, 0]])
GROUPS = {"num_hidden_groups": 2}


@torch.no_grad()
def same_outputs(folder, model):
    """Compare all that a folder's model computes with another model.

    Where weights lie in memory may decide on the last bit.
    """
    same = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
    again = AutoModelForPreTraining.from_pretrained(folder)
    for one, other in zip(model(IDS)[:2], again(IDS)[:2], strict=True):
        same(one, other)
    base = AutoModel.from_pretrained(folder)(IDS)
    expected = model.base_model(IDS)
    same(base.last_hidden_state, expected.last_hidden_state)
    same(base.pooler_output, expected.pooler_output)
    masked, info = AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    same(masked(IDS).logits, model(IDS)[0])


@pytest.mark.parametrize("family, options", [("bert", {}), ("albert", {}), ("albert", GROUPS)])
def test_google_names_give_the_same_model(tmp_path, family, options):
    model = make_model(family, **options)
    extra = {"embedding_size": 8, **options} if family == "albert" else {}
    named = bert_variables(model) if family == "bert" else albert_variables(model)
    slot = "cls/predictions/output_bias/adam_m"
    state = {slot: named["cls/predictions/output_bias"], "global_step": np.array(7)}
    prefix = write(tmp_path / "tf", named | state, family, **extra)
    report = import_tf(prefix, tmp_path / "hf")
    assert report.architecture == type(model).__name__ and report.n_tensors == len(named)
    assert "2 variables of the optimizer" in report.notes[0]
    same_outputs(tmp_path / "hf", model)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["architectures"] == [report.architecture] and config["pad_token_id"] == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer.is_fast and tokenizer.model_max_length == 32
    assert tokenizer.tokenize("The team won") == ["the", "team", "won"]
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "import-tf" in card and "model.ckpt.index" in card and "Licence" in card
    assert checksums(tmp_path / "hf")["model.safetensors"] in card


@pytest.mark.parametrize(
    "prefix, dense, pooler",
    [
        ("model/", "_attention_output_dense", "model/layer_with_weights-6"),
        ("encoder/", "_attention_layer/_output_dense", "encoder/layer_with_weights-6"),
        ("encoder/", "_attention_output_dense", "next_sentence..pooler_dense"),
    ],
)
def test_names_of_tensorflow_2(tmp_path, prefix, dense, pooler):
    model = make_model("bert")
    named = object_variables(model, prefix, dense, pooler)
    named["save_counter/.ATTRIBUTES/VARIABLE_VALUE"] = np.array(1)
    report = import_tf(write(tmp_path / "tf", named), tmp_path / "hf")
    assert report.architecture == "BertModel"
    assert any("masked words is not in" in note for note in report.notes)
    base, info = AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with torch.no_grad():
        assert torch.equal(base(IDS).pooler_output, model.bert(IDS).pooler_output)


def test_heads_of_tensorflow_2(tmp_path):
    model = make_model("bert")
    dense, pooler = "_attention_layer/_output_dense", "next_sentence..pooler_dense"
    named = object_variables(model, "encoder/", dense, pooler, heads=True)
    prefix = write(tmp_path / "tf", named)
    report = import_tf(prefix, tmp_path / "hf")
    assert report.architecture == "BertForPreTraining" and report.n_tensors == len(named)
    same_outputs(tmp_path / "hf", model)
    # The encoder has a pooler too, which pretraining leaves as it began.
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    spare = {
        f"encoder/layer_with_weights-6/{kind}{value}": named[f"{pooler}/{kind}{value}"] + 1
        for kind in ("kernel", "bias")
    }
    report = import_tf(write(tmp_path / "tf", named | spare), tmp_path / "more")
    assert "2 variables of the optimizer or of the training" in report.notes[0]
    same_outputs(tmp_path / "more", model)
    lost = f"masked_lm/layer_norm/beta{value}"
    write(tmp_path / "tf", {name: array for name, array in named.items() if name != lost})
    with pytest.raises(ValueError, match=rf"\[B656\].*{lost}"):
        import_tf(prefix, tmp_path / "hf2")


@pytest.mark.parametrize("prefix, heads", [("model/", False), ("encoder/", True), ("", False)])
def test_albert_of_tensorflow_2(tmp_path, prefix, heads):
    model = make_model("albert")
    named = object_albert_variables(model, prefix, heads)
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    # Where the sentence head has a pooler of its own, that of the encoder was never trained.
    spare = {f"{prefix}layer_with_weights-6/kernel{value}": np.zeros((16, 16), "<f4")}
    path = write(tmp_path / "tf", spare | named, "albert", embedding_size=8)
    report = import_tf(path, tmp_path / "hf")
    assert report.layout == "the official ALBERT for TensorFlow 2"
    if heads:
        assert report.architecture == "AlbertForPreTraining" and report.n_tensors == len(named)
        same_outputs(tmp_path / "hf", model)
    else:
        assert report.architecture == "AlbertModel"
        base, info = AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        with torch.no_grad():
            assert torch.equal(base(IDS).pooler_output, model.albert(IDS).pooler_output)
    for groups in ({"num_hidden_groups": 2}, {"inner_group_num": 2}):
        write(tmp_path / "tf", named, "albert", embedding_size=8, **groups)
        with pytest.raises(ValueError, match=r"\[B65[56]\]"):
            import_tf(path, tmp_path / "more")


def test_two_names_for_one_tensor_are_not_chosen_between(tmp_path):
    dense = "_attention_output_dense"
    named = object_variables(make_model("bert"), "model/", dense, "model/layer_with_weights-6")
    twice = {name.replace(dense, "_attention_layer/_output_dense"): a for name, a in named.items()}
    prefix = write(tmp_path / "tf", named | twice)
    with pytest.raises(ValueError, match=r"\[B655\].*_attention_layer/_output_dense/bias"):
        import_tf(prefix, tmp_path / "hf")


def shared(model, rng):
    """Name variables as the older albert_zh does: one layer, and two tables of embeddings."""
    named = {
        name.replace("layer_0", "layer_shared"): array
        for name, array in bert_variables(model).items()
        if "layer_1" not in name
    }
    named["bert/embeddings/word_embeddings"] = rng.normal(size=(SIZES["vocab_size"], 4))
    named["bert/embeddings/word_embeddings_2"] = rng.normal(size=(4, SIZES["hidden_size"]))
    return {name: np.asarray(array, dtype="<f4") for name, array in named.items()}


def test_the_older_names_of_albert_zh(tmp_path):
    model = make_model("bert")
    named = shared(model, np.random.default_rng(0))
    prefix = write(tmp_path / "tf", named, "albert", ln_type="postln")
    report = import_tf(prefix, tmp_path / "hf")
    assert report.architecture == "BertForPreTraining"
    table, factor = (
        torch.from_numpy(named[f"bert/embeddings/word_embeddings{end}"]) for end in ("", "_2")
    )
    with torch.no_grad():
        # As that program computes it: look up, project, then one layer again and again.
        hidden = model.bert.embeddings(inputs_embeds=table[IDS] @ factor)
        for _ in range(SIZES["num_hidden_layers"]):
            hidden = model.bert.encoder.layer[0](hidden)[0]
        logits = model.cls.predictions.transform(hidden) @ factor.T @ table.T
        logits += model.cls.predictions.bias
        base = AutoModel.from_pretrained(tmp_path / "hf")(IDS).last_hidden_state
        masked = AutoModelForMaskedLM.from_pretrained(tmp_path / "hf")(IDS).logits
    torch.testing.assert_close(base, hidden, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(masked, logits, atol=1e-4, rtol=1e-4)
    write(tmp_path / "tf", named, "albert", ln_type="preln")
    with pytest.raises(ValueError, match=r"\[B662\].*'preln'"):
        import_tf(prefix, tmp_path / "other")


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_there_and_back_is_bit_equal(tmp_path, family):
    folder = save(tmp_path / "hf", make_model(family))
    n_variables = export_tf(str(folder), tmp_path / "tf" / "x.ckpt").n_variables
    report = import_tf(tmp_path / "tf" / "x.ckpt.index", tmp_path / "again")
    assert report.n_tensors == n_variables
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "again" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert {name for name in before if name not in after} <= {"cls.predictions.decoder.bias"}
    export_tf(str(tmp_path / "again"), tmp_path / "tf2" / "x.ckpt")
    files = sorted(path.name for path in (tmp_path / "tf").iterdir())
    assert files == sorted(
        [f"{family}_config.json", "vocab.txt", "x.ckpt.data-00000-of-00001", "x.ckpt.index"]
    )
    for name in files:
        assert (tmp_path / "tf" / name).read_bytes() == (tmp_path / "tf2" / name).read_bytes()


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_models_without_heads_come_back_without_them(tmp_path, kind):
    folder = make_folder(tmp_path / "hf", kind)
    export_tf(str(folder), tmp_path / "x.ckpt")
    assert "bert/pooler/dense/kernel" in Bundle(tmp_path / "x.ckpt").entries
    report = import_tf(tmp_path / "x.ckpt", tmp_path / "again")
    assert report.architecture == f"{kind.capitalize()}Model"
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "again" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_masked_word_head_alone(tmp_path):
    model = BertForMaskedLM(make_model("bert").config).eval()
    export_tf(str(save(tmp_path / "hf", model)), tmp_path / "x.ckpt")
    report = import_tf(tmp_path / "x.ckpt", tmp_path / "again")
    assert report.architecture == "BertForMaskedLM"
    assert [note for note in report.notes if "not in the checkpoint" in note] == [
        "The part for pooler is not in the checkpoint.",
        "The part for sentence pairs is not in the checkpoint.",
    ]
    with torch.no_grad():
        again = AutoModelForMaskedLM.from_pretrained(tmp_path / "again")
        assert torch.equal(again(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int64])
def test_number_types(tmp_path, kind, monkeypatch):
    named = bert_variables(make_model("bert"))
    name = "bert/pooler/dense/bias"
    numbers = {np.dtype(np.float16): 19, np.dtype(np.float64): 2}
    monkeypatch.setattr(
        "bert_spacy.weights.tf.bundle._NUMBERS",
        {**numbers, np.dtype("<f4"): 1, np.dtype("<i8"): 9},
    )
    prefix = write(tmp_path / "tf", named | {name: named[name].astype(kind)})
    if kind is np.float16:
        import_tf(prefix, tmp_path / "hf")
        bias = load_file(tmp_path / "hf" / "model.safetensors")["bert.pooler.dense.bias"]
        assert np.array_equal(bias, named[name].astype(kind)) and bias.dtype == torch.float32
    else:
        with pytest.raises(ValueError, match=rf"\[B653\] The tensor {name}"):
            import_tf(prefix, tmp_path / "hf")


def test_unknown_and_missing_variables(tmp_path):
    named = bert_variables(make_model("bert"))
    prefix = write(tmp_path / "a", named | {"output_weights": np.ones(3, dtype="<f4")})
    with pytest.raises(ValueError, match=r"\[B655\].*: output_weights\."):
        import_tf(prefix, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    report = import_tf(prefix, tmp_path / "hf", allow_unknown=True)
    assert "not known and were left out: output_weights." in report.notes[0]

    lost = "bert/encoder/layer_1/output/dense/bias"
    prefix = write(tmp_path / "b", {k: v for k, v in named.items() if k != lost})
    for allow in (False, True):
        with pytest.raises(ValueError, match=rf"\[B656\].*: {lost}\."):
            import_tf(prefix, tmp_path / "hf2", allow_unknown=allow)

    lost = "cls/seq_relationship/output_bias"
    prefix = write(tmp_path / "c", {k: v for k, v in named.items() if k != lost})
    with pytest.raises(ValueError, match=rf"\[B656\].*: {lost}\."):
        import_tf(prefix, tmp_path / "hf3")
    report = import_tf(prefix, tmp_path / "hf3", allow_unknown=True)
    assert report.architecture == "BertForMaskedLM"
    assert "The part for sentence pairs is not complete and was left out." in report.notes

    prefix = write(tmp_path / "d", {k: v for k, v in named.items() if "pooler" not in k})
    with pytest.raises(ValueError, match=r"\[B656\].*bert/pooler/dense/bias"):
        import_tf(prefix, tmp_path / "hf4")

    prefix = write(tmp_path / "e", {"generator/weight": np.ones(2, dtype="<f4")})
    with pytest.raises(ValueError, match=r"\[B654\].*generator/weight"):
        import_tf(prefix, tmp_path / "hf5")


def test_a_configuration_that_does_not_fit(tmp_path):
    named = bert_variables(make_model("bert"))
    prefix = write(tmp_path / "tf", named, intermediate_size=48)
    with pytest.raises(ValueError, match=r"\[B657\].*intermediate/dense.* \[16, 40\].*\[16, 48\]"):
        import_tf(prefix, tmp_path / "hf")
    path = tmp_path / "tf" / "bert_config.json"
    for content, reason in (
        ("{", "Expecting"),
        ("[]", "no settings"),
        (json.dumps({**SIZES, "hidden_size": "16"}), "hidden_size is '16'"),
        (json.dumps({**SIZES, "num_attention_heads": 3}), "no multiple"),
        (json.dumps({**SIZES, "hidden_act": "foo"}), "foo"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=rf"\[B658\].*bert_config.json.*{reason}"):
            import_tf(prefix, tmp_path / "hf")
    path.unlink()
    with pytest.raises(ValueError, match=r"\[B658\].*there is no bert_config.json"):
        import_tf(prefix, tmp_path / "hf")
    (tmp_path / "other.json").write_text(json.dumps(SIZES))
    import_tf(prefix, tmp_path / "hf", config=tmp_path / "other.json")


def test_vocabularies(tmp_path):
    named = bert_variables(make_model("bert"))
    pieces = vocabulary()
    prefix = write(tmp_path / "tf", named)
    path = tmp_path / "tf" / "vocab.txt"
    for wrong, reason in (
        ([*pieces, "more"], "more than the vocab_size"),
        ([p for p in pieces if p != "[MASK]"], r"no \[MASK\]"),
        ([*pieces[:-1], pieces[7]], f"line {len(pieces)} repeats 'c' of line 8"),
        ([*pieces[:9], "", *pieces[10:]], "line 10 is empty"),
    ):
        path.write_text("\n".join(wrong), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"\[B659\].*{reason}"):
            import_tf(prefix, tmp_path / "hf")
    # A line separator is a piece of Google's Chinese vocabulary, and no end of a line.
    lines = [*pieces[:-4], "\u2028", "T", "Team"]
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    report = import_tf(prefix, tmp_path / "hf")
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").convert_ids_to_tokens(
        len(pieces) - 4
    ) == ("\u2028")
    assert report.notes[0].startswith(f"The vocabulary has {len(pieces) - 1} pieces for")
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").tokenize("Team") == ["Team"]
    path.write_text("\n".join([*lines[:-2], "<S>", "Team"]), encoding="utf-8")
    import_tf(prefix, tmp_path / "hf", force=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").tokenize("Team") == ["team"]
    path.write_text("\n".join(lines), encoding="utf-8")
    import_tf(prefix, tmp_path / "hf", lowercase=True, force=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "hf").tokenize("Team") == ["team"]
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"\[B658\].*vocab.txt"):
        import_tf(prefix, tmp_path / "hf", force=True)
    path.unlink()
    (tmp_path / "tf" / "30k-clean.model").write_bytes(b"?")
    for vocab in (None, tmp_path / "tf" / "30k-clean.model"):
        with pytest.raises(ValueError, match=r"\[B659\].*30k-clean.model.*BERT has none"):
            import_tf(prefix, tmp_path / "hf", vocab=vocab, force=True)


SENTENCES = ["The team won the match.", "A new phone costs 1,999 euros.", "Ein Café in Paris!"]


def sentencepiece_model(**options):
    """Train a sentencepiece model like that of google-research/ALBERT; return its bytes."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    settings = {"pad_id": 0, "pad_piece": "<pad>", "unk_id": 1, "bos_id": -1, "eos_id": -1}
    settings |= {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"], "vocab_size": 33} | options
    texts = iter([text.lower() for text in SENTENCES * 20])
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=model, minloglevel=2, **settings
    )
    return model.getvalue()


def test_albert_with_a_sentencepiece_model(tmp_path):
    model = make_model("albert")
    prefix = write(tmp_path / "tf", albert_variables(model), "albert", embedding_size=8)
    (tmp_path / "tf" / "vocab.txt").unlink()
    path = tmp_path / "tf" / "30k-clean.model"
    path.write_bytes(sentencepiece_model())
    report = import_tf(prefix, tmp_path / "hf")
    assert "Texts are lower-cased." in report.notes
    assert f"The vocabulary has 33 pieces for {SIZES['vocab_size']}" in " ".join(report.notes)
    same_outputs(tmp_path / "hf", model)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    special = ("pad_token_id", "bos_token_id", "eos_token_id")
    assert [config[name] for name in special] == [0, 2, 3]
    from sentencepiece import SentencePieceProcessor

    oracle = SentencePieceProcessor(model_file=str(path))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer.is_fast and tokenizer.model_max_length == 32
    for text in SENTENCES[:2]:
        pieces = oracle.encode(text.lower(), out_type=str)
        assert tokenizer.tokenize(text) == pieces
        assert tokenizer(text)["input_ids"] == [2, *oracle.piece_to_id(pieces), 3]
    assert tokenizer.decode(tokenizer(SENTENCES[2])["input_ids"][1:-1]) == "ein cafe in paris!"
    # It reads texts in a pipeline as any other folder does.
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": str(tmp_path / "hf")}})
    nlp.initialize()
    docs = list(nlp.pipe([*SENTENCES, "", "\u200b"]))
    batch = nlp.get_pipe("bert_encoder").predict(docs[:1])
    ids = torch.tensor([tokenizer(SENTENCES[0])["input_ids"]])
    with torch.no_grad():
        wanted = AutoModel.from_pretrained(tmp_path / "hf")(ids).last_hidden_state[0, 1:-1]
    torch.testing.assert_close(batch.hidden, wanted, rtol=0, atol=1e-5)


def test_a_sentencepiece_model_that_does_not_fit(tmp_path, monkeypatch):
    model = make_model("albert")
    prefix = write(tmp_path / "tf", albert_variables(model), "albert", embedding_size=8)
    (tmp_path / "tf" / "vocab.txt").unlink()
    path = tmp_path / "tf" / "30k-clean.model"
    good = sentencepiece_model()
    for content, reason in (
        (good[: len(good) // 2], r"B658.*30k-clean.model"),
        (sentencepiece_model(control_symbols=["[CLS]", "[SEP]"]), r"B659.*there is no \[MASK\]"),
        (b"", r"B659.*there is no <pad>"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            import_tf(prefix, tmp_path / "hf")
    path.write_bytes(good)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"\[B660\].*pip install 'bert-spacy\[sentencepiece\]'"):
        import_tf(prefix, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_old_output_stays(tmp_path, force):
    prefix = write(tmp_path / "tf", bert_variables(make_model("bert")))
    (tmp_path / "tf" / "config.json").write_text("{}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for output, reason in (("tf", "holds what is read"), ("mine", "other files"), ("", "what is")):
        with pytest.raises(ValueError, match=rf"\[B676\].*{reason}"):
            import_tf(prefix, tmp_path / output, force=force)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before


def test_what_cannot_be_exported(tmp_path):
    model = make_model("bert")
    other = BertForSequenceClassification(model.config)
    with pytest.raises(ValueError, match=r"\[B661\].*has also classifier.bias, classifier.weight"):
        export_tf(str(save(tmp_path / "a", other)), tmp_path / "x.ckpt")
    relative = make_model("bert", position_embedding_type="relative_key")
    with pytest.raises(ValueError, match=r"\[B661\].*relative positions"):
        export_tf(str(save(tmp_path / "b", relative)), tmp_path / "x.ckpt")
    untied = make_model("bert", tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"\[B661\].*output table of its own"):
        export_tf(str(save(tmp_path / "c", untied)), tmp_path / "x.ckpt")
    folder = make_folder(tmp_path / "d", "modernbert")
    with pytest.raises(ValueError, match=r"\[B661\].*is a modernbert"):
        export_tf(str(folder), tmp_path / "x.ckpt")
    BertModel(model.config).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"\[B663\].*PreTrainedTokenizerFast"):
        export_tf(str(folder), tmp_path / "x.ckpt")
    folder = save(tmp_path / "e", model)
    state = load_file(folder / "model.safetensors")
    del state["bert.encoder.layer.0.output.dense.bias"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"\[B665\].*layer.0.output.dense.bias"):
        export_tf(str(folder), tmp_path / "x.ckpt")
    (folder / "model.safetensors").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"\[B665\].*e cannot be exported"):
        export_tf(str(folder), tmp_path / "x.ckpt")
    pairs = BertForNextSentencePrediction(model.config)
    with pytest.raises(ValueError, match=r"\[B665\].*the masked-word head"):
        export_tf(str(save(tmp_path / "f", pairs)), tmp_path / "x.ckpt")
    for name in ("nosuch", "someone/nosuch"):
        with pytest.raises(ValueError, match=rf"\[B804\].*{name}"):
            export_tf(name, tmp_path / "x.ckpt")
    assert not list(tmp_path.glob("x.ckpt*"))


def test_a_folder_in_place_of_a_checkpoint(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    (tmp_path / "tf").mkdir()
    with pytest.raises(ValueError, match=r"\[B666\].*tf is a folder"):
        export_tf(str(folder), tmp_path / "tf")
    export_tf(str(folder), tmp_path / "tf" / "x.ckpt")
    with pytest.raises(ValueError, match=r"\[B650\].*Checkpoints in that folder: .*tf/x\.ckpt"):
        import_tf(tmp_path / "tf", tmp_path / "new")


def test_added_tokens_that_a_vocabulary_alone_does_not_find_are_told(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("kubernetes\n首都\ncovid-19\n", encoding="utf-8")
    extend(str(save(tmp_path / "hf", make_model("bert"))), words, tmp_path / "ext")
    lost = ["covid-19", "首都"]
    assert export_tf(str(tmp_path / "ext"), tmp_path / "tf" / "x.ckpt").unreached == lost
    import_tf(tmp_path / "tf" / "x.ckpt", tmp_path / "again")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "again")
    assert tokenizer.tokenize("kubernetes") == ["kubernetes"]
    assert all(len(tokenizer.tokenize(word)) > 1 for word in lost)
    command = ["export-tf", str(tmp_path / "ext"), str(tmp_path / "tf" / "y.ckpt"), "--force"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0 and "2 added tokens" in done.output and "首都" in done.output


def test_a_pooler_that_the_architecture_does_not_name_is_kept(tmp_path):
    folder = save(tmp_path / "hf", make_model("albert"))
    state = load_file(folder / "model.safetensors")
    state = {k: v for k, v in state.items() if "sop" not in k}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["AlbertForMaskedLM"]
    (folder / "config.json").write_text(json.dumps(config))
    export_tf(str(folder), tmp_path / "x.ckpt")
    report = import_tf(tmp_path / "x.ckpt", tmp_path / "again")
    assert report.architecture == "AlbertForMaskedLM"
    after = load_file(tmp_path / "again" / "model.safetensors")
    assert torch.equal(after["albert.pooler.weight"], state["albert.pooler.weight"])


def test_the_commands(tmp_path):
    folder = save(tmp_path / "hf", make_model("bert"))
    export = ["export-tf", str(folder), str(tmp_path / "tf" / "x.ckpt")]
    done = CliRunner().invoke(app, export)
    assert done.exit_code == 0 and "46 variables" in done.output
    again = CliRunner().invoke(app, export)
    assert again.exit_code == 1 and "[B664]" in again.output
    assert CliRunner().invoke(app, [*export, "--force"]).exit_code == 0
    arguments = ["import-tf", str(tmp_path / "tf" / "x.ckpt"), str(tmp_path / "new"), "--cased"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "BertForPreTraining" in done.output
    assert "not lower-cased" in done.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1 and "[B664]" in again.output
