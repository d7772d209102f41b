# SPDX-License-Identifier: Apache-2.0
"""Headers as strangers may write them: bounds, garbage, and how much work they can make."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.envelope import Envelope, EnvelopeInspection, inspect, inspect_file
from securekit.envelope._header import MAGIC, MAX_GENERATION, MESSAGE, STREAM, Header, read_header
from securekit.exceptions import DecryptionError, FormatError, KeyNotFoundError, SecureKitError, WrapperDeniedError
from securekit.wrappers import Binding, WrappedKey
from tests.conftest import Count
from tests.costs import processor_seconds
from tests.envelope.parts import (
    CONTEXT,
    DATA_KEY,
    LOCAL,
    MESSAGE_ID,
    Counting,
    Pipe,
    certificate,
    everyone,
    header,
    local,
    payload_of,
    slotted,
    stream,
)

ENVELOPE = Envelope(LOCAL)
GOOD = header(slot=0)


def parse(data: bytes) -> Header:
    return read_header(io.BytesIO(data).read).header


recipients = st.builds(
    WrappedKey,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=16),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.binary(min_size=1, max_size=300),
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=16),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
        max_size=8,
    ),
)


@given(
    kind=st.sampled_from([(MESSAGE, 0, 0), (STREAM, 0, 0), (STREAM, 12, 0), (STREAM, 19, MAX_GENERATION)]),
    message_id=st.binary(min_size=16, max_size=16),
    copies=st.lists(recipients, min_size=1, max_size=5, unique_by=lambda copy: copy.recipient),
)
def test_a_header_is_read_as_it_was_written(kind: tuple[int, int, int], message_id: bytes, copies: list[WrappedKey]) -> None:
    """Header to bytes and back: the same values, the same bytes, and not a byte beyond them is read."""
    flags, slot, generation = kind
    made = Header(flags, message_id, slot, generation, tuple(sorted(copies, key=lambda copy: copy.recipient)))
    sealed = made.seal(DATA_KEY)
    source = io.BytesIO(sealed + b"beyond")

    found = read_header(source.read)

    assert found.header == made
    assert [copy.about for copy in found.header.recipients] == [copy.about for copy in made.recipients]
    assert found.header.seal(DATA_KEY) == sealed
    assert (found.size, source.read()) == (len(sealed), b"beyond")


MALFORMED: dict[str, tuple[Callable[[bytearray], object], str]] = {
    "magic": (lambda data: data.__setitem__(12, ord("2")), "does not begin with 'sk-envelope/1'"),
    "flags 2": (lambda data: data.__setitem__(14, 2), "unknown flags"),
    "flags 128": (lambda data: data.__setitem__(14, 0x81), "unknown flags"),
    "slot 1": (lambda data: data.__setitem__(31, 1), "slot size out of bounds"),
    "slot 11": (lambda data: data.__setitem__(31, 11), "slot size out of bounds"),
    "slot 20": (lambda data: data.__setitem__(31, 20), "slot size out of bounds"),
    "slot 255": (lambda data: data.__setitem__(31, 255), "slot size out of bounds"),
    "generation": (lambda data: data.__setitem__(35, 1), "generation and no slots"),
    "no recipients": (lambda data: data.__setitem__(36, 0), "not 1 to 64 recipients"),
    "65 recipients": (lambda data: data.__setitem__(36, 65), "not 1 to 64 recipients"),
    "255 recipients": (lambda data: data.__setitem__(36, 255), "not 1 to 64 recipients"),
    "64 recipients": (lambda data: data.__setitem__(36, 64), "truncated|out of bounds"),
    "size 65535": (lambda data: data.__setitem__(slice(37, 39), b"\xff\xff"), "recipient out of bounds"),
    "size 4095": (lambda data: data.__setitem__(slice(37, 39), (4095).to_bytes(2)), "recipient out of bounds"),
    "size 4094": (lambda data: data.__setitem__(slice(37, 39), (4094).to_bytes(2)), "is truncated"),
    "size less": (lambda data: data.__setitem__(38, data[38] - 1), "truncated recipient"),
    "size more": (lambda data: data.__setitem__(38, data[38] + 1), "bytes behind a recipient"),
    "name 0": (lambda data: data.__setitem__(39, 0), "recipient"),
    "name 255": (lambda data: data.__setitem__(39, 255), "recipient out of bounds"),
    "name no UTF-8": (lambda data: data.__setitem__(40, 0xFF), "not UTF-8"),
    "name with NUL": (lambda data: data.__setitem__(40, 0), "not UTF-8"),
    "reference 65535": (lambda data: data.__setitem__(slice(45, 47), b"\xff\xff"), "recipient out of bounds"),
    "ciphertext 65535": (lambda data: data.__setitem__(slice(63, 65), b"\xff\xff"), "recipient out of bounds"),
    "ciphertext 3073": (lambda data: data.__setitem__(slice(63, 65), (3073).to_bytes(2)), "recipient out of bounds"),
    "facts": (lambda data: data.__setitem__(-33, 1), "truncated recipient"),
    "nine facts": (lambda data: data.__setitem__(-33, 9), "recipient out of bounds"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_what_is_not_as_written_is_a_format_error(fault: str) -> None:
    """Each bound is checked, before a key is used, and named."""
    change, words = MALFORMED[fault]
    data = bytearray(GOOD)
    change(data)

    with pytest.raises(FormatError, match=words):
        parse(bytes(data))
    with pytest.raises(FormatError):
        ENVELOPE.decrypt(bytes(data), context={})


def test_a_message_has_no_slots() -> None:
    """Two headers are a stream's alone."""
    with pytest.raises(FormatError, match="slot size out of bounds"):
        parse(header(flags=MESSAGE, slot=12))


def test_the_order_of_recipients_and_facts_is_the_only_one() -> None:
    """Descending recipients, a recipient twice, and facts out of order or twice are refused."""
    one, other = (WrappedKey("x", reference, b"c") for reference in "ab")
    for copies in ((other, one), (one, one)):
        with pytest.raises(FormatError, match="out of order or twice the same"):
            parse(header(*copies))
    body = header(replace(one, about={"a": "1", "b": "2"}), slot=0)
    for old, new in ((b"\x01a\x00\x011", b"\x01b\x00\x011"), (b"\x01a\x00\x011", b"\x01c\x00\x011")):
        with pytest.raises(FormatError, match="description out of bounds"):
            parse(body.replace(old, new))


def test_a_description_has_at_most_512_characters() -> None:
    """513 characters are refused, whatever they are in bytes."""
    words = replace(WrappedKey("x", "", b"c"), about={"a": "x" * 512})
    body = header(words, slot=0)
    at = body.index(b"\x01a\x02\x00") + 2
    longer = body[: at + 2] + b"x" + body[at + 2 :]
    longer = longer[:at] + (513).to_bytes(2) + longer[at + 2 :]
    size = int.from_bytes(longer[37:39]) + 1

    assert parse(body).recipients[0].about == {"a": "x" * 512}
    with pytest.raises(FormatError, match="description out of bounds"):
        parse(longer[:37] + size.to_bytes(2) + longer[39:])


def attempts(data: bytes) -> list[Callable[[], object]]:
    """Return every way in which foreign bytes are taken."""
    return [
        lambda: parse(data),
        lambda: inspect(data),
        lambda: ENVELOPE.decrypt(data, context=CONTEXT),
        lambda: ENVELOPE.rewrap(data, wrappers=[LOCAL, local(9)]),
        lambda: ENVELOPE.open_reader(io.BytesIO(data), context=CONTEXT).read(),
        lambda: ENVELOPE.open_reader(Pipe(data, 100), context=CONTEXT).read(),  # type: ignore[arg-type]
    ]


def refused(data: bytes) -> int:
    """Count how many of the ways refuse the bytes; none may end in another error than ours."""
    refusals = 0
    for attempt in attempts(data):
        try:
            attempt()
        except SecureKitError:
            refusals += 1
    return refusals


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda rest: MAGIC + rest),
        st.binary(max_size=99).map(lambda rest: GOOD[:37] + rest),
    )
)
def test_random_bytes_are_refused_with_our_own_errors(data: bytes) -> None:
    """No bytes, with or without a good beginning, raise another error than ours, and none open."""
    assert refused(data) >= 5


@pytest.mark.repetitive
@pytest.mark.parametrize("tried", [1500, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_mutated_messages_raise_our_own_errors(tried: int, count: Count) -> None:
    """Bytes replaced, cut out, doubled and put in: only our own errors, in 100 ms and 64 MiB."""
    numbers = random.Random(7)
    originals = [ENVELOPE.encrypt(b"secret", context=CONTEXT), stream(b"secret"), slotted(b"secret")]
    slowest = 0.0
    tracemalloc.start()
    for number in range(tried):
        data = bytearray(originals[number % 3])
        for _ in range(numbers.randint(1, 4)):
            at = numbers.choice([numbers.randrange(len(data)), numbers.randrange(300)])
            match numbers.randrange(4):
                case 0:
                    data[at : at + 1] = numbers.randbytes(1)
                case 1:
                    del data[at : at + numbers.randint(1, 40)]
                case 2:
                    data[at:at] = data[at : at + numbers.randint(1, 40)]
                case _:
                    data[at:at] = numbers.choice([b"\xff\xff\xff\xff", bytes(8), MAGIC, b"\x80\x00\x00\x00\x00\x00\x00\x00"])
        begin = time.process_time()
        refused(bytes(data))
        slowest = max(slowest, time.process_time() - begin)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert slowest < 6 * 0.1
    assert peak < 64 << 20
    count("mutated sealed messages tried", tried)


@pytest.mark.parametrize(
    "bomb",
    [
        GOOD[:36] + b"\xff" + bytes(65_000),
        GOOD[:36] + b"\x40" + (b"\x0f\xfe" + b"\xff" * 4094) * 16,
        GOOD[:31] + b"\x13" + b"\xff" * 65_000,
        MAGIC * 4096,
        GOOD[:37] + b"\xff\xff" + bytes(65_000),
    ],
)
def test_bombs_are_refused_at_once(bomb: bytes) -> None:
    """Declared numbers and sizes at their extremes cost less than 50 ms and 32 MiB."""
    tracemalloc.start()
    begin = time.process_time()
    refusals = refused(bomb)
    taken, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refusals == 6
    assert taken < 6 * 0.05
    assert peak < 32 << 20


@pytest.mark.parametrize("how", ["message", "stream", "file", "pipe"])
def test_a_hostile_list_of_recipients_makes_bounded_work(how: str, count: Count) -> None:
    """64 copies that do not open cost each configured wrapper at most one operation for a header, and a file has two."""
    wrappers = [Counting(LOCAL), Counting(local(1)), Counting(everyone()["keyring"]), Counting(everyone()["p256"])]
    path, _, key_id = everyone()["keyring"].key_ref.rpartition("@")
    mine = [
        replace(wrapper.wrap(bytes(32), ["elsewhere"]), key_ref=reference)
        for wrapper, reference in [(LOCAL, LOCAL.key_ref), (local(1), local(1).key_ref), (everyone()["p256"], everyone()["p256"].key_ref)]
    ]
    keyring = everyone()["keyring"].wrap(bytes(32), ["elsewhere"])
    many = [replace(keyring, key_ref=f"{path}@{int(key_id, 16) ^ number:08x}") for number in range(61)]
    copies = sorted([*mine, *many], key=lambda copy: copy.recipient)
    slot = 0 if how in {"message", "stream"} else 16
    hostile = header(*copies, flags=MESSAGE if how == "message" else STREAM, slot=slot)
    sealed = hostile + (hostile[:-1] + b"\x01" if slot else b"") + bytes(100)
    envelope = Envelope(wrappers)

    with pytest.raises(DecryptionError):
        envelope.open_reader(Pipe(sealed), context={}) if how == "pipe" else envelope.decrypt(sealed, context={})  # type: ignore[arg-type]

    assert max(wrapper.unwraps for wrapper in wrappers) <= (2 if slot else 1)
    count("unwraps for 64 hostile recipients", sum(wrapper.unwraps for wrapper in wrappers))


@pytest.mark.parametrize("slot", [0, 15])
def test_a_hostile_list_of_one_keyrings_keys_makes_bounded_work(slot: int) -> None:
    """A keyring opens copies under any of its keys: 64 that it does not have are looked up, without a decryption, in no time."""
    wrapper = Counting(everyone()["keyring"])
    copy = wrapper.wrap(bytes(32), ["elsewhere"])
    path = copy.key_ref.rpartition("@")[0]
    copies = [replace(copy, key_ref=f"{path}@{n:08x}", ciphertext=b"\x01" + n.to_bytes(4) + copy.ciphertext[5:]) for n in range(64)]
    hostile = header(*copies, slot=slot)

    def attempt() -> None:
        with pytest.raises(WrapperDeniedError):
            Envelope(wrapper).decrypt(hostile + hostile[:-1] + b"\x00", context={})

    attempt()
    assert wrapper.unwraps <= 2 * 64
    assert processor_seconds(attempt) < 0.1


def test_64_recipients_of_the_largest_size_fit_a_file(tmp_path: Path) -> None:
    """The largest header there can be is written, read, and told of."""
    about = {str(number): "x" * 512 for number in range(7)}

    class Large(Counting):
        def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
            return replace(super().wrap(key, binding), about=about)

    envelope = Envelope([Large(local(number)) for number in range(64)])
    with envelope.open_writer(tmp_path / "file.sk", context={}) as writer:
        writer.write(b"secret")

    found = inspect_file(tmp_path / "file.sk")
    assert (found.slot_size, len(found.recipients), found.faults) == (1 << 19, 64, ())
    assert Envelope(local(63)).open_reader(tmp_path / "file.sk", context={}).read() == b"secret"


def test_inspection_needs_no_key() -> None:
    """Kind, sizes and recipients are told of a message and a stream, and a truncated one has no size."""
    message, sealed = Envelope(certificate("p256")).encrypt(b"secret", context={}), stream(bytes(40_000))

    found, streamed = inspect(message), inspect(sealed)

    assert (found.kind, found.format, found.size, found.plaintext_size) == ("message", "securekit/envelope/1", len(message), 6)
    assert found.recipients[0].about["subject"] == "CN=partner"
    assert isinstance(streamed, EnvelopeInspection)
    assert (streamed.kind, streamed.plaintext_size, streamed.slot_size) == ("stream", 40_000, None)
    head = parse(message).seal(DATA_KEY)
    assert inspect(head + bytes(71)).plaintext_size is None
    assert inspect(sealed[: len(header(slot=0))]).plaintext_size is None
    assert inspect(header(slot=0) + bytes(56 + 15)).plaintext_size is None
    assert inspect(header(slot=0) + bytes(56 + 16)).plaintext_size == 0


def test_a_key_that_is_not_ours_is_not_found() -> None:
    """A genuine header for somebody else is no decryption error."""
    with pytest.raises(KeyNotFoundError):
        ENVELOPE.decrypt(header(local(7).wrap(bytes(32), ["envelope", MESSAGE_ID]), slot=0) + payload_of(b"x"), context=CONTEXT)
