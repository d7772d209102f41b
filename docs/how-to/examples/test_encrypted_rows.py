# SPDX-License-Identifier: Apache-2.0
"""What is worth testing in code that encrypts: the binding to the row, the rotation, and the day without a KMS."""

from __future__ import annotations

from uuid import uuid4

import pytest
from encrypted_rows import EncryptedRows, keyring_path, status_of

from securekit import DecryptionError, MemoryKeyStore
from securekit.exceptions import WrapperUnavailableError
from securekit.testing import FakeClock, FlakyWrapper, memory_store

ROW = {"name": "Zoë Ångström", "iban": "DE89 3704 0044"}


@pytest.fixture
def rows(securekit_store: MemoryKeyStore) -> EncryptedRows:
    return EncryptedRows(securekit_store.keyring(keyring_path("acme"), create=True), "customer", ROW)


def test_a_row_comes_back(rows: EncryptedRows) -> None:
    row_id = uuid4()

    stored = rows.encrypt(row_id, ROW)

    assert rows.decrypt(row_id, stored) == ROW
    assert not [value for value in ROW.values() if value.encode() in b"".join(stored.values())]


def test_a_value_is_bound_to_its_row_and_column(rows: EncryptedRows) -> None:
    row_id = uuid4()
    stored = rows.encrypt(row_id, ROW)

    with pytest.raises(DecryptionError):
        rows.decrypt(uuid4(), stored)
    with pytest.raises(DecryptionError):
        rows.decrypt(row_id, {"name": stored["iban"], "iban": stored["name"]})


def test_a_rotation_makes_rows_outdated(rows: EncryptedRows, securekit_store: MemoryKeyStore) -> None:
    row_id = uuid4()
    stored = rows.encrypt(row_id, ROW)
    assert not rows.is_outdated(stored)

    securekit_store.keyring(keyring_path("acme")).rotate()

    assert rows.is_outdated(stored)
    assert rows.decrypt(row_id, stored) == ROW
    assert not rows.is_outdated(rows.encrypt(row_id, ROW))


def test_no_keys_is_a_503() -> None:
    wrapper = FlakyWrapper()
    store = memory_store(wrapper=wrapper, clock=FakeClock())
    wrapper.unavailable = True

    with pytest.raises(WrapperUnavailableError) as caught:
        store.keyring(keyring_path("acme"), create=True)

    assert status_of(caught.value, "/customers") == 503
