# SPDX-License-Identifier: Apache-2.0
"""What a sealed message is, without any secret."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import BinaryIO

from securekit._primitives.aead import OVERHEAD
from securekit._primitives.cobblestone import CHUNK_SIZE, HEADER_SIZE, SEALED_CHUNK_SIZE, TAG_SIZE
from securekit.keyring import Inspection
from securekit.keyring import inspect as inspect_other
from securekit.wrappers import WrappedKey

from ._header import MAGIC, STREAM
from ._slots import find_slots
from ._source import FileSource, PathSource

__all__ = ["EnvelopeInspection", "inspect", "inspect_file"]


@dataclass(frozen=True, slots=True)
class EnvelopeInspection:
    """What can be told of a sealed message or file without any secret. Nothing of it is authenticated.

    Attributes:
        kind: ``"message"`` or ``"stream"``.
        format: The name of the format's version.
        size: Bytes in all.
        plaintext_size: Bytes of the data in it; None if it is truncated.
        message_id: 32 hexadecimal digits.
        recipients: To whom it is wrapped, by the header of highest generation.
        slot_size: Bytes of each of the two headers; None if there is one header.
        generation: How often it was rewrapped in place.
        faults: What is wrong with it, for people; one damaged header of two does not keep it from opening.
    """

    kind: str
    format: str
    size: int
    plaintext_size: int | None
    message_id: str
    recipients: tuple[WrappedKey, ...]
    slot_size: int | None
    generation: int
    faults: tuple[str, ...] = ()


def inspect(message: bytes | str) -> EnvelopeInspection | Inspection:
    """Return what ``message`` is: a sealed message, a record, its text form, or a keyring document.

    Raises:
        TypeError: ``message`` is neither bytes nor str.
        securekit.exceptions.FormatError: It is in none of the formats.
    """
    if isinstance(message, bytes) and message.startswith(MAGIC[:3]):
        return _inspect(FileSource(io.BytesIO(message)))
    return inspect_other(message)


def inspect_file(file: str | os.PathLike[str] | BinaryIO) -> EnvelopeInspection:
    """Return what the sealed file ``file``, a path or a binary file that can be sought in, is; of whatever size.

    Raises:
        OSError: It cannot be read.
        securekit.exceptions.FormatError: It is no sealed file.
    """
    source = PathSource(file) if isinstance(file, str | os.PathLike) else FileSource(file)
    try:
        return _inspect(source)
    finally:
        source.close()


def _inspect(source: PathSource | FileSource) -> EnvelopeInspection:
    slots = find_slots(source.read_at)
    readable = [slot.found for slot in slots if slot.found]
    best = max(readable, key=lambda found: found.header.generation)
    header = best.header
    faults = [f"header {number}: {slot.fault}" for number, slot in enumerate(slots, 1) if slot.fault]
    if len(readable) == len(slots) == 2 and readable[0] != readable[1]:  # noqa: PLR2004 - a file has two slots
        faults.append("the two headers differ: a rewrap was interrupted, or one of them is damaged; rewrap the file again")
    payload = source.size - (2 * header.slot_size or best.size)
    size = _stream_size(payload) if header.flags == STREAM else payload - OVERHEAD if payload >= OVERHEAD else None
    if size is None:
        faults.append("the data is truncated")
    return EnvelopeInspection(
        kind="stream" if header.flags == STREAM else "message",
        format="securekit/envelope/1",
        size=source.size,
        plaintext_size=size,
        message_id=header.message_id.hex(),
        recipients=header.recipients,
        slot_size=header.slot_size or None,
        generation=header.generation,
        faults=tuple(faults),
    )


def _stream_size(payload: int) -> int | None:
    chunks, rest = divmod(payload - HEADER_SIZE, SEALED_CHUNK_SIZE)
    return chunks * CHUNK_SIZE + rest - TAG_SIZE if chunks >= 0 and rest >= TAG_SIZE else None
