# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import errno
import os
import pickle
from pathlib import Path

import pytest

from securekit._primitives import xwing
from securekit._wire.base64url import encode
from securekit.exceptions import DecryptionError, FormatError, KeyFileError
from securekit.wrappers import PostQuantumWrapper, WrappedKey
from tests.conftest import Count

KEY, SEED = bytes(range(32)), b"\x5e" * 32
BINDING: list[bytes | str] = ["envelope", bytes(16)]
FULL = PostQuantumWrapper(seed=SEED)
PUBLIC = xwing.public_key(SEED)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return the two files of a new key pair: private, public."""
    PostQuantumWrapper.generate(key=tmp_path / "ops.key", public=tmp_path / "ops.pub")
    return tmp_path / "ops.key", tmp_path / "ops.pub"


def test_the_public_half_wraps_and_the_private_one_opens() -> None:
    """What is wrapped with the public key alone opens with the seed alone; the reference is the same."""
    public = PostQuantumWrapper(PUBLIC)
    wrapped = public.wrap(KEY, BINDING)

    assert FULL.unwrap(wrapped, BINDING) == KEY
    assert (len(wrapped.ciphertext), wrapped.recipient) == (1201, (FULL.name, FULL.key_ref))
    assert (public.can_unwrap, FULL.can_unwrap) == (False, True)
    assert (public.opens(wrapped), FULL.opens(wrapped)) == (False, True)
    assert FULL.outsiders_can_wrap
    with pytest.raises(DecryptionError):
        public.unwrap(wrapped, BINDING)
    assert FULL.unwrap_many([(one, BINDING) for one in public.wrap_many([(KEY, BINDING)] * 2)]) == [KEY, KEY]


def test_no_flip_and_no_other_binding_unwraps(count: Count) -> None:
    """Every 7th bit of the ciphertext, another binding, another key and another length are refused."""
    wrapped = FULL.wrap(KEY, BINDING)
    bits = range(0, 8 * len(wrapped.ciphertext), 7)
    for bit in bits:
        data = bytearray(wrapped.ciphertext)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError):
            FULL.unwrap(WrappedKey(wrapped.wrapper, wrapped.key_ref, bytes(data)), BINDING)
    with pytest.raises(DecryptionError):
        FULL.unwrap(wrapped, ["envelope", b"\x01" * 16])
    with pytest.raises(DecryptionError):
        PostQuantumWrapper(seed=bytes(32)).unwrap(wrapped, BINDING)
    for size in (0, 1200, 1202):
        with pytest.raises(FormatError, match=f"has 1201 bytes, not {size}"):
            FULL.unwrap(WrappedKey(wrapped.wrapper, wrapped.key_ref, wrapped.ciphertext.ljust(size, b"\0")[:size]), BINDING)
    count("bit flips refused: keys wrapped to X-Wing", len(bits))


@pytest.mark.parametrize(
    ("public", "seed"), [(None, None), (PUBLIC[:-1], None), (PUBLIC, bytes(32)), (None, SEED[:-1]), (b"", None), (None, b"")]
)
def test_keys_of_another_length_or_pair_are_refused(public: bytes | None, seed: bytes | None) -> None:
    """Something must be there, of its length, and both must belong together."""
    with pytest.raises(ValueError, match="X-Wing"):
        PostQuantumWrapper(public, seed=seed)


def test_a_public_key_that_is_none_is_refused_when_it_is_read(tmp_path: Path) -> None:
    """Numbers beyond the modulus are no key: that is found before there is a wrapper."""
    with pytest.raises(ValueError, match="X-Wing"):
        PostQuantumWrapper(b"\xff" * 1216)
    (tmp_path / "ops.pub").write_text(_line("public", b"\xff" * 1216))
    with pytest.raises(KeyFileError, match="is not an X-Wing key file"):
        PostQuantumWrapper.from_files(public=tmp_path / "ops.pub")


def _line(half: str, value: bytes) -> str:
    return f"securekit-pq-{half}-1:{encode(value)}\n"


def test_a_pair_is_made_in_two_files(pair: tuple[Path, Path]) -> None:
    """The private one is guarded, the public one readable; either or both are read again."""
    key, public = pair

    assert (key.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    wrapped = PostQuantumWrapper.from_files(public=public).wrap(KEY, BINDING)
    for wrapper in (PostQuantumWrapper.from_files(key=key), PostQuantumWrapper.from_files(public=public, key=key)):
        assert wrapper.unwrap(wrapped, BINDING) == KEY
    with pytest.raises(ValueError, match="are needed"):
        PostQuantumWrapper.from_files()


def test_the_bytes_of_a_public_file_are_enough(pair: tuple[Path, Path]) -> None:
    """A public key file that was read elsewhere gives the same wrapper; anything else is refused."""
    _, public = pair
    data = public.read_bytes()
    assert PostQuantumWrapper.from_public(data).key_ref == PostQuantumWrapper.from_files(public=public).key_ref
    for other in (b"", data[:-2], data + b"x", pair[0].read_bytes(), _line("public", b"\xff" * 1216).encode()):
        with pytest.raises(FormatError, match="not an X-Wing public key file"):
            PostQuantumWrapper.from_public(other)


def test_nothing_is_overwritten_and_no_half_is_left(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """If either name is taken, nothing new is there."""
    key, public = pair
    before = key.read_bytes(), public.read_bytes()
    for names in ((key, tmp_path / "new.pub"), (tmp_path / "new.key", public)):
        with pytest.raises(KeyFileError, match="exists already and is not overwritten"):
            PostQuantumWrapper.generate(key=names[0], public=names[1])
    with pytest.raises(KeyFileError, match=r"cannot write .*: No such file or directory"):
        PostQuantumWrapper.generate(key=tmp_path / "missing" / "new.key", public=tmp_path / "new.pub")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ops.key", "ops.pub"]
    assert (key.read_bytes(), public.read_bytes()) == before


@pytest.mark.parametrize(
    "text",
    [
        "securekit-pq-private-1:",
        _line("public", SEED),
        _line("private", SEED[:-1]),
        _line("private", SEED).replace("X", "=", 1) + "x",
        "\xff",
    ],
)
def test_a_private_file_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    """The error names the file and the command that makes one."""
    path = tmp_path / "ops.key"
    path.write_text(text, "latin-1")
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match="make a pair with: securekit identity new --pq"):
        PostQuantumWrapper.from_files(key=path)


def test_a_public_file_that_is_not_there_is_an_error(pair: tuple[Path, Path]) -> None:
    """A missing file, a private key in its place, and an unguarded private key are told apart."""
    key, public = pair
    with pytest.raises(KeyFileError, match="is not an X-Wing key file"):
        PostQuantumWrapper.from_files(public=key)
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="is open to others"):
        PostQuantumWrapper.from_files(key=key)
    public.unlink()
    with pytest.raises(KeyFileError, match=r"cannot read the public key file .*: No such file"):
        PostQuantumWrapper.from_files(public=public)


def test_a_full_disk_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the private key cannot be written, the public one is taken back."""
    real, calls = os.fsync, 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # the private key's own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(KeyFileError, match="No space left"):
        PostQuantumWrapper.generate(key=tmp_path / "ops.key", public=tmp_path / "ops.pub")
    assert list(tmp_path.iterdir()) == []


def test_it_shows_its_reference_alone() -> None:
    """Neither text nor a copy holds the seed."""
    assert repr(FULL) == f"<PostQuantumWrapper {FULL.key_ref[:16]}… opens>"
    assert repr(PostQuantumWrapper(PUBLIC)).endswith("wraps only>")
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            write(FULL)
