# SPDX-License-Identifier: Apache-2.0
"""Any input to any parser: our own errors, little time and little memory, also for what is made to explode."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from securekit._wire.canonical_json import encode
from securekit.exceptions import FormatError, SecureKitError
from securekit.keyring import KeyState, check_path, fill_path, from_text, inspect, to_text
from securekit.keyring._clock import format_time, parse_time
from securekit.keyring._document import KeyringDocument
from securekit.keyring._path import is_under
from securekit.testing import memory_store
from tests.conftest import Count
from tests.costs import cost
from tests.keyring.parts import LOCAL, NOW, PATH, document, open_keyring, refusal, version

RING = memory_store().keyring(PATH, create=True)
RECORD = RING.encrypt(b"DE89 3704 0044", context={})
DOCUMENT = document(keys=[version(number, state) for number, state in enumerate(KeyState)])
MEMBERS: dict[str, Any] = json.loads(DOCUMENT)

PARSERS: dict[str, Callable[[bytes], object]] = {
    "record": lambda data: RING.decrypt(data, context={}),
    "text": lambda data: RING.decrypt_text(data.decode("latin-1"), context={}),
    "from_text": lambda data: from_text(data.decode("latin-1")),
    "needs_reencrypt": RING.needs_reencrypt,
    "document": KeyringDocument.decode,
    "keyring": open_keyring,
    "inspect": inspect,
    "inspect text": lambda data: inspect(data.decode("utf-8", errors="surrogateescape")),
    "restore": lambda data: memory_store().restore(data),
}


def _only_ours(call: Callable[[], object]) -> None:
    with contextlib.suppress(SecureKitError):
        call()


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Cut, repeat, replace and insert pieces of something valid."""
    data = original
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        piece = draw(
            st.sampled_from([b"", b"\x00", b'"', b"null", b"{}", b"[]", b"\xff", b"9" * 30, data[begin:end] * 2]) | st.binary(max_size=9)
        )
        data = data[:begin] + piece + data[min(end, begin + draw(st.sampled_from([0, 1, 4, 100]))) :]
    return data


inputs = st.binary(max_size=300) | st.sampled_from([RECORD, to_text(RECORD).encode(), DOCUMENT]).flatmap(mutated)


@pytest.mark.repetitive
@pytest.mark.parametrize("parser", PARSERS)
def test_any_input_is_one_of_our_errors(parser: str, count: Count) -> None:
    """Random bytes, and valid ones that were changed in several places, raise what the documentation names and nothing else."""
    tried = 0

    @settings(max_examples=300)
    @given(inputs)
    def check(data: bytes) -> None:
        nonlocal tried
        tried += 1
        _only_ours(lambda: PARSERS[parser](data))

    check()
    count("mutated inputs survived", tried)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("parser", PARSERS)
def test_any_input_is_one_of_our_errors_at_length(parser: str, count: Count) -> None:
    """The same, for much longer."""

    @settings(max_examples=10_000)
    @given(inputs)
    def check(data: bytes) -> None:
        _only_ours(lambda: PARSERS[parser](data))

    check()
    count("mutated inputs survived", 10_000)


scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=30) | st.just("2026-01-01T00:00:00Z")
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3), max_leaves=9
)


@given(st.data())
def test_any_value_in_any_place_of_a_document_is_refused(data: st.DataObject) -> None:
    """A document in which one member has another value is FormatError, or not genuine; it never opens."""
    changed = json.loads(DOCUMENT)
    place = data.draw(
        st.sampled_from([changed, changed["keys"][0], changed["keys"][3], changed["recipients"][0], changed["recipients"][0]["about"]])
    )
    name = data.draw(st.sampled_from([*sorted(place), "other"]))
    before = place.get(name)
    place[name] = data.draw(values)
    if place[name] != before or type(place[name]) is not type(before):
        assert refusal(open_keyring, encode(changed)) is not None


def _changed(place: tuple[str | int, ...], value: object) -> bytes:
    changed = json.loads(DOCUMENT)
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return encode(changed)


# The states of the four keys of the document are primary, active, disabled, destroyed.
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), "securekit/keyring/2", "not a keyring document of format"),
        (("more",), 1, "other members"),
        (("path",), "EU", "path of another form"),
        (("path",), None, "path of another form"),
        (("id",), "A" * 21, "lacks a value of 16 bytes"),
        (("id",), "A" * 21 + "B", "base64url"),
        (("id",), 5, "lacks a value of 16 bytes"),
        (("mac",), "A" * 42, "lacks a value of 32 bytes"),
        (("revision",), 0, "integer from 1 to"),
        (("revision",), True, "integer from 1 to"),
        (("revision",), "1", "integer from 1 to"),
        (("refresh",), 0, "integer from 1 to"),
        (("refresh",), 366 * 86400 + 1, "integer from 1 to"),
        (("stale_if_error",), -1, "integer from 0 to"),
        (("created",), 0, "a time"),
        (("created",), "2026-02-30T00:00:00Z", "a time"),
        (("recipients",), [], "list that is not of 1 to 64"),
        (("recipients",), {}, "list that is not of 1 to 64"),
        (("recipients", 0), 5, "other members than about"),
        (("recipients", 0, "more"), 5, "other members than about"),
        (("recipients", 0, "about"), [], "description of a recipient"),
        (("recipients", 0, "about"), {"a": 5}, "description of a recipient"),
        (("recipients", 0, "ciphertext"), "", "wrapped key that is out of bounds"),
        (("recipients", 0, "ciphertext"), "A" * 4097, "wrapped key that is out of bounds"),
        (("recipients", 0, "ciphertext"), None, "wrapped key that is out of bounds"),
        (("recipients", 0, "wrapper"), "LOCAL", "wrapper name"),
        (("recipients", 0, "key_ref"), "a b", "key reference"),
        (("keys",), [], "list that is not of 1 to 4096"),
        (("keys", 0), None, "other members than created"),
        (("keys", 0, "id"), "0000000A", "key id"),
        (("keys", 0, "id"), "00000001", "one key id twice"),
        (("keys", 0, "state"), "pending", "unknown state"),
        (("keys", 0, "state"), ["primary"], "unknown state"),
        (("keys", 0, "state"), "active", "exactly one primary"),
        (("keys", 0, "due"), None, "due mark"),
        (("keys", 0, "promoted"), None, "never promoted"),
        (("keys", 0, "key"), None, "bytes do not fit its state"),
        (("keys", 0, "key"), "A" * 100, "lacks a value of 104 bytes"),
        (("keys", 3, "key"), MEMBERS["keys"][0]["key"], "bytes do not fit its state"),
        (("keys", 1, "disabled"), "2026-01-01T00:00:00Z", "times do not fit its state"),
        (("keys", 2, "disabled"), None, "times do not fit its state"),
    ],
)
def test_what_is_wrong_is_named(place: tuple[str | int, ...], value: object, message: str) -> None:
    """A document out of form says what is, in words about public bytes."""
    with pytest.raises(FormatError, match=message) as caught:
        KeyringDocument.decode(_changed(place, value))
    assert caught.value.__cause__ is None


def test_recipients_out_of_order_or_twice_are_refused() -> None:
    """There is one order."""
    entry = MEMBERS["recipients"][0]
    for recipients in ([entry, entry], [entry, {**entry, "key_ref": "0"}]):
        with pytest.raises(FormatError, match="out of order or twice the same"):
            KeyringDocument.decode(_changed(("recipients",), recipients))


def _many(name: str, number: int) -> bytes:
    entry = dict(MEMBERS[name][1 if name == "keys" else 0])
    entries: list[Any] = [{**entry, ("id" if name == "keys" else "key_ref"): f"{index:08x}"} for index in range(number)]
    return encode({**MEMBERS, name: entries})


BOMBS: dict[str, Callable[[], bytes]] = {
    "revision 2^63": lambda: DOCUMENT.replace(b'"revision":1', b'"revision":9223372036854775808'),
    "revision 2^53": lambda: DOCUMENT.replace(b'"revision":1', b'"revision":9007199254740992'),
    "refresh 2^31": lambda: DOCUMENT.replace(b'"refresh":60', b'"refresh":2147483648'),
    "a number of a million digits": lambda: DOCUMENT.replace(b'"refresh":60', b'"refresh":' + b"9" * 1_000_000),
    "a number with a huge exponent": lambda: DOCUMENT.replace(b'"refresh":60', b'"refresh":1e999999999'),
    "65 recipients": lambda: _many("recipients", 65),
    "4,097 keys": lambda: _many("keys", 4097),
    "1,000,000 recipients": lambda: b'{"recipients":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    "a million numbers": lambda: b'{"recipients":[' + b",".join([b"0"] * 1_000_000) + b"]}",
    "690,000 lists": lambda: b'{"recipients":[' + b",".join([b"[]"] * 690_000) + b"]}",
    "690,000 texts": lambda: b'{"recipients":[' + b",".join([b'""'] * 690_000) + b"]}",
    "290,000 members": lambda: b"{" + b",".join([b'"a":0'] * 290_000) + b"}",
    "one byte more than 2 MiB": lambda: DOCUMENT.replace(b'"path":"', b'"path":"' + b"a" * (2 * 1024 * 1024 + 1 - len(DOCUMENT))),
    "100,000 lists deep": lambda: b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects deep": lambda: b'{"a":' * 100_000 + b"0" + b"}" * 100_000,
    "100,000 lists never closed": lambda: b"[" * 100_000,
    "a description of a megabyte": lambda: DOCUMENT.replace(b'"about":{}', b'"about":{"a":"' + b"x" * 1_000_000 + b'"}'),
    "two megabytes of backslashes": lambda: b'{"a":"' + b"\\" * 2_000_000 + b'"}',
    "two megabytes of quotes": lambda: b'"' * 2_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_at_once(bomb: str, count: Count) -> None:
    """What declares or nests enormous things is FormatError in less than 50 ms and 32 MiB."""
    data = BOMBS[bomb]()

    for parser in ("document", "inspect"):
        seconds, memory = _cost(partial(PARSERS[parser], data), FormatError)
        assert memory < 32 * 1024 * 1024
        assert seconds < 0.05
    assert refusal(open_keyring, data) is FormatError
    count("bombs refused", 1)


def _cost(call: Callable[[], object], error: type[SecureKitError] | None) -> tuple[float, int]:
    """Return what a call costs that ends in an error."""

    def ends() -> None:
        assert refusal(call) is error

    return cost(ends)


WORST: dict[str, bytes] = {
    "a record": RECORD + bytes(65_000),
    "text": b"sk1." + b"A" * 65_532,
    "nested text": b"sk1." + b"c2sxLg" * 10_000,
    "lists": b"[" + b"[]," * 21_000 + b"0]",
    "members": b"{" + b",".join(b'"%05d":0' % number for number in range(6_500)) + b"}",
    "unsorted members": b"{" + b",".join(b'"%05d":0' % number for number in range(6_500, 0, -1)) + b"}",
    "escapes": b'{"a":"' + b"\\u0000" * 10_900 + b'"}',
    "beyond the first plane": b'{"a":"' + "\U0001f600".encode() * 16_000 + b'"}',
    "numbers": b'{"a":[' + b"0," * 32_000 + b"0]}",
    "keys": _many("keys", 150),
    "recipients": _many("recipients", 64),
    "a path": encode({**MEMBERS, "path": "a/" * 30_000}),
    "a reference": encode({**MEMBERS, "recipients": [{**MEMBERS["recipients"][0], "key_ref": "!" * 60_000}]}),
    "a time": encode({**MEMBERS, "created": "2" * 60_000}),
}


@pytest.mark.parametrize("parser", PARSERS)
def test_64_kib_of_anything_cost_little(parser: str, count: Count) -> None:
    """No input of up to 64 KiB takes more than 100 ms or 64 MiB."""
    for data in WORST.values():
        assert len(data) <= 65_800
        call = PARSERS[parser]
        seconds, memory = _cost(partial(call, data), refusal(call, data))
        assert seconds < 0.1
        assert memory < 64 * 1024 * 1024
    count("worst cases of 64 KiB measured", len(WORST))


def test_inspect_tells_what_a_message_is() -> None:
    """A record, its text form as bytes and as str, and a document are told apart, with all that is public."""
    for message in (RECORD, to_text(RECORD), to_text(RECORD).encode()):
        found = inspect(message)
        assert (found.kind, found.format, found.size, found.plaintext_size) == ("record", "securekit/record/1", len(RECORD), 14)
        assert found.key_id == RING.primary().id
        assert (found.path, found.keyring_id, found.revision, found.key_count, found.recipients) == (None, None, None, None, ())
    for message in (DOCUMENT, DOCUMENT.decode()):
        found = inspect(message)
        assert (found.kind, found.format, found.size, found.plaintext_size) == ("keyring", "securekit/keyring/1", len(DOCUMENT), None)
        assert (found.path, found.keyring_id, found.revision, found.key_count, found.key_id) == (PATH, "1d" * 16, 1, 4, "00000000")
        assert [wrapped.recipient for wrapped in found.recipients] == [("local", LOCAL.key_ref)]


@pytest.mark.parametrize("message", [b"", "", b"\x02", "\x01" + "a" * 100, b"SK1.", "hello", b"[]", "\ud800", b"sk1.\xff" + b"A" * 200])
def test_inspect_refuses_what_is_nothing_of_ours(message: bytes | str) -> None:
    """Anything else is FormatError, also a record's bytes as text."""
    assert refusal(inspect, message) is FormatError


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inspect(bytearray(RECORD)), "bytes or str, not bytearray"),  # type: ignore[arg-type]
        (lambda: RING.decrypt(to_text(RECORD), context={}), "read by decrypt_text"),  # type: ignore[arg-type]
        (lambda: RING.decrypt(bytearray(RECORD), context={}), "a record is bytes, not bytearray"),  # type: ignore[arg-type]
        (lambda: RING.decrypt_text(RECORD, context={}), "bytes are read by decrypt"),  # type: ignore[arg-type]
        (lambda: RING.needs_reencrypt(None), "a record is bytes, not NoneType"),  # type: ignore[arg-type]
        (lambda: RING.encrypt("text", context={}), "text is encrypted by encrypt_text"),  # type: ignore[arg-type]
        (lambda: RING.encrypt(5, context={}), "data must be bytes, not int"),  # type: ignore[arg-type]
        (lambda: RING.encrypt_many([(None, {})]), "data must be bytes, not NoneType"),  # type: ignore[list-item]
        (lambda: RING.encrypt_text(b"x", context={}), "bytes are encrypted by encrypt"),  # type: ignore[arg-type]
        (lambda: check_path(b"eu"), "must be str, not bytes"),  # type: ignore[arg-type]
    ],
)
def test_a_callers_mistake_is_a_type_error(call: Callable[[], object], message: str) -> None:
    """The error names the type, and the verb that takes it."""
    with pytest.raises(TypeError, match=message):
        call()


def test_a_record_longer_than_the_bound_is_refused() -> None:
    """Neither a record nor its text may be longer than 64 MiB of data make it; the length is checked first."""
    data = b"\x01" + bytes(64 * 1024 * 1024 + 77)
    assert refusal(RING.decrypt, data, context={}) is FormatError
    assert refusal(from_text, "sk1." + "A" * 89_500_000) is FormatError


segments = st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?\Z", fullmatch=True)


@given(st.lists(segments, min_size=1, max_size=8))
def test_every_path_of_the_form_is_taken(parts: list[str]) -> None:
    """1 to 8 segments are a path, below each of its beginnings."""
    path = "/".join(parts)
    assert check_path(path) == path
    assert is_under(path, "")
    assert all(is_under(path, "/".join(parts[:length])) for length in range(1, len(parts) + 1))
    assert not is_under(path, path + "x")
    assert not is_under(path + "x", path)


@given(st.text(max_size=80))
@example("..")
@example("a/../b")
@example("a//b")
@example("/a")
@example("a/")
@example("a\n")
@example("A")
@example("a.")
@example(".a")
@example("a" * 65)
@example("ä")
@example("a\x00b")
@example("a@b")
@example("/".join("abcdefghi"))
def test_every_other_text_is_no_path(text: str) -> None:
    """What is not of the form is ValueError, short enough to be printed; nothing of it reaches a file system."""
    alphabet = set("abcdefghijklmnopqrstuvwxyz0123456789")
    parts = text.split("/")
    fine = len(parts) <= 8 and all(
        0 < len(part) <= 64 and {part[0], part[-1]} <= alphabet and set(part) <= alphabet | set("._-") for part in parts
    )
    if fine:
        assert check_path(text) == text
    else:
        with pytest.raises(ValueError, match="keyring path"):
            check_path(text)


@given(st.text(max_size=40))
@example("x/../y")
@example("x/y")
@example("{account}")
@example("\\1")
def test_a_value_fills_one_segment_or_is_refused(value: str) -> None:
    """No value climbs out of its place in a template."""
    try:
        path = fill_path("eu/{account}/customers", {"account": value})
    except ValueError as error:
        assert "{account}" in str(error)  # noqa: PT017 - any text may be given here
    else:
        assert path == f"eu/{value}/customers"
        assert path.count("/") == 2


def test_templates_are_checked_like_paths() -> None:
    """A missing value is KeyError, a value that is no text ValueError, and so is a template that makes no path."""
    assert fill_path("{a}/{b}-x/{a}", {"a": "1", "b": "2"}) == "1/2-x/1"
    with pytest.raises(KeyError):
        fill_path("{a}", {})
    with pytest.raises(ValueError, match="does not fill one segment"):
        fill_path("{a}", {"a": 5})
    with pytest.raises(ValueError, match="no segment"):
        fill_path("EU/{a}", {"a": "x"})
    with pytest.raises(ValueError, match="no segment"):
        fill_path("{a}{b}", {"a": "x" * 40, "b": "y" * 40})


@given(st.integers(int(datetime(1, 1, 1, tzinfo=UTC).timestamp()), int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())))
@example(0)
@example(2**31)
@example(-1)
def test_every_time_is_read_as_it_was_written(seconds: int) -> None:
    """From the year 1 to the year 9999, to the second."""
    text = format_time(seconds)
    assert len(text) == 20
    assert parse_time(text) == seconds


@given(st.text(max_size=25) | st.none() | st.integers() | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z"))
@example("2026-01-01T24:00:00Z")
@example("2026-01-01T23:59:60Z")
@example("2026-02-29T00:00:00Z")
@example("0000-01-01T00:00:00Z")
@example("2026-01-01T00:00:00Z\n")
@example("2026-01-01t00:00:00z")
@example("2026-01-01T00:00:00.0Z")
@example("\uff12\uff10\uff12\uff16-01-01T00:00:00Z")
def test_no_time_has_a_second_spelling(text: object) -> None:
    """What is read is what would be written for it; anything else is FormatError."""
    try:
        seconds = parse_time(text)
    except FormatError:
        return
    assert format_time(seconds) == text


def test_the_form_of_a_time() -> None:
    """RFC 3339 in UTC, whole seconds."""
    assert format_time(NOW) == "2026-01-01T00:00:00Z"
