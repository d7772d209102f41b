# SPDX-License-Identifier: Apache-2.0
"""What several tests of envelopes are made of: KEKs, recipients of every kind, sealed files, flipped bits, hostile headers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from securekit._primitives.cobblestone import StreamEncryptor
from securekit.envelope import Envelope
from securekit.envelope._header import STREAM, DataKey, Header, payload_context, read_header
from securekit.keyring import KeyringWrapper
from securekit.testing import memory_store
from securekit.wrappers import Binding, CertificateWrapper, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey
from securekit.wrappers._post_quantum import PostQuantumWrapper
from tests.identities import KINDS, clock, issue, pem, private_key

CONTEXT = {"order": "7", "table": "invoice"}
OPAQUE = "decryption failed: wrong key, wrong context, or the message was changed"
LOCAL = LocalWrapper(bytes(range(32)))
DATA_KEY = DataKey(b"\x5e" * 32)
MESSAGE_ID = b"\x1d" * 16


def local(number: int) -> LocalWrapper:
    """Return one of many KEKs."""
    return LocalWrapper(number.to_bytes(2) * 16)


def certificate(kind: str) -> CertificateWrapper:
    """Return a certificate with its private key."""
    key = private_key(kind)
    return CertificateWrapper.from_pem(issue("partner", key).pem, key=pem(key), clock=clock())


@cache
def everyone() -> dict[str, KeyWrapper]:
    """Return a wrapper of every kind, which wraps and opens."""
    certificates = {kind: certificate(kind) for kind in KINDS}
    return {
        "local": LOCAL,
        "passphrase": PassphraseWrapper("correct horse battery staple"),
        "keyring": KeyringWrapper(memory_store().keyring("eu/acme/files", create=True)),
        "post-quantum": PostQuantumWrapper(seed=bytes(range(32))),
        **certificates,
    }


def stream(data: bytes, *wrappers: KeyWrapper, envelope: Envelope | None = None) -> bytes:
    """Return a sealed stream with one header."""
    target = io.BytesIO()
    target.seekable = lambda: False  # type: ignore[method-assign]
    with (envelope or Envelope(wrappers or [LOCAL])).open_writer(target, context=CONTEXT) as writer:
        writer.write(data)
    return target.getvalue()


def slotted(data: bytes, *wrappers: KeyWrapper) -> bytes:
    """Return the bytes of a sealed file with two headers."""
    target = io.BytesIO()
    with Envelope(wrappers or [LOCAL]).open_writer(target, context=CONTEXT) as writer:
        writer.write(data)
    return target.getvalue()


def read(sealed: bytes, envelope: Envelope, context: dict[str, str] | None = None) -> bytes:
    """Return all of the data."""
    with envelope.open_reader(io.BytesIO(sealed), context=CONTEXT if context is None else context) as reader:
        return reader.read()


class Pipe(io.RawIOBase):
    """Bytes that can only be read on, at most so many at once."""

    def __init__(self, data: bytes, at_once: int = 1 << 30) -> None:
        self._file = io.BytesIO(data)
        self._at_once = at_once

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(self._at_once if size is None or size < 0 else min(size, self._at_once))


class Counting:
    """A wrapper that counts what it is asked for."""

    def __init__(self, wrapper: KeyWrapper) -> None:
        self._wrapper = wrapper
        self.name, self.key_ref, self.outsiders_can_wrap = wrapper.name, wrapper.key_ref, wrapper.outsiders_can_wrap
        self.unwraps = 0

    def opens(self, wrapped: WrappedKey) -> bool:
        return self._wrapper.opens(wrapped)

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        return self._wrapper.wrap(key, binding)

    def unwrap(self, wrapped: WrappedKey, binding: Binding) -> bytes:
        self.unwraps += 1
        return self._wrapper.unwrap(wrapped, binding)

    wrap_many = unwrap_many = NotImplemented


def header(
    *recipients: WrappedKey,
    flags: int = STREAM,
    slot: int = 12,
    generation: int = 0,
    message_id: bytes = MESSAGE_ID,
    key: DataKey = DATA_KEY,
) -> bytes:
    """Return a genuine header, padded to its slot; without recipients, for the local KEK."""
    made = Header(flags, message_id, slot, generation, ())
    copies = recipients or (LOCAL.wrap(key.reveal(), made.binding),)
    return Header(flags, message_id, slot, generation, copies).seal(key).ljust(made.slot_size, b"\0")


def payload_of(data: bytes) -> bytes:
    """Return the payload of a stream under the data key and message id that handmade headers have."""
    from securekit.envelope._header import STREAM

    made = read_header(io.BytesIO(header()).read).header
    encryptor = StreamEncryptor(DATA_KEY.payload_key(STREAM), payload_context(made, CONTEXT))
    return encryptor.update(data) + encryptor.finalize()


def flips(data: bytes, bits: range | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield each bit's number and ``data`` with it flipped."""
    changed = bytearray(data)
    for bit in bits or range(8 * len(data)):
        changed[bit >> 3] ^= 1 << (bit & 7)
        yield bit, bytes(changed)
        changed[bit >> 3] ^= 1 << (bit & 7)


def refile(path: Path, change: Callable[[bytearray], object]) -> None:
    """Change the bytes of a file."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
