"""`pretrain`: what it learns, writes and refuses."""

import json
import math
import shutil

import pytest
import spacy
import torch
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForPreTraining,
    BertTokenizerFast,
)
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.report.svg import lines_svg
from bert_spacy.util import checksum
from bert_spacy.weights.pretrain import engine
from bert_spacy.weights.pretrain import run as run_module
from bert_spacy.weights.pretrain.engine import make_arguments, summarize
from bert_spacy.weights.pretrain.filling import fill_masks, load_filler
from bert_spacy.weights.pretrain.run import pretrain
from bert_spacy.weights.pretrain.settings import read_settings
from bert_spacy.weights.pretrain.tokenizer import train_tokenizer

from ...tiny import make_folder
from ...util import encoder_of
from .tools import make_config, make_corpus


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path / "corpus.txt")


@pytest.fixture
def tokenizer(corpus, tmp_path):
    train_tokenizer([corpus], tmp_path / "tokenizer", size=100, window=32)
    return tmp_path / "tokenizer"


def scratch(corpus, tokenizer, **changes):
    """Return the config of a new model."""
    model = {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    config = make_config(corpus, pretrain__tokenizer=str(tokenizer), **changes)
    config["model"] = model
    return config


def test_further_training_writes_an_ordinary_folder(bert, corpus, tmp_path):
    output = tmp_path / "out"
    config = make_config(corpus, bert)
    result = pretrain(config, output, draw=lines_svg)
    assert not (tmp_path / "out.work").exists()
    assert result.checksum == checksum(output / "model.safetensors")
    assert [row["step"] for row in result.curve if "eval_loss" in row] == [2, 4]
    model, info = AutoModelForMaskedLM.from_pretrained(output, output_loading_info=True)
    assert type(model).__name__ == "BertForMaskedLM"
    assert not info["missing_keys"]
    old = AutoModel.from_pretrained(bert).state_dict()
    new = AutoModel.from_pretrained(output).state_dict()
    assert old.keys() == new.keys()
    assert not torch.equal(
        old["encoder.layer.0.output.dense.weight"], new["encoder.layer.0.output.dense.weight"]
    )
    assert not list(output.glob("*.bin")) and not list(output.glob("*.pt"))
    card = (output / "README.md").read_text(encoding="utf-8")
    for part in (
        str(bert),
        result.checksum,
        "corpus.txt",
        "54 documents",
        "4 of 4 windows",
        "licen",
    ):
        assert part.lower() in card.lower()
    assert (output / "perplexity.svg").read_text(encoding="utf-8").startswith("<svg")
    assert json.loads((output / "pretrain_report.json").read_text())["steps"] == 4
    nlp = spacy.blank("en")
    nlp.add_pipe("bert_encoder", config={"model": {"name": str(output)}})
    nlp.initialize()
    assert encoder_of(nlp).width == 16
    nlp("anna lives in paris.")
    fills = fill_masks(load_filler(str(output)), ["anna [MASK] in paris."])
    assert len(fills[0][0]) == 5


def test_a_repeat_gives_the_same_weights(bert, corpus, tmp_path):
    """Dropout is on: all that is random comes from the seed."""
    sums = []
    # A run that was killed while it wrote leaves a folder, which the next one clears away.
    (tmp_path / ".b.cut_off").mkdir()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = make_config(corpus, bert, pretrain__seed=seed)
        sums.append(pretrain(config, tmp_path / name).checksum)
    assert sums[0] == sums[1] != sums[2]
    assert not (tmp_path / ".b.cut_off").exists()


@pytest.mark.parametrize("task", ["none", "next", "order"])
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_every_task_and_kind(tiny_folder, corpus, tmp_path, kind, task):
    unit = {"none": "span", "next": "word", "order": "piece"}[task]
    config = make_config(corpus, tiny_folder(kind), sentences__task=task, masking__unit=unit)
    result = pretrain(config, tmp_path / "out")
    assert ("sentence_accuracy" in result.after) == (task != "none")
    architecture = json.loads((tmp_path / "out" / "config.json").read_text())["architectures"]
    assert architecture[0].endswith("ForMaskedLM" if task == "none" else "ForPreTraining")


def test_a_new_model_learns(tokenizer, tmp_path):
    corpus = make_corpus(tmp_path / "more.txt", 200)
    trainer = {"max_steps": 200, "learning_rate": 0.003, "eval_steps": 200, "save_steps": 200}
    settings = {f"trainer__{name}": value for name, value in trainer.items()}
    config = scratch(
        corpus, tokenizer, pretrain__batch_size=16, pretrain__device_batch=16, **settings
    )
    config["model"]["initializer_range"] = 0.1
    result = pretrain(config, tmp_path / "out")
    assert result.after["perplexity"] < result.before["perplexity"] / 5
    assert result.after["masked_accuracy"] > result.after["frequent_accuracy"] + 0.15
    BertForPreTraining.from_pretrained(tmp_path / "out")


def test_heads_alone_leave_the_encoder(bert, corpus, tmp_path):
    pretrain(make_config(corpus, bert, pretrain__trained="heads"), tmp_path / "out")
    old = AutoModel.from_pretrained(bert).state_dict()
    new = AutoModel.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(value, new[key]) for key, value in old.items())


def test_rounds_of_a_step_add_up(corpus, tokenizer, tmp_path):
    """Four windows at once and two times two give the same curve."""
    curves = []
    for name, size in (("one", 4), ("two", 2)):
        config = scratch(corpus, tokenizer, pretrain__device_batch=size)
        result = pretrain(config, tmp_path / name)
        curves.append([row["loss"] for row in result.curve if "loss" in row])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)  # the log rounds to four digits


def test_measures_are_those_of_a_plain_loop(bert, corpus, tmp_path):
    """Perplexity and accuracy by the plain class, window by window."""
    config = make_config(corpus, bert, trainer__max_steps=1)
    seen = {}

    class Kept(run_module.PretrainTrainer):
        def evaluate(self, *args, **kwargs):
            metrics = super().evaluate(*args, **kwargs)
            seen["dev"], seen["metrics"] = self.dev_examples, metrics
            return metrics

    run_module.PretrainTrainer, kept = Kept, run_module.PretrainTrainer
    try:
        pretrain(config, tmp_path / "out")
    finally:
        run_module.PretrainTrainer = kept
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval()
    losses, right = [], []
    dev = seen["dev"]
    for window in range(dev.n_windows):
        example = dev.make(0, window)
        logits = model(torch.from_numpy(example.ids)[None]).logits[0, example.places]
        labels = torch.from_numpy(example.labels)
        losses.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
        right.append(logits.argmax(-1) == labels)
    metrics = seen["metrics"]
    assert metrics["perplexity"] == pytest.approx(torch.cat(losses).mean().exp().item(), rel=1e-4)
    assert metrics["masked_accuracy"] == pytest.approx(torch.cat(right).float().mean().item())


def test_summary_by_hand():
    found = summarize([2.0, 4, 1, 2, 3.0, 6, 3])
    assert found["perplexity"] == pytest.approx(2.718281828**0.5)
    assert (found["masked_accuracy"], found["frequent_accuracy"]) == (0.25, 0.5)
    assert (found["sentence_loss"], found["sentence_accuracy"]) == (0.5, 0.5)


def test_one_document(bert, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("anna won the game in paris. bob lives in london. who was there?\n")
    advice = r"1 texts.*dev_share = 0\.1 one document of 10 .*give 10 documents or more"
    with pytest.raises(ValueError, match=rf"B705.*dev has 0 documents.*{advice}"):
        pretrain(make_config(path, bert), tmp_path / "out")
    config = make_config(path, bert, corpus__dev=str(path), sentences__task="next")
    with pytest.raises(ValueError, match=r"B705.*needs 2.*Give more text\.$"):
        pretrain(config, tmp_path / "out")
    assert [file_.name for file_ in tmp_path.iterdir()] == ["one.txt"]
    for task in ("none", "order"):
        # What failed before its first checkpoint does not stand in the way.
        config = make_config(path, bert, corpus__dev=str(path), sentences__task=task)
        assert pretrain(config, tmp_path / "out").facts["train"]["documents"] == 1


def test_text_without_letters_is_too_little(bert, tmp_path):
    path = tmp_path / "blank.txt"
    path.write_text("\n\n  \n")
    with pytest.raises(ValueError, match="B671"):
        pretrain(make_config(path, bert), tmp_path / "out")
    with pytest.raises(ValueError, match="B670"):
        pretrain(make_config(tmp_path / "missing.txt", bert), tmp_path / "new")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("pretrain__window", 4),
        ("pretrain__window", "64"),
        ("pretrain__batch_size", 0),
        ("pretrain__trained", "some"),
        ("pretrain__tokenizer", "x"),
        ("pretrain__colour", 1),
        ("corpus__dev_share", 0.9),
        ("corpus__documents", "page"),
        ("corpus__segmenter", "words"),
        ("corpus__train", []),
        ("corpus__train", [3]),
        ("corpus__dev", [""]),
        ("masking__unit", "letter"),
        ("masking__rate", 0),
        ("masking__random", 0.5),
        ("sentences__task", "both"),
        ("trainer__max_steps", -1),
        ("trainer__output_dir", "x"),
        ("trainer__learning_rate", ".0001"),
        ("trainer__save_steps", None),
        ("trainer__learning_rate", math.inf),
        ("trainer__weight_decay", -1),
        ("trainer__adam_beta1", 1.0),
        ("trainer__eval_steps", -1),
        ("trainer__bf16", "yes"),
        ("trainer__fp16", True),
        ("trainer__lr_scheduler_kwargs", "a"),
        ("trainer__lr_scheduler_type", "reduce_lr_on_plateau"),
        ("trainer__lr_scheduler_type", "zigzag"),
        ("model__model_type", "bert"),
    ],
)
def test_bad_settings_are_named(bert, corpus, tmp_path, setting, value):
    config = make_config(corpus, bert, **{setting: value})
    section = setting.split("__")[0]
    name = (
        "pretrain"
        if section == "model"
        else "trainer"
        if value == "zigzag"
        else setting.replace("__", ".")
    )
    with pytest.raises(ValueError, match=f"B701.*{name}"):
        pretrain(config, tmp_path / "out")
    assert not (tmp_path / "out.work").exists()


def test_unknown_sections_and_missing_paths_are_named(bert):
    with pytest.raises(ValueError, match="B701.*section.*optimizer"):
        read_settings({**make_config("x", bert), "optimizer": {}})
    with pytest.raises(ValueError, match=r"B701.*corpus\.train"):
        read_settings({"pretrain": {"weights": "x"}, "trainer": {"max_steps": 1}})


def test_processes_must_share_a_step(bert, tmp_path, monkeypatch):
    settings = read_settings(
        make_config("x", bert, pretrain__batch_size=12, pretrain__device_batch=4)
    )
    args = make_arguments(settings, tmp_path, tmp_path)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 3)
    kind = type(args)
    monkeypatch.setattr(kind, "world_size", 5)
    with pytest.raises(ValueError, match=r"B701.*multiple of the 5 processes"):
        make_arguments(settings, tmp_path, tmp_path)
    monkeypatch.setattr(kind, "n_gpu", 4)
    with pytest.raises(ValueError, match="B709.*4 GPUs"):
        make_arguments(settings, tmp_path, tmp_path)


def test_loggers_must_be_installed_and_their_curves_stay(bert, corpus, tmp_path, monkeypatch):
    config = make_config(corpus, bert, trainer__report_to="tensorboard")
    monkeypatch.setattr(engine, "get_available_reporting_integrations", lambda: ["wandb"])
    with pytest.raises(ValueError, match=r"B701.*trainer\.report_to.*tensorboard.*wandb"):
        pretrain(config, tmp_path / "out")
    assert not (tmp_path / "out.work").exists()
    config["trainer"]["report_to"] = "none"
    seen = []

    class Kept(run_module.PretrainTrainer):
        def train(self, *args, **kwargs):
            seen.append(self.args.logging_dir)
            return super().train(*args, **kwargs)

    monkeypatch.setattr(run_module, "PretrainTrainer", Kept)
    pretrain(config, tmp_path / "out")
    config["trainer"]["logging_dir"] = "elsewhere"
    pretrain(config, tmp_path / "out")
    assert seen == [str(tmp_path / "out.logs"), "elsewhere"]


def test_accelerate_is_asked_for(bert, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "is_accelerate_available", lambda: False)
    with pytest.raises(ImportError, match=r"B700.*pip install 'bert-spacy\[pretrain\]'"):
        pretrain(make_config(corpus, bert), tmp_path / "out")


def test_weights_that_do_not_fit_are_refused(bert, tiny_folder, corpus, tmp_path):
    with pytest.raises(ValueError, match="B205"):
        pretrain(make_config(corpus, bert, pretrain__window=65), tmp_path / "out")
    with pytest.raises(ValueError, match="B702"):
        pretrain(make_config(corpus, tiny_folder("roberta")), tmp_path / "out")
    with pytest.raises(ValueError, match="B804"):
        pretrain(make_config(corpus, tmp_path / "nowhere"), tmp_path / "out")
    small = make_folder(tmp_path / "small", "bert")
    tokenizer = AutoTokenizer.from_pretrained(small)
    tokenizer.add_tokens(["more", "words"])
    tokenizer.save_pretrained(small)
    with pytest.raises(ValueError, match="B702.*more pieces"):
        pretrain(make_config(corpus, small), tmp_path / "out")


def test_other_files_are_not_replaced(bert, corpus, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match="B676"):
        pretrain(make_config(corpus, bert), output)
    with pytest.raises(ValueError, match="B676.*is read"):
        pretrain(make_config(corpus, bert), bert)


def test_a_folder_of_the_user_is_no_place_for_work(bert, corpus, tmp_path):
    work = tmp_path / "out.work"
    work.mkdir()
    (work / "mine.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"\[B676\].*out\.work.* holds other files"):
            pretrain(make_config(corpus, bert), tmp_path / "out", resume=resume)
    assert (work / "mine.txt").read_text() == "x"
    (work / "mine.txt").unlink()
    assert pretrain(make_config(corpus, bert), tmp_path / "out").steps == 4


def test_a_vocabulary_with_a_repeated_line(corpus, tokenizer, tmp_path):
    """It has more ids than pieces: the last line counts."""
    vocab = tokenizer / "vocab.txt"
    pieces = vocab.read_text(encoding="utf-8").splitlines()
    again = pieces.index("a")
    vocab.write_text("".join(f"{piece}\n" for piece in [*pieces, "a"]), encoding="utf-8")
    BertTokenizerFast(str(vocab), model_max_length=32).save_pretrained(tokenizer)
    text = corpus.read_text(encoding="utf-8") + "a a a a.\n" * 20
    corpus.write_text(text, encoding="utf-8")
    result = pretrain(scratch(corpus, tokenizer), tmp_path / "out")
    pieces = [piece for fill in result.fills for piece, _ in fill["after"]]
    assert pieces and None not in pieces
    filler = load_filler(str(tmp_path / "out"))
    assert filler.model.config.vocab_size == len(filler.tokenizer) + 1
    (fills,) = fill_masks(filler, ["[MASK] a"], top_k=1000)[0]
    ids = {fill.id for fill in fills}
    assert len(fills) == len(filler.tokenizer) and again not in ids
    assert filler.tokenizer.convert_tokens_to_ids("a") in ids


def test_a_folder_that_holds_the_corpus_is_not_replaced(bert, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(bert, output)
    corpus = make_corpus(output / "corpus.txt")
    with pytest.raises(ValueError, match=r"\[B676\].*holds what is read"):
        pretrain(make_config(corpus, bert), output)
    assert corpus.is_file()


@pytest.mark.parametrize("task", ["next", "order"])
def test_sentence_tasks_need_documents_of_several_sentences(bert, tmp_path, task):
    single = make_corpus(tmp_path / "single.txt", n_sentences=1)
    with pytest.raises(ValueError, match=r"\[B713\].*documents of train.*'blank'"):
        pretrain(make_config(single, bert, sentences__task=task), tmp_path / "out")
    dev = make_config(make_corpus(tmp_path / "c.txt"), bert, sentences__task=task)
    dev["corpus"]["dev"] = str(single)
    with pytest.raises(ValueError, match=r"\[B713\].*60 documents of dev"):
        pretrain(dev, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.work").exists()


def test_the_precision_of_one_run_is_not_that_of_the_next(bert, corpus, tmp_path):
    config = make_config(corpus, bert)
    first = pretrain(config, tmp_path / "first").checksum
    pretrain(make_config(corpus, bert, trainer__bf16=True), tmp_path / "bf16")
    assert pretrain(config, tmp_path / "again").checksum == first


def test_training_that_went_astray_is_not_written(bert, corpus, tmp_path):
    config = make_config(corpus, bert, trainer__learning_rate=1e30, trainer__max_grad_norm=0.0)
    with pytest.raises(ValueError, match="B711"):
        pretrain(config, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_the_command(bert, corpus, tmp_path):
    config = make_config("nowhere.txt", bert)
    config.to_disk(tmp_path / "config.cfg")
    args = ["pretrain", str(tmp_path / "config.cfg"), "-o", str(tmp_path / "out")]
    for _ in range(2):  # the second one replaces the first
        done = CliRunner().invoke(app, [*args, "--corpus.train", str(corpus)])
        assert done.exit_code == 0, done.output
    for word in ("Perplexity", "Masked pieces found", "54 documents", "Model folder written"):
        assert word in done.output
    assert (tmp_path / "out" / "accuracy.svg").is_file()
    kept = (tmp_path / "out" / "pretrain.cfg").read_text()
    assert str(corpus) in kept
    assert "use_cpu" not in kept
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 1
    assert "B670" in done.output


def test_where_it_computes_is_no_setting_of_a_run(bert, corpus, tmp_path, monkeypatch):
    make_config(corpus, bert).to_disk(tmp_path / "config.cfg")
    args = ["pretrain", str(tmp_path / "config.cfg"), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, args).exit_code == 0
    before = (tmp_path / "out").stat()
    done = CliRunner().invoke(app, [*args, "--resume", "--gpu-id", "-1"])
    assert done.exit_code == 0, done.output
    assert "Finished before" in done.output and "Model folder written" not in done.output
    assert (tmp_path / "out").stat().st_ino == before.st_ino
    settings = read_settings(make_config(corpus, bert, trainer__use_cpu=True))
    for value, is_used in ((None, True), (False, False), (True, True)):
        args_ = make_arguments(settings, tmp_path, tmp_path, value)
        assert args_.use_cpu is is_used
    asked = []
    monkeypatch.setattr(run_module, "pretrain", lambda *_, use_cpu, **__: asked.append(use_cpu))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # CuPy is not asked for
    for given in ([], ["--gpu-id", "0"], ["--gpu-id", "-1"]):
        assert CliRunner().invoke(app, [*args, *given]).exit_code == 0
    assert asked == [None, False, True]
