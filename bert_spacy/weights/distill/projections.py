"""`bert_projections`: learned maps from the student's width to the teacher's, while it trains."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from spacy import util
from spacy.language import Language
from spacy.pipeline.trainable_pipe import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model, Optimizer

from ...layers.shims import HeadShim
from ...nn.distill import Projections

NAME = "bert_projections"


class ProjectionPipe(TrainablePipe):
    """Keeps the maps in the pipeline, so that they are stepped and saved with it.

    The encoder's own loss runs through them; Docs pass unchanged. It is taken out of the
    pipeline at the end.

    nlp (Language): The pipeline.
    name (str): Name in it.
    width, teacher_width (int): See `Projections`.
    """

    def __init__(self, nlp: Language, name: str, width: int, teacher_width: int):
        self.vocab, self.name = nlp.vocab, name
        self.cfg: dict[str, Any] = {}
        shim = HeadShim(Projections, {})
        shim.make(width=width, teacher_width=teacher_width)
        self.model = Model(name, _no_forward, shims=[shim])

    @property
    def module(self) -> Projections:
        """The maps."""
        return self.model.shims[0].module

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Hand Docs on."""
        yield from stream

    def __call__(self, doc: Doc) -> Doc:
        """Hand a Doc on."""
        return doc

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Do nothing: the gradient comes from the encoder's loss."""
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        return losses

    def initialize(self, get_examples: Callable, *, nlp: Language | None = None) -> None:
        """Keep the maps as they are made."""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the maps."""
        util.to_disk(path, {"model": self._write}, exclude)

    def _write(self, path: Path) -> None:
        path.write_bytes(self.model.to_bytes())

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "ProjectionPipe":
        """Read the maps."""
        util.from_disk(path, {"model": lambda p: self.model.from_bytes(p.read_bytes())}, exclude)
        return self


def _no_forward(model: Model, X: Any, is_train: bool) -> tuple[Any, Callable]:
    return X, lambda gradient: gradient


@Language.factory(NAME, default_config={"width": 1, "teacher_width": 1})
def make_projections(nlp: Language, name: str, width: int, teacher_width: int) -> ProjectionPipe:
    """Make the maps; they live as long as the distillation.

    nlp (Language): The pipeline.
    name (str): Name in it.
    width, teacher_width (int): See `Projections`.
    """
    return ProjectionPipe(nlp, name, width, teacher_width)
