# SPDX-License-Identifier: Apache-2.0
"""A local KEK wraps for one binding under one label, and its file is made once and guarded."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives.aead import KcXaes256Gcm
from securekit._primitives.hkdf import hkdf
from securekit._wire.base64url import encode
from securekit._wire.pae import pae
from securekit.exceptions import DecryptionError, FormatError, KeyFileError
from securekit.wrappers import Binding, KeyWrapper, LocalWrapper, WrappedKey
from tests.conftest import Count

KEK, KEY = bytes(range(32)), bytes(range(100, 132))
BINDING: Binding = ["keyring", "eu/acme/invoices", bytes(16)]
PREFIX = "securekit-local-key-1:"

bindings = st.lists(st.text(max_size=8) | st.binary(max_size=8), max_size=4)


def _refused(wrapper: KeyWrapper, wrapped: WrappedKey, binding: Binding = BINDING) -> None:
    """Check that unwrapping fails, with the one error."""
    with pytest.raises(DecryptionError) as caught:
        wrapper.unwrap(wrapped, binding)
    assert caught.value.args == DecryptionError().args
    assert caught.value.__cause__ is caught.value.__context__ is None


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), bindings)
def test_a_wrapped_key_unwraps(kek: bytes, key: bytes, binding: list[str | bytes]) -> None:
    """Another object with the same KEK unwraps what one has wrapped, for the same binding."""
    wrapped = LocalWrapper(kek).wrap(key, binding)
    assert LocalWrapper(kek).opens(wrapped)
    assert LocalWrapper(kek).unwrap(wrapped, binding) == key


def test_the_layout() -> None:
    """The ciphertext is KC-XAES-256-GCM of the 65-byte package, as the specification says, and the reference is derived."""
    reference = hkdf(KEK, "securekit/local/1 ref")[:8].hex()
    wrapped = LocalWrapper(KEK).wrap(KEY, BINDING)
    package = KcXaes256Gcm(KEK).decrypt(wrapped.ciphertext, pae(["securekit/wrap/local/1", reference]))

    assert (wrapped.wrapper, wrapped.key_ref) == ("local", reference)
    assert (len(wrapped.ciphertext), len(package)) == (137, 65)
    assert package[:33] == b"\x01" + KEY
    assert LocalWrapper(KEK, label="eu").key_ref == f"eu:{reference}"


@given(bindings, bindings)
def test_another_binding_does_not_unwrap(one: list[str | bytes], other: list[str | bytes]) -> None:
    """What a key belongs to is part of it, however alike the parts look together."""
    wrapper = LocalWrapper(KEK)
    wrapped = wrapper.wrap(KEY, one)
    if pae(one) == pae(other):
        assert wrapper.unwrap(wrapped, other) == KEY
    else:
        _refused(wrapper, wrapped, other)


def test_every_flip_and_cut_of_a_wrapped_key_is_refused(count: Count) -> None:
    """Every bit is authenticated, every truncation and extension refused."""
    wrapper = LocalWrapper(KEK)
    whole = wrapper.wrap(KEY, BINDING).ciphertext
    changed = [whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)]
    cut = [whole[:end] for end in range(len(whole))] + [whole + bytes(more) for more in range(1, 65)]
    for ciphertext in changed:
        _refused(wrapper, WrappedKey("local", wrapper.key_ref, ciphertext))
    for ciphertext in cut:
        with pytest.raises(FormatError, match=f"has 137 bytes, not {len(ciphertext)}"):
            wrapper.unwrap(WrappedKey("local", wrapper.key_ref, ciphertext), BINDING)
    count("bit flips refused", len(changed))
    count("truncations and extensions refused", len(cut))


def test_a_wrapped_key_of_another_kek_label_or_kind_is_refused() -> None:
    """A KEK opens only what names it, and what was wrapped under it: nobody can move a wrapped key to another name."""
    plain, labelled, foreign = LocalWrapper(KEK), LocalWrapper(KEK, label="eu"), LocalWrapper(bytes(32))
    wrapped = plain.wrap(KEY, BINDING)
    for other in (labelled, foreign, LocalWrapper(KEK, label="us")):
        assert not other.opens(wrapped)
        _refused(other, wrapped)
        _refused(other, WrappedKey("local", other.key_ref, wrapped.ciphertext))  # transplanted under its name
    other_kind = WrappedKey("passphrase", wrapped.key_ref, wrapped.ciphertext)
    assert not plain.opens(other_kind)
    _refused(plain, other_kind)


def test_a_package_of_another_version_is_refused() -> None:
    """An authentic package with another first byte is none."""
    wrapper = LocalWrapper(KEK)
    good = KcXaes256Gcm(KEK).decrypt(wrapper.wrap(KEY, BINDING).ciphertext, wrapper._associated_data)
    for package in (b"\x00" + good[1:], b"\x02" + good[1:]):
        sealed = KcXaes256Gcm(KEK).encrypt(package, wrapper._associated_data)
        _refused(wrapper, WrappedKey("local", wrapper.key_ref, sealed))


def test_many_at_once() -> None:
    """Many keys keep their order, and one that does not unwrap is an error."""
    wrapper = LocalWrapper(KEK)
    items = [(os.urandom(32), ["x", str(number)]) for number in range(10)]
    wrapped = wrapper.wrap_many(items)

    assert wrapper.unwrap_many([(one, binding) for one, (_, binding) in zip(wrapped, items, strict=True)]) == [key for key, _ in items]
    assert not wrapper.wrap_many([])
    assert not wrapper.unwrap_many([])
    with pytest.raises(DecryptionError):
        wrapper.unwrap_many([(one, ["x"]) for one in wrapped])


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_keys_have_32_bytes(size: int) -> None:
    """Neither a KEK nor a key to wrap has another size."""
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        LocalWrapper(bytes(size))
    with pytest.raises(ValueError, match=f"32 bytes, not {size}"):
        LocalWrapper(KEK).wrap(bytes(size), BINDING)


@pytest.mark.parametrize("label", ["a", "eu-1", "0", "a" * 32])
def test_labels(label: str) -> None:
    """A label stands before the reference."""
    assert LocalWrapper(KEK, label=label).key_ref.startswith(f"{label}:")


@pytest.mark.parametrize("label", ["-a", "A", "a b", "a:b", "a" * 33, "ü", "a\n", "a_b", "a.b", " "])
def test_other_labels_are_refused(label: str) -> None:
    """A label has no character that means something elsewhere."""
    with pytest.raises(ValueError, match="label is 1 to 32 of"):
        LocalWrapper(KEK, label=label)


def test_it_follows_the_protocol() -> None:
    """It is a wrapper, and outsiders cannot wrap with it."""
    wrapper = LocalWrapper(KEK)
    assert isinstance(wrapper, KeyWrapper)
    assert (wrapper.name, wrapper.outsiders_can_wrap) == ("local", False)


def test_it_shows_its_reference_and_nothing_else() -> None:
    """The repr names the key; pickle and copy refuse, and so does the cipher inside."""
    wrapper = LocalWrapper(KEK, label="eu")
    assert repr(wrapper) == str(wrapper) == f"<LocalWrapper {wrapper.key_ref}>"
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            duplicate(wrapper)
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            duplicate(wrapper._cipher)


# ------------------------------------------------------------------------------------------------ the file


def test_a_generated_file_is_read_again(tmp_path: Path) -> None:
    """The new key is in a file of mode 0600, in the form that is documented."""
    path = tmp_path / "root.key"
    made = LocalWrapper.generate(path, label="eu")
    read = LocalWrapper.from_file(str(path), label="eu")

    assert read.unwrap(made.wrap(KEY, BINDING), BINDING) == KEY
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith(PREFIX)
    assert len(path.read_text()) == len(PREFIX) + 43 + 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]
    assert LocalWrapper.generate(tmp_path / "other.key").key_ref != LocalWrapper.from_file(path).key_ref


@pytest.mark.parametrize("there", ["key", "empty", "directory", "dangling link"])
def test_generate_never_overwrites(tmp_path: Path, there: str) -> None:
    """Whatever is there stays as it is, and the error says what to call instead."""
    path = tmp_path / "root.key"
    if there == "key":
        LocalWrapper.generate(path)
    elif there == "empty":
        path.touch()
    elif there == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    before = path.read_bytes() if path.is_file() else None

    with pytest.raises(KeyFileError, match=r"exists already and is not overwritten; use LocalWrapper\.from_file"):
        LocalWrapper.generate(path)

    assert before is None or path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]


def test_generate_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A missing directory, or a file in place of one, is our own error."""
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError, match=r"cannot write .*: No such file"):
        LocalWrapper.generate(tmp_path / "missing" / "root.key")
    with pytest.raises(KeyFileError, match=r"cannot write .*: Not a directory"):
        LocalWrapper.generate(tmp_path / "file" / "root.key")


def test_generate_with_a_label_of_another_form_makes_no_file(tmp_path: Path) -> None:
    """A mistake of the caller is found before a key is stored."""
    with pytest.raises(ValueError, match="label is 1 to 32 of"):
        LocalWrapper.generate(tmp_path / "root.key", label="EU")
    assert not (tmp_path / "root.key").exists()


GOOD = f"{PREFIX}{encode(KEK)}"


@pytest.mark.parametrize("content", [GOOD, GOOD + "\n"], ids=["bare", "with newline"])
def test_a_key_file_may_end_with_a_newline(tmp_path: Path, content: str) -> None:
    """An editor or a secret store may have dropped the newline."""
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    assert LocalWrapper.from_file(path).key_ref == LocalWrapper(KEK).key_ref


@pytest.mark.parametrize(
    "content",
    [
        KEK,
        encode(KEK).encode(),
        GOOD.encode()[:-1],
        GOOD.encode() + b"A",
        GOOD.encode() + b"=",
        GOOD.encode() + b"\n\n",
        GOOD.encode() + b"\r\n",
        b" " + GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode().replace(b"-1:", b"-2:"),
        GOOD.upper().encode(),
        GOOD.encode()[:-1] + b"5",
        PREFIX.encode() + encode(bytes(31)).encode(),
        PREFIX.encode() + encode(bytes(33)).encode(),
        PREFIX.encode(),
        PREFIX.encode() + b"\xff" * 43,
        b"\xff\xfe",
        b"-----BEGIN PRIVATE KEY-----\n",
    ],
    ids=lambda content: repr(content[-12:]),
)
def test_another_file_is_no_key_file(tmp_path: Path, content: bytes) -> None:
    """A file of another form is refused, with the command that makes one, and without showing what is in it."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileError) as caught:
        LocalWrapper.from_file(path)

    assert str(caught.value) == f"{path} is not a local key file; make one with: securekit keys new-kek {path}"
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.chmod(0o644), "chmod 600"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.with_name("second").hardlink_to(path), "2 hard links"),
    ],
)
def test_the_file_is_read_through_the_guarded_reader(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    """What the reader of key files refuses is refused."""
    LocalWrapper.generate(tmp_path / "key")
    spoil(tmp_path / "key")
    with pytest.raises(KeyFileError, match=message):
        LocalWrapper.from_file(tmp_path / "key")
