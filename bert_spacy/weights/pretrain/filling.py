"""Fill masked pieces of texts by the masked-word head of a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM

from ...data.convert.text import is_broken
from ...errors import Errors
from ...nn.encoder import clean_tokenizer, count_positions, load_tokenizer, quiet
from ...sources import resolve_name
from .task import known_ids

BATCH = 32


@dataclass(frozen=True)
class Fill:
    """A piece that a model would put in place of a mask.

    piece (str): The piece as it stands in the vocabulary, such as "##ing".
    id (int): Its id.
    probability (float): 0..1.
    """

    piece: str
    id: int
    probability: float


@dataclass(frozen=True)
class Filler:
    """A model with a masked-word head, and its tokenizer.

    model (PreTrainedModel): In evaluation mode.
    tokenizer (PreTrainedTokenizerFast): With a mask token.
    """

    model: Any
    tokenizer: Any

    @property
    def max_pieces(self) -> int:
        """Most pieces of a text, special ones included."""
        return count_positions(self.model.base_model)


def load_filler(name: str) -> Filler:
    """Open a folder that has a masked-word head.

    name (str): A model folder or an alias.
    RETURNS (Filler): Its model and tokenizer.
    RAISES (ValueError): B100 or B101 if the folder cannot be loaded, B703 if it has no
        masked-word head or no mask token, B801 to B805 if there is no such folder.
    """
    folder = Path(resolve_name(name))
    if not folder.is_dir():
        raise ValueError(Errors.B804.format(folder=name))
    with quiet():
        tokenizer = clean_tokenizer(load_tokenizer(str(folder), True))
        if tokenizer.mask_token_id is None:
            raise ValueError(Errors.B703.format(name=name, reason="its tokenizer has no mask"))
        try:
            model, info = AutoModelForMaskedLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as err:  # noqa: BLE001 - safetensors and torch raise their own kinds
            reason = f"{type(err).__name__}: {err}".splitlines()[0][:300]
            raise ValueError(Errors.B100.format(name=name, reason=reason)) from err
    if missing := sorted(info["missing_keys"]):
        reason = f"it lacks {', '.join(missing[:3])}"
        raise ValueError(Errors.B703.format(name=name, reason=reason))
    return Filler(model.eval(), tokenizer)


def fill_masks(
    filler: Filler, texts: Sequence[str], top_k: int = 5, batch_size: int = BATCH
) -> list[list[list[Fill]]]:
    """Find the likeliest pieces for each mask of each text.

    All masks of a text are filled at once, each without knowing the others.

    filler (Filler): From `load_filler`, or a model and tokenizer of your own.
    texts (Sequence[str]): Texts that hold the mask token, such as "[MASK]".
    top_k (int): Pieces per mask, the likeliest first.
    batch_size (int): Texts that go through the model together.
    RETURNS (list[list[list[Fill]]]): For each text, for each of its masks in order, the
        pieces.
    RAISES (ValueError): B704 for a text without a mask, or with more pieces than the
        model takes.
    """
    tokenizer, model = filler.tokenizer, filler.model
    for number, text in enumerate(texts, 1):
        if is_broken(text):
            reason, mask = "it is not valid UTF-8", tokenizer.mask_token
            raise ValueError(Errors.B704.format(number=number, reason=reason, mask=mask))
    known = torch.tensor(known_ids(tokenizer), device=model.device)
    known = known[known < model.config.vocab_size]
    top_k = min(top_k, len(known))
    found: list[list[list[Fill]]] = []
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        batch = tokenizer(part, padding=True, return_tensors="pt")
        hits = batch["input_ids"] == tokenizer.mask_token_id
        for number, (length, masks) in enumerate(
            zip(batch["attention_mask"].sum(1).tolist(), hits.sum(1).tolist()), start=start + 1
        ):
            _check(filler, number, length, masks)
        batch, hits = batch.to(model.device), hits.to(model.device)
        with torch.inference_mode(), _head_reads(model, hits):
            logits = model(**batch, return_dict=True).logits[0][:, known].float()
            best = logits.softmax(-1).topk(top_k)
        fills = [
            [
                Fill(piece, number, score)
                for piece, number, score in zip(
                    tokenizer.convert_ids_to_tokens(ids), ids, scores, strict=True
                )
            ]
            for ids, scores in zip(known[best.indices].tolist(), best.values.tolist())
        ]
        at = 0
        for count in hits.sum(1).tolist():
            found.append(fills[at : at + count])
            at += count
    return found


@contextmanager
def _head_reads(model: Any, hits: Tensor) -> Iterator[None]:
    """Let the masked-word head read some pieces alone, in one row: it costs as much as the encoder.

    model (PreTrainedModel): The encoder and its head.
    hits (Tensor): Which pieces. Shape (B, P).
    """

    def pick(_: Any, inputs: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][hits][None]
        return output

    hook = model.base_model.register_forward_hook(pick)
    try:
        yield
    finally:
        hook.remove()


def _check(filler: Filler, number: int, length: int, n_masks: int) -> None:
    mask = filler.tokenizer.mask_token
    reason = ""
    if not n_masks:
        reason = f"it holds no {mask}"
    elif length > filler.max_pieces:
        reason = f"it has {length} pieces, and the model takes {filler.max_pieces}"
    if reason:
        raise ValueError(Errors.B704.format(number=number, reason=reason, mask=mask))
