"""A second, plain writer of sorted tables, so that the reader is not tested by its own sister."""

from pathlib import Path

MAGIC = bytes.fromhex("57fb808b247547db")


def slow_crc(data):
    """Compute a CRC-32C bit by bit, from its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    """Rotate right by 15 bits and add the constant that LevelDB documents."""
    crc = slow_crc(data)
    return ((crc >> 15) + (crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def varint(number):
    """Write seven bits a byte, the low ones first."""
    digits = []
    while True:
        digits.append(number % 128)
        number //= 128
        if not number:
            break
    return bytes([d + 128 for d in digits[:-1]] + digits[-1:])


def snappy(data):
    """Compress greedily: copies of the last occurrence, literals between them."""
    out, start, at, seen = varint(len(data)), 0, 0, {}

    def literal(piece):
        if not piece:
            return b""
        if len(piece) <= 60:
            return bytes([(len(piece) - 1) * 4]) + piece
        return bytes([61 * 4]) + (len(piece) - 1).to_bytes(2, "little") + piece

    while at + 4 <= len(data):
        key, length = data[at : at + 4], 4
        source = seen.get(key)
        seen[key] = at
        if source is None:
            at += 1
            continue
        while (
            at + length < len(data) and length < 64 and data[source + length] == data[at + length]
        ):
            length += 1
        back = at - source
        out += literal(data[start:at])
        if length < 12 and back < 2048:
            out += bytes([1 + (length - 4) * 4 + (back >> 8) * 32, back & 255])
        elif back % 2:
            out += bytes([3 + (length - 1) * 4]) + back.to_bytes(4, "little")
        else:
            out += bytes([2 + (length - 1) * 4]) + back.to_bytes(2, "little")
        at += length
        start = at
    return out + literal(data[start:])


def block(pairs, interval, compress):
    """Lay out one block and its trailer."""
    body, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(pairs):
        same = 0
        if number % interval == 0:
            restarts.append(len(body))
        else:
            while same < len(key) and key[: same + 1] == before[: same + 1]:
                same += 1
        body += varint(same) + varint(len(key) - same) + varint(len(value)) + key[same:] + value
        before = key
    restarts = restarts or [0]
    for number in [*restarts, len(restarts)]:
        body += number.to_bytes(4, "little")
    body = snappy(body) + b"\1" if compress else body + b"\0"
    return body + masked(body).to_bytes(4, "little")


def write(path: Path, pairs, per_block=7, interval=3, compress=False):
    """Write a table with so many pairs a block and a whole key every `interval` pairs."""
    out, handles = b"", []
    for i in range(0, len(pairs), per_block):
        part = block(pairs[i : i + per_block], interval, compress)
        handles.append((pairs[i : i + per_block][-1][0], varint(len(out)) + varint(len(part) - 5)))
        out += part
    foot = b""
    for part in (block([], 1, compress), block(handles, 1, compress)):
        foot += varint(len(out)) + varint(len(part) - 5)
        out += part
    path.write_bytes(out + foot + bytes(40 - len(foot)) + MAGIC)
