# SPDX-License-Identifier: Apache-2.0
"""What the two services share: the encrypted columns of a table, and what operators are told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from uuid import UUID

from securekit import Event, Keyring, SecureKitError
from securekit.exceptions import KeyStoreUnavailableError, WrapperUnavailableError
from securekit.keyring import EventKind, fill_path

PROBE = "eu/probe/ready"  # a keyring that protects nothing, under the same KEK as all others

log = logging.getLogger("customers.keys")


def keyring_path(account: str) -> str:
    """Return the path of an account's keyring; anything but one plain segment is a ValueError."""
    return fill_path("eu/{account}/customers", {"account": account})


class EncryptedRows:
    """Encrypts the columns of a table's rows, each value bound to its table, its column and its row's id."""

    def __init__(self, ring: Keyring, table: str, columns: Iterable[str]) -> None:
        self._columns = {column: ring.bind(table=table, column=column) for column in columns}

    def encrypt(self, row_id: UUID, row: Mapping[str, str]) -> dict[str, bytes]:
        return {name: ring.encrypt(row[name].encode(), context={"id": str(row_id)}) for name, ring in self._columns.items()}

    def decrypt(self, row_id: UUID, row: Mapping[str, bytes]) -> dict[str, str]:
        return {name: ring.decrypt(row[name], context={"id": str(row_id)}).decode() for name, ring in self._columns.items()}

    def is_outdated(self, row: Mapping[str, bytes]) -> bool:
        return any(ring.needs_reencrypt(row[name]) for name, ring in self._columns.items())


LEVELS = {
    EventKind.REFUSED: logging.CRITICAL,  # a document is not genuine or was rolled back, or the KMS said no
    EventKind.STALE: logging.WARNING,  # nothing answers; the keys in memory serve on, for `stale_if_error` at most
    EventKind.OLD_KEY_USED: logging.DEBUG,  # once per value: count it, and do not log it
    EventKind.REFRESHED: logging.DEBUG,
}


def report(event: Event) -> None:
    """Log what happens to keys; an event holds no secret. It is called in the middle of a request: be quick."""
    key = f"{event.path}@{event.key_id}" if event.key_id else event.path
    log.log(LEVELS.get(event.kind, logging.INFO), "%s %s %s", event.kind, key, event.detail)
    # Your metrics library's counter goes here, labelled with event.kind.


def status_of(error: SecureKitError, where: str) -> HTTPStatus:
    """Return what the caller is told, and wake somebody up if trying again will not help."""
    if isinstance(error, KeyStoreUnavailableError | WrapperUnavailableError):
        log.warning("%s at %r: %s", type(error).__name__, where, error)
        return HTTPStatus.SERVICE_UNAVAILABLE
    log.critical("%s at %r: %s", type(error).__name__, where, error)
    return HTTPStatus.INTERNAL_SERVER_ERROR
