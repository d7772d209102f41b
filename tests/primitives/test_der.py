# SPDX-License-Identifier: Apache-2.0
"""The reader of DER sees every element, and gives up at once on whatever is not DER."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.der import elements, sequences
from securekit.exceptions import FormatError
from tests.der import tlv

DATA = bytes.fromhex("06092a864886f70d010701")  # the identifier of PKCS#7 data, as an element


@given(st.lists(st.tuples(st.sampled_from([0x02, 0x04, 0x05, 0x06, 0x30, 0xA0]), st.binary(max_size=300)), max_size=8))
def test_elements_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    """Tags and contents come back, whatever the sizes."""
    assert elements(b"".join(tlv(tag, contents) for tag, contents in written)) == written


@pytest.mark.parametrize(
    "data",
    [
        b"\x30",  # no length
        b"\x30\x01",  # no contents
        b"\x30\x80\x00\x00",  # an indefinite length, X.690 section 8.1.3.6
        b"\x30\x81",  # the length itself is missing
        b"\x30\x82\x01",
        b"\x30\x84\xff\xff\xff\xff",  # 4 GiB
        b"\x30\x88" + b"\xff" * 8,  # 16 EiB
        b"\x30\xff" + b"\xff" * 127,  # X.690 section 8.1.3.5 c
        b"\x1f\x01\x00",  # a tag of several octets
        b"\x30\x00\x04",  # something behind
    ],
)
def test_what_is_not_der_is_refused(data: bytes) -> None:
    """Missing bytes, indefinite and enormous lengths, and long tags are a FormatError."""
    with pytest.raises(FormatError, match="not DER"):
        elements(data)


def test_sequences_are_found_in_pkcs_7_data() -> None:
    """Every sequence is yielded, however deep, and also inside an octet string that PKCS#7 calls data."""
    inner = tlv(0x30, tlv(0x02, b"\x05"))
    outer = tlv(0x30, DATA + tlv(0xA0, tlv(0x04, inner)))
    assert list(sequences(tlv(0x30, tlv(0x31, outer)))) == [
        [(0x31, outer)],
        [(0x06, DATA[2:]), (0xA0, tlv(0x04, inner))],
        [(0x02, b"\x05")],
    ]


def test_octets_of_other_kinds_are_not_looked_into() -> None:
    """An octet string elsewhere may hold anything."""
    assert list(sequences(tlv(0x30, tlv(0x04, b"\xff\xff")))) == [[(0x04, b"\xff\xff")]]


@pytest.mark.parametrize("contents", [tlv(0x02, b"\x01"), tlv(0x24, tlv(0x04, b""))])
def test_pkcs_7_data_must_be_one_octet_string(contents: bytes) -> None:
    """Data in pieces, which BER allows, is refused: iterations could hide in it."""
    with pytest.raises(FormatError, match="not DER"):
        list(sequences(tlv(0x30, DATA + tlv(0xA0, contents))))


@pytest.mark.parametrize(("depth", "allowed"), [(32, True), (33, False), (10_000, False)])
def test_nesting_is_bounded(depth: int, allowed: bool) -> None:
    """Deep nesting ends in an error of ours, not in Python's recursion limit, and quickly."""
    data = b""
    for _ in range(depth):
        data = tlv(0x30, data)
    begin = time.process_time()
    if allowed:
        assert len(list(sequences(data))) == depth
    else:
        with pytest.raises(FormatError, match="not DER"):
            list(sequences(data))
    assert time.process_time() - begin < 0.1


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever the bytes, the answer is a list or a FormatError."""
    try:
        assert isinstance(elements(data), list)
        list(sequences(data))
    except FormatError:
        pass


@pytest.mark.parametrize("data", [b"\x30\x00" * 4097, tlv(0x30, b"\x05\x00" * 4097), tlv(0x30, tlv(0x31, b"\x30\x00" * 2048) * 3)])
def test_elements_are_counted(data: bytes) -> None:
    """More elements than any key file has end in an error, also when no level has many."""
    with pytest.raises(FormatError, match="too many elements"):
        list(sequences(data))
    assert len(list(sequences(tlv(0x30, b"\x30\x00" * 4095)))) == 4096
