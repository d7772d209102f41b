# SPDX-License-Identifier: Apache-2.0
"""Keyring documents in Vault's key-value engine, version 2: shared by many hosts, with check-and-set."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from securekit.exceptions import ConflictError, KeyStoreError, KeyStoreUnavailableError
from securekit.keyring import KeyStore, check_path
from securekit.keyring._storage import DocumentStorage, check_revision

from ._answer import member
from ._failure import Outcome, VaultFailureError

if TYPE_CHECKING:
    from securekit.keyring import StoreOptions, Wrappers

    from ._connection import VaultConnection

__all__ = ["KvKeyStore", "KvStorage"]

T = TypeVar("T")
_PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_FIELD = "document"
_MAX_DEPTH = 8  # segments of a path
_OLD_VERSIONS = 16  # of a secret that are destroyed at a time; the engine keeps 10 if it was not told otherwise

_log = logging.getLogger("securekit.vault")


class KvStorage(DocumentStorage):
    """The secrets below ``prefix`` in the engine at ``mount``: one per keyring, with the document as its one field.

    There are no locks between hosts: each write says which version it replaces, and Vault refuses it if another is there. What was
    replaced is destroyed, since it holds keys that may have been destroyed since.
    """

    def __init__(self, vault: VaultConnection, *, mount: str, prefix: str) -> None:
        if not _PLACE.fullmatch(mount) or (prefix and not _PLACE.fullmatch(prefix)):
            message = f"a mount and a prefix are names joined by '/', not {mount!r} and {prefix!r}"
            raise ValueError(message)
        self._vault = vault
        self._mount = mount
        self._prefix = prefix

    def read(self, path: str) -> bytes | None:
        """Return the document, or None if there is none."""
        return self._read(path)[0]

    def write(self, path: str, document: bytes, *, expected: int | None) -> None:
        """Replace the document of revision ``expected``."""
        there, version = self._read(path)
        check_revision(path, there, expected)
        if there is None:
            self.check()

        def put(client: Any) -> object:  # noqa: ANN401 - hvac has no types
            return client.secrets.kv.v2.create_or_update_secret(
                path=self._name(path), secret={_FIELD: document.decode()}, cas=version, mount_point=self._mount
            )

        try:
            # Repeatable: when the answer was lost and not the write, check-and-set refuses the second one.
            self._vault.call("kv/write", self._full(path), put)
        except VaultFailureError as failure:
            error: KeyStoreError = self._said(failure)
            refused = failure.says("check-and-set")
        else:
            self._destroy(path, version)
            return
        if refused:
            if self.read(path) == document:
                self._destroy(path, version)
                return
            message = f"{path} was written by another process first: read it again and retry"
            error = ConflictError(message)
        raise error

    def delete(self, path: str) -> None:
        """Destroy every version of the document and its metadata: a deleted version could be undeleted."""
        name = self._name(path)
        self._call(
            "kv/delete", path, lambda client: client.secrets.kv.v2.delete_metadata_and_all_versions(path=name, mount_point=self._mount)
        )

    def paths(self, prefix: str = "") -> Iterator[str]:
        """Yield the paths of documents, level by level, without loading documents."""
        above, _, last = prefix.rpartition("/")
        if prefix and last in self._list(above):
            yield prefix
        pending = [f"{prefix}/" if prefix else ""]
        while pending:
            folder = pending.pop()
            for name in self._list(folder):
                below = f"{folder}{name}"
                if not name.endswith("/"):
                    if _is_path(below):
                        yield below
                elif below.count("/") < _MAX_DEPTH:
                    pending.append(below)

    def lock(self, path: str) -> AbstractContextManager[object]:  # noqa: ARG002 - check-and-set decides
        """Return no lock: check-and-set decides between hosts."""
        return nullcontext()

    def check(self) -> None:
        """Raise `KeyStoreUnavailableError` if there is no such engine, so that nobody takes it for an empty one."""
        url = f"/v1/sys/internal/ui/mounts/{self._mount}"
        facts = self._call("sys/mounts", "", lambda client: client.adapter.get(url=url))
        if (member(facts, "data", "type"), member(facts, "data", "options", "version")) != ("kv", "2"):
            raise KeyStoreUnavailableError(self._no_engine())

    def _destroy(self, path: str, version: int) -> None:
        """Destroy a version and those before it. The document is written by now: if this fails, the next write makes up for it."""
        if not version:
            return
        body = {"versions": list(range(max(1, version - _OLD_VERSIONS + 1), version + 1))}
        url = f"/v1/{self._mount}/destroy/{self._name(path)}"
        try:
            self._call("kv/destroy", path, lambda client: client.adapter.put(url=url, json=body))
        except KeyStoreError as error:
            _log.warning("%s: versions before the latest are not destroyed until its next change: %s", self._full(path), error)

    def _read(self, path: str) -> tuple[bytes | None, int]:
        """Return the document and the version that a write replaces; 0 if there was never one."""

        def get(client: Any) -> dict[str, Any] | None:  # noqa: ANN401 - hvac has no types
            answer: dict[str, Any] | None = client.adapter.get(url=f"/v1/{self._mount}/data/{self._name(path)}")
            return answer

        try:
            answer = self._vault.call("kv/read", self._full(path), get)
        except VaultFailureError as failure:
            if failure.outcome is not Outcome.MISSING or failure.reasons:
                error = self._said(failure)
            else:
                # A version that was deleted is still counted.
                return None, _version(failure.body)
        else:
            text, version = member(answer, "data", "data", _FIELD), _version(answer)
            if not version:
                raise KeyStoreUnavailableError(self._no_engine())
            if not isinstance(text, str):
                message = f"what Vault has at {self._full(path)} is no keyring document"
                raise KeyStoreError(message)
            return text.encode(errors="surrogatepass"), version
        raise error

    def _list(self, folder: str) -> list[str]:
        where = "/".join(part for part in (self._prefix, folder.rstrip("/")) if part)

        def get(client: Any) -> dict[str, Any] | None:  # noqa: ANN401 - hvac has no types
            answer: dict[str, Any] | None = client.adapter.list(url=f"/v1/{self._mount}/metadata/{where}")
            return answer

        try:
            answer = self._vault.call("kv/list", f"{self._mount}/{where}", get)
        except VaultFailureError as failure:
            if failure.outcome is Outcome.MISSING and not failure.reasons:
                return []
            error = self._said(failure)
        else:
            keys = member(answer, "data", "keys")
            if not isinstance(keys, list):
                message = f"Vault's list of {self._mount}/{where} is malformed"
                raise KeyStoreUnavailableError(message)
            return [str(key) for key in keys]
        raise error

    def _call(self, operation: str, path: str, work: Callable[[Any], T]) -> T:
        try:
            return self._vault.call(operation, self._full(path), work)
        except VaultFailureError as failure:
            error = self._said(failure)
        raise error

    def _said(self, failure: VaultFailureError) -> KeyStoreError:
        if failure.says("no handler for route", "unsupported path"):
            return KeyStoreUnavailableError(self._no_engine())
        return failure.as_store_error()

    def _no_engine(self) -> str:
        return f"there is no key-value engine of version 2 at {self._mount}/: bao secrets enable -path={self._mount} -version=2 kv"

    def _name(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _full(self, path: str) -> str:
        return f"{self._mount}/{self._name(path)}"


class KvKeyStore(KeyStore):
    """Keyrings in Vault's key-value engine. Arguments as `securekit.KeyStore`.

    Args:
        vault: The connection.
        mount: Where the engine, version 2, is mounted.
        prefix: Below which secret the keyrings are.
        wrapper: As `securekit.KeyStore`, such as a `TransitWrapper` on the same connection.
        also_open: As `securekit.KeyStore`.
        options: As `securekit.KeyStore`.

    Raises:
        ValueError: ``mount`` or ``prefix`` has another form.
    """

    def __init__(
        self,
        vault: VaultConnection,
        *,
        mount: str,
        prefix: str = "keyrings",
        wrapper: Wrappers,
        also_open: Wrappers = (),
        **options: Unpack[StoreOptions],
    ) -> None:
        super().__init__(KvStorage(vault, mount=mount, prefix=prefix), wrapper=wrapper, also_open=also_open, **options)


def _version(answer: object) -> int:
    version = member(answer, "data", "metadata", "version")
    return version if isinstance(version, int) else 0


def _is_path(text: str) -> bool:
    try:
        check_path(text)
    except ValueError:
        return False
    return True
