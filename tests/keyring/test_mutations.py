# SPDX-License-Identifier: Apache-2.0
"""Changed bytes: no flipped bit, cut end or other spelling of a record or a keyring document is ever accepted."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from securekit.exceptions import DecryptionError, FormatError, KeyNotFoundError, KeyStateError, SecureKitError
from securekit.keyring import Keyring, KeyringWrapper, from_text, inspect, to_text
from securekit.keyring._document import KeyringDocument, KeyState
from securekit.testing import memory_store
from securekit.wrappers import KeyWrapper, LocalWrapper
from tests.conftest import Count
from tests.keyring.parts import (
    CONTEXT,
    LOCAL,
    PATH,
    certificate,
    document,
    escrow,
    flips,
    open_keyring,
    refusal,
    version,
)

GOLDEN = Path(__file__).parent.parent / "vectors" / "golden" / "keyring"
SIZES = (0, 1, 15, 16, 17, 64, 1000, 2000)


@pytest.fixture
def ring() -> Keyring:
    return memory_store().keyring(PATH, create=True)


def _plaintext(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


@pytest.mark.repetitive
@pytest.mark.parametrize("size", SIZES)
def test_every_flip_of_a_record_is_refused(ring: Keyring, size: int, count: Count) -> None:
    """Each bit stands under one error: version FormatError, key id KeyNotFoundError, anything else DecryptionError."""
    token = ring.encrypt(_plaintext(size), context=CONTEXT)

    found = [refusal(ring.decrypt, changed, context=CONTEXT) for changed in flips(token)]

    assert found == [FormatError] * 8 + [KeyNotFoundError] * 32 + [DecryptionError] * 8 * (len(token) - 5)
    count("bit flips refused", len(found))


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_refuses_every_flip(ring: Keyring, size: int, count: Count) -> None:
    """decrypt_many gives each flipped record the error that decrypt gives it, in its place."""
    token = ring.encrypt(_plaintext(size), context=CONTEXT)

    found = ring.decrypt_many([(changed, CONTEXT) for changed in flips(token)], errors="return")

    assert list(map(type, found)) == [FormatError] * 8 + [KeyNotFoundError] * 32 + [DecryptionError] * 8 * (len(token) - 5)
    count("bit flips refused", len(found))


@pytest.mark.parametrize("size", [0, 1, 2, 17, 300])
def test_every_flip_of_a_text_record_is_refused(ring: Keyring, size: int, count: Count) -> None:
    """A flipped bit in the text form makes no text form, or another record; never one that opens."""
    token = ring.encrypt_text("x" * size, context=CONTEXT)
    found: Counter[type[SecureKitError] | None] = Counter()
    for changed in flips(token.encode()):
        found[refusal(ring.decrypt_text, changed.decode("latin-1"), context=CONTEXT)] += 1

    assert found.keys() == {FormatError, KeyNotFoundError, DecryptionError}
    count("bit flips refused", found.total())


def test_a_flip_that_names_a_refusing_key_says_so() -> None:
    """A key id that is flipped into that of a disabled key is KeyStateError, and into that of an active key DecryptionError."""
    keys = [version(1, KeyState.PRIMARY), version(3, KeyState.DISABLED), version(5), version(9, KeyState.DESTROYED)]
    ring = open_keyring(document(keys=keys))
    token = ring.encrypt(b"x", context={})

    found = [refusal(ring.decrypt, changed, context={}) for changed in flips(token)][32:40]

    assert found == [KeyNotFoundError, KeyStateError, DecryptionError, KeyStateError, *[KeyNotFoundError] * 4]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_million_flips_of_records_are_refused(ring: Keyring, count: Count) -> None:
    """Ten million random flips behind the key id of random records: none opens."""
    rng = random.Random(20260101)
    tried = 0
    while tried < 10_000_000:
        token = ring.encrypt(os.urandom(rng.randrange(64)), context=CONTEXT)
        changed = (
            (token[:place] + bytes([token[place] ^ 1 << rng.randrange(8)]) + token[place + 1 :], CONTEXT)
            for place in (rng.randrange(5, len(token)) for _ in range(10_000))
        )
        assert set(map(type, ring.decrypt_many(changed, errors="return"))) == {DecryptionError}
        tried += 10_000
    count("bit flips refused", tried)


def _golden() -> Iterator[Any]:
    for name in ("one-key", "rotated", "staged", "all-states", "due", "not-after", "escrow", "five-recipients", "longest-times"):
        scenario = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
        opener = scenario["openers"][0]
        yield pytest.param(scenario["document"].encode(), LocalWrapper(bytes.fromhex(opener["kek"])), scenario["path"], id=name)


def _under_a_keyring() -> tuple[bytes, KeyWrapper]:
    parent = KeyringWrapper(open_keyring(document(path="eu/root", keyring_id=bytes(16)), path="eu/root"))
    return document(wrappers=[parent]), parent


_ALL_STATES = [version(number, state, due=state is KeyState.ACTIVE) for number, state in enumerate(KeyState)]
FRESH: dict[str, Callable[[], tuple[bytes, KeyWrapper]]] = {
    "all states": lambda: (document(keys=_ALL_STATES), LOCAL),
    "through the escrow key": lambda: (document(wrappers=[LOCAL, certificate()]), escrow()),
    "under a keyring": _under_a_keyring,
}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "wrapper", "path"), list(_golden()))
def test_every_flip_of_a_golden_document_is_refused(data: bytes, wrapper: KeyWrapper, path: str, count: Count) -> None:
    """Whatever is flipped, the document is no document, not genuine, or not for this KEK."""
    _refuse_flips(data, wrapper, path, count)


@pytest.mark.repetitive
@pytest.mark.parametrize("kind", FRESH)
def test_every_flip_of_a_document_is_refused(kind: str, count: Count) -> None:
    """The same holds for what opens through a certificate or another keyring: recover=True believes no changed bytes."""
    data, wrapper = FRESH[kind]()
    _refuse_flips(data, wrapper, PATH, count)


def _refuse_flips(data: bytes, wrapper: KeyWrapper, path: str, count: Count) -> None:
    assert open_keyring(data, wrapper=wrapper, path=path, recover=True).path == path
    found: Counter[type[SecureKitError] | None] = Counter()
    no_record = 0
    for changed in flips(data):
        error = refusal(open_keyring, changed, wrapper=wrapper, path=path, recover=True)
        found[error] += 1
        if refusal(KeyringDocument.decode, changed) is FormatError:
            assert error is FormatError
        elif error is FormatError:
            no_record += 1
        if error is KeyNotFoundError:  # only where our entry among the recipients no longer names our KEK
            assert not any(wrapper.opens(wrapped) for wrapped in KeyringDocument.decode(changed).document.recipients)
    assert found.keys() <= {FormatError, KeyNotFoundError, DecryptionError}
    assert min(found[FormatError], found[DecryptionError]) > 1000
    assert no_record <= 8  # the version byte of what a keyring wraps: that is no record then
    count("bit flips refused", found.total())


@pytest.mark.parametrize("kind", FRESH)
def test_every_flip_of_a_wrapped_secret_is_refused(kind: str, count: Count) -> None:
    """A wrapped copy that was changed does not unwrap, even if all around it is as it was."""
    data, wrapper = FRESH[kind]()
    made = KeyringDocument.decode(data).document
    wrapped = next(wrapped for wrapped in made.recipients if wrapper.opens(wrapped))

    found = Counter(refusal(wrapper.unwrap, replace(wrapped, ciphertext=changed), made.binding) for changed in flips(wrapped.ciphertext))

    assert found.keys() <= {DecryptionError, FormatError}
    assert found[FormatError] <= 8  # the version byte of a record
    count("bit flips refused", found.total())


@pytest.mark.parametrize("size", [0, 1, 40])
def test_every_length_but_its_own_is_refused(ring: Keyring, size: int, count: Count) -> None:
    """A record cut at any length, or longer by 1 to 64 bytes, does not open, and neither does its text form."""
    token = ring.encrypt(_plaintext(size), context=CONTEXT)
    others = [token[:length] for length in range(len(token))] + [token + bytes(more) for more in range(1, 65)]

    for other in others:
        expected = FormatError if len(other) < 77 else DecryptionError
        assert refusal(ring.decrypt, other, context=CONTEXT) is expected
        assert refusal(ring.decrypt_text, to_text(other), context=CONTEXT) is expected
    count("truncations and extensions refused", 2 * len(others))


def test_every_length_of_text_but_its_own_is_refused(ring: Keyring, count: Count) -> None:
    """The same holds for characters."""
    token = ring.encrypt_text("DE89 3704 0044", context=CONTEXT)
    others = [token[:length] for length in range(len(token))] + [token + "A" * more for more in range(1, 65)]

    for other in others:
        assert refusal(ring.decrypt_text, other, context=CONTEXT) in {FormatError, DecryptionError}
    count("truncations and extensions refused", len(others))


def test_every_length_of_a_document_but_its_own_is_refused(count: Count) -> None:
    """A document cut at any length, or longer by 1 to 64 bytes, is none."""
    data = document()
    others = [data[:length] for length in range(len(data))]
    others += [data + filler * more for more in range(1, 65) for filler in (b"\x00", b" ", b"\n", b"}")]

    for other in others:
        assert refusal(open_keyring, other) is FormatError
    count("truncations and extensions refused", len(others))


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: " " + text,
        lambda text: text + " ",
        lambda text: text + "\n",
        lambda text: text + "\r\n",
        lambda text: text[:40] + "\r\n" + text[40:],
        lambda text: text[:40] + " " + text[40:],
        lambda text: text[:40] + "\x00" + text[40:],
        lambda text: text + "=",
        lambda text: text + "==",
        lambda text: "SK1." + text[4:],
        lambda text: "sk1" + text[4:],
        lambda text: "sk2." + text[4:],
        lambda text: "sk1." + text,
        lambda text: "sk1.." + text[4:],
        lambda text: "\ufeff" + text,
        lambda text: text[4:],
        lambda text: text[:40] + "+" + text[41:],
        lambda text: text[:40] + "/" + text[41:],
        lambda text: text[:40] + "\u0430" + text[41:],  # a Cyrillic letter
        lambda text: text[:-1] + chr(ord(text[-1]) + 1),  # a trailing bit
    ],
)
def test_another_spelling_of_a_text_record_is_refused(ring: Keyring, respell: Callable[[str], str], count: Count) -> None:
    """White space, padding, case, another alphabet and trailing bits are not read."""
    token = ring.encrypt_text("ab", context=CONTEXT)  # 79 bytes, so that four bits of the last character are 0

    assert refusal(ring.decrypt_text, respell(token), context=CONTEXT) is FormatError
    assert refusal(inspect, respell(token)) is FormatError
    assert refusal(ring.needs_reencrypt, respell(token)) is FormatError
    count("other spellings refused", 3)


def test_a_text_record_in_another_case_is_another_record(ring: Keyring) -> None:
    """Case carries bits."""
    token = ring.encrypt_text("a", context=CONTEXT)
    for other in (token.swapcase(), "sk1." + token[4:].lower(), "sk1." + token[4:].upper()):
        assert refusal(ring.decrypt_text, other, context=CONTEXT) is not None


def _respelled(data: bytes) -> dict[str, bytes]:
    members = json.loads(data)
    reordered = json.dumps(dict(reversed(members.items())), separators=(",", ":")).encode()
    escaped = data.replace(b"eu/acme", b"eu\\/acme")
    return {
        "white space within": json.dumps(members).encode(),
        "indented": json.dumps(members, indent=1).encode(),
        "space before": b" " + data,
        "newline behind": data + b"\n",
        "CRLF": data.replace(b",", b",\r\n"),
        "byte order mark": b"\xef\xbb\xbf" + data,
        "UTF-16": data.decode().encode("utf-16"),
        "reordered": reordered,
        "a member twice": data[:-1] + b',"stale_if_error":86400}',
        "a member twice, first": b'{"created":"2026-01-01T00:00:00Z",' + data[1:],
        "another escape": escaped,
        "a \\u escape": data.replace(b"acme", b"\\u0061cme"),
        "a float": data.replace(b'"refresh":60', b'"refresh":60.0'),
        "an exponent": data.replace(b'"refresh":60', b'"refresh":6e1'),
        "a leading zero": data.replace(b'"refresh":60', b'"refresh":060'),
        "a plus": data.replace(b'"refresh":60', b'"refresh":+60'),
        "a number as text": data.replace(b'"refresh":60', b'"refresh":"60"'),
        "true for 1": data.replace(b'"revision":1', b'"revision":true'),
        "NaN": data.replace(b'"refresh":60', b'"refresh":NaN'),
        "another format": data.replace(b"keyring/1", b"keyring/2"),
        "an unknown member": data[:-1] + b',"zeta":1}',
        "padding": data.replace(b'","path"', b'=","path"'),
        "a trailing bit": data.replace(b'"id":"HR0dHR0dHR0dHR0dHR0dHQ"', b'"id":"HR0dHR0dHR0dHR0dHR0dHR"'),
        "case of a key id": data.replace(b'"id":"0000000a"', b'"id":"0000000A"'),
        "time with an offset": data.replace(b"00:00:00Z", b"00:00:00+00:00"),
        "24 o'clock": data.replace(b"2026-01-01T00:00:00Z", b"2025-12-31T24:00:00Z"),
        "a space for the T": data.replace(b"01T00", b"01 00"),
        "a list around": b"[" + data + b"]",
        "two documents": data + data,
        "nothing": b"",
        "null": b"null",
    }


DATA = document(keys=[version(10, KeyState.PRIMARY)])


@pytest.mark.parametrize("spelling", _respelled(DATA))
def test_another_spelling_of_a_document_is_refused(spelling: str, count: Count) -> None:
    """A document is read only in the one form in which it is written."""
    changed = _respelled(DATA)[spelling]

    assert changed != DATA
    assert refusal(open_keyring, changed) is FormatError
    count("other spellings refused", 1)


def test_a_text_that_wraps_another_text_is_no_record(ring: Keyring) -> None:
    """The text form holds a record: not a text form again, and not a document."""
    token = ring.encrypt(b"x", context={})
    for inner in (to_text(token).encode(), DATA, b"{}"):
        assert refusal(inspect, to_text(inner)) is FormatError
    assert from_text(to_text(token)) == token
