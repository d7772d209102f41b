# SPDX-License-Identifier: Apache-2.0
"""What would be rotated: counted before anything is changed, without any secret."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from securekit._wire import canonical_json

from ._job import Tally

if TYPE_CHECKING:
    from securekit.envelope import Envelope
    from securekit.keyring import KeyStore
    from securekit.keyring._stored import Source
    from securekit.wrappers import KeyWrapper

    from ._documents import ConfigDocuments
    from ._files import SealedFiles
    from ._job import Job, Kind
    from ._keyrings import Keyrings

    AnySource = Source | SealedFiles | Keyrings | ConfigDocuments | KeyStore

__all__ = ["FORMAT", "Plan", "job_of", "plan"]

FORMAT = "securekit/rotation-plan/1"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What would be rotated.

    Attributes:
        kind: ``"rewrap"`` (other KEKs or recipients, same data keys) or ``"re-encrypt"`` (records move to the primary).
        source: Names the source.
        settings: What else the work depends on, such as recipients.
        targets: Per keyring, what its records move to: ``keyring id@key id``.
        tallies: What is there, by key.
        planned: When it was counted.
        job: What `run` works at.
    """

    kind: Kind
    source: str
    settings: Mapping[str, Any]
    targets: Mapping[str, str]
    tallies: tuple[Tally, ...]
    planned: datetime
    job: Job

    @property
    def id(self) -> str:
        """16 hexadecimal digits: the same for the same kind, source, settings and targets, whatever the counts."""
        return hashlib.sha256(canonical_json.encode(cast("canonical_json.Json", self.identity()))).hexdigest()[:16]

    @property
    def items(self) -> int:
        """How many items there are."""
        return sum(tally.items for tally in self.tallies)

    @property
    def todo(self) -> int:
        """How many of them need something."""
        return sum(tally.items for tally in self.tallies if tally.action)

    @property
    def size(self) -> int:
        """Bytes of ciphertext of those that need something, as far as it is known."""
        return sum(tally.size for tally in self.tallies if tally.action)

    @property
    def faults(self) -> tuple[Tally, ...]:
        """What cannot be handled, and why."""
        return tuple(tally for tally in self.tallies if tally.fault)

    def identity(self) -> dict[str, Any]:
        """Return what makes this plan this plan, as it stands in the journal."""
        return {"kind": self.kind, "source": self.source, "settings": dict(self.settings), "targets": dict(self.targets)}

    def to_json(self) -> dict[str, Any]:
        """Return the plan for machines: no secrets, times as RFC 3339."""
        tallies = [{**asdict(tally), "created": tally.created.isoformat() if tally.created else None} for tally in self.tallies]
        return {
            "format": FORMAT,
            "id": self.id,
            **self.identity(),
            "planned": self.planned.isoformat(timespec="seconds"),
            "items": self.items,
            "todo": self.todo,
            "size": self.size,
            "tallies": tallies,
        }

    def __repr__(self) -> str:
        """Say what there is to do."""
        return f"<Plan {self.id}: {self.kind} {self.todo:,} of {self.items:,} items of {self.source}>"


def plan(
    source: AnySource,
    *,
    store: KeyStore | None = None,
    envelope: Envelope | None = None,
    drop: Iterable[str | KeyWrapper] = (),
    renew: bool = False,
) -> Plan:
    """Count what is in ``source``, and what is to be done to it. Nothing is changed, and nothing is decrypted.

    Args:
        source: What is to be rotated. Records (`securekit.sql.SqlColumns`, or a source of your own) are re-encrypted under the primaries of
            their keyrings; sealed messages in columns and `SealedFiles` are rewrapped to ``envelope``; a `securekit.KeyStore` or
            `Keyrings` are rewrapped to its wrappers; and `ConfigDocuments` as they say.
        store: Where the keyrings of records are.
        envelope: Its wrappers are the recipients of sealed messages and files from now on; its ``also_open`` opens what is there.
        drop: Of sealed messages and files: the ``key_ref`` of recipients, or their wrappers, that are to be lost.
        renew: Encrypt sealed messages and files anew that a dropped recipient could open, under a new data key, instead of exchanging
            their recipients: it may have kept the old data key.

    Raises:
        TypeError: The source needs a store or an envelope, or takes none.
        securekit.exceptions.KeyStoreError: The store cannot be read.
        OSError: The source cannot be read.
    """
    job = job_of(source, store=store, envelope=envelope, drop=drop, renew=renew)
    tallies = tuple(_joined(job.tallies()))
    return Plan(
        kind=job.kind,
        source=job.identity,
        settings=job.settings,
        targets=job.targets(),
        tallies=tallies,
        planned=datetime.now(UTC),
        job=job,
    )


def job_of(
    source: AnySource,
    *,
    store: KeyStore | None = None,
    envelope: Envelope | None = None,
    drop: Iterable[str | KeyWrapper] = (),
    renew: bool = False,
) -> Job:
    """Return the work at a source. Arguments and errors as `plan`."""
    from securekit.keyring import KeyStore

    from ._documents import ConfigDocuments, DocumentsJob
    from ._files import FilesJob, SealedFiles
    from ._keyrings import Keyrings, KeyringsJob
    from ._records import RecordsJob
    from ._sealed import Exchange, SealedJob

    dropped = tuple(item if isinstance(item, str) else item.key_ref for item in drop)
    if isinstance(source, KeyStore):
        source = Keyrings(source, drop=dropped)
    if isinstance(source, Keyrings):
        _refuse(source, "store=", store)
        return KeyringsJob(source)
    if isinstance(source, ConfigDocuments):
        _refuse(source, "store= and envelope=", store or envelope)
        return DocumentsJob(source)
    if isinstance(source, SealedFiles) or source.content == "envelopes":
        if envelope is None:
            message = f"{source.identity} holds what is sealed: say who may open it from now on, with envelope="
            raise TypeError(message)
        exchange = Exchange(envelope, drop=dropped, renew=renew)
        return FilesJob(source, exchange) if isinstance(source, SealedFiles) else SealedJob(source, exchange)
    if store is None:
        message = f"{source.identity} holds records: say where their keyrings are, with store="
        raise TypeError(message)
    return RecordsJob(source, store)


def _joined(tallies: Iterable[Tally]) -> Iterable[Tally]:
    """Join tallies that differ in nothing but their counts."""
    from dataclasses import replace

    joined: dict[Tally, list[int]] = {}
    for tally in tallies:
        counts = joined.setdefault(replace(tally, items=0, size=0), [0, 0])
        counts[0] += tally.items
        counts[1] += tally.size
    for tally, (items, size) in joined.items():
        yield replace(tally, items=items, size=size)


def _refuse(source: object, name: str, value: object) -> None:
    if value is not None:
        message = f"{type(source).__name__} brings its own keys and takes no {name}"
        raise TypeError(message)
