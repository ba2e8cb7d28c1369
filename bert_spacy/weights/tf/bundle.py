"""The tensor bundle, the format of TensorFlow's checkpoints: an index and data shards."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...errors import Errors
from ...util import atomic_file
from .crc import crc32c, mask_crc
from .table import read_table, write_table
from .wire import MalformedError, read_fields, write_bytes, write_number, write_varint

# TensorFlow's numbers of the types that hold weights. bfloat16 is widened to float32.
_BFLOAT16 = 14
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2", _BFLOAT16: "<u2"}
_NUMBERS = {np.dtype("<f4"): 1, np.dtype("<i8"): 9}
_WIDTHS = {key: np.dtype(name).itemsize for key, name in _TYPES.items()}

# For each dimension, the start and the length of a part; None where it takes everything.
Slice = tuple[tuple[int, int | None], ...]


@dataclass(frozen=True)
class Entry:
    """Say where one tensor lies.

    name (str): The variable, or for a part of one the variable and where the part begins.
    dtype (int): TensorFlow's number of its type.
    shape (tuple[int, ...]): Its shape.
    shard (int): Number of the data file.
    offset (int): First byte in that file.
    size (int): Its bytes.
    crc (int): Masked CRC-32C of the bytes.
    slices (tuple[Slice, ...]): The parts of a partitioned variable, which has no bytes itself.
    """

    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int
    slices: tuple[Slice, ...]


class Bundle:
    """Read a checkpoint.

    prefix (Path): Path without `.index` and `.data-...`.
    RAISES (ValueError): B650 there is none; B651 its index is damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.index = Path(f"{prefix}.index")
        if not self.index.is_file():
            folder = prefix if prefix.is_dir() else prefix.parent
            near = sorted(str(path.with_suffix("")) for path in folder.glob("*.index"))
            raise ValueError(Errors.B650.format(path=self.index, found=", ".join(near) or "none"))
        self.prefix = prefix
        table = read_table(self.index)
        self._parts = {key: value for key, value in table.items() if key.startswith(b"\0")}
        try:
            self._n_shards = _read_header(table.pop(b"", None))
            self.entries = {
                name: _read_entry(name, value)
                for name, value in ((_decode(k), v) for k, v in table.items() if k[0])
            }
        except MalformedError as err:
            raise ValueError(Errors.B651.format(path=self.index, offset=0, reason=err)) from err

    def files(self) -> list[Path]:
        """List the index and the data files.

        RETURNS (list[Path]): They need not all exist.
        """
        return [self.index, *map(self._shard_path, range(self._n_shards))]

    def read(self, name: str) -> NDArray[Any]:
        """Read one tensor and verify its checksum.

        name (str): A name from `entries`.
        RETURNS (NDArray): The tensor; bfloat16 comes as float32.
        RAISES (ValueError): B652 its bytes are missing or damaged; B653 it has a type that
            holds no weights.
        """
        entry = self.entries[name]
        if not entry.slices:
            return self._read_bytes(entry)
        self._check_type(entry)
        kind = "<f4" if entry.dtype == _BFLOAT16 else _TYPES[entry.dtype]
        whole = np.zeros(entry.shape, dtype=kind)
        seen = np.zeros(entry.shape, dtype=bool)
        for part in entry.slices:
            place = _place(part, entry.shape)
            value = self._parts.get(_slice_key(name, part))
            if place is None or value is None or seen[place].any():
                self._fail(entry, f"its part {part} is not in the index, or does not fit")
            try:
                where = _read_entry(f"{name}, part {part},", value)
            except MalformedError as err:
                self._fail(entry, str(err))
            array = self._read_bytes(where)
            if array.shape != whole[place].shape or array.dtype != whole.dtype:
                self._fail(where, f"it has the shape {array.shape} instead of its part's")
            whole[place] = array
            seen[place] = True
        if not seen.all():
            self._fail(entry, "its parts do not cover it")
        return whole

    def _read_bytes(self, entry: Entry) -> NDArray[Any]:
        self._check_type(entry)
        if entry.size != math.prod(entry.shape) * _WIDTHS[entry.dtype]:
            self._fail(entry, f"{entry.size} bytes do not make the shape {entry.shape}")
        path = self._shard_path(entry.shard)
        if not path.is_file():
            self._fail(entry, "the file is missing")
        if entry.offset + entry.size > path.stat().st_size:
            self._fail(entry, f"the file is cut off before the end of its {entry.size} bytes")
        data = bytearray(entry.size)
        with path.open("rb") as file_:
            file_.seek(entry.offset)
            file_.readinto(data)
        if mask_crc(crc32c(data)) != entry.crc:
            self._fail(entry, "the checksum is wrong")
        array = np.frombuffer(data, dtype=_TYPES[entry.dtype]).reshape(entry.shape)
        if entry.dtype == _BFLOAT16:
            array = (array.astype("<u4") << 16).view("<f4")
        return array

    def _check_type(self, entry: Entry) -> None:
        if entry.dtype not in _TYPES:
            raise ValueError(Errors.B653.format(name=entry.name, dtype=entry.dtype))

    def _shard_path(self, shard: int) -> Path:
        return Path(f"{self.prefix}.data-{shard:05d}-of-{self._n_shards:05d}")

    def _fail(self, entry: Entry, reason: str) -> NoReturn:
        path = self._shard_path(entry.shard)
        message = Errors.B652.format(name=entry.name, path=path, offset=entry.offset, reason=reason)
        raise ValueError(message)


def write_bundle(prefix: Path, tensors: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write a checkpoint of one shard.

    prefix (Path): Path without `.index` and `.data-...`. The index is written last, so that
        an interrupted call leaves no checkpoint that looks complete.
    tensors (Iterable[tuple[str, NDArray]]): Names with arrays of float32 or int64.
    """
    version = write_number(1, 1)
    table = {b"": write_number(1, 1) + write_bytes(3, version)}
    at = 0
    with atomic_file(Path(f"{prefix}.data-00000-of-00001"), "wb") as file_:
        for name, array in sorted(tensors, key=lambda item: item[0]):
            kind = _NUMBERS[array.dtype]
            data = np.ascontiguousarray(array).tobytes()
            shape = b"".join(write_bytes(2, write_number(1, n)) for n in array.shape)
            table[name.encode()] = (
                write_number(1, kind)
                + write_bytes(2, shape)
                + write_number(4, at)
                + write_number(5, len(data))
                + write_varint(6 << 3 | 5)
                + mask_crc(crc32c(data)).to_bytes(4, "little")
            )
            at += file_.write(data)
    write_table(Path(f"{prefix}.index"), table)


def _decode(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise MalformedError(f"the key {key!r} is no text") from None


def _read_header(data: bytes | None) -> int:
    """Read the number of shards."""
    if data is None:
        raise MalformedError("it has no header, so it is no index of a checkpoint")
    fields = dict(read_fields(data))
    if fields.get(2):
        raise MalformedError("it was written on a big-endian machine, which is not supported")
    n_shards = fields.get(1, 0)
    if not isinstance(n_shards, int) or not 0 < n_shards < 100000:
        raise MalformedError(f"its header gives {n_shards!r} shards")
    return n_shards


def _read_entry(name: str, data: bytes) -> Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    slices = []
    for field, value in read_fields(data):
        if isinstance(value, int):
            numbers[field] = value
        elif field == 2:
            shape = tuple(_only_number(dim) for n, dim in read_fields(value) if n == 2)
        elif field == 7:
            slices.append(tuple(_read_extent(part) for n, part in read_fields(value) if n == 1))
    return Entry(
        name=name,
        dtype=numbers[1],
        shape=shape,
        shard=numbers[3],
        offset=numbers[4],
        size=numbers[5],
        crc=numbers[6],
        slices=tuple(slices),
    )


def _only_number(data: int | bytes) -> int:
    """Read a dimension: the number in field 1, which is left out if it is 0."""
    if isinstance(data, int):
        raise MalformedError("a dimension is no message")
    value = dict(read_fields(data)).get(1, 0)
    if not isinstance(value, int):
        raise MalformedError("a dimension is no number")
    return value


def _read_extent(data: int | bytes) -> tuple[int, int | None]:
    if isinstance(data, int):
        raise MalformedError("an extent is no message")
    fields = dict(read_fields(data))
    start, length = fields.get(1, 0), fields.get(2)
    if not isinstance(start, int) or isinstance(length, bytes):
        raise MalformedError("an extent is no pair of numbers")
    return start, length


def _place(part: Slice, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Turn a part into an index of the whole, or None where it does not fit."""
    if len(part) != len(shape):
        return None
    place = []
    for (start, length), size in zip(part, shape, strict=True):
        end = size if length is None else start + length
        if end > size:
            return None
        place.append(slice(start, end))
    return tuple(place)


def _slice_key(name: str, part: Slice) -> bytes:
    """Build the key of a part: an encoding that sorts as the values do.

    SOURCE: TensorFlow's ordered code: 0, the name, the number of dimensions, and the start and
    the length (-1 for everything) of each.
    """
    key = b"\0" + name.encode().replace(b"\0", b"\0\xff") + b"\0\1"
    key += b"\1" + bytes([len(part)]) if part else b"\0"
    for start, length in part:
        key += _signed(start) + _signed(-1 if length is None else length)
    return key


def _signed(value: int) -> bytes:
    """Encode a number so that a longer one has more leading one bits, flipped if negative."""
    n_bytes = (value if value >= 0 else ~value).bit_length() // 7 + 1
    header = (0xFF << (8 - n_bytes)) & 0xFF if n_bytes <= 8 else 0xFF
    raw = bytearray(value.to_bytes(n_bytes, "big", signed=True))
    raw[0] ^= header
    if n_bytes > 8:
        raw[1] ^= 0x80 if n_bytes == 9 else 0xC0
    return bytes(raw)
