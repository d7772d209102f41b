# SPDX-License-Identifier: Apache-2.0
"""What a table of hashes is made of is told without any password, and without showing a hash."""

from __future__ import annotations

import pytest

from securekit.exceptions import KeyStoreUnavailableError
from securekit.keyring import Keyring, MemoryKeyStore
from securekit.keyring._storage import MemoryStorage
from securekit.passwords import HashGroup, PasswordHasher, Profile, audit, identify
from securekit.passwords._onion import wrap
from securekit.testing import fast_passwords, memory_store

PATH = "eu/acme/passwords"
DJANGO = "pbkdf2_sha256$260000$5iTAMm2qWFuBsa$oU1iHkrqezcUe1DPM01GCYBASfTzaxLj5SJIipyXa40="
BCRYPT = "$2b$10$5rSH2kmIUf6dq/A8RnoKd.qVy.sLFeyUgZbCrA377b64wi.NdT98G"
OWASP = "$securekit$v=1,n=nfkc$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
DIGEST = "5f4dcc3b5aa765d61d8327deb882cf99"
FAST = PasswordHasher(fast_passwords)


@pytest.fixture
def store() -> MemoryKeyStore:
    return memory_store()


@pytest.fixture
def pepper(store: MemoryKeyStore) -> Keyring:
    return store.keyring(PATH, create=True)


def groups(found: list[HashGroup]) -> list[tuple[str, str, str, int, int, bool]]:
    return [(group.form, group.scheme, group.parameters, group.bits, group.count, group.below) for group in found]


def test_alike_hashes_are_counted_together() -> None:
    """The most first; each group has its form, scheme, cost and bits, and whether the next login makes stronger ones of it."""
    rows = [("1", DJANGO), ("2", OWASP), ("3", OWASP), ("4", BCRYPT), ("5", OWASP), ("6", BCRYPT)]

    assert groups(audit(rows, profile="owasp")) == [
        ("securekit", "argon2id", "m=19456, t=2, p=1", 256, 3, False),
        ("mcf", "bcrypt", "rounds=10", 184, 2, True),
        ("django", "pbkdf2-sha256", "iterations=260000", 256, 1, True),
    ]
    assert [group.below for group in audit(rows)] == [True, True, True]
    assert audit([]) == []


def test_an_imported_digest_is_named_with_its_layer() -> None:
    """It is below every profile, until its user has logged in."""
    found = identify(wrap(DIGEST, "md5-hex", profile=fast_passwords), profile=fast_passwords)

    assert (found.form, found.scheme, found.below) == ("securekit", "argon2id over md5-hex", True)


@pytest.mark.parametrize(
    "stored", [DIGEST, "", "!", "hunter2", "$securekit$v=9$", "$2x$10$" + "a" * 53, "$argon2id$v=19$m=99999999,t=1,p=1$AAAA$AAAA"]
)
def test_what_is_no_hash_is_unknown_and_below(stored: str) -> None:
    """The reason is told, and nothing of what stands there."""
    found = identify(stored)

    assert (found.form, found.scheme, found.bits, found.count, found.below) == ("unknown", "", 0, 1, True)
    assert found.parameters
    assert len(stored) < 5 or stored not in found.parameters


def test_without_the_pepper_nothing_is_said_of_a_peppered_hash(pepper: Keyring) -> None:
    """It is counted, and not taken for weak."""
    found = identify(PasswordHasher(fast_passwords, pepper=pepper).hash("x", user="7"))

    assert (found.form, found.count, found.below) == ("peppered", 1, False)
    assert "give the pepper" in found.parameters


def test_with_the_pepper_the_hash_below_it_is_judged(pepper: Keyring) -> None:
    """A hash without a pepper is below the policy then, however strong it is; one in another user's row does not open."""
    stored = PasswordHasher(fast_passwords, pepper=pepper).hash("x", user="7")
    rows = [("7", stored), ("8", stored), ("9", FAST.hash("x"))]

    found = {group.form: group for group in audit(rows, profile=fast_passwords, pepper=pepper)}

    assert not found["securekit, peppered"].below
    assert found["securekit, peppered"].scheme == "argon2id"
    assert found["securekit"].below
    assert found["unknown"].parameters == "the pepper does not open it (DecryptionError)"
    assert audit(rows[:1], pepper=pepper)[0].below


def test_a_pepper_that_holds_no_hash_is_unknown(pepper: Keyring) -> None:
    """And so is a record of another keyring."""
    context = {"purpose": "password", "user": "7"}
    other = memory_store().keyring("eu/acme/other", create=True)

    found = audit([("7", pepper.encrypt_text("hunter2", context=context)), ("7", other.encrypt_text("x", context=context))], pepper=pepper)

    assert {(group.form, group.below) for group in found} == {("unknown", True)}
    assert any("KeyNotFoundError" in group.parameters for group in found)


def test_a_pepper_that_is_away_ends_it() -> None:
    """An outage is none of the rows', and is not reported as if they were damaged."""

    class Away(MemoryStorage):
        def read(self, path: str) -> bytes | None:
            raise KeyStoreUnavailableError

    store = memory_store()
    ring = store.keyring(PATH, create=True)
    rows = [("7", PasswordHasher(fast_passwords, pepper=ring).hash("x", user="7"))]
    ring._cache.forget()
    store._source.storage = Away()

    with pytest.raises(KeyStoreUnavailableError):
        audit(rows, pepper=ring)


@pytest.mark.parametrize("profile", ["strong", Profile])
def test_a_profile_that_is_none_is_refused(profile: object) -> None:
    """By name, or by type."""
    with pytest.raises((ValueError, TypeError), match="profile"):
        audit([], profile=profile)  # type: ignore[arg-type]


def test_a_row_without_a_password_does_not_count() -> None:
    """Who logs in elsewhere is neither unknown nor below the profile."""
    assert audit([("7", None)]) == []
