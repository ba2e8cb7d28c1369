"""Measure how well models with different vocabularies fill in the same masked words."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..pretrain.filling import Filler, load_filler

# One word of so many is masked, in each text the same ones for all models: about 15 %.
EVERY = 7


def score_masked_words(
    folders: Sequence[Path], texts: Sequence[str]
) -> list[dict[str, float]] | None:
    """Mask whole words of texts, and see what models say of them.

    Words are what the tokenizers split beforehand, alike in all of them. The probability of a
    word is the product of its pieces', all masked together; so it can be compared where
    vocabularies differ.

    folders (Sequence[Path]): Model folders whose tokenizers differ in their pieces alone.
    texts (Sequence[str]): The texts; of longer ones the first window.
    RETURNS (list[dict[str, float]] | None): For each folder "perplexity" by word, and
        "accuracy", the share of words all of whose pieces come first, 0..1. None if there is no
        masked-word head, or no word.
    """
    try:
        fillers = [load_filler(str(folder)) for folder in folders]
    except ValueError:
        return None  # no masked-word head, or no mask
    loss, right, n_words, begun = [0.0] * len(fillers), [0] * len(fillers), 0, 0
    for text in texts:
        encoded = [
            filler.tokenizer(text, truncation=True, max_length=filler.max_pieces)
            for filler in fillers
        ]
        # The last word of a window may be cut.
        whole = min(max((w for w in e.word_ids() if w is not None), default=0) for e in encoded)
        chosen = [word for word in range(whole) if (begun + word) % EVERY == 0]
        begun += whole
        n_words += len(chosen)
        for i, (filler, encoding) in enumerate(zip(fillers, encoded)):
            for scores, best in _read_words(filler, encoding, chosen):
                loss[i] -= scores
                right[i] += best
    if not n_words:
        return None
    return [
        {"perplexity": math.exp(total / n_words), "accuracy": count / n_words}
        for total, count in zip(loss, right)
    ]


def _read_words(filler: Filler, encoding: Any, words: Sequence[int]) -> list[tuple[float, bool]]:
    """Return the log-probability of each masked word, and whether its pieces come first."""
    places: dict[int, list[int]] = {word: [] for word in words}
    for place, word in enumerate(encoding.word_ids()):
        if word in places:
            places[word].append(place)
    ids = torch.tensor(encoding["input_ids"])
    masked = ids.clone()
    masked[[place for group in places.values() for place in group]] = filler.tokenizer.mask_token_id
    with torch.inference_mode():
        logits: Tensor = filler.model(masked[None]).logits[0, :, : len(filler.tokenizer)].float()
    scores = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    first = logits.argmax(-1) == ids
    return [(float(scores[group].sum()), bool(first[group].all())) for group in places.values()]
