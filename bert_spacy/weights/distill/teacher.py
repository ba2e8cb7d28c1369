"""Open a teacher: a trained pipeline, or an encoder on its own."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import is_package

from ...errors import Errors
from ...nn.encoder import TransformerEncoder
from ...pipeline.base import BertHead
from ...pipeline.encoder import BertEncoder
from ...pipeline.files import load_pipeline
from ...pipeline.ner import BertEntityRecognizer
from ...pipeline.qa import BertQuestionAnswerer
from ...pipeline.textcat import BertTextCategorizer
from ...pipeline.textcat_multilabel import BertMultilabelTextCategorizer
from ...sources import SOURCES
from ..folders import CARD_FILE, find_licence

# Where a pipeline keeps the folder of its encoder.
ENCODER_FOLDER = "encoder"
CLASSIFIERS = (BertTextCategorizer, BertMultilabelTextCategorizer)
HEADS = (*CLASSIFIERS, BertEntityRecognizer, BertQuestionAnswerer)


@dataclass(frozen=True)
class Teacher:
    """A pipeline that teaches.

    name (str): What the user called it.
    nlp (Language): The pipeline.
    encoder_name (str): Its encoder's name.
    head_names (list[str]): Names of the heads that read it; none for an encoder on its own.
    """

    name: str
    nlp: Language
    encoder_name: str
    head_names: list[str]

    @property
    def encoder(self) -> TransformerEncoder:
        """The torch encoder."""
        return self.nlp.get_pipe(self.encoder_name).model.shims[0].encoder  # type: ignore[attr-defined]

    @property
    def heads(self) -> dict[str, Any]:
        """Heads by name."""
        return {name: self.nlp.get_pipe(name) for name in self.head_names}

    @property
    def others(self) -> list[str]:
        """Names of components that have nothing to do with the encoder."""
        ours = {self.encoder_name, *self.head_names}
        return [name for name in self.nlp.pipe_names if name not in ours]

    @property
    def window(self) -> int:
        """Most pieces in a window."""
        attrs = self.nlp.get_pipe(self.encoder_name).model.attrs  # type: ignore[attr-defined]
        return attrs["window"] or min(512, self.encoder.max_positions)

    def checksum(self) -> str:
        """Return a checksum of all weights that make predictions."""
        total = hashlib.sha256()
        parts = [self.encoder.model, *(head.shim.module for head in self.heads.values())]
        for part in parts:
            for key, value in part.state_dict().items():
                total.update(key.encode())
                total.update(value.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()

    def licence(self) -> str:
        """Return the licence as far as the table of weights, a card and the pipeline tell."""
        name = str(self.nlp.config["components"][self.encoder_name]["model"].get("name"))
        folder = Path(name)
        if self.nlp.path is not None:
            own = Path(self.nlp.path) / self.encoder_name / ENCODER_FOLDER
            folder = own if (own / CARD_FILE).is_file() else folder
        found, stated = find_licence(name, folder), self.nlp.meta.get("license")
        return f"{found}; of the pipeline: {stated}" if stated else found


def open_teacher(name: str, lang: str) -> Teacher:
    """Load a teacher.

    name (str): Folder or name of a trained pipeline, or an alias or folder of weights.
    lang (str): Language code, for weights.
    RETURNS (Teacher): The teacher.
    RAISES (ValueError): B724 if it cannot teach; B100 to B102 and B801 to B805 for bad weights.
    """
    if not ((Path(name) / "meta.json").is_file() or is_package(name)):
        return _open_weights(name, lang)
    nlp = load_pipeline(name)
    encoders = [n for n, pipe in nlp.components if isinstance(pipe, BertEncoder)]
    if len(encoders) != 1:
        _refuse(name, f"it has {len(encoders)} components bert_encoder")
    encoder: Any = nlp.get_pipe(encoders[0])
    heads = [n for n, pipe in nlp.pipeline if isinstance(pipe, BertHead) and pipe.listener]
    readers = [n for n in encoder.listener_map if n in nlp.pipe_names]
    unknown = [n for n in readers if not isinstance(nlp.get_pipe(n), HEADS)]
    if unknown:
        _refuse(name, f"{', '.join(unknown)} also read the encoder and cannot be taught")
    if not isinstance(encoder.model.shims[0].encoder, TransformerEncoder):
        _refuse(name, "its encoder is no transformer")
    if not encoder.model.shims[0].encoder.has_weights:
        _refuse(name, "its encoder holds an exported model alone, without weights")
    if not heads:
        _refuse(name, "no head reads its encoder; give the folder of the encoder itself")
    return Teacher(name, nlp, encoders[0], heads)


def _open_weights(name: str, lang: str) -> Teacher:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        _refuse(name, "it holds neither meta.json nor config.json")
    nlp = spacy.blank(lang)
    nlp.add_pipe("bert_encoder", config={"model": {"name": name}})
    try:
        nlp.initialize()
    except ValueError as err:
        if folder.is_dir() or name in SOURCES:
            raise
        reason = f"no folder and no installed pipeline is called so, and as weights: {err}"
        raise ValueError(Errors.B724.format(teacher=name, reason=reason)) from err
    return Teacher(name, nlp, "bert_encoder", [])


def check_labels(teacher: Teacher, docs: Iterable[Doc]) -> int:
    """Refuse gold that the teacher does not know.

    teacher (Teacher): The teacher.
    docs (Iterable[Doc]): Gold Docs of training or development data.
    RETURNS (int): How many Docs there are.
    RAISES (ValueError): B721 for labels that no head of their kind has.
    """
    cats: set[str] = set()
    ents: set[str] = set()
    n = 0
    for doc in docs:
        n += 1
        cats.update(doc.cats)
        ents.update(ent.label_ for ent in doc.ents)
    kinds_of: tuple[tuple[Any, set[str]], ...] = ((CLASSIFIERS, cats), (BertEntityRecognizer, ents))
    for kinds, found in kinds_of:
        heads = {n: head for n, head in teacher.heads.items() if isinstance(head, kinds)}
        known = {label for head in heads.values() for label in head.labels}
        if heads and found - known:
            values = {"labels": sorted(found - known), "known": sorted(known)}
            raise ValueError(Errors.B721.format(name=", ".join(heads), **values))
    return n


def _refuse(name: str, reason: str) -> None:
    raise ValueError(Errors.B724.format(teacher=name, reason=reason))
