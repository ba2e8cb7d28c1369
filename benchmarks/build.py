"""What the contenders load: pipelines, Hugging Face folders and ONNX files, made once.

All of them carry the same encoder. The heads are random with a fixed seed, and the same
wherever a contender can take them.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.util import registry
from tokenizers import Tokenizer
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
)

from benchmarks.contest import ContenderError
from benchmarks.texts import ROOT, PieceEnds
from bert_spacy import make_question, set_gold_answers
from bert_spacy.sources import resolve_name
from bert_spacy.text.tags import tag_names
from bert_spacy.util import atomic_dir

WEIGHTS, WEIGHTS_ZH = "minilm-l6-en", "albert-tiny-zh"
ENCODERS = {"encoder": WEIGHTS, "encoder-zh": WEIGHTS_ZH}
CLASSES = [f"CLASS{i}" for i in range(10)]
ENTITIES = ["LOC", "ORG", "PER", "TIME"]
ENTITY_SHARE = 0.1  # of the tokens, as in news: a random head would find far more
CALIBRATION = {"ours": "calibration", "ours-qa": "calibration-qa"}
QA_WINDOW, QA_OVERLAP, QA_ANSWER = 384, 128, 30
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}


class Assets:
    """Makes things when they are first asked for and keeps them in a folder.

    folder (Path): The cache. Its name should change with the sources, see `cache_key`.
    inputs (dict): The texts of the run, see `benchmarks.texts`.
    """

    def __init__(self, folder: Path, inputs: dict[str, Any]):
        self.folder = folder
        self.inputs = inputs
        self.failed: dict[str, str] = {}

    def get(self, name: str) -> Path:
        """Give the folder of an asset.

        RAISES (ContenderError): It cannot be made; the message says why.
        """
        if name in ENCODERS:
            return Path(resolve_name(ENCODERS[name]))
        path = self.folder / name
        if path.exists():
            return path
        if name not in self.failed:
            print(f"making {name}", file=sys.stderr, flush=True)
            try:
                with atomic_dir(path) as target:
                    MAKERS[name](self, target)
                return path
            except Exception as err:  # noqa: BLE001 - the row says why it is empty
                self.failed[name] = f"{name} could not be made: {' '.join(str(err).split())[:300]}"
        raise ContenderError(self.failed[name])


def cache_key(inputs: dict[str, Any]) -> str:
    """Give a name that changes whenever the texts of the run, the package or this file change."""
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in [*sorted((ROOT / "bert_spacy").rglob("*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def piece_ends(encoder: str) -> PieceEnds:
    """Give the tokenizer of an encoder as a function from a text to the ends of its pieces."""
    tokenizer = Tokenizer.from_file(str(Path(resolve_name(ENCODERS[encoder])) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def ends(text: str) -> list[int]:
        return [end for _, end in tokenizer.encode(text, add_special_tokens=False).offsets]

    return ends


# Our pipelines.


def make_pipeline(lang: str, name: str, heads: list[str], **config: Any) -> Language:
    """Make an encoder with random heads, not yet initialised."""
    nlp = spacy.blank(lang)
    nlp.add_pipe("bert_encoder", config={"model": {"name": name, **config}})
    for head in heads:
        component = nlp.add_pipe(head)
        for label in {"bert_textcat": CLASSES, "bert_ner": ENTITIES}.get(head, []):
            component.add_label(label)
    return nlp


def initialize(nlp: Language, examples: list[Example] | None = None) -> None:
    """Initialise a pipeline whose labels are known; the same weights each time."""
    doc = nlp.make_doc("A text.")
    torch.manual_seed(0)
    nlp.initialize(lambda: examples or [Example(doc, doc.copy())])


def make_ours(assets: Assets, target: Path, lang: str = "en", name: str = WEIGHTS) -> None:
    """Make our pipeline of classifier and NER."""
    nlp = make_pipeline(lang, name, ["bert_textcat", "bert_ner"])
    initialize(nlp)
    limit_entities(nlp, assets.inputs["calibration" if lang == "en" else "calibration_zh"])
    nlp.to_disk(target)


def limit_entities(nlp: Language, texts: list[str]) -> None:
    """Raise the bias of "O" until entities take their usual share of the tokens."""
    docs = [nlp.make_doc(text) for text in texts]
    encoder, ner = nlp.get_pipe("bert_encoder"), nlp.get_pipe("bert_ner")
    encoder.set_annotations(docs, encoder.predict(docs))
    emissions = ner.predict(docs).emissions
    margin = emissions[:, 1:].max(dim=1).values - emissions[:, 0]
    with torch.no_grad():
        ner.shim.module.output.bias[0] += torch.quantile(margin, 1 - ENTITY_SHARE)


def make_ours_qa(assets: Assets, target: Path) -> None:
    """Make our pipeline for questions, with the windows of the other side."""
    stride = QA_WINDOW - QA_OVERLAP - 32
    nlp = make_pipeline("en", WEIGHTS, [], window=QA_WINDOW, stride=stride)
    nlp.add_pipe("bert_qa", config={"max_answer_tokens": QA_ANSWER})
    gold = make_question(nlp, "Where?", "In Leeds.")
    set_gold_answers(gold, [{"text": "Leeds", "start": 3, "end": 8}])
    initialize(nlp, [Example(make_question(nlp, "Where?", "In Leeds."), gold)])
    nlp.to_disk(target)


def optimize(source: str, precision: str) -> Callable[[Assets, Path], None]:
    """Give a maker that runs `python -m bert_spacy optimize` on a pipeline."""

    def make(assets: Assets, target: Path) -> None:
        pipeline = assets.get(source)
        options = ["--precision", precision]
        if precision == "int8":
            # Labels of random heads nearly tie, so that a choice by score would be one by chance.
            known = assets.get(CALIBRATION[source])
            options += ["--calibrate", str(known), "--backend", "torch", "--force"]
        target.rmdir()  # the command makes it
        command = [sys.executable, "-m", "bert_spacy", "optimize", str(pipeline), str(target)]
        done = subprocess.run(
            [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            reason = find_reason(done.stdout + done.stderr)
            raise ContenderError(f"`optimize --precision {precision}` failed: {reason}")

    return make


def find_reason(output: str) -> str:
    """Give the error of ours that a command has printed over several lines, or its last line."""
    lines = [line.strip(" │╭╮╰╯─") for line in output.splitlines()]
    lines = [line for line in lines if line] or ["no message"]
    begin = next((i for i, line in enumerate(lines) if line.startswith("[B")), len(lines) - 1)
    return " ".join(lines[begin:])


def make_calibration(assets: Assets, target: Path) -> None:
    """Make a set whose gold is what the exact pipeline says."""
    nlp = spacy.load(assets.get("ours"))
    DocBin(docs=list(nlp.pipe(assets.inputs["calibration"]))).to_disk(target / "dev.spacy")


def make_calibration_qa(assets: Assets, target: Path) -> None:
    """Make the same for questions."""
    nlp = spacy.load(assets.get("ours-qa"))
    pairs = assets.inputs["calibration_questions"]
    docs = [make_question(nlp, pair["question"], pair["context"]) for pair in pairs]
    for doc in nlp.pipe(docs):
        best = [
            {"text": a.text, "start": a.start_char, "end": a.end_char} for a in doc._.answers[:1]
        ]
        set_gold_answers(doc, best)
    DocBin(docs=docs).to_disk(target / "dev.spacy")


# The other side.


def make_spacy_transformers(assets: Assets, target: Path) -> None:
    """Make a stock pipeline: transformer, ner, textcat, with the default windows."""
    nlp = stock_pipeline(["ner", "textcat"], CLASSES)
    doc = nlp.make_doc("Agnes left Leeds .")
    gold = {"entities": [(0, 5, "PER"), (11, 16, "LOC")], "cats": {CLASSES[0]: 1.0}}
    initialize(nlp, [Example.from_dict(doc, gold)])
    nlp.to_disk(target)


def stock_pipeline(heads: list[str], classes: list[str]) -> Language:
    """Make spacy-transformers' pipeline with stock heads, not yet initialised."""
    nlp = spacy.blank("en")
    nlp.add_pipe("transformer", config={"model": {"name": resolve_name(WEIGHTS)}})
    if "ner" in heads:
        ner = nlp.add_pipe("ner", config={"model": {"tok2vec": LISTENER}})
        for label in ENTITIES:
            ner.add_label(label)
    if "textcat" in heads:
        model = {
            "@architectures": "spacy.TextCatReduce.v1",
            "exclusive_classes": True,
            "use_reduce_first": False,
            "use_reduce_last": False,
            "use_reduce_max": False,
            "use_reduce_mean": True,
            "tok2vec": LISTENER,
        }
        textcat = nlp.add_pipe("textcat", config={"model": model})
        for label in classes:
            textcat.add_label(label)
    return nlp


def make_hf(kind: str) -> Callable[[Assets, Path], None]:
    """Give a maker of a Hugging Face model with our encoder and our head."""
    auto, source, head, layer, labels = {
        "classifier": (
            AutoModelForSequenceClassification,
            "ours",
            "bert_textcat",
            "classifier",
            CLASSES,
        ),
        "tagger": (
            AutoModelForTokenClassification,
            "ours",
            "bert_ner",
            "classifier",
            tag_names(ENTITIES, "bioes"),
        ),
        "qa": (AutoModelForQuestionAnswering, "ours-qa", "bert_qa", "qa_outputs", ["a", "b"]),
    }[kind]

    def make(assets: Assets, target: Path) -> None:
        pipeline = spacy.load(assets.get(source))
        folder = assets.get("encoder")
        model = auto.from_pretrained(folder, id2label=dict(enumerate(labels)))
        getattr(model, layer).load_state_dict(
            pipeline.get_pipe(head).shim.module.output.state_dict()
        )
        model.save_pretrained(target)
        AutoTokenizer.from_pretrained(folder).save_pretrained(target)

    return make


def make_onnx(assets: Assets, target: Path) -> None:
    """Export the bare encoder as it is, and quantise it dynamically per channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = AutoModel.from_pretrained(assets.get("encoder"), attn_implementation="eager").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ones = torch.ones((2, 8), dtype=torch.long)
    torch.onnx.export(
        model,
        (ones, ones, ones * 0),
        str(target / "fp32.onnx"),
        input_names=names,
        output_names=["hidden"],
        dynamic_axes={name: {0: "batch", 1: "pieces"} for name in [*names, "hidden"]},
        opset_version=17,
        dynamo=False,
    )
    quantize_dynamic(
        target / "fp32.onnx", target / "int8.onnx", per_channel=True, weight_type=QuantType.QInt8
    )


def make_bert_base(assets: Assets, target: Path) -> None:
    """Make a 12-layer BERT-base with random weights and MiniLM's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(assets.get("encoder"))
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(target)
    tokenizer.save_pretrained(target)


def make_ours_base(assets: Assets, target: Path) -> None:
    """Make our pipeline on the random BERT-base."""
    make_ours(assets, target, "en", str(assets.get("bert-base")))


MAKERS: dict[str, Callable[[Assets, Path], None]] = {
    "ours": make_ours,
    "ours-zh": lambda assets, target: make_ours(assets, target, "zh", WEIGHTS_ZH),
    "ours-base": make_ours_base,
    "ours-qa": make_ours_qa,
    "ours-fp32": optimize("ours", "fp32"),
    "ours-int8": optimize("ours", "int8"),
    "ours-qa-fp32": optimize("ours-qa", "fp32"),
    "ours-qa-int8": optimize("ours-qa", "int8"),
    "calibration": make_calibration,
    "calibration-qa": make_calibration_qa,
    "spacy-transformers": make_spacy_transformers,
    "hf-classifier": make_hf("classifier"),
    "hf-tagger": make_hf("tagger"),
    "hf-qa": make_hf("qa"),
    "onnx": make_onnx,
    "bert-base": make_bert_base,
}


def bert_optimizer(rate: float) -> Any:
    """Make our optimiser with a constant rate."""
    return registry.optimizers.get("bert-spacy.AdamW.v1")(learn_rate=rate)
