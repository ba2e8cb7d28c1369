"""CRC-32C of large buffers in NumPy.

The checksum is linear over bits. So a message is laid out in rows of many words, and row after row
is folded into one: to shift by a whole row is the same 32x32 matrix of bits for every column, and
two table look-ups apply it to all columns at once. The last row is folded in halves.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed
_MASK_DELTA = 0xA282EAD8
# Words in a row: 64 kB, so that a row and its tables stay in the processor's cache.
_ROW_BITS = 14

_Words = NDArray[np.uint32]


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Compute the CRC-32C (Castagnoli) of some bytes.

    data (bytes | bytearray | memoryview): The bytes.
    RETURNS (int): The checksum, 32 bits.
    """
    size = len(data)
    if size < 4:
        return _crc_bytewise(data)
    bits = min(_ROW_BITS, max(size - 1, 3).bit_length() - 2)
    row = 4 << bits
    # The first rows are copied: zeros in front change nothing and fill them up, and to invert the
    # first four bytes is to start with a register of ones.
    n_head = size if size <= row else (size - 4) % row + 4
    head = np.zeros(2 * row, dtype=np.uint8)
    head[-n_head:] = np.frombuffer(data, dtype=np.uint8, count=n_head)
    start = 2 * row - n_head
    head[start : start + 4] ^= 0xFF
    words = head.view("<u4").astype(np.uint32)
    folded = _shift(words[: 1 << bits], bits) ^ words[1 << bits :]
    rest = np.frombuffer(data, dtype="<u4", offset=n_head, count=(size - n_head) // 4)
    for line in rest.reshape(-1, 1 << bits):
        folded = _shift(folded, bits)
        folded ^= line
    while bits:
        bits -= 1
        folded = _shift(folded[: 1 << bits], bits) ^ folded[1 << bits :]
    return int(_shift(folded, 0)[0]) ^ 0xFFFFFFFF


def mask_crc(crc: int) -> int:
    """Bring a checksum into the form that TensorFlow stores.

    crc (int): A CRC-32C.
    RETURNS (int): It, rotated, plus a constant.
    """
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _crc_bytewise(data: bytes | bytearray | memoryview) -> int:
    crc = 0xFFFFFFFF
    for byte in bytes(data):
        crc = _step_bits(crc ^ byte, 8)
    return crc ^ 0xFFFFFFFF


def _step_bits(register: int, n: int) -> int:
    for _ in range(n):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def _shift(words: _Words, bits: int) -> _Words:
    """Move each word `2 ** bits` words back in the message."""
    low, high = _tables(bits)
    return low.take(words & 0xFFFF) ^ high.take(words >> 16)


@cache
def _tables(bits: int) -> tuple[_Words, _Words]:
    columns = _columns(bits)
    tables = []
    for half in (columns[:16], columns[16:]):
        table = np.zeros(1, dtype=np.uint32)
        for column in half:
            table = np.concatenate([table, table ^ np.uint32(column)])
        tables.append(table)
    return tables[0], tables[1]


@cache
def _columns(bits: int) -> list[int]:
    """Compute what a shift by `2 ** bits` words makes of each single bit."""
    if not bits:
        return [_step_bits(1 << i, 32) for i in range(32)]
    return [int(x) for x in _shift(np.array(_columns(bits - 1), dtype=np.uint32), bits - 1)]
