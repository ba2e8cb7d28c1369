"""Rows of hidden states set aside in a temporary file, for very long documents."""

import tempfile
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors


class RowFile:
    """A matrix of float32 rows in an unnamed temporary file.

    A document of a million pieces has more than a gigabyte of hidden states;
    here they wait on disk while each head reads them block by block. The file
    is gone when this object is.

    n_rows (int): Rows, P.
    width (int): Columns, H.
    """

    def __init__(self, n_rows: int, width: int):
        self.shape = (n_rows, width)
        self._file = tempfile.TemporaryFile(prefix="bert_spacy.")  # noqa: SIM115 - lives on

    def write(self, rows: np.ndarray, values: Tensor) -> None:
        """Store the values of some rows, in runs of consecutive ones.

        rows (ndarray): Row numbers. Shape (N,).
        values (Tensor): Shape (N, H).
        RAISES (OSError): B203 if the disk is full.
        """
        data = values.detach().float().cpu().numpy()
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        edges = [0, *breaks.tolist(), len(rows)]
        try:
            for low, high in zip(edges, edges[1:]):
                if high > low:
                    self._file.seek(int(rows[low]) * self.shape[1] * 4)
                    self._file.write(np.ascontiguousarray(data[low:high]).data)
            self._file.flush()
        except OSError as err:
            # What is left in the buffer would be tried again, and complain, when this is gone.
            with suppress(OSError):
                self._file.close()
            folder = tempfile.gettempdir()
            raise OSError(Errors.B203.format(reason=err, folder=folder)) from err

    def read(self, start: int, end: int) -> Tensor:
        """Return rows [start, end). Shape (end - start, H)."""
        width = self.shape[1] * 4
        self._file.seek(start * width)
        data = bytearray(self._file.read((end - start) * width))
        if not data:
            return torch.zeros((0, self.shape[1]))
        return torch.frombuffer(data, dtype=torch.float32).view(-1, self.shape[1])
