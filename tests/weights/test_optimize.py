"""`optimize`: the new pipeline is the old one, faster, or it is not written."""

import json
import math
import shutil
from importlib.metadata import version
from multiprocessing.reduction import ForkingPickler

import pytest
import spacy
import torch
from spacy.tokens import DocBin
from typer.testing import CliRunner

from bert_spacy.cli.app import app
from bert_spacy.nn import backends
from bert_spacy.nn.fused import has_vnni, is_int8_available
from bert_spacy.nn.onnx import has_onnxruntime
from bert_spacy.targets import get_targets, set_targets
from bert_spacy.weights import optimize as module
from bert_spacy.weights.optimize import optimize
from bert_spacy.weights.parity import Parity, Trial

from ..pipeline.test_stock import MODELS, stock_examples
from ..util import (
    EXAMPLES,
    HEADS,
    TEXTS,
    all_examples,
    assert_close,
    encoder_of,
    make_nlp,
    predictions,
    train_steps,
)
from ..util import trained as make_trained

needs_int8 = pytest.mark.skipif(not is_int8_available(), reason="no VNNI in this processor")
needs_onnx = pytest.mark.skipif(not has_onnxruntime(), reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory):
    """Return a folder with a trained pipeline of three heads, and gold for it."""
    folder = tmp_path_factory.mktemp("optimize")
    nlp = make_trained(tiny_folder("bert"), steps=60)
    nlp.to_disk(folder / "pipeline")
    DocBin(docs=[eg.reference for eg in all_examples(nlp)]).to_disk(folder / "gold.spacy")
    return folder


def labels(folder):
    nlp = spacy.load(folder)
    doc = nlp("anna was in paris")
    return max(doc.cats, key=doc.cats.get), [(e.text, e.label_) for e in doc.ents]


# Without VNNI onnxruntime is slower in int8, which is said once in a process.
@pytest.mark.filterwarnings("ignore:.*BW131")
@pytest.mark.parametrize(
    "backend, precision",
    [
        ("torch", "fp32"),
        pytest.param("torch", "int8", marks=needs_int8),
        pytest.param("onnx", "fp32", marks=needs_onnx),
        pytest.param("onnx", "int8", marks=needs_onnx),
    ],
)
def test_the_new_pipeline_says_the_same(trained, tmp_path, backend, precision):
    report = optimize(
        trained / "pipeline",
        tmp_path / "new",
        precision=precision,
        backend=backend,
        calibrate=trained / "gold.spacy",
        force=True,
    )
    written = json.loads((tmp_path / "new" / "optimize.json").read_text())
    assert written.keys() == report.keys() and written["chosen"]["name"] == f"{backend} {precision}"
    assert written["machine"]["torch"] == torch.__version__
    assert written["machine"]["vnni"] is has_vnni()
    if backend == "onnx":
        assert written["machine"]["onnxruntime"] == version("onnxruntime")
    assert report["without_gold"] == [] and set(report["chosen"]["before"]) == {
        "cats_score",
        "ents_f",
        "qa_f1",
        "choice_acc",
    }
    assert report["chosen"]["relative_error"] < (1e-5 if precision == "fp32" else 0.2)
    assert (report["chosen"]["relative_error"] == 0) == ((backend, precision) == ("torch", "fp32"))
    nlp = spacy.load(tmp_path / "new")
    assert nlp.get_pipe("bert_encoder").predictor.name == f"{backend} {precision}"
    assert nlp.config["components"]["bert_encoder"]["model"]["precision"] == precision
    if precision == "fp32":
        assert labels(tmp_path / "new") == labels(trained / "pipeline")
    again = spacy.blank("en").from_config(nlp.config).from_bytes(nlp.to_bytes())
    assert again("bob lives in london").cats == pytest.approx(nlp("bob lives in london").cats)
    # What goes to other processes is the same each time, and takes nothing from this one.
    encoder = nlp.get_pipe("bert_encoder")
    for _ in range(2):
        copy = ForkingPickler.loads(bytes(ForkingPickler.dumps(encoder)))
        assert copy.predictor.name == encoder.predictor.name == f"{backend} {precision}"
    nlp.to_disk(tmp_path / "again")
    files = [
        {path.name for path in (tmp_path / name / "bert_encoder").rglob("*")}
        for name in ("new", "again")
    ]
    assert files[0] == files[1]


@needs_onnx
def test_questions_and_choices_keep_their_labels_in_onnxruntime(trained, tmp_path):
    report = optimize(
        trained / "pipeline", tmp_path / "new", backend="onnx", calibrate=trained / "gold.spacy"
    )
    assert report["chosen"]["agreement"] == 1.0
    found = []
    for folder in (trained / "pipeline", tmp_path / "new"):
        nlp = spacy.load(folder)
        found.append(predictions(nlp.pipe([eg.predicted for eg in all_examples(nlp)])))
    assert any(row["answers"] for row in found[0])
    assert {row["choice"] for row in found[0]} >= {None, 0, 2}
    assert_close(*found, 1e-4)


@needs_onnx
def test_numbers_labels_and_stock_components_stay_the_same_in_onnxruntime(bert, tmp_path):
    nlp = make_nlp(bert, ["bert_regressor", "bert_textcat_multilabel"])
    nlp.add_pipe("tagger", config={"model": MODELS["tagger"]})
    nlp.add_pipe("spancat", config={"model": MODELS["spancat"]})
    examples = stock_examples(nlp)
    for eg, other in zip(examples, EXAMPLES["bert_regressor"](nlp)):
        set_targets(eg.reference, get_targets(other.reference))
    nlp.initialize(lambda: examples)
    train_steps(nlp, examples, 20)
    nlp.to_disk(tmp_path / "old")
    DocBin(docs=[eg.reference for eg in examples]).to_disk(tmp_path / "gold.spacy")
    report = optimize(
        tmp_path / "old", tmp_path / "new", backend="onnx", calibrate=tmp_path / "gold.spacy"
    )
    assert report["chosen"]["agreement"] == 1.0 and report["without_gold"] == []
    old, new = (list(spacy.load(tmp_path / name).pipe(TEXTS)) for name in ("old", "new"))
    for a, b in zip(old, new):
        assert get_targets(a) == pytest.approx(get_targets(b), abs=1e-4)
        assert a.cats == pytest.approx(b.cats, abs=1e-4)
        assert [token.tag_ for token in a] == [token.tag_ for token in b]
        spans = ([(s.start, s.end, s.label_) for s in doc.spans["sc"]] for doc in (a, b))
        assert next(spans) == next(spans)
    assert len({token.tag_ for doc in old for token in doc}) > 1
    assert any(doc.spans["sc"] for doc in old)


def test_auto_takes_a_backend_that_runs_here(trained, tmp_path):
    report = optimize(trained / "pipeline", tmp_path / "new", calibrate=trained / "gold.spacy")
    assert {"torch fp32"} <= {part["name"] for part in report["tried"]}
    assert labels(tmp_path / "new") == labels(trained / "pipeline")


def test_labels_that_change_are_counted(trained, monkeypatch):
    nlp = spacy.load(trained / "pipeline")
    encoder = nlp.get_pipe("bert_encoder")
    trial = Trial(nlp, encoder, lambda: all_examples(nlp))
    assert trial.compare(trial.old).agreement == 1.0
    shim = nlp.get_pipe("bert_textcat").model.shims[0]
    with torch.no_grad():
        shim.module.output.weight.neg_()
    assert trial.compare(trial.old).agreement < 1.0


@pytest.mark.parametrize(
    "error, after, drop",
    [
        (0.0, {"ents_f": 0.9, "regression_score": -0.2}, 0.0),
        (0.0, {"ents_f": 0.8, "regression_score": 0.0}, 10.0),
        (0.0, {"ents_f": 0.9}, 100.0),
        (math.nan, {"ents_f": 0.9, "regression_score": -0.2}, 100.0),
    ],
)
def test_a_score_that_is_lost_counts_in_full(error, after, drop):
    before = {"ents_f": 0.9, "regression_score": -0.2}
    parity = Parity("torch int8", 1.0, (1.0, 1.0), error, error, 1.0, before, after)
    assert parity.worst_drop == pytest.approx(drop)


def test_states_that_are_no_numbers_are_written_as_none(trained, tmp_path, monkeypatch):
    broken = Parity("onnx fp32", 1.0, (1.0, 1.0), math.nan, math.nan, 0.0, {}, {})
    monkeypatch.setattr(Trial, "compare", lambda self, new: broken)
    options = {"backend": "torch", "calibrate": trained / "gold.spacy"}
    with pytest.raises(ValueError, match=r"\[B642\].*loses 100"):
        optimize(trained / "pipeline", tmp_path / "new", **options)
    optimize(trained / "pipeline", tmp_path / "new", force=True, **options)
    written = json.loads((tmp_path / "new" / "optimize.json").read_text())
    assert written["chosen"]["relative_error"] is None


def test_a_score_that_is_no_number_is_left_out(trained, monkeypatch):
    nlp = spacy.load(trained / "pipeline")
    trial = Trial(nlp, nlp.get_pipe("bert_encoder"), lambda: all_examples(nlp))
    monkeypatch.setattr(nlp.get_pipe("bert_ner"), "scorer", lambda *a, **k: {"ents_f": math.nan})
    parity = trial.compare(trial.old)
    assert parity.before.keys() - parity.after.keys() == {"ents_f"} and parity.worst_drop == 100


@needs_int8
def test_a_pipeline_that_loses_too_much_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DROP", -1.0)
    options = {"precision": "int8", "backend": "torch", "calibrate": trained / "gold.spacy"}
    with pytest.raises(ValueError, match=r"\[B642\]"):
        optimize(trained / "pipeline", tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []
    optimize(trained / "pipeline", tmp_path / "new", force=True, **options)
    assert (tmp_path / "new" / "optimize.json").is_file()


def test_int8_that_cannot_run_here_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "is_int8_available", lambda: False)
    with pytest.raises(ValueError, match=r"\[B647\].*VNNI.*--backend onnx"):
        optimize(
            trained / "pipeline", tmp_path / "new", precision="int8", backend="torch", force=True
        )
    assert list(tmp_path.iterdir()) == []


@needs_int8
def test_texts_without_gold_set_ranges_and_compare_no_scores(trained, tmp_path):
    nlp = spacy.blank("en")
    DocBin(docs=[nlp("the team won"), nlp("in paris"), nlp("")]).to_disk(tmp_path / "raw.spacy")
    for calibrate in (tmp_path / "raw.spacy", None):
        report = optimize(
            trained / "pipeline",
            tmp_path / "new",
            precision="int8",
            backend="torch",
            calibrate=calibrate,
        )
        assert report["without_gold"] == list(HEADS) and report["chosen"]["before"] == {}


@needs_int8
def test_training_goes_on_from_the_torch_weights(trained, tmp_path):
    backends._warn.cache_clear()
    optimize(trained / "pipeline", tmp_path / "new", precision="int8", backend="torch", force=True)
    nlp = spacy.load(tmp_path / "new")
    train_steps(nlp, all_examples(nlp), steps=2)
    with pytest.warns(UserWarning, match=r"\[BW130\]"):
        assert nlp.get_pipe("bert_encoder").predictor.name == "torch fp32"
    nlp.to_disk(tmp_path / "more")
    assert not (tmp_path / "more" / "bert_encoder" / "encoder" / "int8.safetensors").exists()


@needs_onnx
def test_training_goes_on_from_a_pipeline_in_onnxruntime(trained, tmp_path):
    optimize(trained / "pipeline", tmp_path / "new", backend="onnx")
    nlp = spacy.load(tmp_path / "new")
    before = encoder_of(nlp).state_dict()["model.encoder.layer.0.output.dense.weight"].clone()
    assert nlp.get_pipe("bert_encoder").predictor.name == "onnx fp32"
    train_steps(nlp, all_examples(nlp), steps=2)
    after = encoder_of(nlp).state_dict()["model.encoder.layer.0.output.dense.weight"]
    assert not torch.equal(before, after)
    says = r"\[BW130\].*ONNX model of the present weights.*optimize makes one"
    backends._warn.cache_clear()
    with pytest.warns(UserWarning, match=says):
        assert nlp.get_pipe("bert_encoder").predictor.name == "torch fp32"
    nlp.to_disk(tmp_path / "more")
    assert not (tmp_path / "more" / "bert_encoder" / "encoder" / "model.onnx").exists()
    backends._warn.cache_clear()
    with pytest.warns(UserWarning, match=says):
        found = predictions([spacy.load(tmp_path / "more")("anna was in paris")])
    assert_close(found, predictions([nlp("anna was in paris")]), 1e-5)
    optimize(tmp_path / "more", tmp_path / "again", backend="onnx")
    assert spacy.load(tmp_path / "again").get_pipe("bert_encoder").predictor.name == "onnx fp32"


@needs_onnx
@pytest.mark.parametrize("budget", [1, 40, None])
def test_empty_docs_and_small_budgets_run_in_onnxruntime(trained, tmp_path, budget):
    optimize(trained / "pipeline", tmp_path / "new", backend="onnx")
    texts = ["anna was in paris", "", "bob lives in london " * 20, "  ", "", "a good film"]
    found = []
    for folder in (trained / "pipeline", tmp_path / "new"):
        nlp = spacy.load(folder)
        nlp.get_pipe("bert_encoder").model.attrs["max_batch_pieces"] = budget
        found.append(predictions(nlp.pipe(texts)))
    assert_close(*found, 1e-4)


@needs_onnx
def test_a_slim_pipeline_runs_and_refuses_to_learn(trained, tmp_path):
    report = optimize(trained / "pipeline", tmp_path / "slim", slim=True)
    assert report["backend"] == "onnx"
    encoder = tmp_path / "slim" / "bert_encoder" / "encoder"
    assert not (encoder / "model.safetensors").exists()
    assert labels(tmp_path / "slim") == labels(trained / "pipeline")
    nlp = spacy.load(tmp_path / "slim")
    nlp.to_disk(tmp_path / "copy")
    assert labels(tmp_path / "copy") == labels(trained / "pipeline")
    with pytest.raises(ValueError, match=r"\[B133\]"):
        nlp.update(EXAMPLES["bert_textcat"](nlp), sgd=False)
    with pytest.raises(ValueError, match=r"\[B641\]"):
        optimize(tmp_path / "slim", tmp_path / "slimmer")


@pytest.mark.parametrize(
    "options",
    [{"precision": "fp8"}, {"backend": "tpu"}, {"backend": "torch", "slim": True}],
)
def test_settings_that_do_not_go_together_are_refused(trained, tmp_path, options):
    with pytest.raises(ValueError, match=r"\[B640\]"):
        optimize(trained / "pipeline", tmp_path / "new", **options)


@pytest.mark.parametrize("where", ["file", "other", "itself", "above"])
def test_an_output_where_something_would_be_lost_is_refused(trained, tmp_path, where):
    source = shutil.copytree(trained / "pipeline", tmp_path / "runs" / "best")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    outputs = {
        "file": other / "mine.txt",
        "other": other,
        "itself": source,
        "above": source.parent,
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"\[B633\]"):
        optimize(source, outputs[where], backend="torch")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_docs_without_text_are_refused(trained, tmp_path):
    blank = spacy.blank("en")
    DocBin(docs=[blank(""), blank("  ")]).to_disk(tmp_path / "none.spacy")
    with pytest.raises(ValueError, match=r"\[B648\].*none.spacy"):
        optimize(trained / "pipeline", tmp_path / "new", calibrate=tmp_path / "none.spacy")


def test_a_pipeline_without_encoder_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match=r"\[B641\]"):
        optimize(tmp_path / "blank", tmp_path / "new")


def test_the_command_prints_the_report_and_names_problems(trained, tmp_path):
    arguments = ["optimize", str(trained / "pipeline"), str(tmp_path / "new"), "--backend", "torch"]
    done = CliRunner().invoke(app, [*arguments, "--calibrate", str(trained / "gold.spacy")])
    assert done.exit_code == 0 and "torch fp32" in done.output and "ents_f" in done.output
    lost = CliRunner().invoke(app, [*arguments, "--calibrate", str(tmp_path / "none.spacy")])
    assert lost.exit_code == 1 and "Can't optimize" in lost.output


def test_the_command_names_heads_without_gold(trained, tmp_path):
    nlp = spacy.load(trained / "pipeline")
    for name, heads in (("some", ["bert_textcat"]), ("none", [])):
        docs = [eg.reference for eg in all_examples(nlp, heads)] or [nlp.make_doc("in paris")]
        DocBin(docs=docs).to_disk(tmp_path / f"{name}.spacy")
    arguments = ["optimize", str(trained / "pipeline"), str(tmp_path / "new"), "--backend", "torch"]
    for file, rest in (("some", ["bert_ner", "bert_qa", "bert_choice"]), ("none", HEADS)):
        path = str(tmp_path / f"{file}.spacy")
        done = CliRunner().invoke(app, [*arguments, "--calibrate", path])
        said = " ".join(done.output.split())
        assert done.exit_code == 0 and f"no gold in {path} for {', '.join(rest)}:" in said
        written = json.loads((tmp_path / "new" / "optimize.json").read_text())
        assert written["without_gold"] == list(rest)


def test_encoders_after_the_first_are_named(trained, bert, tmp_path):
    nlp = spacy.load(trained / "pipeline")
    nlp.add_pipe("bert_encoder", name="second", config={"model": {"name": str(bert)}})
    nlp.get_pipe("second").initialize(lambda: [], nlp=nlp)
    nlp.to_disk(tmp_path / "two")
    args = ["optimize", str(tmp_path / "two"), str(tmp_path / "new"), "--backend", "torch"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0 and "As they were: second." in done.output
    assert json.loads((tmp_path / "new" / "optimize.json").read_text())["left_alone"] == ["second"]


def test_the_command_shows_what_was_measured_where_it_refuses(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_DROP", -1.0)
    arguments = ["optimize", str(trained / "pipeline"), str(tmp_path / "new"), "--backend", "torch"]
    done = CliRunner().invoke(app, [*arguments, "--calibrate", str(trained / "gold.spacy")])
    assert done.exit_code == 1 and "[B642]" in done.output
    assert "Same labels" in done.output and "ents_f" in done.output.split("[B642]")[0]
