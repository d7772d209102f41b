# SPDX-License-Identifier: Apache-2.0
"""Bytes that were changed, cut, moved and mixed: nothing false is ever given out, and a good header of two is enough."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from securekit._primitives.cobblestone import CHUNK_SIZE, HEADER_SIZE, SEALED_CHUNK_SIZE
from securekit.envelope import Envelope, SealedReader, inspect_file
from securekit.envelope._header import read_header
from securekit.exceptions import DecryptionError, EnvelopeError, FormatError, KeyNotFoundError, SecureKitError
from securekit.wrappers import KeyWrapper
from tests.conftest import Count
from tests.envelope.parts import CONTEXT, DATA_KEY, LOCAL, OPAQUE, Pipe, everyone, flips, header, local, payload_of, read, slotted, stream

ALLOWED = (DecryptionError, FormatError, KeyNotFoundError)
ENVELOPE = Envelope(LOCAL)
DATA = bytes(range(256)) * 200  # 51,200 bytes: three full chunks and a short one


def refusal(sealed: bytes, envelope: Envelope = ENVELOPE) -> type[SecureKitError]:
    """Return with which error a message is refused, having checked that a decryption error says nothing."""
    with pytest.raises(ALLOWED) as caught:
        envelope.decrypt(sealed, context=CONTEXT)
    if isinstance(caught.value, DecryptionError):
        assert (caught.value.args, caught.value.__cause__, caught.value.__context__) == ((OPAQUE,), None, None)
    return type(caught.value)


def given_by(reader: SealedReader, step: int) -> bytes:
    """Return what a reader gives out before it fails, which it must."""
    given = bytearray()
    try:
        while piece := reader.read(step):
            given += piece
    except DecryptionError:
        return bytes(given)
    pytest.fail("the data came to an end without an error")


def given_out(sealed: bytes, step: int = 1024) -> list[bytes]:
    """Return what is given out of a changed stream: read on, in a pipe, by the chunk, and from its end."""
    outcomes = []
    for source in (io.BytesIO(sealed), Pipe(sealed)):
        try:
            reader = ENVELOPE.open_reader(source, context=CONTEXT)  # type: ignore[arg-type]
        except ALLOWED:
            outcomes.append(b"")
        else:
            outcomes.append(given_by(reader, step))
    return outcomes


@pytest.mark.repetitive
@pytest.mark.parametrize("kind", ["local", "keyring", "p256", "post-quantum"])
def test_every_bit_of_a_message_counts(kind: str, count: Count) -> None:
    """No message with one bit flipped opens, whatever it is wrapped to."""
    envelope = Envelope(everyone()[kind])
    sealed = envelope.encrypt(b"an invoice of 4711 EUR", context=CONTEXT)
    bits = range(0, 8 * len(sealed), 1 if kind in {"local", "keyring"} else 5)

    refused = [refusal(changed, envelope) for _, changed in flips(sealed, bits)]

    assert set(refused) == set(ALLOWED)
    count("bit flips refused: sealed messages", len(refused))


@pytest.mark.repetitive
def test_every_bit_of_a_stream_with_one_header_counts(count: Count) -> None:
    """No stream with one bit flipped opens, and what is read of it before is a true prefix."""
    sealed = stream(b"an invoice of 4711 EUR")

    for _, changed in flips(sealed):
        assert refusal(changed) in ALLOWED
        assert given_out(changed) == [b"", b""]
    count("bit flips refused: sealed streams", 8 * len(sealed))


def test_bits_of_a_long_stream_count(count: Count) -> None:
    """With a bit flipped in any chunk, a reader gives out the chunks before it and then fails, and keeps failing."""
    sealed = stream(DATA)
    begin = read_header(io.BytesIO(sealed).read).size
    for bit, changed in flips(sealed, range(8 * begin, 8 * len(sealed), 997)):
        chunk = (bit // 8 - begin - HEADER_SIZE) // SEALED_CHUNK_SIZE
        for given in given_out(changed):
            assert given == DATA[: max(0, chunk) * CHUNK_SIZE]
        target = bytearray(len(DATA))
        with pytest.raises(DecryptionError):
            ENVELOPE.open_reader(io.BytesIO(changed), context=CONTEXT).readinto(target)
        assert DATA.startswith(bytes(target).rstrip(b"\0"))
    count("bit flips refused: sealed streams", len(range(8 * begin, 8 * len(sealed), 997)))


@pytest.mark.repetitive
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize(
    "wrappers", [(LOCAL,), (LOCAL, everyone()["p256"], everyone()["x25519"], *map(local, range(12)))], ids=["one", "many"]
)
def test_a_flip_in_one_header_of_two_changes_nothing(
    every: int, slot: int, wrappers: tuple[KeyWrapper, ...], tmp_path: Path, count: Count
) -> None:
    """Every bit of either header, its padding included, may flip: the data is the same from a file and a pipe, and inspection tells."""
    sealed = slotted(b"secret", *wrappers)
    found = read_header(io.BytesIO(sealed).read)
    size = found.header.slot_size
    padding = range(8 * (slot * size + found.size), 8 * (slot + 1) * size, 501)
    bits = [*range(8 * slot * size, 8 * (slot * size + found.size), every if len(wrappers) == 1 else 4 * every + 1), *padding]
    path = tmp_path / "file.sk"

    for bit in bits:
        _, changed = next(flips(sealed, range(bit, bit + 1)))
        path.write_bytes(changed)
        assert read(changed, ENVELOPE) == b"secret"
        assert ENVELOPE.decrypt(changed, context=CONTEXT) == b"secret"
        with ENVELOPE.open_reader(Pipe(changed), context=CONTEXT) as reader:  # type: ignore[arg-type]
            assert reader.read() == b"secret"
        assert inspect_file(path).faults
    count("bit flips in one header of two, with the data intact", len(bits))


@pytest.mark.parametrize("exponent", range(13, 20))
def test_a_flip_in_the_size_of_the_slots_is_found_out(exponent: int, count: Count) -> None:
    """When the first header tells another size of the slots, the second one is found where it really is."""
    first = header(slot=exponent)
    payload = payload_of(b"secret")
    for bit, changed in flips(first + first + payload, range(8 * 31, 8 * 32)):
        assert read(changed, ENVELOPE) == b"secret", bit
        with ENVELOPE.open_reader(Pipe(changed), context=CONTEXT) as reader:  # type: ignore[arg-type]
            assert reader.read() == b"secret", bit
        count("bit flips in one header of two, with the data intact", 1)


def test_a_flip_in_both_headers_is_refused(count: Count) -> None:
    """Two damaged headers open nothing."""
    sealed = slotted(b"secret")
    size = read_header(io.BytesIO(sealed).read).size
    for bit, changed in flips(sealed, range(0, 8 * size, 3)):
        _, twice = next(flips(changed, range(8 * 4096 + bit, 8 * 4096 + bit + 1)))
        with pytest.raises(ALLOWED):
            read(twice, ENVELOPE)
    count("bit flips refused: both headers of two", len(range(0, 8 * size, 3)))


def test_every_bit_of_a_small_payload_counts(count: Count) -> None:
    """No flip behind the headers opens."""
    sealed = slotted(b"an invoice of 4711 EUR")
    bits = range(8 * 8192, 8 * len(sealed))
    for _, changed in flips(sealed, bits):
        with pytest.raises(DecryptionError):
            read(changed, ENVELOPE)
    count("bit flips refused: sealed files", len(bits))


@pytest.mark.parametrize(
    "make", [lambda: ENVELOPE.encrypt(b"secret", context=CONTEXT), lambda: stream(b"secret"), lambda: slotted(b"secret")]
)
def test_every_length_but_the_right_one_is_refused(make: object, count: Count) -> None:
    """Cut at any length, or extended by 1 to 64 bytes, nothing opens."""
    sealed = make()  # type: ignore[operator]
    lengths = range(len(sealed))
    for length in lengths:
        assert refusal(sealed[:length]) in ALLOWED
    for more in range(1, 65):
        assert refusal(sealed + bytes(more)) is DecryptionError
        assert refusal(sealed + sealed[:more]) is DecryptionError
    count("truncations and extensions refused", len(lengths) + 128)


def test_a_long_stream_that_is_cut_gives_a_true_prefix(count: Count) -> None:
    """Cut around every chunk, or extended, a reader gives out full chunks that are there, and then fails."""
    sealed = stream(DATA)
    begin = read_header(io.BytesIO(sealed).read).size + HEADER_SIZE
    edges = [begin + number * SEALED_CHUNK_SIZE for number in range(4)]
    lengths = sorted({edge + more for edge in edges for more in (-17, -16, -1, 0, 1, 15, 16, 17)} | set(range(begin, len(sealed), 1013)))
    for length in lengths:
        for given in given_out(sealed[:length]):
            assert given == DATA[: max(0, length - begin) // SEALED_CHUNK_SIZE * CHUNK_SIZE]
        with pytest.raises(SecureKitError):
            ENVELOPE.open_reader(io.BytesIO(sealed[:length]), context=CONTEXT).seek(0, io.SEEK_END)
    for more in (1, 16, 17, 5000, SEALED_CHUNK_SIZE, 2 * SEALED_CHUNK_SIZE):
        for given in given_out(sealed + bytes(more)):
            assert DATA.startswith(given)
            assert len(given) == 3 * CHUNK_SIZE
    count("truncations and extensions refused", 2 * len(lengths) + 12)


def chunks_of(sealed: bytes) -> tuple[bytes, list[bytes]]:
    """Return what comes before the first chunk, and the chunks."""
    begin = read_header(io.BytesIO(sealed).read).size + HEADER_SIZE
    return sealed[:begin], [sealed[at : at + SEALED_CHUNK_SIZE] for at in range(begin, len(sealed), SEALED_CHUNK_SIZE)]


def test_chunks_that_are_moved_are_refused(count: Count) -> None:
    """Swapped, dropped, doubled, or out of another file, chunks do not open; what is given out before is a true prefix."""
    head, chunks = chunks_of(stream(DATA))
    other_head, others = chunks_of(stream(DATA))
    orders = [[b, a, c, d] for a, b, c, d in [chunks]]
    for one in range(4):
        orders.append([*chunks[:one], *chunks[one + 1 :]])
        orders.append([*chunks[: one + 1], *chunks[one:]])
        orders.append([*chunks[:one], others[one], *chunks[one + 1 :]])
        orders.append([*chunks[:one], *others[one:]])
        for two in range(one):
            swapped = list(chunks)
            swapped[one], swapped[two] = swapped[two], swapped[one]
            orders.append(swapped)
    for order in orders:
        for given in given_out(head + b"".join(order)):
            assert DATA.startswith(given)
    for mixed in (
        head + b"".join(others),
        other_head + b"".join(chunks),
        head[:-HEADER_SIZE] + other_head[-HEADER_SIZE:] + b"".join(others),
    ):
        assert given_out(mixed) == [b"", b""]
    count("chunks moved, dropped, doubled and mixed, refused", 2 * len(orders) + 6)


def test_the_header_of_one_file_does_not_fit_the_payload_of_another() -> None:
    """Even for the same recipients, the same context and the same data."""
    one, other = slotted(b"secret"), slotted(b"secret")

    with pytest.raises(DecryptionError):
        read(one[:8192] + other[8192:], ENVELOPE)
    with pytest.raises(EnvelopeError, match="one of them is from elsewhere"):
        read(one[:4096] + other[4096:], ENVELOPE)


def test_a_recipient_of_another_message_does_not_open_this_one(count: Count) -> None:
    """A wrapped copy is bound to its message: moved into another header, even an authentic one, it opens nothing."""
    for kind, wrapper in everyone().items():
        mine, theirs = (read_header(io.BytesIO(Envelope(wrapper).encrypt(b"x", context={})).read).header for _ in range(2))
        moved = replace(mine, recipients=theirs.recipients).seal(DATA_KEY) + bytes(100)
        with pytest.raises(DecryptionError):
            Envelope(wrapper).decrypt(moved, context={})
        count(f"recipients moved between messages, refused ({kind})", 1)


def test_a_message_is_not_taken_for_a_stream_nor_a_stream_for_a_message() -> None:
    """Who knows the data key cannot be made to read a payload as the other kind: keys and contexts differ."""
    payload = payload_of(b"secret")
    assert Envelope(LOCAL).decrypt(header(slot=0) + payload, context=CONTEXT) == b"secret"
    with pytest.raises(DecryptionError):
        Envelope(LOCAL).decrypt(header(flags=0, slot=0) + payload, context=CONTEXT)
