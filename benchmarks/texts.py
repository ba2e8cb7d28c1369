"""The texts of the speed benchmark: real ones where the data are, else made of corpus/.

Everything is drawn with a fixed seed, so that two runs have the same texts.
"""

import json
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_PIECES = 510  # with two special pieces the 512 that BERT can read
# Each so many of the items are kept for calibration, and so many texts are made of them.
HELD_OUT, N_CALIBRATION = 10, 100
# Share of sentences, paragraphs and news: 78 pieces in the mean.
SHARES = {"sentence": 0.60, "paragraph": 0.355, "news": 0.045}
# Median and spread of lognormal lengths in pieces, as measured on the real texts.
LENGTHS = {"sentence": (9.0, 0.75), "paragraph": (140.0, 0.40), "news": (400.0, 0.15)}

# Text -> end of each piece in characters.
PieceEnds = Callable[[str], list[int]]


def data_folder() -> Path | None:
    """Give the folder of data sets, or None where it is not there."""
    folder = ROOT / os.environ.get("BERT_SPACY_DATA", "../shared") / "data"
    return folder if (folder / "squad1").is_dir() else None


def cut(text: str, pieces: int, piece_ends: PieceEnds) -> str:
    """Cut a text after a number of pieces."""
    ends = piece_ends(text)
    return text if len(ends) <= pieces else text[: ends[pieces - 1]]


def read_pools(data: Path) -> dict[str, list[str]]:
    """Read sentences (SST-2), paragraphs (SQuAD) and news (BBC)."""
    sst = (data / "glue" / "SST-2" / "train.tsv").read_text(encoding="utf8").split("\n")[1:]
    bbc = (data / "bbc_news" / "cnews.train.txt").read_text(encoding="utf8").split("\n")
    return {
        "sentence": [line.split("\t")[0].strip() for line in sst if "\t" in line],
        "paragraph": list(dict.fromkeys(row["context"] for row in read_questions(data))),
        "news": [line.split("\t", 1)[1] for line in bbc if "\t" in line],
    }


def read_corpus(lang: str) -> list[str]:
    """Read the sentences of the news items in corpus/."""
    lines: list[str] = []
    for split in ("train", "dev", "test"):
        path = ROOT / "corpus" / "news" / f"{lang}.{split}.tsv"
        lines += [x.split("\t", 1)[1] for x in path.read_text("utf8").split("\n") if "\t" in x]
    return lines


def hold_out(items: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split items into those that are measured and those for calibration; none is in both."""
    unique = list(dict.fromkeys(items))
    held = unique[::HELD_OUT]
    return [item for i, item in enumerate(unique) if i % HELD_OUT], held


def join_to_length(
    parts: Sequence[str], pieces: int, joint: str, rng: random.Random, piece_ends: PieceEnds
) -> str:
    """Join random parts until there are enough pieces, and cut."""
    text = rng.choice(parts)
    while len(piece_ends(text)) < pieces:
        text = joint.join([text, *rng.choices(parts, k=1 + len(text) // 80)])
    return cut(text, pieces, piece_ends)


def make_texts(
    n: int, pools: dict[str, list[str]] | None, corpus: Sequence[str], piece_ends: PieceEnds
) -> list[str]:
    """Make texts of the stated mixture; the shares are exact and the order is random.

    n (int): How many.
    pools (dict[str, list[str]] | None): From `read_pools`; None to build texts of the
        same lengths from the corpus.
    corpus (Sequence[str]): Sentences to build them from.
    piece_ends (Callable): The tokenizer.
    RETURNS (list[str]): The texts, none over 510 pieces.
    """
    rng = random.Random(0)
    counts = {kind: round(n * share) for kind, share in SHARES.items()}
    counts["sentence"] = n - counts["paragraph"] - counts["news"]
    texts = []
    for kind, count in counts.items():
        for _ in range(count):
            if pools is not None:
                texts.append(cut(rng.choice(pools[kind]), MOST_PIECES, piece_ends))
            else:
                median, spread = LENGTHS[kind]
                length = round(median * rng.lognormvariate(0, spread))
                length = min(max(length, 4), MOST_PIECES)
                texts.append(join_to_length(corpus, length, " ", rng, piece_ends))
    rng.shuffle(texts)
    return texts


def make_sentences(
    n: int, pools: dict[str, list[str]] | None, corpus: Sequence[str], piece_ends: PieceEnds
) -> list[str]:
    """Make short texts, mean 13 pieces, for training and for latency."""
    rng = random.Random(1)
    if pools is not None:
        return rng.sample(pools["sentence"], n)
    median, spread = LENGTHS["sentence"]
    lengths = [max(3, min(62, round(median * rng.lognormvariate(0, spread)))) for _ in range(n)]
    return [join_to_length(corpus, length, " ", rng, piece_ends) for length in lengths]


def make_batches(texts: Sequence[str], size: int, piece_ends: PieceEnds) -> list[list[int]]:
    """Cut texts into training batches of similar length, in random order."""
    order = sorted(range(len(texts)), key=lambda i: len(piece_ends(texts[i])))
    batches = [order[i : i + size] for i in range(0, len(order) - size + 1, size)]
    random.Random(2).shuffle(batches)
    return batches


def read_questions(folder: Path) -> list[dict[str, str]]:
    """Read questions and contexts of SQuAD files, in their order.

    folder (Path): The data folder, or `corpus` of this project.
    RETURNS (list[dict[str, str]]): "question" and "context".
    """
    if (folder / "squad1").is_dir():
        paths = [folder / "squad1" / f"{x}-v1.1.json" for x in ("dev", "test", "train")]
    else:
        paths = [folder / "qa" / f"en.{x}.json" for x in ("train", "dev", "test")]
    return [
        {"question": qa["question"].strip(), "context": paragraph["context"]}
        for path in paths
        for article in json.loads(path.read_text("utf8"))["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def texts_of_length(
    corpus: Sequence[str], pieces: int, total: int, piece_ends: PieceEnds, joint: str = " "
) -> list[str]:
    """Make texts of one length, up to a total number of pieces."""
    rng = random.Random(pieces)
    return [
        join_to_length(corpus, pieces, joint, rng, piece_ends)
        for _ in range(max(1, total // pieces))
    ]


# Sweeps: lengths of a document in pieces, and pieces of all documents of one point.
SWEEP_LENGTHS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
SWEEP_PIECES = 16384


def make_inputs(n_texts: int, n_questions: int, ends_en: PieceEnds, ends_zh: PieceEnds) -> dict:
    """Make all texts of a run.

    n_texts (int): Texts for `nlp.pipe`.
    n_questions (int): Questions.
    ends_en (Callable): The tokenizer of English weights.
    ends_zh (Callable): The tokenizer of Chinese weights.
    RETURNS (dict): JSON for the contenders: "texts", "check" (short ones whose hidden
        states are compared), "sentences", "labels", "batches", "questions", "origin",
        "texts_zh", "texts_base", "pieces" of each list of texts, special ones included, and
        "calibration", "calibration_zh" and "calibration_questions", which are made of other
        sentences, paragraphs and questions than all before.
    """
    data = data_folder()
    corpus, corpus_held = hold_out(read_corpus("en"))
    corpus_zh, corpus_zh_held = hold_out(read_corpus("zh"))
    pools = pools_held = None
    if data is not None:
        split = {kind: hold_out(items) for kind, items in read_pools(data).items()}
        pools = {kind: measured for kind, (measured, _) in split.items()}
        pools_held = {kind: held for kind, (_, held) in split.items()}
    texts = make_texts(n_texts, pools, corpus, ends_en)
    sentences = make_sentences(640, pools, corpus, ends_en)
    pairs = read_questions(data if data is not None else ROOT / "corpus")
    contexts_held = set(hold_out(pair["context"] for pair in pairs)[1])
    pairs_held = [pair for pair in pairs if pair["context"] in contexts_held]
    pairs = [pair for pair in pairs if pair["context"] not in contexts_held]
    lists = {
        "texts": texts,
        "texts_base": texts[:60],
        "texts_zh": texts_of_length(corpus_zh, 78, 78 * n_texts, ends_zh, ""),
        "sentences": sentences,
        "check": [text for text in texts if 12 <= len(ends_en(text)) <= 90][:16],
    }
    for length in SWEEP_LENGTHS:
        lists[f"length-{length}"] = texts_of_length(corpus, length, SWEEP_PIECES, ends_en)
    ends = {key: ends_zh if key == "texts_zh" else ends_en for key in lists}
    return {
        **lists,
        "origin": "SST-2, SQuAD and BBC news" if data is not None else "joined from corpus/",
        "pieces": {
            key: sum(len(ends[key](text)) + 2 for text in texts) for key, texts in lists.items()
        },
        "labels": [len(text) % 2 for text in sentences],
        "batches": make_batches(sentences, 16, ends_en),
        "questions": (pairs * (1 + n_questions // len(pairs)))[:n_questions],
        "calibration": make_texts(N_CALIBRATION, pools_held, corpus_held, ends_en),
        "calibration_zh": texts_of_length(corpus_zh_held, 78, 78 * N_CALIBRATION, ends_zh, ""),
        "calibration_questions": pairs_held[:N_CALIBRATION],
    }
