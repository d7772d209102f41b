# SPDX-License-Identifier: Apache-2.0
"""A passphrase wraps for one binding under one label; what a stored salt asks for is bounded before it is done."""

from __future__ import annotations

import contextlib
import copy
import pickle
import resource
import struct
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.aead import KcXaes256Gcm
from securekit._primitives.argon2 import argon2id
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError, WrapperUnavailableError
from securekit.wrappers import Binding, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey
from securekit.wrappers._protocol import seal_package
from tests.conftest import Count

PASSPHRASE, KEY = "correct horse battery staple", bytes(range(100, 132))
BINDING: Binding = ["keyring", "eu/acme/invoices", bytes(16)]
SIZE = 22 + 24 + 32 + 65 + 16


@pytest.fixture(scope="module")
def wrapper() -> PassphraseWrapper:
    return PassphraseWrapper(PASSPHRASE)


def _wrapped(passphrase: str = PASSPHRASE, *, memory: int = 32, passes: int = 1, lanes: int = 1, label: str = "") -> WrappedKey:
    """Wrap as the specification says, by hand and with parameters that cost little."""
    salt = bytes(range(16))
    parameters = salt + struct.pack(">IBB", memory, passes, lanes)
    derived = argon2id(passphrase.encode(), salt=salt, memory=memory, passes=passes, lanes=lanes)
    key_ref = f"{label}:" if label else ""
    associated_data = pae(["securekit/wrap/passphrase/1", key_ref, parameters])
    sealed = KcXaes256Gcm(derived).encrypt(seal_package(KEY, BINDING), associated_data)
    return WrappedKey("passphrase", key_ref, parameters + sealed)


def _with(wrapped: WrappedKey, ciphertext: bytes) -> WrappedKey:
    return WrappedKey(wrapped.wrapper, wrapped.key_ref, ciphertext)


def _refused(wrapper: KeyWrapper, wrapped: WrappedKey, binding: Binding = BINDING) -> None:
    with pytest.raises(DecryptionError) as caught:
        wrapper.unwrap(wrapped, binding)
    assert caught.value.args == DecryptionError().args
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_wrapped_key_unwraps(wrapper: PassphraseWrapper) -> None:
    """Another object with the same passphrase unwraps it; the parameters are those that RFC 9106 recommends."""
    wrapped = wrapper.wrap(KEY, BINDING)

    assert PassphraseWrapper(PASSPHRASE).unwrap(wrapped, BINDING) == KEY
    assert (wrapped.wrapper, wrapped.key_ref, len(wrapped.ciphertext)) == ("passphrase", "", SIZE)
    assert struct.unpack(">IBB", wrapped.ciphertext[16:22]) == (64 * 1024, 3, 4)


def test_the_layout() -> None:
    """A key that was wrapped by hand, from the specification, unwraps."""
    assert PassphraseWrapper(PASSPHRASE).unwrap(_wrapped(), BINDING) == KEY
    assert PassphraseWrapper(PASSPHRASE, label="escrow").unwrap(_wrapped(label="escrow"), BINDING) == KEY


def test_each_object_has_a_salt_of_its_own() -> None:
    """Two wrappers of one passphrase share no derived key."""
    salts = {PassphraseWrapper(PASSPHRASE)._parameters[:16] for _ in range(100)}
    assert len(salts) == 100


def test_many_at_once_cost_one_derivation(wrapper: PassphraseWrapper) -> None:
    """A thousand keys take about as long as one, since a salt is derived once."""
    items = [(bytes([number % 256]) * 32, ["x", str(number)]) for number in range(1000)]
    wrapped = wrapper.wrap_many(items)
    opener = PassphraseWrapper(PASSPHRASE)

    found = opener.unwrap_many([(one, binding) for one, (_, binding) in zip(wrapped, items, strict=True)])

    assert found == [key for key, _ in items]
    assert len({one.ciphertext[:22] for one in wrapped}) == 1
    assert len(opener._keys) == 1


def test_every_flip_of_a_wrapped_key_is_refused(count: Count) -> None:
    """Each bit is authenticated; a flip of the parameters that leads out of bounds is another format."""
    wrapper, wrapped = PassphraseWrapper(PASSPHRASE), _wrapped()
    assert wrapper.unwrap(wrapped, BINDING) == KEY
    whole, out_of_bounds = wrapped.ciphertext, 0
    for position in range(len(whole)):
        for bit in range(8):
            changed = _with(wrapped, whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            try:
                _refused(wrapper, changed)
            except FormatError:
                assert 16 <= position < 22
                out_of_bounds += 1
    assert out_of_bounds == 13 + 5 + 7  # of the memory, of the passes, of the lanes
    assert len(wrapper._keys) <= 64
    count("bit flips refused", 8 * len(whole))


def test_another_length_is_another_format(count: Count) -> None:
    """Every truncation, and every extension by 1 to 64 bytes, is refused before anything is derived."""
    wrapper, wrapped = PassphraseWrapper(PASSPHRASE), _wrapped()
    changed = [wrapped.ciphertext[:end] for end in range(SIZE)] + [wrapped.ciphertext + bytes(more) for more in range(1, 65)]
    for ciphertext in changed:
        with pytest.raises(FormatError, match="has 159 bytes"):
            wrapper.unwrap(_with(wrapped, ciphertext), BINDING)
    assert not wrapper._keys
    count("truncations and extensions refused", len(changed))


def test_another_passphrase_label_or_binding_is_refused() -> None:
    """Everything that must be right is needed, and a wrapped key cannot be moved under another label."""
    wrapped = _wrapped()
    for other in ("correct horse battery stapl", PASSPHRASE + " ", PASSPHRASE.upper()):
        _refused(PassphraseWrapper(other), wrapped)
    _refused(PassphraseWrapper(PASSPHRASE), wrapped, ["keyring", "eu/globex/invoices", bytes(16)])
    labelled = PassphraseWrapper(PASSPHRASE, label="escrow")
    assert not labelled.opens(wrapped)
    _refused(labelled, wrapped)
    _refused(labelled, WrappedKey("passphrase", "escrow:", wrapped.ciphertext))
    _refused(PassphraseWrapper(PASSPHRASE), WrappedKey("local", "", wrapped.ciphertext))
    _refused(PassphraseWrapper(PASSPHRASE), LocalWrapper(bytes(32)).wrap(KEY, BINDING))


def test_a_passphrase_is_used_as_given() -> None:
    """Nothing is stripped or normalised, and any text that UTF-8 can encode is one."""
    for passphrase in ("  spaces  ", "pässwörter", "pa\u0308sswörter", "密码密码密码密码", "null\x00null", "line\nline\n"):
        assert PassphraseWrapper(passphrase).unwrap(_wrapped(passphrase), BINDING) == KEY
    _refused(PassphraseWrapper("pa\u0308sswörter"), _wrapped("pässwörter"))


@pytest.mark.parametrize(("memory", "passes", "lanes"), [(8, 1, 1), (128, 1, 16), (8, 16, 1), (128, 16, 16), (1024 * 1024, 1, 4)])
def test_parameters_within_bounds_are_used(memory: int, passes: int, lanes: int) -> None:
    """Each bound itself is allowed."""
    assert PassphraseWrapper(PASSPHRASE).unwrap(_wrapped(memory=memory, passes=passes, lanes=lanes), BINDING) == KEY


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [
        *[(4 * 1024 * 1024, 3, 4), (1024 * 1024 + 1, 1, 1), (2**32 - 1, 1, 1), (2**31, 255, 255), (2**32 - 1, 255, 255)],
        *[(64 * 1024, 17, 4), (64 * 1024, 255, 4), (64 * 1024, 0, 4), (64 * 1024, 3, 0), (64 * 1024, 3, 17), (64 * 1024, 3, 255)],
        *[(0, 1, 1), (7, 1, 1), (127, 1, 16), (15, 1, 2), (1024 * 1024, 5, 4), (512 * 1024, 9, 4), (0, 0, 0)],
    ],
)
def test_parameters_out_of_bounds_cost_nothing(memory: int, passes: int, lanes: int) -> None:
    """4 GiB, and whatever else exceeds a bound, is refused in less than 50 ms, before anything is derived."""
    wrapper, good = PassphraseWrapper(PASSPHRASE), _wrapped()
    hostile = _with(good, good.ciphertext[:16] + struct.pack(">IBB", memory, passes, lanes) + good.ciphertext[22:])

    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(FormatError, match=f"out of bounds: {memory} KiB, {passes} passes, {lanes} lanes"):
        wrapper.unwrap(hostile, BINDING)
    elapsed, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert elapsed < 0.05
    assert peak < 1 << 20
    assert not wrapper._keys


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Let the system grant 256 MiB more than the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (256 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_memory_that_is_not_granted_can_be_asked_for_again() -> None:
    """Where the system refuses the memory, the error is retryable and says how much it was; nothing weaker is done."""
    wrapper, good = PassphraseWrapper(PASSPHRASE), _wrapped()
    large = _with(good, good.ciphertext[:16] + struct.pack(">IBB", 1024 * 1024, 1, 1) + good.ciphertext[22:])
    with _little_memory(), pytest.raises(WrapperUnavailableError, match="needs 1048576 KiB of memory"):
        wrapper.unwrap(large, BINDING)
    assert wrapper.unwrap(good, BINDING) == KEY


@pytest.mark.parametrize("passphrase", ["", "short", "1234567", "ü" * 7])
def test_a_short_passphrase_is_refused(passphrase: str) -> None:
    """Seven characters are a slip of the keyboard."""
    with pytest.raises(ValueError, match="at least 8 characters"):
        PassphraseWrapper(passphrase)


@pytest.mark.parametrize("passphrase", [b"correct horse", None, 12345678, ["correct", "horse"]])
def test_a_passphrase_is_text(passphrase: str) -> None:
    """Bytes would be another passphrase in another encoding."""
    with pytest.raises(TypeError, match="passphrase must be str"):
        PassphraseWrapper(passphrase)


@given(st.text(min_size=4, max_size=6), st.characters(categories=["Cs"]), st.text(min_size=4, max_size=6))
def test_a_lone_surrogate_is_refused_without_showing_the_passphrase(before: str, surrogate: str, after: str) -> None:
    """What no encoding can write is a mistake of the caller; the codec's error, which holds the text, is not shown."""
    with pytest.raises(ValueError, match="lone surrogate") as caught:
        PassphraseWrapper(before + surrogate + after)
    assert type(caught.value) is ValueError
    assert caught.value.__context__ is None


def test_a_label_of_another_form_is_refused() -> None:
    """Labels follow the rule of all wrappers."""
    with pytest.raises(ValueError, match="label is 1 to 32 of"):
        PassphraseWrapper(PASSPHRASE, label="Escrow")
    assert PassphraseWrapper(PASSPHRASE, label="escrow").key_ref == "escrow:"


def test_it_follows_the_protocol_and_shows_nothing(wrapper: PassphraseWrapper) -> None:
    """It is a wrapper with which outsiders cannot wrap; repr, pickle and copy show nothing."""
    assert isinstance(wrapper, KeyWrapper)
    assert not wrapper.outsiders_can_wrap
    assert repr(wrapper) == "<PassphraseWrapper ********>"
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            duplicate(wrapper)
