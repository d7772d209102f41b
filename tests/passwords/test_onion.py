# SPDX-License-Identifier: Apache-2.0
"""Digests of old tables lie under a strong hash until the next login, and never are passwords themselves."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit._primitives import password_kdfs as kdfs
from securekit.exceptions import FormatError, PasswordBusyError, PasswordError
from securekit.passwords import PasswordHasher
from securekit.passwords._native import NativeHash
from securekit.passwords._onion import INTERPRETATIONS, check_layer, import_table, peel, wrap
from securekit.testing import fast_passwords
from tests.conftest import Count


def old_digest(name: str, password: bytes, salt: bytes) -> bytes:
    """Return what an old service stored for a password."""
    algorithm, _, order = name.partition("-")
    return hashlib.new(algorithm, salt + password if order == "salt-password" else password + salt).digest()


OLD = [f"{name}-{order}" for name in ("md5", "sha1", "sha256", "sha512") for order in ("hex", "salt-password", "password-salt")]
SALTS = {name: b"" if name.endswith("-hex") else b"s\xffalt" for name in OLD}
HASHER = PasswordHasher(fast_passwords)
NTLM_OF_PASSWORD = "8846f7eaee8fb117ad06bdd830b7586c"  # known from every table of NTLM


def _has_md4() -> bool:
    try:
        kdfs.md4(b"")
    except NotImplementedError:
        return False
    return True


def test_the_interpretations_are_a_closed_list() -> None:
    """Each of four digests without a salt and with one on either side, and NTLM."""
    assert {*OLD, "ntlm-hex"} == {*INTERPRETATIONS}


@pytest.mark.parametrize("name", OLD)
@given(password=st.text(min_size=1, max_size=40).filter(lambda password: not password.endswith("\0")))
def test_a_wrapped_digest_verifies_the_password_and_not_the_digest(name: str, password: str) -> None:
    """The password verifies and becomes a hash of the profile; the digest, in whatever form, is no password."""
    given = password.encode(errors="replace")
    digest = old_digest(name, given, SALTS[name])
    stored = wrap(digest.hex().upper(), name, salt=SALTS[name], profile=fast_passwords)

    verified = HASHER.verify(given.decode(), hash=stored)

    assert verified.new_hash is not None
    assert "onion" not in verified.new_hash
    assert HASHER.verify(given.decode(), hash=verified.new_hash).new_hash is None
    for wrong in (digest.hex(), digest.hex().upper(), given.decode() + "x"):
        with pytest.raises(PasswordError):
            HASHER.verify(wrong, hash=stored)


@pytest.mark.parametrize("name", OLD)
def test_a_wrapped_digest_is_a_string_of_ours(name: str) -> None:
    """The string names its layer and comes back the same; the digest does not stand in it."""
    digest = old_digest(name, b"password", SALTS[name]).hex()
    stored = wrap(digest, name, salt=SALTS[name], profile=fast_passwords)

    parsed = NativeHash.parse(stored)

    assert stored.startswith(f"$securekit$v=1,n=none,onion={name}")
    assert (parsed.text(), parsed.layer, parsed.layer_salt) == (stored, name, SALTS[name])
    assert digest not in stored


def test_springs_plain_digests_are_imported_with_their_braces() -> None:
    """Spring's {MD5}{salt}digest and its like are of the password, then the salt with its braces."""
    table = json.loads((Path(__file__).parents[1] / "vectors" / "spring" / "password-encoder-factories.json").read_text())
    names = {"{MD5}": "md5", "{SHA-1}": "sha1", "{SHA-256}": "sha256"}

    for stored in table["refused"]:
        prefix, salt, digest = re.fullmatch(r"(\{.*?\})(\{.*\})?(.*)", stored).groups()  # type: ignore[union-attr] # all have a prefix
        if prefix in names:
            assert NativeHash.parse(wrap(digest, f"{names.pop(prefix)}-password-salt", salt=salt, profile=fast_passwords)).matches(
                b"password"
            )
    assert not names


@given(
    text=st.text(max_size=140) | st.text("0123456789abcdefABCDEF", max_size=140),
    name=st.sampled_from(INTERPRETATIONS),
    salt=st.binary(max_size=300),
)
def test_whatever_is_wrapped_is_read_again_or_refused(text: str, name: str, salt: bytes) -> None:
    """No digest and no salt raise anything but our error; what is wrapped is a canonical string."""
    try:
        stored = wrap(text, name, salt=salt, profile=fast_passwords)
    except FormatError:
        return
    assert NativeHash.parse(stored).text() == stored


@pytest.mark.parametrize("profile", ["bcrypt", "fips"])
def test_other_profiles_wrap_too(profile: str) -> None:
    """Whatever the profile's scheme, the digest is what it hashes."""
    stored = wrap(hashlib.md5(b"password").hexdigest(), "md5-hex", profile=profile)

    assert NativeHash.parse(stored).matches(b"password")
    assert not NativeHash.parse(stored).matches(hashlib.md5(b"password").hexdigest().encode())


@pytest.mark.parametrize(
    ("digest", "name", "salt", "match"),
    [
        ("00" * 16, "md5", b"", "no such layer"),
        ("00" * 16, "md5-hex", b"salt", "has no salt"),
        ("00" * 16, "md5-salt-password", b"", "a salt of 1 to 256 bytes"),
        ("00" * 16, "md5-salt-password", b"s" * 257, "a salt of 1 to 256 bytes"),
        ("00" * 20, "md5-hex", b"", "32 hexadecimal digits"),
        ("0g" * 16, "md5-hex", b"", "32 hexadecimal digits"),
        ("00" * 16 + "\n", "md5-hex", b"", "32 hexadecimal digits"),
        ("", "sha512-hex", b"", "128 hexadecimal digits"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(digest: str, name: str, salt: bytes, match: str) -> None:
    """An unknown name, a salt too many or too few, and what is no digest of that name are refused with the reason."""
    with pytest.raises(FormatError, match=match):
        wrap(digest, name, salt=salt, profile=fast_passwords)


@pytest.mark.parametrize(
    "layer", ["onion=md5", "onion=md5-hex,salt=c2FsdA", "onion=md5-salt-password", "onion=md5-salt-password,salt=", "onion="]
)
def test_a_stored_layer_is_checked_before_any_work(layer: str) -> None:
    """A string of ours with a layer that does not exist, or not with such a salt, is refused."""
    stored = wrap("00" * 16, "md5-hex", profile=fast_passwords)

    with pytest.raises(FormatError):
        NativeHash.parse(stored.replace("onion=md5-hex", layer))


def test_ntlm_is_wrapped_or_refused_with_the_reason() -> None:
    """Where Python has MD4, NTLM's digests are wrapped; elsewhere the reason is said at once, and a stored one fails as others do."""
    if _has_md4():
        assert NativeHash.parse(wrap(NTLM_OF_PASSWORD, "ntlm-hex", profile=fast_passwords)).matches(b"password")
        return
    refusals: list[Callable[[], object]] = [
        lambda: wrap(NTLM_OF_PASSWORD, "ntlm-hex", profile=fast_passwords),
        lambda: import_table([], "ntlm-hex", fast_passwords),
        lambda: check_layer("ntlm-hex", b""),
    ]
    for refused in refusals:
        with pytest.raises(FormatError, match="no MD4"):
            refused()


@pytest.mark.measured
def test_ntlm_where_openssl_has_md4(tmp_path: Path) -> None:
    """With OpenSSL's provider of old digests, the digest that every table of NTLM has is peeled."""
    settings = tmp_path / "openssl.cnf"
    settings.write_text(
        "openssl_conf = main\n[main]\nproviders = providers\n[providers]\ndefault = on\nlegacy = on\n[on]\nactivate = 1\n", encoding="ascii"
    )
    program = f"""if True:
        from securekit._primitives import password_kdfs as kdfs
        from securekit.passwords._native import NativeHash
        from securekit.passwords._onion import wrap
        from securekit.testing import fast_passwords
        try:
            kdfs.md4(b"")
        except NotImplementedError:
            raise SystemExit(3)
        stored = NativeHash.parse(wrap("{NTLM_OF_PASSWORD}", "ntlm-hex", profile=fast_passwords))
        assert stored.matches(b"password") and not stored.matches(b"{NTLM_OF_PASSWORD}")
        print("peeled")
    """

    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"OPENSSL_CONF": str(settings)}, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout.strip()) in {(0, "peeled"), (3, "")}, done.stderr


def test_a_password_of_any_length_and_script_is_peeled_as_given() -> None:
    """What an old table hashed was not normalised, and is not at the login: é typed as two characters is another password."""
    stored = wrap(hashlib.md5("caf\u00e9".encode()).hexdigest(), "md5-hex", profile=fast_passwords)

    assert HASHER.verify("caf\u00e9", hash=stored).new_hash
    with pytest.raises(PasswordError):
        HASHER.verify("cafe\u0301", hash=stored)
    assert peel("md5-password-salt", b"x", b"y") == hashlib.md5(b"yx").hexdigest().encode()


def test_a_table_is_imported_in_order_and_its_bad_rows_reported(count: Count) -> None:
    """Each row gives a hash or a problem, in order; one bad row ends nothing."""
    rows: list[tuple[int, str | None, bytes | str]] = [
        (number, hashlib.sha1(f"salt{number}".encode() + b"password").hexdigest(), f"salt{number}") for number in range(200)
    ]
    rows[7], rows[8], rows[9] = (7, "no digest", "salt"), (8, None, "salt"), (9, rows[9][1], b"")

    done = list(import_table(rows, "sha1-salt-password", fast_passwords, workers=2))

    assert [row.key for row in done] == list(range(200))
    assert {row.key: row.problem for row in done if row.hash is None} == {
        7: "a digest of sha1-salt-password has 40 hexadecimal digits",
        8: "a digest of sha1-salt-password has 40 hexadecimal digits",
        9: "sha1-salt-password has a salt of 1 to 256 bytes",
    }
    good = [row.hash for row in done if row.hash]
    assert len({*good}) == 197
    assert all(HASHER.verify("password", hash=stored).new_hash for stored in good)
    count("rows of old tables imported", len(good))


def test_rows_are_read_as_they_are_needed() -> None:
    """A table of any length is imported in bounded memory, and nothing is left behind when its reader stops early."""
    read = 0

    def rows() -> Iterator[tuple[int, str]]:
        nonlocal read
        while True:
            read += 1
            yield read, "00" * 16

    done = import_table(rows(), "md5-hex", fast_passwords, workers=2)

    assert [next(done).key for _ in range(10)] == list(range(1, 11))
    assert read <= 10 + 8
    done.close()  # type: ignore[attr-defined] # a generator
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_table_that_fails_fails_the_import() -> None:
    """An error of whoever reads the rows comes through."""

    def rows() -> Iterator[tuple[int, str]]:
        yield 1, "00" * 16
        message = "the database is gone"
        raise OSError(message)

    with pytest.raises(OSError, match="the database is gone"):
        list(import_table(rows(), "md5-hex", fast_passwords, workers=1))


def test_memory_that_is_not_granted_ends_the_import_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not grant the memory, the import says to use fewer workers, and shows no digest."""

    def none_left(*_: object, **__: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr("argon2.low_level.hash_secret_raw", none_left)

    with pytest.raises(PasswordBusyError, match="fewer workers"):
        list(import_table([(1, "00" * 16)], "md5-hex", fast_passwords))


def test_what_the_caller_got_wrong_is_said_before_the_first_row() -> None:
    """A wrong name, profile or number of workers raises at the call."""
    with pytest.raises(ValueError, match="no interpretation 'md5'; there are md5-hex,"):
        import_table([], "md5")
    with pytest.raises(ValueError, match="no profile 'fast'"):
        import_table([], "md5-hex", "fast")
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        import_table([], "md5-hex", workers=0)
    assert list(import_table([], "md5-hex")) == []
