"""Bytes as protocol buffers, sorted tables and snappy lay them out."""

from collections.abc import Iterator


class MalformedError(ValueError):
    """Tell that bytes do not follow their format; whoever knows the file gives it a code."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one number of variable length.

    data (bytes): The bytes.
    at (int): Where the number begins.
    RETURNS (tuple[int, int]): The number, from 0 to 2 ** 64 - 1, and where it ends.
    RAISES (MalformedError): The data end first, or it is longer than ten bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise MalformedError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise MalformedError("a number is too long")


def write_varint(value: int) -> bytes:
    """Encode one number of variable length.

    value (int): 0 or more.
    RETURNS (bytes): One to ten bytes.
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read the fields of a protocol buffer message in the order of the file.

    data (bytes): The message.
    YIELDS (tuple[int, int | bytes]): Number of the field; its value, as a number or as bytes.
    RAISES (MalformedError): The message is cut off or of another format.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise MalformedError(f"a field has the unknown wire type {kind}")
        if at + size > len(data):
            raise MalformedError("a field is cut off")
        part = data[at : at + size]
        yield tag >> 3, part if kind == 2 else int.from_bytes(part, "little")
        at += size


def write_number(field: int, value: int) -> bytes:
    """Encode a field that holds a number; one of 0 is left out, as is usual.

    field (int): Its number in the message.
    value (int): 0 or more.
    RETURNS (bytes): The field.
    """
    return write_varint(field << 3) + write_varint(value) if value else b""


def write_bytes(field: int, value: bytes) -> bytes:
    """Encode a field that holds bytes or a message.

    field (int): Its number in the message.
    value (bytes): The content.
    RETURNS (bytes): The field.
    """
    return write_varint(field << 3 | 2) + write_varint(len(value)) + value


def unpack_snappy(data: bytes) -> bytes:
    """Decompress one block of snappy's raw format.

    data (bytes): The compressed block.
    RETURNS (bytes): The content.
    RAISES (MalformedError): The block is cut off or of another format.
    """
    size, at = read_varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        length = (tag >> 2) + 1
        if tag & 3 == 0:  # a run of bytes as they are
            if length > 60:
                n_bytes = length - 60
                length = int.from_bytes(_take(data, at, n_bytes), "little") + 1
                at += n_bytes
            out += _take(data, at, length)
            at += length
            continue
        if tag & 3 == 1:  # a copy of what came before
            length = (tag >> 2 & 7) + 4
            back = (tag >> 5) << 8 | _take(data, at, 1)[0]
            at += 1
        else:
            n_bytes = 2 if tag & 3 == 2 else 4
            back = int.from_bytes(_take(data, at, n_bytes), "little")
            at += n_bytes
        if not 0 < back <= len(out):
            raise MalformedError("a snappy copy points before the block")
        piece = out[-back:][:length]
        out += (piece * (length // len(piece) + 1))[:length]
    if len(out) != size:
        raise MalformedError(f"a snappy block has {len(out)} bytes where {size} were announced")
    return bytes(out)


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise MalformedError("a snappy block is cut off")
    return data[at : at + size]
