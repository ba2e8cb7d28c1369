"""The model of a pretraining: encoder, masked-word head, sentence head, and their losses."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AlbertConfig,
    AlbertForPreTraining,
    BertConfig,
    BertForPreTraining,
)

from ...errors import Errors
from ...nn.dropout import fast_dropout
from ...nn.encoder import quiet
from .packing import NO_PAIR

CONFIGS = {"bert": BertConfig, "albert": AlbertConfig}
CLASSES = {"bert": BertForPreTraining, "albert": AlbertForPreTraining}
_SENTENCE = ("cls.seq_relationship.", "sop_classifier.")
_WORDS = ("cls.predictions.", "predictions.")


class PretrainTask(nn.Module):
    """Sums of losses and of right answers. Logits are made for hidden pieces alone.

    model (PreTrainedModel): A BertForPreTraining or AlbertForPreTraining.
    has_pairs (bool): Whether there is a sentence task.
    """

    def __init__(self, model: Any, has_pairs: bool):
        super().__init__()
        self.model = model
        self.has_pairs = has_pairs

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        types: Tensor,
        places: Tensor,
        labels: Tensor,
        pairs: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the model on a batch.

        ids, mask, types (Tensor): Windows. Shape (B, P).
        places, labels (Tensor): Hidden pieces, by their place in (B * P). Shape (N,).
        pairs (Tensor): Labels of the sentence task, or NO_PAIR. Shape (B,).
        RETURNS (tuple[Tensor, Tensor, Tensor]): Sum of the losses of the hidden pieces;
            of the sentence task; and how many pieces and pairs were right, shape (2,).
        """
        words, logits = self.predict(ids, mask, types, places)
        word_loss = cross_entropy(words, labels, reduction="sum")
        right = torch.stack([(words.argmax(-1) == labels).sum(), labels.new_zeros(())])
        pair_loss = word_loss.new_zeros(())
        if logits is not None:
            pair_loss = cross_entropy(logits, pairs, ignore_index=NO_PAIR, reduction="sum")
            right[1] = (logits.argmax(-1) == pairs).sum()
        return word_loss, pair_loss, right

    def predict(
        self, ids: Tensor, mask: Tensor, types: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits of hidden pieces, and those of the sentence task if there is one.

        ids, mask, types (Tensor): Windows. Shape (B, P).
        places (Tensor): Hidden pieces, by their place in (B * P). Shape (N,).
        RETURNS (tuple[Tensor, Tensor | None]): Over the vocabulary V, shape (N, V); and
            shape (B, 2). Both float32.
        """
        model = self.model
        with fast_dropout(ids.device) if self.training else nullcontext():
            output = model.base_model(ids, attention_mask=mask, token_type_ids=types)
        rows = output.last_hidden_state.flatten(0, 1)[places]
        is_bert = model.config.model_type == "bert"
        words = (model.cls.predictions if is_bert else model.predictions)(rows).float()
        if not self.has_pairs:
            return words, None
        head = model.cls.seq_relationship if is_bert else model.sop_classifier
        return words, head(output.pooler_output).float()

    def set_trained(self, heads_alone: bool) -> None:
        """Choose what is trained: all that the task uses, or the heads without the encoder.

        heads_alone (bool): Leave the encoder as it is; its word embeddings belong to it.
        """
        for name, parameter in self.model.named_parameters():
            in_encoder = name.startswith(f"{self.model.base_model_prefix}.")
            of_pairs = ".pooler" in name or name.startswith(_SENTENCE)
            used = self.has_pairs or not of_pairs
            parameter.requires_grad_(used and not (heads_alone and in_encoder))


def load_task(folder: Path, name: str, has_pairs: bool) -> tuple[PretrainTask, list[str]]:
    """Load a folder; heads that it lacks are new.

    folder (Path): The folder.
    name (str): What the user called it.
    has_pairs (bool): Whether there is a sentence task.
    RETURNS (tuple[PretrainTask, list[str]]): The model; and its new parts, of "masked-word
        head", "sentence head" and "pooler".
    RAISES (ValueError): B100 if weights of the encoder are missing or cannot be read,
        B702 for another architecture.
    """
    with quiet():
        try:
            kind = BertConfig.get_config_dict(folder)[0].get("model_type")
            if kind not in CLASSES:
                reason = f"its model_type is {kind!r}"
                raise _WrongKindError(reason)
            model, info = CLASSES[kind].from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                torch_dtype=torch.float32,
            )
        except _WrongKindError as err:
            raise ValueError(Errors.B702.format(name=name, reason=err)) from None
        except Exception as err:  # noqa: BLE001 - safetensors and torch raise their own kinds
            reason = f"{type(err).__name__}: {err}".splitlines()[0][:300]
            raise ValueError(Errors.B100.format(name=name, reason=reason)) from err
    missing = [*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])]
    new = {part for key in missing if (part := _part(key))}
    if wrong := [key for key in missing if not _part(key)]:
        reason = f"tensors are missing or have another shape: {', '.join(wrong[:5])}"
        raise ValueError(Errors.B100.format(name=name, reason=reason))
    return PretrainTask(model, has_pairs), sorted(new)


def new_task(settings: dict[str, Any], n_pieces: int, pad_id: int, has_pairs: bool) -> PretrainTask:
    """Make a model with random weights.

    settings (dict[str, Any]): "model_type" and what else its config takes.
    n_pieces (int): Size of the vocabulary: one more than the largest id.
    pad_id (int): Id of the padding piece.
    has_pairs (bool): Whether there is a sentence task.
    RETURNS (PretrainTask): The model.
    RAISES (ValueError): B701 for settings that make no model.
    """
    rest = {key: value for key, value in settings.items() if key != "model_type"}
    kind = settings.get("model_type")
    known = CONFIGS[kind]().to_dict() if kind in CONFIGS else {}
    unknown = sorted(set(rest) - set(known))
    if kind not in CONFIGS or unknown or "vocab_size" in rest:
        name = (
            "model.model_type" if kind not in CONFIGS else f"model.{(unknown or ['vocab_size'])[0]}"
        )
        value = kind if kind not in CONFIGS else rest.get((unknown or ["vocab_size"])[0])
        allowed = f"model_type of {', '.join(CONFIGS)}, and settings of its config but vocab_size"
        raise ValueError(Errors.B701.format(name=name, value=value, allowed=allowed))
    try:
        config = CONFIGS[kind](**rest, vocab_size=n_pieces, pad_token_id=pad_id)
        model = CLASSES[kind](config)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as err:
        allowed = f"settings that make a model, but: {err}"
        raise ValueError(Errors.B701.format(name="model", value=rest, allowed=allowed)) from err
    return PretrainTask(model, has_pairs)


def known_ids(tokenizer: Any) -> list[int]:
    """Return the ids that stand for a piece, in order: rows of an embedding may outnumber them."""
    return sorted(set(tokenizer.get_vocab().values()))


def kept_state(task: PretrainTask, new: list[str]) -> tuple[str, dict[str, Tensor]]:
    """Return the class and the weights worth keeping: no head that nobody has trained.

    task (PretrainTask): The model.
    new (list[str]): Parts that were new before the training.
    RETURNS (tuple[str, dict[str, Tensor]]): The name of the class that opens them, and they.
    """
    dropped = set() if task.has_pairs else set(new)
    state = {
        key: value
        for key, value in task.model.state_dict().items()
        if _part(key) == "masked-word head" or _part(key) not in dropped
    }
    kind = "ForPreTraining" if any(key.startswith(_SENTENCE) for key in state) else "ForMaskedLM"
    return type(task.model).__name__.replace("ForPreTraining", kind), state


def _part(key: str) -> str:
    if key.startswith(_SENTENCE):
        return "sentence head"
    if key.startswith(_WORDS):
        return "masked-word head"
    return "pooler" if ".pooler" in f".{key}" else ""


class _WrongKindError(Exception):
    """The folder holds a model of another architecture."""
