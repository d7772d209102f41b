# SPDX-License-Identifier: Apache-2.0
"""The two header slots of a sealed file: which one counts, and how both are exchanged so that no crash loses the file.

RULES of this file (``docs/spec/envelope.md``, section "Slots"):

1. A slot is valid if it parses, is padded with zeros, and authenticates under the data key that one of our wrappers opens.
2. Of two valid slots the one of higher generation counts. They have one data key, and equal generations have equal bytes,
   or the file is refused.
3. An exchange writes the invalid slot first, else the one of lower generation, and the other one only once the first is
   on the disk and was read back. So there is a valid slot at every moment.
4. An exchange never overwrites a newer slot that merely is not ours to open, unless it is for the recipients we want:
   it would bring back whom somebody else has dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from securekit._primitives.cobblestone import HEADER_SIZE, ChunkOpener
from securekit._wire.atomic import locked
from securekit.exceptions import DecryptionError, EnvelopeError, FormatError, KeyNotFoundError, SecureKitError
from securekit.wrappers._recipients import describe

from ._header import MAX_GENERATION, MAX_SLOT, MIN_SLOT, STREAM, DataKey, Header, SealedHeader, payload_context, read_header

if TYPE_CHECKING:
    from securekit.wrappers import KeyWrapper

    from ._envelope import Envelope

__all__ = ["Opened", "Slot", "find_slots", "open_slots", "rewrap_file"]

ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Slot:
    """One header of a file, as it was read. ``found`` is None if it does not parse."""

    offset: int
    found: SealedHeader | None
    fault: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """The header that counts, its data key, where the payload begins, and where in a file of two slots it stands."""

    found: SealedHeader
    key: DataKey
    payload: int
    offsets: tuple[int, ...]
    newer: SealedHeader | None
    """A header that claims to be newer, and is intact as far as can be seen; none of our wrappers opens it."""

    @property
    def others(self) -> tuple[int, ...]:
        """The offsets of slots that hold anything else."""
        both = (0, self.found.header.slot_size) if self.found.header.slot else ()
        return tuple(offset for offset in both if offset not in self.offsets)


def find_slots(read_at: ReadAt) -> list[Slot]:
    """Return the headers of a file: one, or two slots. Nothing is authenticated.

    Raises:
        securekit.exceptions.FormatError: There is no header at all.
    """
    first = _slot_at(read_at, 0, None)
    if first.found:
        slot = first.found.header.slot
        return [first, _slot_at(read_at, 1 << slot, slot)] if slot else [first]
    second = _search(read_at)
    if second is None:
        raise FormatError(first.fault)
    return [first, second]


def open_slots(envelope: Envelope, read_at: ReadAt) -> Opened:
    """Return the header that counts. At most two headers are opened.

    Raises:
        securekit.exceptions.FormatError: There is no header at all.
        securekit.exceptions.EnvelopeError: Two valid headers disagree.
        securekit.exceptions.SecureKitError: As `Envelope.decrypt`: no header opens.
    """
    slots = find_slots(read_at)
    valid: list[tuple[Slot, SealedHeader, DataKey]] = []
    failures: list[SecureKitError] = []
    closed: list[SealedHeader] = []
    for slot in slots:
        if slot.found is None:
            continue
        if valid and slot.found == valid[0][1]:
            valid.append((slot, slot.found, valid[0][2]))
            continue
        try:
            valid.append((slot, slot.found, envelope.open_header(slot.found)))
        except SecureKitError as error:
            failures.append(error)
            if not isinstance(error, DecryptionError):
                closed.append(slot.found)
            if slot.offset == 0 and not (slots[1:] and slots[1].found) and (second := _search(read_at)):
                slots.append(second)  # what the first header says of its slot's size may be what is wrong with it
    if not valid:
        raise failures[0]
    _, best, key = max(valid, key=lambda item: item[1].header.generation)
    for _, other, other_key in valid:
        same_file = (other.header.message_id, other.header.slot) == (best.header.message_id, best.header.slot)
        if not (same_file and other_key.equals(key)) or (other.header.generation == best.header.generation and other != best):
            message = "the two headers of the file disagree: one of them is from elsewhere; restore the file from a backup"
            raise EnvelopeError(message)
    payload = 2 * best.header.slot_size or best.size
    header = best.header
    newer = [found for found in closed if found.header.message_id == header.message_id and found.header.generation > header.generation]
    return Opened(best, key, payload, tuple(slot.offset for slot, found, _ in valid if found == best), next(iter(newer), None))


def rewrap_file(
    envelope: Envelope,
    path: str | os.PathLike[str],
    *,
    wrappers: Sequence[KeyWrapper] | None,
    drop: Iterable[str | KeyWrapper],
    context: Mapping[str, str] | None,
    dry_run: bool,
) -> bool:
    """See `Envelope.rewrap_file`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        with locked(descriptor, Path(path)):

            def read_at(offset: int, size: int) -> bytes:
                return os.pread(descriptor, size, offset)

            try:
                opened = open_slots(envelope, read_at)
            except KeyNotFoundError:
                if _names_only(find_slots(read_at), envelope.recipients if wrappers is None else wrappers):
                    return False
                raise
            _check_payload(opened, read_at, context)
            header, size = opened.found.header, opened.found.header.slot_size
            if not size:
                message = "this file has one header, which cannot be exchanged in place: decrypt it and encrypt it anew to a file"
                raise EnvelopeError(message)
            changed = envelope.exchanged(header, opened.key, wrappers=wrappers, drop=drop)
            _check_newer(opened, changed or header, path)
            if changed is None:
                for offset in () if dry_run else opened.others:  # what an interrupted run has left
                    _write(descriptor, offset, opened.found.body + opened.found.mac, size)
                return bool(opened.others)
            sealed = _next_generation(changed, opened.key, path)
            if dry_run:
                return True
            # First what does not count now, so that the header that does is there until the new one is.
            for offset in (*opened.others, *reversed(opened.offsets)):
                _write(descriptor, offset, sealed, size)
            return True
    finally:
        os.close(descriptor)


def _slot_at(read_at: ReadAt, offset: int, exponent: int | None) -> Slot:
    """Return the header at ``offset``; ``exponent`` is what its slot size must be, if that is known."""
    position = offset

    def take(size: int) -> bytes:
        nonlocal position
        data = read_at(position, size)
        position += len(data)
        return data

    try:
        found = read_header(take)
    except FormatError as error:
        return Slot(offset, None, str(error))
    header = found.header
    if exponent is not None and header.slot != exponent:
        return Slot(offset, None, "the header of the sealed message has another slot size than its place")
    rest = header.slot_size - found.size
    if header.slot and (rest < 0 or read_at(position, rest) != bytes(rest)):
        return Slot(offset, None, "the header of the sealed message is not padded with zeros to its slot's size")
    return Slot(offset, found)


def _search(read_at: ReadAt) -> Slot | None:
    """Return the second slot, wherever it is."""
    slots = (_slot_at(read_at, 1 << exponent, exponent) for exponent in range(MIN_SLOT, MAX_SLOT + 1))
    return next((slot for slot in slots if slot.found), None)


def _names_only(slots: Sequence[Slot], wanted: Sequence[KeyWrapper]) -> bool:
    """Say whether there are two headers, both for the wanted recipients: an earlier run has done what this one cannot."""
    names = sorted((wrapper.name, wrapper.key_ref) for wrapper in wanted)
    found = [[wrapped.recipient for wrapped in slot.found.header.recipients] for slot in slots if slot.found]
    return found == [names, names]


def _check_payload(opened: Opened, read_at: ReadAt, context: Mapping[str, str] | None) -> None:
    if context is not None:
        bound = payload_context(opened.found.header, context)
        ChunkOpener(opened.key.payload_key(STREAM), bound, read_at(opened.payload, HEADER_SIZE))


def _next_generation(header: Header, key: DataKey, path: str | os.PathLike[str]) -> bytes:
    """Return the encoding of a header that follows the one it was made from, if it fits its slot."""
    if header.generation == MAX_GENERATION:
        message = f"{path} was rewrapped {MAX_GENERATION} times, the most a file can be: decrypt it and encrypt it anew"
        raise EnvelopeError(message)
    sealed = replace(header, generation=header.generation + 1).seal(key)
    if len(sealed) > header.slot_size:
        room = f"the recipients need {len(sealed)} bytes, and the headers of {path} have room for {header.slot_size}"
        message = f"{room}: decrypt it and encrypt it anew"
        raise EnvelopeError(message)
    return sealed


def _check_newer(opened: Opened, wanted: Header, path: str | os.PathLike[str]) -> None:
    if opened.newer is None:
        return
    theirs = [wrapped.recipient for wrapped in opened.newer.header.recipients]
    if theirs != [wrapped.recipient for wrapped in wanted.recipients]:
        names = ", ".join(describe(*recipient) for recipient in theirs)
        interrupted = f"an exchange of the recipients of {path} was interrupted, and its new header does not open here"
        message = f"{interrupted}: finish it with {names}, or decrypt the file and encrypt it anew"
        raise EnvelopeError(message)


def _write(descriptor: int, offset: int, sealed: bytes, size: int) -> None:
    """Write a slot, durably, and read it back."""
    data = sealed.ljust(size, b"\0")
    done = 0
    while done < size:
        done += os.pwrite(descriptor, data[done:], offset + done)
    os.fsync(descriptor)
    if os.pread(descriptor, size, offset) != data:
        message = "the header that was written does not read back: the disk is failing, and the other header still opens"
        raise EnvelopeError(message)
