"""Take the pieces out of an encoder that a corpus does not need."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ...errors import Errors
from ...nn.encoder import TransformerEncoder, load_encoder
from ..corpus import OnProblem, TextCorpus
from ..folders import WEIGHTS_FILE, check_output
from .analyze import in_batches
from .folder import (
    Source,
    new_folder,
    open_source,
    pick_rows,
    unknown_rate,
    write_report,
)
from .needed import Usage, choose_ids, make_spec
from .score import score_masked_words

# Texts whose hidden states and speed are compared, and how often speed is.
COMPARED_TEXTS, ROUNDS = 32, 3
# Texts some of whose words are masked.
SCORED_TEXTS = 256
# Why there are none.
NO_SCORES = "not measured, for want of a masked-word head or of words"


@dataclass
class Comparison:
    """The pruned tokenizer beside the old one, on the corpus.

    pieces (int): Pieces of the corpus now.
    unknown (int): Unknown ones among them.
    changed (int): Texts with other pieces than before.
    sample (list[str]): The first texts with the same pieces.
    """

    pieces: int = 0
    unknown: int = 0
    changed: int = 0
    sample: list[str] | None = None


def prune(
    name: str,
    paths: Sequence[Path],
    output: Path,
    *,
    min_count: int = 1,
    on_problem: OnProblem = lambda problem: None,
) -> dict[str, Any]:
    """Write a copy of a model folder with the pieces alone that a corpus needs.

    Beside the pieces that come in the corpus, a safe core stays: special and other added
    tokens, and single characters and bytes, so that other text can still be written in
    pieces. Ids are given anew in the same order; rows of the embeddings and of a
    masked-word head go with them.

    With `min_count` 1 each text of the corpus has the same pieces and hidden states as
    before, to the bit; this is checked before anything is written. A higher one drops
    rare pieces too, and words that had them come in smaller pieces. What that costs is measured by
    masked words of the first texts, if the folder has a masked-word head.

    name (str): A model folder or an alias.
    paths (Sequence[Path]): `.txt`, `.jsonl` and `.spacy` files, or folders of them.
    output (Path): The new folder.
    min_count (int): How often a piece must come in the corpus to stay.
    on_problem (Callable): Called with each line that is skipped.
    RETURNS (dict[str, Any]): The report. But for "speed", it is in the folder too.
    RAISES (ValueError): B670 or B671 without a corpus; B673 for a tokenizer of another
        kind; B674 for a setting; B676 for a bad output; B678 if the check fails; B677,
        B801 to B805, B100 and B101 for a bad folder.
    """
    if min_count < 1:
        raise ValueError(Errors.B674.format(name="min_count", value=min_count, allowed="1 or more"))
    source = open_source(name)
    corpus = TextCorpus(paths, on_problem, show_progress=True)
    check_output(output, source.folder, *corpus.paths)
    usage = Usage(source, corpus)
    kept = choose_ids(source, usage, min_count)
    spec = make_spec(source, kept)
    after = _compare(source, Tokenizer.from_str(json.dumps(spec)), kept, corpus)
    state = pick_rows(source.state, source.row_names, torch.tensor(kept))
    n_pieces, n_unknown = int(usage.counts.sum()), sum(usage.unknown.values())
    report = {
        "source": name,
        "corpus": asdict(corpus.counts),
        "min_count": min_count,
        "vocabulary": {"before": len(source.pieces), "after": len(kept)},
        "pieces_of_corpus": {"before": n_pieces, "after": after.pieces},
        "unknown_rate": {
            "before": unknown_rate(n_unknown, n_pieces),
            "after": unknown_rate(after.unknown, after.pieces),
        },
        "texts_changed": after.changed,
    }
    with new_folder(source, output, spec, state) as folder:
        old, new = (load_encoder(str(path), local=True) for path in (source.folder, folder))
        sample = after.sample or []
        report["largest_difference"] = _largest_difference(old, new, sample)
        report["megabytes"] = {
            "before": _megabytes(source.folder), "after": _megabytes(folder)
        }  # fmt: skip
        if min_count == 1 and (after.changed or report["largest_difference"]):
            raise ValueError(
                Errors.B678.format(n_texts=after.changed, difference=report["largest_difference"])
            )
        scores = score_masked_words([source.folder, folder], list(islice(corpus, SCORED_TEXTS)))
        report["masked_words"] = scores and dict(zip(("before", "after"), scores))
        _write_report(folder, source, paths, report)
        report["speed"] = _race(old, new, sample)
    return report


def _compare(source: Source, backend: Tokenizer, kept: list[int], corpus: TextCorpus) -> Comparison:
    result = Comparison(sample=[])
    new_ids = np.full(max(source.pieces.values()) + 1, -1)
    new_ids[kept] = np.arange(len(kept))
    unk = new_ids[source.unk_id] if source.unk_id >= 0 else -1
    backend.no_padding()
    backend.no_truncation()
    for texts in in_batches(corpus):
        before = source.backend.encode_batch(texts, add_special_tokens=False)
        after = backend.encode_batch(texts, add_special_tokens=False)
        for text, old, new in zip(texts, before, after):
            result.pieces += len(new.ids)
            result.unknown += new.ids.count(int(unk))
            same = new_ids[old.ids].tolist() == new.ids if old.ids else not new.ids
            result.changed += not same
            if same and result.sample is not None and len(result.sample) < COMPARED_TEXTS:
                result.sample.append(text)
    return result


def _largest_difference(
    old: TransformerEncoder, new: TransformerEncoder, texts: Sequence[str]
) -> float:
    differences = [float((_run(old, text) - _run(new, text)).abs().max()) for text in texts]
    return max(differences, default=0.0)


def _run(encoder: TransformerEncoder, text: str) -> Tensor:
    """Return the hidden states of the first window of a text. Shape (P, H)."""
    ids = encoder.tokenizer(
        text, truncation=True, max_length=encoder.max_positions, return_tensors="pt"
    )["input_ids"]
    with torch.inference_mode():
        return encoder(ids, torch.ones_like(ids), torch.zeros_like(ids))[0][0]


def _race(old: TransformerEncoder, new: TransformerEncoder, texts: Sequence[str]) -> float | None:
    """Return the speed of the new encoder as a multiple of the old one, None without texts."""
    if not texts:
        return None
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for encoder in (old, new):
            began = time.perf_counter()
            for text in islice(texts, COMPARED_TEXTS):
                _run(encoder, text)
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / max(seconds[1], 1e-9))
    return statistics.median(ratios)


def _megabytes(folder: Path) -> dict[str, float]:
    """Return the size of the weights and of all files."""
    sizes = {p.name: p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    weights = sum(size for name, size in sizes.items() if name.endswith(Path(WEIGHTS_FILE).suffix))
    return {"weights": round(weights / 1e6, 2), "all": round(sum(sizes.values()) / 1e6, 2)}


def _write_report(
    folder: Path, source: Source, paths: Sequence[Path], report: dict[str, Any]
) -> None:
    vocabulary, rate, sizes = report["vocabulary"], report["unknown_rate"], report["megabytes"]
    names = " ".join(path.name for path in paths)
    counts = ", ".join(f"{value} {key}" for key, value in report["corpus"].items())
    facts = [
        f"Command: `bert-spacy vocab prune {source.name} {names} -o OUT "
        f"--min-count {report['min_count']}`",
        f"Corpus: {names}: {counts}",
        f"Pieces: {vocabulary['before']} before, {vocabulary['after']} after",
        f"MB of weights: {sizes['before']['weights']} before, {sizes['after']['weights']} after",
        f"Unknown pieces of the corpus: {100 * rate['before']:.3f} % before, "
        f"{100 * rate['after']:.3f} % after; texts with other pieces: {report['texts_changed']}",
        f"Largest difference of a hidden state on the first texts: {report['largest_difference']}",
    ]
    scores = report["masked_words"]
    for name in ("perplexity", "accuracy") if scores else ():
        before, after = (f"{scores[when][name]:.4g}" for when in ("before", "after"))
        facts.append(f"Masked words of the first texts, {name}: {before} before, {after} after")
    if not scores:
        facts.append(f"Masked words of the first texts: {NO_SCORES}")
    about = "Pieces that a corpus does not need are gone."
    write_report(folder, source, about, facts, report)
