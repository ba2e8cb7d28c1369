"""The sorted table of a checkpoint's index file: keys and values in checksummed blocks."""

from collections.abc import Iterator
from pathlib import Path

from ...errors import Errors
from ...util import atomic_file
from .crc import crc32c, mask_crc
from .wire import MalformedError, read_varint, unpack_snappy, write_varint

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER = 48
_TRAILER = 5
_BLOCK_SIZE = 4096
_RESTART_INTERVAL = 16


def read_table(path: Path) -> dict[bytes, bytes]:
    """Read a table and verify the checksum of each of its blocks.

    path (Path): The file.
    RETURNS (dict[bytes, bytes]): Values by key, in the order of the file.
    RAISES (ValueError): B651 the file is cut off, damaged, or no such table.
    """
    data = path.read_bytes()
    start = len(data) - _FOOTER
    if start < 0 or data[-8:] != MAGIC:
        reason = "it does not end with the mark of a sorted table, so it is cut off or foreign"
        raise ValueError(Errors.B651.format(path=path, offset=max(start, 0), reason=reason))
    at = start
    found: dict[bytes, bytes] = {}
    try:
        (at, size), after = _read_handle(data, start)
        _block(data, at, size)  # what it says is not needed, but it should be whole
        at = start
        (at, size), _ = _read_handle(data, after)
        handles = [_read_handle(value, 0)[0] for _, value in _read_entries(_block(data, at, size))]
        for at, size in handles:
            found.update(_read_entries(_block(data, at, size)))
    except MalformedError as err:
        raise ValueError(Errors.B651.format(path=path, offset=at, reason=err)) from err
    return found


def _read_handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Read where a block lies: its offset and size; and where the handle ends."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER > len(data) - _FOOTER:
        raise MalformedError(f"a block of {size} bytes would reach beyond the end")
    stored = int.from_bytes(data[end + 1 : end + _TRAILER], "little")
    if mask_crc(crc32c(data[offset : end + 1])) != stored:
        raise MalformedError(f"the checksum of a block of {size} bytes is wrong")
    kind = data[end]
    if kind == 0:
        return data[offset:end]
    if kind == 1:
        return unpack_snappy(data[offset:end])
    raise MalformedError(f"a block has the unknown compression {kind}")


def _read_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read keys, each stored as what differs from the key before, and values."""
    n_restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (n_restarts + 1)
    if end < 0:
        raise MalformedError("a block is shorter than its list of restarts")
    at = 0
    key = b""
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or at + fresh + size > end:
            raise MalformedError("an entry of a block is cut off")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + size]
        at += size


def write_table(path: Path, items: dict[bytes, bytes]) -> None:
    """Write a table, uncompressed, as TensorFlow writes it.

    path (Path): The file. It is written atomically.
    items (dict[bytes, bytes]): Values by key. They are sorted here.
    """
    with atomic_file(path, "wb") as file_:
        at = 0
        handles = []
        for entries in _cut_blocks(sorted(items.items())):
            written = _make_block(entries, _RESTART_INTERVAL)
            handles.append((entries[-1][0], _make_handle(at, written)))
            at += file_.write(written)
        foot = b""
        for block in (_make_block([], 1), _make_block(handles, 1)):
            foot += _make_handle(at, block)
            at += file_.write(block)
        file_.write(foot.ljust(_FOOTER - len(MAGIC), b"\0") + MAGIC)


def _make_handle(offset: int, block: bytes) -> bytes:
    return write_varint(offset) + write_varint(len(block) - _TRAILER)


def _cut_blocks(items: list[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    block: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in items:
        if block and size + len(key) + len(value) > _BLOCK_SIZE:
            yield block
            block, size = [], 0
        block.append((key, value))
        size += len(key) + len(value)
    yield block


def _make_block(entries: list[tuple[bytes, bytes]], interval: int) -> bytes:
    """Lay out one block with its trailer; every `interval`th key is stored whole."""
    out = bytearray()
    restarts = []
    last = b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        fresh = key[shared:]
        out += write_varint(shared) + write_varint(len(fresh)) + write_varint(len(value))
        out += fresh + value
        last = key
    for number in (*(restarts or [0]), len(restarts or [0])):
        out += number.to_bytes(4, "little")
    out.append(0)  # not compressed
    out += mask_crc(crc32c(out)).to_bytes(4, "little")
    return bytes(out)
