# SPDX-License-Identifier: Apache-2.0
"""Ciphertexts that are stored somewhere, as rotation meets them: fetched in batches, and replaced if nobody else did.

A source moves bytes. It sees no key and no plaintext, and decides nothing but whether a ciphertext is still what it was
when it was read. What the bytes mean, `securekit.rotation` knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ._record import HEADER_SIZE, TEXT_PREFIX

__all__ = [
    "RECORD_PREFIX_SIZE",
    "TEXT_PREFIX_SIZE",
    "Claim",
    "ClaimingSource",
    "Content",
    "CountingSource",
    "Group",
    "RereadingSource",
    "Source",
    "StoredItem",
]

RECORD_PREFIX_SIZE = HEADER_SIZE  # bytes of a record that name its key: 0x01 ‖ key id(4)
TEXT_PREFIX_SIZE = len(TEXT_PREFIX) + 7  # characters of a record's text form that do: 7 of base64url hold 5 bytes and 2 bits more

Content = Literal["records", "envelopes"]


@dataclass(frozen=True, slots=True, repr=False)
class StoredItem:
    """One ciphertext where it is stored.

    Attributes:
        name: What people find it by, such as ``"customers 42 iban"``; unique in its source, and no secret.
        data: The ciphertext: bytes, or the text form of a record.
        keyring: The path of the keyring, for a record.
        context: The context that it was encrypted with.
        fault: Why it cannot be handled, in words without secrets; empty if it can. Then ``keyring`` and ``context`` may be missing.
        place: Where it is, as `Source.places` has it.
    """

    name: str
    data: bytes | str
    keyring: str = ""
    context: Mapping[str, str] | None = None
    fault: str = ""
    place: str = ""

    def __repr__(self) -> str:
        """Name the item, without its bytes."""
        return f"<StoredItem {self.name}>"


class Source(Protocol):
    """Ciphertexts in some place, in an order that does not change while the place does.

    Every method raises `ConnectionError` or `TimeoutError` when the place cannot be reached now, which is tried again, and
    another `OSError` when it refuses. Methods are called by several threads at once.
    """

    @property
    def identity(self) -> str:
        """Names the place and what of it is meant, such as ``"sql app/customers(email, iban)"``.

        It is the same for the same source on every host, and holds no credentials.
        """

    @property
    def content(self) -> Content:
        """Whether the items are records, or sealed messages: ``"records"`` or ``"envelopes"``."""

    def places(self, after: str, limit: int, *, current: frozenset[str] = frozenset()) -> list[str]:
        """Return the next places behind ``after`` in the source's order, at most ``limit``; the empty list at the end.

        Args:
            after: A place that was returned before; empty for the beginning.
            limit: How many.
            current: Key ids that need no work. A source that can tell cheaply leaves out places where all is under one of them.
        """

    def read(self, places: Sequence[str]) -> list[StoredItem]:
        """Return what is at ``places``: none, one or several items each. What is gone is left out.

        What is there and cannot be read raises: an item that is left out counts for no key, and a proof would let its key be destroyed.
        """

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        """Put the new ciphertext in the place of each item that is still as it was read, and return once that is durable.

        Returns:
            Whether each was replaced: False if there is another ciphertext by now, or none, which is left as it is.
        """


class Claim(Protocol):
    """Places that are locked until the end of a ``with`` block, which makes the changes durable."""

    @property
    def items(self) -> Sequence[StoredItem]:
        """What is at the places. Those that another worker has locked are left out."""

    def replace(self, changes: Sequence[tuple[StoredItem, bytes | str]]) -> list[bool]:
        """See `Source.replace`; durable when the block ends."""


@runtime_checkable
class ClaimingSource(Protocol):
    """A source whose places can be locked, so that several workers on several hosts share them without doing work twice."""

    def claim(self, places: Sequence[str]) -> AbstractContextManager[Claim]:
        """Lock what is free of ``places`` for the block."""


@runtime_checkable
class RereadingSource(Protocol):
    """A source that tells what stands in places now in less time than it takes to hand out items."""

    def reread(self, items: Sequence[StoredItem]) -> list[bytes | str | None]:
        """Return what is in the place of each item now; None where there is nothing."""


@dataclass(frozen=True, slots=True)
class Group:
    """Items that a source has counted together.

    Attributes:
        keyring: The path of their keyring; empty where ``fault`` says why there is none.
        prefix: What their ciphertexts begin with: 5 bytes of a record, 11 characters of its text form.
        items: How many.
        size: How many bytes or characters they have together.
        fault: Why they cannot be handled; empty if they can.
    """

    keyring: str
    prefix: bytes | str
    items: int
    size: int
    fault: str = ""


@runtime_checkable
class CountingSource(Protocol):
    """A source of records that counts them by itself, as a database does, instead of handing all of them out."""

    def groups(self) -> Iterable[Group] | None:
        """Return all items by keyring and by the beginning of their ciphertext; None if it cannot, and they must be read."""
