# SPDX-License-Identifier: Apache-2.0
"""The envelope: who can open what is sealed with it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from securekit._primitives.aead import KEY_SIZE, KcXaes256Gcm
from securekit._primitives.rng import random_bytes
from securekit.exceptions import EnvelopeError, FormatError
from securekit.secret import Secretive
from securekit.wrappers import KeyWrapper
from securekit.wrappers._recipients import MAX_RECIPIENTS, Report, check_mixture, unwrap_first, wrap_to_each

from ._header import MESSAGE, MESSAGE_ID_SIZE, STREAM, DataKey, Header, SealedHeader, payload_context, read_header

if TYPE_CHECKING:
    from ._reader import SealedReader
    from ._writer import SealedWriter

__all__ = ["Envelope"]

FilePath = str | os.PathLike[str]


class Envelope(Secretive):
    """Seals messages and files to recipients, and opens what was sealed to one of them.

    Every message has a data key of its own, wrapped once per recipient, so a message travels by itself. Who encrypts many
    small values uses a keyring, which costs 77 bytes a value and no wrapping.

    Security property: what opens was sealed under this data key with an equal context, complete and unchanged; it is
    committed to the key. Who sealed it is not proven where anybody can wrap (certificates).

    Args:
        wrappers: The recipients, 1 to 64: each of them alone opens. For opening alone, the wrappers that may.
        also_open: Wrappers that may open as well, and are not recipients of what is sealed: an old KEK, for example.
        allow_classical: Let a post-quantum recipient stand beside a certificate, whose key a quantum computer may break.
        report: Called after every call to a wrapper, with the wrapper, ``"wrap"`` or ``"unwrap"``, and the seconds it took.

    Raises:
        ValueError: There is no wrapper. Who seals to a post-quantum one beside a certificate gets it then.

    Example:
        >>> from securekit import Envelope, LocalWrapper
        >>> envelope = Envelope([LocalWrapper(bytes(32))])
        >>> sealed = envelope.encrypt(b"hello", context={"order": "7"})
        >>> envelope.decrypt(sealed, context={"order": "7"})
        b'hello'
    """

    __slots__ = ("_allow_classical", "_openers", "_report", "_wrappers")

    def __init__(
        self,
        wrappers: KeyWrapper | Sequence[KeyWrapper],
        *,
        also_open: Sequence[KeyWrapper] = (),
        allow_classical: bool = False,
        report: Report | None = None,
    ) -> None:
        self._wrappers = tuple(wrappers) if isinstance(wrappers, Sequence) else (wrappers,)
        if not self._wrappers:
            message = "an envelope needs a recipient: give a wrapper"
            raise ValueError(message)
        self._allow_classical = allow_classical
        self._openers = (*self._wrappers, *also_open)
        self._report: Report = report or _say_nothing

    def encrypt(self, data: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return ``data`` as a sealed message.

        Args:
            data: 0 bytes to 64 MiB; longer data is written through `open_writer`.
            context: What it belongs to; authenticated, not stored, and needed again to decrypt. As `Keyring.encrypt`.

        Returns:
            The header, then ``nonce(24) ‖ commitment(32) ‖ ciphertext ‖ tag(16)``.

        Raises:
            TypeError: ``data`` is not bytes, or ``context`` no mapping of strings.
            ValueError: ``data`` or ``context`` exceeds its bounds, or a post-quantum recipient stands beside a certificate.
            securekit.exceptions.WrapperError: A KEK's holder is unreachable, or said no.
            securekit.exceptions.CertificateError: A certificate must not be wrapped to.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            message = f"data must be bytes, not {type(data).__name__}"
            raise TypeError(message)
        header, key = self.new_header(MESSAGE)
        cipher = KcXaes256Gcm(key.payload_key(MESSAGE), prefix=header.seal(key))
        return cipher.encrypt(bytes(data), payload_context(header, context))

    def decrypt(self, sealed: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return the data of a sealed message, or of a whole sealed stream.

        Raises:
            TypeError: ``sealed`` is not bytes, or ``context`` no mapping of strings.
            securekit.exceptions.FormatError: ``sealed`` is no sealed message.
            securekit.exceptions.KeyNotFoundError: None of the wrappers is a recipient.
            securekit.exceptions.DecryptionError: Wrong context, or changed or missing bytes.
            securekit.exceptions.WrapperError: The KEK's holder is unreachable, or said no.
        """
        if not isinstance(sealed, bytes):
            message = f"a sealed message is bytes, not {type(sealed).__name__}"
            raise TypeError(message)
        try:
            found = read_header(io.BytesIO(sealed).read)
        except FormatError:  # of two headers, the second one may be good
            found = None
        if found is None or found.header.flags & STREAM:
            with self.open_reader(io.BytesIO(sealed), context=context) as reader:
                return reader.read()
        key = self.open_header(found)
        cipher = KcXaes256Gcm(key.payload_key(MESSAGE), prefix=sealed[: found.size])
        return cipher.decrypt(sealed, payload_context(found.header, context))

    def rewrap(self, sealed: bytes, *, wrappers: Sequence[KeyWrapper] | None = None, drop: Iterable[str | KeyWrapper] = ()) -> bytes:
        """Return the same sealed message for other recipients. The payload is not touched.

        Args:
            sealed: A message, or a stream with one header. A file with two is rewrapped in place by `rewrap_file`.
            wrappers: All recipients from now on; the envelope's own if None.
            drop: The ``key_ref`` of recipients, or their wrappers, that are to be lost.

        Raises:
            securekit.exceptions.EnvelopeError: A recipient would be lost that is neither replaced nor dropped.
            securekit.exceptions.SecureKitError: As `decrypt`.
        """
        found = read_header(io.BytesIO(sealed).read)
        if found.header.slot:
            message = "this is a sealed file with two headers: rewrap it in place, with rewrap_file"
            raise FormatError(message)
        key = self.open_header(found)
        header = self.exchanged(found.header, key, wrappers=wrappers, drop=drop)
        return header.seal(key) + sealed[found.size :] if header else sealed

    def open_writer(self, target: FilePath | BinaryIO, *, context: Mapping[str, str], mode: int = 0o600) -> SealedWriter:
        """Return a binary file that seals what is written to it, for use in a ``with`` block.

        Args:
            target: A path: the file appears, complete and durable, when the block ends, and not at all if it ends in an
                exception (what closes the file that it writes to, as `io.TextIOWrapper` does, must not end inside the
                block: call its ``detach``). Or a binary file that is open for writing, which is not closed; after an exception, what was
                written to it does not open.
            context: As `encrypt`.
            mode: Of a new file.

        Raises:
            OSError: The file cannot be made.
            securekit.exceptions.SecureKitError: As `encrypt`.
        """
        from ._writer import SealedWriter

        return SealedWriter(self, target, context=context, mode=mode)

    def open_reader(self, source: FilePath | BinaryIO, *, context: Mapping[str, str]) -> SealedReader:
        """Return a binary file with the data that was sealed. It can be sought in if ``source`` can.

        Nothing it returns is unauthenticated: what was read before an error is a true prefix, or part, of the data.

        Args:
            source: A path, or a binary file that is open for reading, which is not closed.
            context: As it was when the data was sealed.

        Raises:
            OSError: The file cannot be read.
            securekit.exceptions.SecureKitError: As `decrypt`.
        """
        from ._reader import SealedReader

        return SealedReader(self, source, context=context)

    def rewrap_file(
        self,
        path: FilePath,
        *,
        wrappers: Sequence[KeyWrapper] | None = None,
        drop: Iterable[str | KeyWrapper] = (),
        context: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> bool:
        """Exchange the recipients of a sealed file in place, whatever its size. No byte of the payload is written.

        A crash at any moment leaves a file that opens; calling again finishes the work. At the end, no header for the former
        recipients is left in the file. (Copy-on-write disks, snapshots and backups keep old headers.)

        Args:
            path: A file made by `open_writer` with a path.
            wrappers: All recipients from now on; the envelope's own if None.
            drop: The ``key_ref`` of recipients, or their wrappers, that are to be lost.
            context: If given, the payload's commitment is checked as well, before anything is written.
            dry_run: Only find out what would be done.

        Returns:
            Whether anything was (or would be) written. False as well for a file whose headers name exactly the wanted
            recipients, and which none of the wrappers opens: a former run has exchanged them. That is not authenticated.

        Raises:
            securekit.exceptions.EnvelopeError: A recipient would be lost; the recipients do not fit the file's headers; the
                headers disagree; or the file was rewrapped 2^32 - 1 times. Nothing was written.
            securekit.exceptions.SecureKitError: As `decrypt`.
            OSError: The file cannot be read or written.
        """
        from ._slots import rewrap_file

        return rewrap_file(self, path, wrappers=wrappers, drop=drop, context=context, dry_run=dry_run)

    # What the other files of this package need.

    @property
    def recipients(self) -> tuple[KeyWrapper, ...]:
        """The wrappers to which new messages are sealed."""
        return self._wrappers

    def new_header(self, flags: int, *, slot: int = 0) -> tuple[Header, DataKey]:
        """Return a header for a new message, and its data key."""
        self._check([(wrapper.name, wrapper.key_ref) for wrapper in self._wrappers])
        key = DataKey(random_bytes(KEY_SIZE))
        header = Header(flags, random_bytes(MESSAGE_ID_SIZE), slot, 0, ())
        recipients = wrap_to_each(key.reveal(), header.binding, self._wrappers, self._report)
        return Header(flags, header.message_id, slot, 0, recipients), key

    def open_header(self, found: SealedHeader) -> DataKey:
        """Return the data key, having authenticated the header with it."""

        def accept(value: bytes) -> DataKey:
            key = DataKey(value)
            del value  # error trackers show the variables of a frame that raises
            found.authenticate(key)
            return key

        _, key = unwrap_first(
            found.header.recipients,
            self._openers,
            found.header.binding,
            name="the sealed message",
            hint="add what opens it to the envelope's wrappers or also_open= (--identity or --keyring)",
            accept=accept,
            report=self._report,
        )
        return key

    def exchanged(
        self, header: Header, key: DataKey, *, wrappers: Sequence[KeyWrapper] | None, drop: Iterable[str | KeyWrapper]
    ) -> Header | None:
        """Return the header for other recipients, or None if it is for exactly these."""
        from dataclasses import replace

        from securekit.wrappers._exchange import plan_recipients

        chosen = tuple(wrappers) if wrappers is not None else self._wrappers
        if not 1 <= len(chosen) <= MAX_RECIPIENTS:
            message = f"1 to {MAX_RECIPIENTS} wrappers are needed, not {len(chosen)}"
            raise ValueError(message)
        dropped = {item if isinstance(item, str) else item.key_ref for item in drop}
        plan = plan_recipients(
            header.recipients,
            chosen,
            binding=header.binding,
            name="the sealed message",
            own=self._openers,
            dropped=dropped,
            error=EnvelopeError,
        )
        if not plan.changes:
            return None
        new = [wrapper for wrapper in chosen if (wrapper.name, wrapper.key_ref) in plan.added]
        fresh = wrap_to_each(key.reveal(), header.binding, new, self._report) if new else ()
        recipients = plan.keep(header.recipients, fresh)
        self._check([wrapped.recipient for wrapped in recipients])
        return replace(header, recipients=recipients)

    def _check(self, recipients: list[tuple[str, str]]) -> None:
        if not self._allow_classical:
            check_mixture(recipients, hint="leave the certificate out, or say allow_classical=True (--allow-classical)")

    def __repr__(self) -> str:
        """Name the recipients by their public references."""
        return f"<Envelope {', '.join(f'{wrapper.name} {wrapper.key_ref}'.rstrip() for wrapper in self._wrappers)}>"


def _say_nothing(wrapper: KeyWrapper, verb: str, seconds: float) -> None:
    """Report to nobody."""
