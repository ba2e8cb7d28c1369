"""`bert_ner`: named entities by a linear-chain CRF, in `doc.ents`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor

from ..errors import Errors
from ..layers.ner import TagScores
from ..nn.losses import PLAIN, Loss, balance, divergence
from ..scoring.calibration import Outcomes
from ..text.tags import log_frequencies, tag_names
from ..types import Ints
from .entities import cut_candidates, place_spans, split_rows, write_candidates, write_entities
from .given import (
    Preset,
    add_borders,
    bind_tags,
    find_presets,
    note_sentences,
    read_presets,
    read_sentences,
)
from .gold import Gold, count_gold_steps, count_tokens, pass_on, read_gold
from .judging import judge_entities
from .known import list_others
from .lattice import Floats, Lattice, Spans, make_mask, pad, split_scores
from .settings import check_thresholds, check_value
from .weighted import ClassWeights, WeightedHead

# First token, end (exclusive), label.
Entity = tuple[int, int, str]


class BertEntityRecognizer(WeightedHead):
    """Finds named entities that do not overlap, and says how probable each is.

    score_entities (bool): Give each entity its probability, `span._.score`.
    n_candidates (int): Most candidates beside the entities of a Doc; 0 for none but the
        entities that a threshold has turned down.
    candidate_threshold (float): Smallest probability of a candidate, above 0.
    loss (Loss): What is learnt from, of each token by itself; without a CRF alone.
    class_weights (ClassWeights): How much a token of each label, or "O", counts; see
        `WeightedHead`. Without a CRF alone.
    keep_entities (bool): Entities and blocked tokens of earlier components stay, and all others
        are found, and their probabilities given, on condition that these hold. Otherwise an entity
        of an earlier component stays where it is free of ours.
    RAISES (ValueError): B307 for a setting out of range; B361, B362 for settings of the model that
        do not go together.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model,
        name: str,
        *,
        score_entities: bool = True,
        n_candidates: int = 0,
        candidate_threshold: float = 0.01,
        loss: Loss = PLAIN,
        class_weights: ClassWeights = None,
        keep_entities: bool = True,
        scorer: Callable | None = None,
    ):
        super().__init__(vocab, model, name, class_weights=class_weights, scorer=scorer)
        if model.attrs["use_crf"] and (loss != PLAIN or class_weights is not None):
            raise ValueError(Errors.B567.format(name=name))
        self.loss = loss
        for what, value, allowed, is_good in (
            ("n_candidates", n_candidates, "0 or more", n_candidates >= 0),
            ("candidate_threshold", candidate_threshold, "in 0..1", 0 < candidate_threshold <= 1),
        ):
            check_value(name, what, value, allowed, is_good)
        attrs = model.attrs
        if attrs["scheme"] == "biox" and attrs["pooling"] != "first":
            raise ValueError(Errors.B361.format(name=name, pooling=attrs["pooling"]))
        if attrs["transitions"] != "learned" and not attrs["use_crf"]:
            raise ValueError(Errors.B362.format(name=name, transitions=attrs["transitions"]))
        self.score_entities = score_entities
        self.n_candidates = n_candidates
        self.candidate_threshold = candidate_threshold
        self.keep_entities = keep_entities
        # What `bert_spacy calibrate` fits; a pipeline saved without it keeps these.
        self.cfg = {"labels": [], "temperature": 1.0, "thresholds": {}}

    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""
        attrs = self.model.attrs
        names = ["scheme", "lstm_width", "use_crf"]
        # These came later: a pipeline saved before has none of them.
        later = {"constraints": True, "transitions": "learned"}
        names += [name for name, usual in later.items() if attrs[name] != usual]
        return {"n_labels": len(self.labels), **{name: attrs[name] for name in names}}

    @property
    def _scheme(self) -> tuple[tuple[str, ...], str]:
        return self.labels, self.model.attrs["scheme"]

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Learn the labels, make the model and count transitions if they are to be counted.

        get_examples (Callable): Returns all training examples.
        nlp (Language): The pipeline.
        labels (Sequence[str]): Labels, in place of those in the examples.
        RAISES (ValueError): B300 if there is no label; B204 if there is no encoder; B360 if there
            is nothing to count.
        """
        super().initialize(get_examples, nlp=nlp, labels=labels)
        crf = self.shim.module.crf
        if crf is None or self.model.attrs["transitions"] == "learned":
            return
        counts = count_gold_steps(get_examples(), *self._scheme)
        if not sum(part.sum() for part in counts):
            raise ValueError(Errors.B360.format(name=self.name))
        masks = (crf.transitions_mask, crf.start_mask, crf.end_mask)
        transitions, start, end = (mask.cpu().numpy() for mask in masks)
        logs = log_frequencies(counts, (transitions, start, end))
        crf.set_scores(*map(torch.from_numpy, logs))

    def learn_labels(self, examples: Iterable[Example]) -> None:
        """Collect the entity labels of all examples, and warn of entities that cut a token (BW303).

        RAISES (ValueError): B300 if there are none.
        """
        watched = pass_on(examples, self.name)
        self.collect_labels(watched, lambda doc: (ent.label_ for ent in doc.ents))

    def set_annotations(self, docs: Iterable[Doc], scores: TagScores) -> None:
        """Write `doc.ents`; entities of earlier components stay, see `keep_entities`.

        No entity reaches over the beginning of a sentence that earlier components have set.
        Probabilities stand in `doc.spans["bert_ner_scores"]`; what is probable but no entity,
        best first, in `doc.spans["bert_ner_candidates"]`. Entities of earlier components have the
        probability that they came with, or None.

        docs (Iterable[Doc]): The Docs.
        scores (TagScores): From `predict`.
        """
        docs = list(docs)
        presets = [find_presets(doc) if self.keep_entities else None for doc in docs]
        starts = [note_sentences(doc, self.name, keep_entities=self.keep_entities) for doc in docs]
        bound = add_borders(docs, presets, starts)
        thresholds = self.cfg["thresholds"]
        lowest = np.array([thresholds.get(label, 0.0) for label in self.labels])
        for doc, known, length in zip(docs, presets, scores.lengths):
            if length == 0:
                write_entities(doc, [], self.name, presets=known)
                write_candidates(doc, [], [], self.name)
        for index, part in split_scores(scores):
            group = [docs[i] for i in index]
            given = [presets[i] for i in index]
            lattice = self.make_lattice(part, [bound[i] for i in index])
            spans = lattice.read_spans(lattice.decode())
            if not (self.score_entities or self.n_candidates or thresholds):
                for doc, found, known in zip(
                    group, place_spans(group, lattice, spans, self.labels), given
                ):
                    write_entities(doc, found, self.name, presets=known)
                continue
            values = lattice.score(spans)
            keep = values >= lowest[spans.label]
            kept, weak = spans.select(keep), spans.select(~keep)
            ents = place_spans(group, lattice, kept, self.labels)
            for doc, new, row, known in zip(group, ents, split_rows(values[keep], ents), given):
                write_entities(doc, new, self.name, row, presets=known)
            others = place_spans(group, lattice, weak, self.labels)
            rows = split_rows(values[~keep], others)
            if self.n_candidates:
                probable, more_values = lattice.search(self.candidate_threshold)
                more = place_spans(group, lattice, probable, self.labels)
                more_rows = split_rows(more_values, more)
                for i in range(len(group)):
                    others[i], rows[i] = cut_candidates(
                        ents[i], (others[i], rows[i]), (more[i], more_rows[i]), self.n_candidates
                    )
            for doc, new, row in zip(group, others, rows):
                write_candidates(doc, new, row, self.name)

    def make_lattice(self, scores: TagScores, presets: Sequence[Sequence[Preset]] = ()) -> Lattice:
        """Return the distribution over the taggings of some Docs.

        scores (TagScores): From `predict`, of Docs that have tokens.
        presets (Sequence[Sequence[Preset]]): For each Doc the entities that are given, and spans
            without a label where none may be; or None.
        RETURNS (Lattice): The distribution, on condition that the presets hold.
        """
        scheme, crf = self.model.attrs["scheme"], self.shim.module.crf
        given = bind_tags(presets, scores, self.labels, scheme)
        return Lattice(scores, crf, scheme, len(self.labels), self.cfg["temperature"], given)

    def span_probability(
        self, docs: Iterable[Doc], spans: Iterable[Iterable[Entity]]
    ) -> list[list[float]]:
        """Return how probable it is that spans are entities, with these bounds and labels.

        docs (Iterable[Doc]): The Docs; they are read anew and stay as they are.
        spans (Iterable[Iterable[Entity]]): For each Doc, (first token, end, label) or Spans.
        RETURNS (list[list[float]]): One for each span. 0 where a span begins or ends in a token
            without pieces, such as white space.
        RAISES (ValueError): B331 for a span that is not possible; B332 without the pipeline;
            B333 if there are more Docs or more lists.
        """
        docs, wanted = list(docs), [[_as_entity(span) for span in row] for row in spans]
        if len(docs) != len(wanted):
            raise ValueError(Errors.B333.format(n_docs=len(docs), n_spans=len(wanted)))
        result = [[0.0] * len(row) for row in wanted]
        number = {label: i for i, label in enumerate(self.labels)}
        for i, (doc, row) in enumerate(zip(docs, wanted)):
            for start, end, label in row:
                if not 0 <= start < end <= len(doc) or label not in number:
                    values = {"doc": i, "n_tokens": len(doc), "labels": list(self.labels)}
                    message = Errors.B331.format(span=(start, end, label), name=self.name, **values)
                    raise ValueError(message)
        for index, lattice in self.read_lattices(docs):
            places, rows = [], []
            for k, i in enumerate(index):
                low, high = lattice.offsets[k], lattice.offsets[k + 1]
                tokens = lattice.scores.tokens[low:high]
                for j, (start, end, label) in enumerate(wanted[i]):
                    a, b = np.searchsorted(tokens, (start, end))
                    if a < b and tokens[a] == start and tokens[b - 1] == end - 1:
                        places.append((i, j))
                        rows.append((low + a, low + b, number[label]))
            table = Spans(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)
            for (i, j), value in zip(places, lattice.score(table)):
                result[i][j] = float(value)
        return result

    def tag_probability(self, docs: Iterable[Doc]) -> list[Floats]:
        """Return the probability of each tag at each token.

        docs (Iterable[Doc]): The Docs; they are read anew and stay as they are.
        RETURNS (list[Floats]): For each Doc, columns in the order of `tag_names`; tokens without
            pieces are surely "O". Shape (tokens, L).
        RAISES (ValueError): B332 without the pipeline.
        """
        docs = list(docs)
        n_tags = len(tag_names(self.labels, self.model.attrs["scheme"]))
        result = [np.eye(1, n_tags).repeat(len(doc), 0) for doc in docs]
        for index, lattice in self.read_lattices(docs):
            table, bounds = lattice.marginals(), lattice.offsets
            for i, low, high in zip(index, bounds, bounds[1:]):
                result[i][lattice.scores.tokens[low:high]] = table[low:high]
        return result

    def best_taggings(
        self, docs: Iterable[Doc], k: int = 5
    ) -> list[list[tuple[list[Span], float]]]:
        """Return the k best taggings of each Doc with their probabilities, best first.

        docs (Iterable[Doc]): The Docs; they are read anew and stay as they are.
        k (int): Taggings of a Doc; there may be fewer.
        RETURNS (list[list[tuple[list[Span], float]]]): Entities, those that were given left out,
            and the probability of all tags together. No threshold applies. Without a CRF, or
            without its constraints, several taggings may read as the same entities.
        RAISES (ValueError): B332 without the pipeline; B307 if k is not 1 or more.
        """
        is_good = isinstance(k, int) and k >= 1
        check_value(self.name, "k", k, "a whole number from 1 on", is_good)
        docs = list(docs)
        result: list[list[tuple[list[Span], float]]] = [[([], 1.0)] for _ in docs]
        for index, lattice in self.read_lattices(docs):
            group = [docs[i] for i in index]
            ranks, shares = lattice.decode_k_best(k)
            ents = [
                place_spans(group, lattice, lattice.read_spans(tags), self.labels) for tags in ranks
            ]
            for row, i in enumerate(index):
                pairs = zip(ents, shares[row].tolist())
                result[i] = [(found[row], share) for found, share in pairs if share > 0]
        return result

    def read_lattices(self, docs: Sequence[Doc]) -> Iterator[tuple[Ints, Lattice]]:
        """Run the encoder and the model over Docs once more, without changing them.

        docs (Sequence[Doc]): Docs of the pipeline's vocabulary. What was fixed when this component
            annotated them (`keep_entities`), and where sentences began, is given here too.
        YIELDS (tuple[Ints, Lattice]): Numbers of some Docs, and their lattice; Docs without a
            token to tag are left out.
        RAISES (ValueError): B332 without the pipeline.
        """
        at = 0
        for batch, scores in self.read_outputs(docs):
            for index, part in split_scores(scores):
                group = [docs[i] for i in index + at]
                keep = self.keep_entities
                presets = [read_presets(doc, self.name) if keep else None for doc in group]
                starts = [read_sentences(doc, self.name, keep_entities=keep) for doc in group]
                yield index + at, self.make_lattice(part, add_borders(group, presets, starts))
            at += len(batch)

    def judge(self, examples: Sequence[Example]) -> Outcomes:
        """Predict anew and compare with gold.

        examples (Sequence[Example]): Gold, with Docs that nothing was predicted on. They stay as
            they are; those without gold are left out.
        RETURNS (Outcomes): Each entity of the best taggings, before any threshold; without
            entities of earlier components that are kept, and the gold that these have found.
        RAISES (ValueError): B332 without the pipeline.
        """
        return judge_entities(self, examples)

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Turn down entities whose probability is below that of their label.

        thresholds (Mapping[str, float]): Smallest probability, 0..1, by label; a label that
            is missing keeps all.
        RAISES (ValueError): B330 for a label that does not exist; B307 for a value out of range.
        """
        checked = check_thresholds(self.name, self.labels, thresholds, with_zero=True)
        self.cfg["thresholds"] = checked

    def _check_cfg(self) -> None:
        super()._check_cfg()
        self.set_thresholds(self.cfg["thresholds"])

    def compute_loss(self, examples: Sequence[Example], output: TagScores) -> Tensor | None:
        """Return the mean negative log-likelihood over Examples with entity gold.

        Tokens whose gold is missing or does not align may have any tag. Entities and sentences of
        the predicted Docs are no condition, so gold may cross them. With the scheme "biox" the
        likelihood is that of the tags and of which pieces are X.

        examples (Sequence[Example]): The batch.
        output (TagScores): Scores of the batch.
        RETURNS (Tensor | None): A scalar, or None without gold.
        """
        offsets = np.concatenate(([0], np.cumsum(output.lengths)))
        gold, names = dict[int, Gold](), (self.name, list_others(self))
        for i, example in enumerate(examples):
            tokens = output.tokens[offsets[i] : offsets[i + 1]]
            found = read_gold(example, tokens, *self._scheme, *names) if len(tokens) else None
            if found is not None:
                gold[i] = found
        if not gold:
            return None
        docs = sorted(gold)
        rows = [np.arange(offsets[i], offsets[i + 1]) for i in docs]
        lengths = np.array([len(r) for r in rows])
        device = output.emissions.device
        index = torch.from_numpy(np.concatenate(rows)).to(device)
        packed = output.emissions[index]
        tags = torch.from_numpy(np.concatenate([gold[i][0] for i in docs])).to(device)
        known = torch.from_numpy(np.concatenate([gold[i][1] for i in docs])).to(device)
        crf = self.shim.module.crf
        kinds = packed.new_zeros(len(packed)) if output.kinds is None else output.kinds[index]
        if crf is None:
            loss = self.loss.exclusive(packed[known], tags[known], self._read_tag_weights(packed))
            return loss - kinds[known].mean()
        mask = make_mask(lengths, device)
        padded = pad(packed, mask)
        kind_loss = -kinds.sum() / len(docs)
        if bool(known.all()):
            return kind_loss - crf.log_likelihood(padded, pad(tags, mask), mask).mean()
        allowed = torch.nn.functional.one_hot(tags, packed.shape[1]).bool() | ~known[:, None]
        likelihood, possible = crf.log_likelihood_partial(padded, pad(allowed, mask), mask)
        return kind_loss - likelihood.sum() / possible.sum().clamp(min=1)

    @property
    def weighted_labels(self) -> tuple[str, ...]:
        """What may have a weight: all labels, and what is outside of entities."""
        return (*self.labels, "O")

    def count_weights(self, examples: Iterable[Example]) -> Tensor:
        """Return weights that make all labels, and "O", count the same. Shape (L + 1,)."""
        counts = count_tokens(examples, self.weighted_labels)
        return balance(torch.tensor(counts, dtype=torch.double))

    def _read_tag_weights(self, like: Tensor) -> Tensor | None:
        weights = self.read_weights(like)
        if weights is None:
            return None
        number = {label: i for i, label in enumerate(self.weighted_labels)}
        tags = tag_names(self.labels, self.model.attrs["scheme"])
        return weights[[number[tag.partition("-")[2] or "O"] for tag in tags]]

    def compute_divergence(self, examples: Sequence[Example], output: TagScores) -> Tensor:
        """Return how two predictions for each token, each by itself, differ; see `BertHead`."""
        has_gold = [eg.reference.has_annotation("ENT_IOB") for eg in examples]
        at = torch.from_numpy(np.repeat(has_gold, output.lengths[: len(examples)]))
        first, second = torch.log_softmax(output.emissions, 1).unflatten(0, (2, -1))
        return divergence(first[at], second[at])


def _as_entity(span: Entity | Span) -> Entity:
    return (span.start, span.end, span.label_) if isinstance(span, Span) else span
