# SPDX-License-Identifier: Apache-2.0
"""The package that crosses every wrapper has one shape, and opens for one binding."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import securekit.wrappers
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError
from securekit.wrappers import KeyWrapper, WrappedKey
from securekit.wrappers._protocol import open_package, seal_package
from tests.conftest import Count

KEY = bytes(range(32))
bindings = st.lists(st.text(max_size=6) | st.binary(max_size=6), max_size=4)


@given(st.binary(min_size=32, max_size=32), bindings, bindings)
def test_a_package_opens_for_its_binding_alone(key: bytes, one: list[str | bytes], other: list[str | bytes]) -> None:
    """The key comes back for an equal binding; for any other one there is nothing but the one error."""
    package = seal_package(key, one)
    assert package == b"\x01" + key + hashlib.sha256(pae(["securekit/wrap/1", *one])).digest()
    assert open_package(package, one) == key
    if pae(one) != pae(other):
        with pytest.raises(DecryptionError):
            open_package(package, other)


def test_every_flip_outside_of_the_key_is_refused(count: Count) -> None:
    """The version and the hash of the binding are checked in full; the key's own bits are the cipher's to authenticate."""
    package = seal_package(KEY, ["x"])
    refused = 0
    for position in [0, *range(33, 65)]:
        for bit in range(8):
            with pytest.raises(DecryptionError):
                open_package(package[:position] + bytes([package[position] ^ 1 << bit]) + package[position + 1 :], ["x"])
            refused += 1
    for size in (0, 1, 33, 64):
        with pytest.raises(DecryptionError):
            open_package(package[:size], ["x"])
    with pytest.raises(DecryptionError):
        open_package(package + b"\x00", ["x"])
    count("bit flips refused", refused)


def test_facts_for_display_do_not_make_another_wrapped_key() -> None:
    """A wrapped key is its kind, its reference and its bytes; what is shown beside them changes nothing."""
    one, other = WrappedKey("local", "ref", b"x", {"subject": "a"}), WrappedKey("local", "ref", b"x")
    assert one == other
    assert one.recipient == ("local", "ref")
    with pytest.raises(AttributeError):
        one.ciphertext = b"y"  # type: ignore[misc]


def test_what_is_no_wrapper_is_told_apart() -> None:
    """The protocol is checked when the program runs too."""
    assert not isinstance("local:root.key", KeyWrapper)


def test_the_package_gives_its_names_and_no_others() -> None:
    """Every public name is there, and any other one is an AttributeError as usual."""
    for name in securekit.wrappers.__all__:
        assert getattr(securekit.wrappers, name)
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        _ = securekit.wrappers.Missing


def test_a_local_wrapper_does_not_load_argon2() -> None:
    """Whoever uses a local key does not pay for passphrases."""
    script = "import sys; from securekit.wrappers import LocalWrapper; LocalWrapper(bytes(32)); print('argon2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
