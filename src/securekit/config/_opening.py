# SPDX-License-Identifier: Apache-2.0
"""From private keys to data keys, and the integrity tag that they prove."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from securekit.exceptions import DecryptionError
from securekit.wrappers._recipients import unwrap_first

from ._token import DocumentKey

if TYPE_CHECKING:
    from securekit.wrappers import KeyWrapper

    from ._block import MetadataBlock

__all__ = ["check_tag", "unwrap_keys"]


def unwrap_keys(block: MetadataBlock, wrappers: Sequence[KeyWrapper], key_ids: Iterable[str], *, name: str) -> dict[str, DocumentKey]:
    """Return the data keys of these ids, those that the document has, and the newest one: by id.

    The newest is unwrapped first, by whichever wrapper is a recipient; the same one unwraps the others, in one batch.

    Raises:
        securekit.exceptions.KeyNotFoundError: None of ``wrappers`` is a recipient.
        securekit.exceptions.DecryptionError: A data key was not wrapped for this document, environment and id.
        securekit.exceptions.WrapperError: The holder of the KEK is unreachable, or said no.
    """
    newest = block.keys[-1]

    def accept(key: bytes, key_id: str = newest.id) -> DocumentKey:
        return DocumentKey(key, key_id, document=block.document, environment=block.environment)

    wrapper, first = unwrap_first(
        newest.wrapped(block.recipients),
        wrappers,
        block.key_binding(newest.id),
        name=name,
        hint="give the private key of one of its recipients (--identity, SECUREKIT_IDENTITY)",
        accept=accept,
        report=lambda *_: None,
    )
    wanted = set(key_ids) - {newest.id}
    others = [key for key in block.keys if key.id in wanted]
    copies = [next(copy for copy in key.wrapped(block.recipients) if wrapper.opens(copy)) for key in others]
    opened = wrapper.unwrap_many([(copy, block.key_binding(key.id)) for copy, key in zip(copies, others, strict=True)])
    return {first.id: first} | {key.id: accept(value, key.id) for key, value in zip(others, opened, strict=True)}


def check_tag(block: MetadataBlock, body: bytes, keys: dict[str, DocumentKey]) -> None:
    """Check the integrity tag over the canonical document ``body``.

    Raises:
        securekit.exceptions.DecryptionError: The document was changed since the tag was made.
    """
    if not hmac.compare_digest(keys[block.keys[-1].id].tag(body), block.tag):
        raise DecryptionError
