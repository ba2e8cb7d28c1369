"""`bert_ner`: named entities by a linear-chain CRF, in `doc.ents`."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from spacy.tokens import Doc, Span
from spacy.training import Example
from torch import Tensor

from ..errors import Errors, Warnings
from ..layers.ner import TagScores
from ..text.tags import spans_to_tags, tags_to_spans
from ..text.windows import pack_windows
from ..types import Ints, concat_ranges
from .base import BertHead

# Most padded tokens in one call of the CRF.
CRF_BUDGET = 65536

Gold = tuple[Ints, "np.ndarray[Any, np.dtype[np.bool_]]"]


class BertEntityRecognizer(BertHead):
    """Finds named entities that do not overlap."""

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        attrs = self.model.attrs
        return {
            "n_labels": len(self.labels),
            "scheme": attrs["scheme"],
            "lstm_width": attrs["lstm_width"],
            "use_crf": attrs["use_crf"],
        }

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the entity labels of all examples.

        RAISES (ValueError): B300 if there are none.
        """
        seen = 0
        found: set[str] = set()
        for example in examples:
            seen += 1
            found.update(ent.label_ for ent in example.reference.ents)
        if not self.labels:
            if not found:
                raise ValueError(Errors.B300.format(name=self.name, n=seen))
            for label in sorted(found):
                self.add_label(label)

    def set_annotations(self, docs: Iterable[Doc], scores: TagScores) -> None:
        """Write `doc.ents`; entities of earlier components that are free of ours stay.

        docs (Iterable[Doc]): The Docs.
        scores (TagScores): From `predict`.
        """
        docs = list(docs)
        offsets = np.concatenate(([0], np.cumsum(scores.lengths)))
        start, end, label = tags_to_spans(
            self.decode(scores), len(self.labels), self.model.attrs["scheme"], offsets
        )
        doc_of = np.searchsorted(offsets, start, side="right") - 1
        first, last = scores.tokens[start].tolist(), (scores.tokens[end - 1] + 1).tolist()
        bounds = np.searchsorted(doc_of, np.arange(len(docs) + 1)).tolist()
        ids = [self.vocab.strings.add(name) for name in self.labels]
        labels = [ids[k] for k in label]
        for doc, low, high in zip(docs, bounds, bounds[1:]):
            ents = [Span(doc, first[k], last[k], label=labels[k]) for k in range(low, high)]
            old = doc.ents
            if old and ents:
                taken = {t for ent in ents for t in range(ent.start, ent.end)}
                old = [e for e in old if taken.isdisjoint(range(e.start, e.end))]
            doc.set_ents([*ents, *old], default="outside")

    def decode(self, scores: TagScores) -> Ints:
        """Return the best tags of all tokens, Doc after Doc. Shape (N,)."""
        module = self.shim.module
        if module.crf is None:
            return scores.emissions.argmax(dim=1).cpu().numpy()
        tags = np.zeros(len(scores.tokens), dtype=np.int64)
        with torch.no_grad():
            for padded, mask, rows in _padded_groups(scores):
                best, _ = module.crf.decode(padded, mask)
                tags[rows] = best[mask].cpu().numpy()
        return tags

    def compute_loss(self, examples: Sequence[Example], output: TagScores) -> Tensor | None:
        """Return the mean negative log-likelihood over Examples with entity gold.

        Tokens whose gold is missing or does not align may have any tag.

        examples (Sequence[Example]): The batch.
        output (TagScores): Scores of the batch.
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        offsets = np.concatenate(([0], np.cumsum(output.lengths)))
        gold: dict[int, Gold] = {}
        for i, example in enumerate(examples):
            tokens = output.tokens[offsets[i] : offsets[i + 1]]
            found = self._gold_tags(example, tokens) if len(tokens) else None
            if found is not None:
                gold[i] = found
        if not gold:
            return None
        docs = sorted(gold)
        rows = [np.arange(offsets[i], offsets[i + 1]) for i in docs]
        lengths = np.array([len(r) for r in rows])
        device = output.emissions.device
        packed = output.emissions[torch.from_numpy(np.concatenate(rows)).to(device)]
        tags = torch.from_numpy(np.concatenate([gold[i][0] for i in docs])).to(device)
        known = torch.from_numpy(np.concatenate([gold[i][1] for i in docs])).to(device)
        crf = self.shim.module.crf
        if crf is None:
            return torch.nn.functional.cross_entropy(packed[known], tags[known])
        mask = _mask(lengths, device)
        padded = _pad(packed, mask)
        if bool(known.all()):
            return -crf.log_likelihood(padded, _pad(tags, mask), mask).mean()
        allowed = torch.nn.functional.one_hot(tags, packed.shape[1]).bool() | ~known[:, None]
        likelihood, possible = crf.log_likelihood_partial(padded, _pad(allowed, mask), mask)
        return -likelihood.sum() / possible.sum().clamp(min=1)

    def _gold_tags(self, example: Example, tokens: Ints) -> Gold | None:
        """Return the gold tag of each token that has pieces, and where it is known."""
        biluo = example.get_aligned_ner()
        known = np.array([tag is not None for tag in biluo])[tokens]
        if not known.any():
            return None
        number = {label: i for i, label in enumerate(self.labels)}
        place = np.searchsorted(tokens, np.arange(len(biluo) + 1))
        spans = []
        for start, end, label in _biluo_spans(biluo):
            a, b = int(place[start]), int(place[end])
            if label not in number:
                warnings.warn(
                    Warnings.BW301.format(label=label, name=self.name, labels=list(self.labels)),
                    stacklevel=2,
                )
                known[a:b] = False
            elif b > a:
                spans.append((a, b, number[label]))
        return spans_to_tags(len(tokens), spans, self.model.attrs["scheme"]), known


def _biluo_spans(tags: Sequence[str | None]) -> Iterator[tuple[int, int, str]]:
    # Entities that align lie whole in the tags; a rest without its begin or end
    # has lost a part to misalignment, which is missing already.
    start = None
    for i, tag in enumerate(tags):
        prefix = tag[0] if tag else ""
        if prefix == "U":
            yield i, i + 1, tag[2:]  # type: ignore[index]
        elif prefix == "B":
            start = i
        elif prefix == "L" and start is not None:
            yield start, i + 1, tag[2:]  # type: ignore[index]
            start = None


def _padded_groups(scores: TagScores) -> Iterator[tuple[Tensor, Tensor, Ints]]:
    """Yield padded emissions, mask and packed row numbers of groups of Docs.

    Shorter sequences cost the CRF nothing beside longer ones but memory, so the
    groups are as large as that allows.
    """
    offsets = np.concatenate(([0], np.cumsum(scores.lengths)))
    device = scores.emissions.device
    for docs in pack_windows(scores.lengths, CRF_BUDGET, np.inf):
        docs = docs[scores.lengths[docs] > 0]
        if len(docs):
            rows = concat_ranges(offsets[docs], offsets[docs + 1])
            mask = _mask(scores.lengths[docs], device)
            yield _pad(scores.emissions[torch.from_numpy(rows).to(device)], mask), mask, rows


def _mask(lengths: Ints, device: torch.device) -> Tensor:
    sizes = torch.from_numpy(np.asarray(lengths)).to(device)
    return torch.arange(int(lengths.max()), device=device)[None] < sizes[:, None]


def _pad(packed: Tensor, mask: Tensor) -> Tensor:
    padded = packed.new_zeros((*mask.shape, *packed.shape[1:]))
    padded[mask] = packed
    return padded
