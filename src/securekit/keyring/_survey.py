# SPDX-License-Identifier: Apache-2.0
"""What the documents of many keyrings say, without any secret: for plans and counts. Nothing of it is proven genuine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from securekit.exceptions import FormatError

from ._document import KeyringDocument
from ._path import check_path

if TYPE_CHECKING:
    from ._store import KeyStore

__all__ = ["survey"]


def survey(store: KeyStore, paths: Iterable[str]) -> Iterator[tuple[str, KeyringDocument | str]]:
    """Yield each path with the document that the store holds there, or with why there is none. No KMS is asked.

    Raises:
        securekit.exceptions.KeyStoreError: The store failed.
    """
    for path in sorted(paths):
        data = store._storage.read(check_path(path))  # noqa: SLF001 - of this package
        if data is None:
            yield path, f"there is no keyring {path}"
            continue
        try:
            document = KeyringDocument.decode(data).document
        except FormatError as error:
            yield path, f"{path}: {error}"
            continue
        yield path, document if document.path == path else f"{path} holds the document of {document.path}"
