"""What a head keeps on disk, and the checks of it."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spacy import util
from spacy.pipeline.trainable_pipe import TrainablePipe

from ..errors import Errors
from ..layers.shims import FolderShim, HeadShim
from .files import read_cfg, read_model, read_part, write_cfg, write_part
from .known import find_pipeline
from .settings import change_setting, take_old_settings


class SavedHead(TrainablePipe):
    """A component with a `cfg` of what it has learnt, and a torch module.

    Its settings are attributes, and come from the config alone.
    """

    cfg: dict[str, Any]
    # Settings that earlier versions kept in the cfg, with the factory's own values.
    old_settings: Mapping[str, Any] = {}

    @abstractmethod
    def module_settings(self) -> dict[str, Any]:
        """Return the settings of the torch module, without its width."""

    @property
    def shim(self) -> HeadShim:
        """The holder of the torch module."""
        return self.model.shims[0]

    def change_setting(self, name: str, value: Any) -> None:
        """Change a setting, in the config of the pipeline too, so that it is saved.

        name (str): The setting.
        value (Any): Its new value.
        """
        change_setting(self, find_pipeline(self), name, value)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component; what stood there survives a failed write.

        path (str | Path): A folder.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        """
        serialize = {
            "vocab": lambda p: self.vocab.to_disk(p),
            "cfg": lambda p: write_cfg(p, self.cfg),
            "model": lambda p: write_part(p, self.model.to_bytes()),
        }
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "SavedHead":
        """Read the component.

        path (str | Path): A folder that `to_disk` wrote.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        RAISES (ValueError): B303 if a file is missing or damaged; B304 if labels or settings
            do not match the weights; B309, B307 and others if the cfg holds what cannot be; B205,
            B206 for settings of an encoder of its own that do not fit.
        """
        deserialize = {
            "vocab": lambda p: self.vocab.from_disk(p),
            "cfg": lambda p: self._take_cfg(read_part(p, read_cfg)),
            "model": lambda p: read_part(p, partial(read_model, self.model)),
        }
        util.from_disk(path, deserialize, exclude)
        self._check_cfg()
        return self

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "SavedHead":
        """Load what `to_bytes` wrote.

        bytes_data (bytes): The component.
        exclude (Iterable[str]): "vocab", "cfg" or "model".
        RAISES (ValueError): B304, B309, B307 and others as in `from_disk`.
        """
        deserialize = {
            "vocab": lambda data: self.vocab.from_bytes(data),
            "cfg": lambda data: self._take_cfg(read_cfg(data)),
            "model": lambda data: read_model(self.model, data),
        }
        util.from_bytes(bytes_data, deserialize, exclude)
        self._check_cfg()
        return self

    def _take_cfg(self, found: dict[str, Any]) -> None:
        take_old_settings(found, self, find_pipeline(self), self.old_settings)
        self.cfg.update(found)

    def _check_cfg(self) -> None:
        """Look whether what was learnt is possible, and fits the weights."""
        settings, labels = self.shim.settings, self.cfg["labels"]
        if isinstance(labels, list) and not _are_labels(labels):
            raise ValueError(Errors.B309.format(name=self.name, labels=labels))
        if settings is None:
            return
        given: dict[str, Any] = {"labels": labels}
        if isinstance(labels, list):
            given = {"width": settings["width"], **self.module_settings()}
        if given != settings:
            both = given.keys() & settings.keys()
            saved = {k: v for k, v in settings.items() if k not in both or given[k] != v}
            given = {k: v for k, v in given.items() if k not in both or settings[k] != v}
            raise ValueError(Errors.B304.format(name=self.name, given=given, saved=saved))
        encoder = self.model.get_ref("encoder")
        if any(isinstance(shim, FolderShim) for shim in encoder.shims):
            encoder.initialize()  # its weights are there; window and stride are looked at


def _are_labels(labels: list[Any]) -> bool:
    are_strings = all(isinstance(label, str) and label for label in labels)
    return are_strings and len(set(labels)) == len(labels)
