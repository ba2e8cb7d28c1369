"""What the teacher predicts for Docs, kept on disk."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from spacy.attrs import LENGTH, SPACY
from spacy.tokens import Doc
from torch import Tensor
from tqdm import tqdm

from ...segments import read_segments
from ...util import atomic_file
from .soft import shift_scores, split_scores
from .teacher import Teacher

# Docs that the teacher reads together.
DOCS_AT_ONCE = 64


class Targets:
    """Scores of the teacher's heads, looked up by Doc or predicted anew.

    Scores are kept in float16, the highest of each distribution at 0, where its numbers are
    finest. Hidden states and attention are a thousand times larger and are not kept: the teacher
    is run again for them.

    teacher (Teacher): The teacher.
    """

    def __init__(self, teacher: Teacher):
        self.teacher = teacher
        self._places: dict[bytes, int] = {}
        self._rows: dict[str, Tensor] = {}
        self._offsets: dict[str, Tensor] = {}
        self._last: tuple[Sequence[Doc], dict[str, list[Tensor]]] | None = None

    def build(self, docs: Iterable[Doc], path: Path, limit: int) -> None:
        """Predict Docs and write the scores, or read those that are there.

        docs (Iterable[Doc]): All training Docs.
        path (Path): The file.
        limit (int): Most bytes of scores; later Docs are left out.
        """
        teacher = self.teacher.checksum()
        if not self._load(path, teacher):
            keys, kept = self._predict_all(docs, limit)
            tensors = {"keys": torch.tensor([list(key) for key in keys], dtype=torch.uint8)}
            for name, rows in kept.items():
                sizes = torch.tensor([0, *map(len, rows)])
                tensors[f"offsets/{name}"] = sizes.cumsum(0)
                tensors[f"rows/{name}"] = torch.cat(rows) if rows else torch.zeros(0, 1)
            with atomic_file(path, "wb") as file_:
                file_.write(save(tensors, metadata={"teacher": teacher}))
            self._load(path, teacher)

    def get(self, name: str, docs: Sequence[Doc]) -> list[Tensor]:
        """Return the teacher's scores of one head, float32, for each Doc.

        name (str): The head.
        docs (Sequence[Doc]): The Docs.
        RETURNS (list[Tensor]): Their scores, see `split_scores`.
        """
        if (
            self._last is None
            or len(docs) != len(self._last[0])
            or any(a is not b for a, b in zip(docs, self._last[0]))
        ):
            self._last = (list(docs), self._look_up(docs))
        return self._last[1][name]

    def _look_up(self, docs: Sequence[Doc]) -> dict[str, list[Tensor]]:
        places = [self._places.get(doc_key(doc)) for doc in docs]
        missing = [doc for doc, place in zip(docs, places) if place is None]
        fresh = self._predict(missing) if missing else {}
        found: dict[str, list[Tensor]] = {}
        for name in self.teacher.head_names:
            new = iter(fresh.get(name, ()))
            rows = (next(new) if place is None else self._row(name, place) for place in places)
            found[name] = [row.float() for row in rows]
        return found

    def _row(self, name: str, place: int) -> Tensor:
        low, high = self._offsets[name][place : place + 2].tolist()
        return self._rows[name][low:high]

    def _load(self, path: Path, teacher: str) -> bool:
        if not path.is_file():
            return False
        with safe_open(str(path), framework="pt") as file_:
            if file_.metadata().get("teacher") != teacher:
                return False
            keys = file_.get_tensor("keys").numpy()
            self._places = {key.tobytes(): i for i, key in enumerate(keys)}
            for name in self.teacher.head_names:
                self._offsets[name] = file_.get_tensor(f"offsets/{name}")
                self._rows[name] = file_.get_tensor(f"rows/{name}")
        return True

    def _predict_all(
        self, docs: Iterable[Doc], limit: int
    ) -> tuple[list[bytes], dict[str, list[Tensor]]]:
        keys: dict[bytes, Doc] = {}
        for doc in docs:
            keys.setdefault(doc_key(doc), doc)
        # Docs of similar length together, as in training.
        ordered = sorted(keys.items(), key=lambda item: len(item[1]))
        kept: dict[str, list[Tensor]] = {name: [] for name in self.teacher.head_names}
        done, size = [], 0
        with tqdm(total=len(ordered), desc="Teacher", unit=" Docs") as bar:
            for start in range(0, len(ordered), DOCS_AT_ONCE):
                part = ordered[start : start + DOCS_AT_ONCE]
                found = self._predict([doc for _, doc in part])
                size += sum(row.numel() * 2 for rows in found.values() for row in rows)
                if size > limit:
                    break
                done += [key for key, _ in part]
                for name, rows in found.items():
                    kept[name] += rows
                bar.update(len(part))
        return done, kept

    def _predict(self, docs: Sequence[Doc]) -> dict[str, list[Tensor]]:
        encoder: Any = self.teacher.nlp.get_pipe(self.teacher.encoder_name)
        batch = encoder.predict(docs)
        found = {}
        for name, head in self.teacher.heads.items():
            model = head.model
            model.shims[0].module.eval()
            with torch.no_grad():
                rows = split_scores(head, model.attrs["compute"](model, batch), docs)
            found[name] = [shift_scores(head, row).half().cpu() for row in rows]
        return found


def doc_key(doc: Doc) -> bytes:
    """Return a checksum of what a pipeline sees of a Doc: text, tokens and segments."""
    segments = [(x.start, x.end, x.label_) for x in read_segments(doc)]
    total = hashlib.blake2b(
        repr((doc.text, segments)).encode(errors="surrogatepass"), digest_size=16
    )
    total.update(doc.to_array([LENGTH, SPACY]).tobytes())
    return total.digest()
