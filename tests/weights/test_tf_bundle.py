"""The files of a TensorFlow checkpoint: checksums, tables, tensors, and what is damaged."""

import base64
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_spacy.weights.tf.bundle import Bundle, write_bundle
from bert_spacy.weights.tf.crc import crc32c
from bert_spacy.weights.tf.table import read_table, write_table
from bert_spacy.weights.tf.wire import MalformedError, read_varint, unpack_snappy

from . import table_writer

# Index that TensorFlow 2.21 wrote for `part/table`, 0 to 899 in float32 as (300, 3) in three
# partitions of 100 rows, `half`, [[0, 1/4, 1/2], [3/4, 1, 5/4]] in bfloat16, and `text`.
PARTITIONED = (
    "AAAGCAEaAggBABQWAHBhcnQvdGFibGUAAQECgMBkgIMIARIIEgIIZBICCAMgDCiwCTWvkIi0DwYXwGTAZICDCAES"
    "CBICCGQSAggDILwJKLAJNcKrYZoQBRfIwGSAgwgBEggSAghkEgIIAyDsEiiwCTUtB/dGAAQTaGFsZggOEggSAggC"
    "EgIIAygMNWQ1DTIACjBwYXJ0L3RhYmxlCAESCRIDCKwCEgIIAzoICgIQZAoCEAM6CgoECGQQZAoCEAM6CwoFCMgB"
    "EGQKAhADAAQSdGV4dAgHEgQSAggCIJwcKAg1u6Yh3AAAAAABAAAAABL17ZUAAAAAAQAAAADA8qGwAAEDdQDtAQAA"
    "AAABAAAAAHIQMFTyAQj/AQ8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAV/uAiyR1R9s="
)


def partitioned(folder):
    """Write that checkpoint: its index, and the numbers of its data."""
    half = np.array([0, 0.25, 0.5, 0.75, 1, 1.25], dtype="<f4").view("<u4") >> 16
    data = half.astype("<u2").tobytes() + np.arange(900, dtype="<f4").tobytes()
    (folder / "p.ckpt.data-00000-of-00001").write_bytes(data + b"\1\1z\x1b\xadlab")
    (folder / "p.ckpt.index").write_bytes(base64.b64decode(PARTITIONED))
    return folder / "p.ckpt"


def test_checksum_of_published_vectors():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("size", [*range(70), 255, 256, 257, 65535, 65536, 65539, 131072, 140001])
def test_checksum_equals_its_definition(size):
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == table_writer.slow_crc(data)


@given(
    st.lists(st.sampled_from([b"abcd", b"a", b"xyzxyz", b"\0" * 90, b"abcde" * 30]), max_size=40)
)
def test_snappy_restores_the_block(parts):
    data = b"".join(parts) + bytes(range(100))
    assert unpack_snappy(table_writer.snappy(data)) == data


@pytest.mark.parametrize(
    "block", [b"\x05\x10abc", b"\x04\x09\x01", b"\x09\x00a\x05\x02", b"\x05\xf0", b"\x80"]
)
def test_bad_snappy_is_noticed(block):
    with pytest.raises(MalformedError):
        unpack_snappy(block)


def test_numbers_have_ten_bytes_at_most():
    assert read_varint(b"\xff" * 9 + b"\1", 0) == (2**64 - 1, 10)
    with pytest.raises(MalformedError):
        read_varint(b"\x80" * 11, 0)


def pairs(n):
    """Make sorted pairs whose keys share long beginnings."""
    names = sorted({f"bert/encoder/layer_{i % 12}/output/{'x' * (i % 5)}{i}" for i in range(n)})
    return [(b"", b"head")] + [(name.encode(), name[::-1].encode() * 3) for name in names]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("n, per_block, interval", [(0, 1, 1), (1, 9, 16), (99, 7, 3), (99, 1, 1)])
def test_tables_of_another_writer_are_read(tmp_path, n, per_block, interval, compress):
    table_writer.write(tmp_path / "x.index", pairs(n), per_block, interval, compress)
    assert list(read_table(tmp_path / "x.index").items()) == pairs(n)


def test_our_tables_have_several_blocks(tmp_path):
    write_table(tmp_path / "x.index", dict(reversed(pairs(300))))
    assert list(read_table(tmp_path / "x.index").items()) == pairs(300)
    assert (tmp_path / "x.index").stat().st_size > 3 * 4096


@pytest.mark.parametrize("compress", [False, True])
def test_every_flipped_bit_and_every_cut_of_an_index_is_noticed(tmp_path, compress):
    path = tmp_path / "x.index"
    table_writer.write(path, pairs(12), 5, 2, compress)
    good = path.read_bytes()
    padding = range(len(good) - 48, len(good) - 8)
    for at in set(range(len(good))) - set(padding):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        with pytest.raises(ValueError, match=r"\[B651\].*x\.index.*At byte \d+"):
            read_table(path)
    for size in range(0, len(good), 7):
        path.write_bytes(good[:size])
        with pytest.raises(ValueError, match=r"\[B651\]"):
            read_table(path)


@pytest.mark.parametrize(
    "pair",
    [
        (b"x", b""),  # no header
        (b"", b"\x08\x01\x10\x01"),  # big-endian
        (b"", b"\x08\x00"),  # no shards
        (b"", b"\x08"),  # cut off
        (b"", b"\x0b"),  # a wire type that is no longer used
    ],
)
def test_a_table_that_is_no_checkpoint_is_refused(tmp_path, pair):
    table_writer.write(tmp_path / "x.index", [pair])
    with pytest.raises(ValueError, match=r"\[B651\]"):
        Bundle(tmp_path / "x")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.index").write_bytes(b"PK\3\4" * 100)
    with pytest.raises(ValueError, match=r"\[B651\].*foreign"):
        Bundle(tmp_path / "x")
    with pytest.raises(ValueError, match=r"\[B650\].*folder: \S+x\."):
        Bundle(tmp_path / "y")


def test_partitions_of_tensorflow_are_joined(tmp_path):
    bundle = Bundle(partitioned(tmp_path))
    assert list(bundle.entries) == ["half", "part/table", "text"]
    table = bundle.read("part/table")
    assert table.dtype == np.float32
    assert np.array_equal(table, np.arange(900).reshape(300, 3))
    half = bundle.read("half")
    assert half.dtype == np.float32 and half.tolist() == [[0, 0.25, 0.5], [0.75, 1, 1.25]]
    with pytest.raises(ValueError, match=r"\[B653\].*text.* 7,"):
        bundle.read("text")


def test_damage_to_a_part_names_the_part_and_its_place(tmp_path):
    prefix = partitioned(tmp_path)
    path = tmp_path / "p.ckpt.data-00000-of-00001"
    good = path.read_bytes()
    path.write_bytes(good[:1500] + b"?" + good[1501:])
    with pytest.raises(ValueError, match=r"\[B652\].*part/table, part \(\(100, 100\).*byte 1212"):
        Bundle(prefix).read("part/table")
    path.write_bytes(good[:1500])
    with pytest.raises(ValueError, match=r"\[B652\].*part/table.*cut off"):
        Bundle(prefix).read("part/table")


@pytest.mark.parametrize("change", ["lost", "twice"])
def test_parts_that_do_not_cover_their_variable_are_refused(tmp_path, change):
    prefix = partitioned(tmp_path)
    table = read_table(tmp_path / "p.ckpt.index")
    keys = [key for key in table if key.startswith(b"\0")]
    entry = table[b"part/table"]
    middle = bytes.fromhex("3a0a0a04086410640a021003")
    assert middle in entry and len(keys) == 3
    if change == "lost":
        del table[keys[1]]
    else:
        table[b"part/table"] = entry + middle
    write_table(tmp_path / "p.ckpt.index", table)
    with pytest.raises(ValueError, match=r"\[B652\].*part/table.*not in the index, or does not"):
        Bundle(prefix).read("part/table")
    table[b"part/table"] = entry.replace(middle, b"")
    write_table(tmp_path / "p.ckpt.index", table)
    with pytest.raises(ValueError, match=r"\[B652\].*part/table.*do not cover"):
        Bundle(prefix).read("part/table")


def test_what_is_written_is_read_again(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"v{i}": rng.normal(size=(i, 3)).astype("<f4") for i in range(40)}
    arrays["global_step"] = np.array(20, dtype="<i8")
    arrays["b/transposed"] = rng.normal(size=(5, 4)).astype("<f4").T
    write_bundle(tmp_path / "x.ckpt", arrays.items())
    bundle = Bundle(tmp_path / "x.ckpt")
    assert sorted(bundle.entries) == sorted(arrays)
    for name, array in arrays.items():
        read = bundle.read(name)
        assert read.shape == array.shape and read.dtype == array.dtype
        assert np.array_equal(read, array)


def test_tensors_of_several_shards(tmp_path):
    entries = []
    for shard, name in enumerate(("a", "b")):
        data = np.arange(3, dtype="<f4") + shard
        (tmp_path / f"x.data-0000{shard}-of-00002").write_bytes(b"????" + data.tobytes())
        entry = (
            bytes.fromhex("0801 1204 1202 0803")
            + bytes([0x18, shard])
            + bytes.fromhex("2004 280c 35")
        )
        entries.append(
            (name.encode(), entry + table_writer.masked(data.tobytes()).to_bytes(4, "little"))
        )
    table_writer.write(tmp_path / "x.index", [(b"", b"\x08\x02"), *entries])
    bundle = Bundle(tmp_path / "x")
    assert [path.name for path in bundle.files()] == [
        "x.index",
        *(f"x.data-0000{i}-of-00002" for i in (0, 1)),
    ]
    assert bundle.read("a").tolist() == [0, 1, 2] and bundle.read("b").tolist() == [1, 2, 3]


def test_damaged_data_name_tensor_and_offset(tmp_path):
    arrays = {"a": np.ones((3, 2), dtype="<f4"), "b": np.zeros(5, dtype="<f4")}
    write_bundle(tmp_path / "x.ckpt", arrays.items())
    path = tmp_path / "x.ckpt.data-00000-of-00001"
    good = path.read_bytes()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :])
        name, other = ("a", "b") if at < 24 else ("b", "a")
        where = rf"\[B652\] The tensor {name} .*data-00000.* byte {0 if name == 'a' else 24}:"
        with pytest.raises(ValueError, match=where + ".*checksum"):
            Bundle(tmp_path / "x.ckpt").read(name)
        assert np.array_equal(Bundle(tmp_path / "x.ckpt").read(other), arrays[other])
    os.truncate(path, 30)
    with pytest.raises(ValueError, match=r"\[B652\] The tensor b .*byte 24: .*cut off"):
        Bundle(tmp_path / "x.ckpt").read("b")
    path.unlink()
    with pytest.raises(ValueError, match=r"\[B652\] The tensor a .*the file is missing"):
        Bundle(tmp_path / "x.ckpt").read("a")
