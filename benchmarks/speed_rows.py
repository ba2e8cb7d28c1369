"""The rows of the speed benchmark: who runs against whom, on what, and the target."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.contest import Contender
from bert_spacy.nn.encoder import has_bfloat16

# How far answers may differ: norms for floats, shares for labels.
EXACT = {"hidden": 1e-3, "label": 0.0, "tags": 0.002, "likelihood": 1e-4, "path": 0.0}
HALF = {"hidden": 0.02, "label": 0.05, "tags": 0.05}
# Eight bits; on random heads, where many labels nearly tie.
INT8 = {"hidden": 0.2, "label": 0.2, "tags": 0.2}
# Other rules choose among the same scores: words against tokens, one best span of each window.
ANSWERS = {"scores": 1e-3, "answer": 0.25}
ANSWERS_INT8 = {"scores": 0.2, "answer": 0.5}

PIPE = "nlp.pipe, classifier + NER"
BARE_ONNX, BARE_TORCH = "bare onnxruntime loop", "bare torch loop"
HF = "Hugging Face pipelines, two models"
STOCK = "spacy-transformers"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    id (str): Short name.
    what (str): Ours.
    against (str): The other side.
    ours (str): Name of a contender.
    theirs (str): Name of a contender; "" where the value is a share by itself.
    target (float | None): The least ratio, or the largest share.
    tolerance (dict[str, float]): How far the answers may differ.
    """

    id: str
    what: str
    against: str
    ours: str
    theirs: str
    target: float | None = None
    tolerance: dict[str, float] = field(default_factory=lambda: EXACT)


@dataclass(frozen=True)
class Group:
    """Contenders that run in turn on the same work.

    name (str): Short name.
    contenders (list[Contender]): In the order of a round: those that are compared stand
        next to each other.
    rows (list[Row]): Pairs of them.
    is_quick (bool): Whether the quick run has it.
    """

    name: str
    contenders: list[Contender]
    rows: list[Row]
    is_quick: bool = True


def ours(name: str, pipeline: str, kind: str = "Pipe", **settings: Any) -> Contender:
    """Describe one of our pipelines."""
    return Contender(name, "ours", kind, settings, {"pipeline": pipeline})


def bare(name: str, kind: str, asset: str = "encoder", **settings: Any) -> Contender:
    """Describe a bare loop."""
    assets = {"encoder": asset, **({"onnx": "onnx"} if kind == "OnnxLoop" else {})}
    return Contender(name, "bare", kind, settings, assets)


BF16 = {"components": {"bert_encoder": {"model": {"precision": "bf16"}}}}

PIPES = Group(
    "pipe",
    [
        bare("bare-torch", "TorchLoop"),
        ours("ours-torch", "ours"),
        bare("bare-torch-bf16", "TorchLoop", bf16=True),
        ours("ours-bf16", "ours", config=BF16, precision="bf16"),
        bare("bare-onnx", "OnnxLoop", file="fp32.onnx"),
        ours("ours-fp32", "ours-fp32"),
        bare("bare-int8", "OnnxLoop", file="int8.onnx"),
        ours("ours-int8", "ours-int8", precision="int8"),
        Contender("stock", "stock_spacy", "Pipe", {}, {"pipeline": "spacy-transformers"}),
        Contender(
            "hf",
            "huggingface",
            "TwoModels",
            {},
            {"classifier": "hf-classifier", "tagger": "hf-tagger"},
        ),
    ],
    [
        Row("pipe-fp32", f"{PIPE}, exact", STOCK, "ours-fp32", "stock", 4.3),
        Row("pipe-int8", f"{PIPE}, int8", STOCK, "ours-int8", "stock", 7.5, INT8),
        Row("pipe-torch", f"{PIPE}, torch fp32", STOCK, "ours-torch", "stock"),
        Row("pipe-bf16", f"{PIPE}, torch bf16", STOCK, "ours-bf16", "stock", None, HALF),
        Row("bare-fp32", f"{PIPE}, exact", f"{BARE_ONNX}, fp32", "ours-fp32", "bare-onnx", 0.9),
        Row(
            "bare-int8", f"{PIPE}, int8", f"{BARE_ONNX}, int8", "ours-int8", "bare-int8", 0.9, INT8
        ),
        Row("bare-torch", f"{PIPE}, torch fp32", BARE_TORCH, "ours-torch", "bare-torch", 0.95),
        Row(
            "bare-bf16",
            f"{PIPE}, torch bf16",
            f"{BARE_TORCH}, bf16 autocast",
            "ours-bf16",
            "bare-torch-bf16",
            0.95,
            HALF,
        ),
        Row("hf-fp32", f"{PIPE}, exact", HF, "ours-fp32", "hf", 6.5),
        Row("hf-int8", f"{PIPE}, int8", HF, "ours-int8", "hf", 11.0, INT8),
        Row("hf-torch", f"{PIPE}, torch fp32", HF, "ours-torch", "hf"),
    ],
)

NER = Group(
    "ner",
    [
        ours("ner-torch", "ours", exclude=["bert_textcat"]),
        Contender("edsnlp", "aphp", "Pipe", {}, {"encoder": "encoder"}, "edsnlp"),
        ours("ner-fp32", "ours-fp32", exclude=["bert_textcat"]),
        ours("ner-int8", "ours-int8", exclude=["bert_textcat"], precision="int8"),
    ],
    [
        Row("ner-fp32", "NER alone, exact", "edsnlp, eds.ner_crf", "ner-fp32", "edsnlp", 1.9),
        Row("ner-int8", "NER alone, int8", "edsnlp, eds.ner_crf", "ner-int8", "edsnlp", 3.3, INT8),
        Row("ner-torch", "NER alone, torch fp32", "edsnlp, eds.ner_crf", "ner-torch", "edsnlp"),
    ],
)


def training(name: str, **settings: Any) -> Contender:
    """Describe a bare training loop."""
    return Contender(name, "training", "Loop", settings, {"classifier": "hf-classifier"})


TRAIN = "training, classifier, short texts"
# What mixed precision, which ours asks for, is on this machine.
MIXED = "bf16" if has_bfloat16("cpu") else "fp32"
TRAINING = Group(
    "train",
    [
        Contender("train-stock", "spacy_training", "Stock"),
        training("train-seed", pad_to=256, steps=1),
        Contender(
            "trainer",
            "training",
            "TrainerLoop",
            {"bf16": MIXED == "bf16"},
            {"classifier": "hf-classifier"},
            "edsnlp",
        ),
        training("train-bare"),
        Contender("train-ours", "spacy_training", "Ours", {"model": {"mixed_precision": True}}),
        training("train-bare-bf16", fused=True, bf16=True),
    ],
    [
        Row("train-stock", TRAIN, STOCK, "train-ours", "train-stock", 3.5),
        Row("train-bare", TRAIN, "bare torch loop, fp32, buckets", "train-ours", "train-bare", 1.6),
        Row(
            "train-seed", TRAIN, "the tutorial loop, padded to 256", "train-ours", "train-seed", 25
        ),
        Row("train-hf", TRAIN, f"Hugging Face Trainer, {MIXED}", "train-ours", "trainer"),
        Row(
            "train-limit",
            TRAIN,
            "bare torch loop, bf16, fused AdamW",
            "train-ours",
            "train-bare-bf16",
        ),
    ],
)


def crf(name: str, kind: str, task: str) -> Contender:
    """Describe a CRF."""
    return Contender(name, "crf", kind, {"task": task, "shape": [32, 128, 21]})


CRF = Group(
    "crf",
    [
        crf("crf-train-theirs", "PytorchCrf", "train"),
        crf("crf-train-ours", "Ours", "train"),
        crf("crf-decode-theirs", "PytorchCrf", "decode"),
        crf("crf-decode-ours", "Ours", "decode"),
    ],
    [
        Row(
            "crf-train",
            "CRF, log-likelihood + backward",
            "pytorch-crf",
            "crf-train-ours",
            "crf-train-theirs",
            1.5,
        ),
        Row(
            "crf-decode",
            "CRF, decode",
            "pytorch-crf",
            "crf-decode-ours",
            "crf-decode-theirs",
            1.5,
        ),
    ],
)

QA_SETTINGS = {"window": 384, "overlap": 128, "answer": 30}
QUESTIONS = Group(
    "qa",
    [
        Contender("qa-hf", "huggingface", "Questions", QA_SETTINGS, {"qa": "hf-qa"}),
        ours("qa-torch", "ours-qa", "Questions"),
        ours("qa-fp32", "ours-qa-fp32", "Questions"),
        ours("qa-int8", "ours-qa-int8", "Questions", precision="int8"),
    ],
    [
        Row(
            "qa-fp32",
            "questions on SQuAD, exact",
            "Hugging Face question-answering",
            "qa-fp32",
            "qa-hf",
            5.0,
            ANSWERS,
        ),
        Row(
            "qa-int8",
            "questions on SQuAD, int8",
            "Hugging Face question-answering",
            "qa-int8",
            "qa-hf",
            None,
            ANSWERS_INT8,
        ),
        Row(
            "qa-torch",
            "questions on SQuAD, torch fp32",
            "Hugging Face question-answering",
            "qa-torch",
            "qa-hf",
            None,
            ANSWERS,
        ),
    ],
)

NO_NER = {"exclude": ["bert_ner"], "calls": 40}
LATENCY = Group(
    "latency",
    [
        Contender(
            "one-hf", "huggingface", "OneText", {"calls": 40}, {"classifier": "hf-classifier"}
        ),
        ours("one-torch", "ours", "OneText", **NO_NER),
        ours("one-fp32", "ours-fp32", "OneText", **NO_NER),
    ],
    [
        Row(
            "one-fp32",
            "nlp(text), one short text, exact",
            "Hugging Face pipeline, one head",
            "one-fp32",
            "one-hf",
            1.0,
        ),
        Row(
            "one-torch",
            "nlp(text), one short text, torch fp32",
            "Hugging Face pipeline, one head",
            "one-torch",
            "one-hf",
        ),
    ],
)

SHARE = Group(
    "share",
    [
        ours("share-int8", "ours-int8", "Share", precision="int8"),
        ours("share-torch", "ours", "Share"),
    ],
    [
        Row("share-int8", "wall time outside the encoder, int8", "-", "share-int8", "", 0.10),
        Row("share-torch", "wall time outside the encoder, torch fp32", "-", "share-torch", ""),
    ],
)

# Enough texts that the start of two processes does not decide.
COPIES = {"copies": 4}
PROCESSES = Group(
    "processes",
    [
        ours("one-process", "ours", **COPIES),
        ours("two-processes", "ours", n_process=2, **COPIES),
    ],
    [
        Row(
            "processes",
            f"{PIPE}, torch fp32, n_process=2",
            "one process of two threads",
            "two-processes",
            "one-process",
        )
    ],
    is_quick=False,
)


def size(name: str, title: str, pipeline: str, encoder: str, texts: str) -> Group:
    """Describe the comparison on another size of model."""
    return Group(
        f"size-{name}",
        [
            bare(f"bare-{name}", "TorchLoop", encoder, texts=texts),
            ours(f"ours-{name}", pipeline, texts=texts),
        ],
        [
            Row(
                f"size-{name}",
                f"{PIPE}, {title}, torch fp32",
                BARE_TORCH,
                f"ours-{name}",
                f"bare-{name}",
            )
        ],
        is_quick=False,
    )


GROUPS = [
    PIPES,
    NER,
    TRAINING,
    CRF,
    QUESTIONS,
    LATENCY,
    SHARE,
    PROCESSES,
    size("albert", "ALBERT-tiny", "ours-zh", "encoder-zh", "texts_zh"),
    size("base", "BERT-base", "ours-base", "bert-base", "texts_base"),
]
