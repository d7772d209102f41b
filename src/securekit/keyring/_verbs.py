# SPDX-License-Identifier: Apache-2.0
"""What is done with data: the verbs that a keyring and a bound keyring share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Literal, overload

from securekit.exceptions import DecryptionError, FormatError, KeyStateError, SecureKitError
from securekit.secret import Secretive

from . import _lifecycle as lifecycle
from ._document import KeyState
from ._event import Event, EventKind
from ._live import unseal
from ._record import HEADER_SIZE, MAX_SIZE, OVERHEAD, VERSION, check_record, from_text, to_text

if TYPE_CHECKING:
    from securekit._wire.pae import ContextEncoder

    from ._live import Live, LiveCache
    from ._record import RecordKey
    from ._source import StoreSource

__all__ = ["DataVerbs", "Items"]

_BATCH = 512  # items
Items = Iterable[tuple[bytes, Mapping[str, str]]]


class DataVerbs(Secretive):
    """Encrypts under the primary key of a keyring, and decrypts under whichever of its keys a record names."""

    __slots__ = ("_cache", "_encode", "_encoder", "_monotonic", "_source", "path")

    def __init__(self, path: str, source: StoreSource, cache: LiveCache, encoder: ContextEncoder) -> None:
        self.path: str = path
        self._source = source
        self._cache = cache
        self._encoder = encoder
        self._encode: Callable[[Mapping[str, str]], bytes] = encoder.encode
        self._monotonic: Callable[[], float] = source.clock.monotonic

    def encrypt(self, data: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return the record of ``data`` under the primary key: 77 bytes longer than ``data``.

        Args:
            data: 0 bytes to 64 MiB.
            context: What the data belongs to, for example table, column and row id; authenticated, not stored, and needed
                again to decrypt. At most 32 pairs; keys of 1 to 128, values of 0 to 4,096 bytes of UTF-8. ``{}`` is none.

        Returns:
            ``0x01 ‖ key id(4) ‖ nonce(24) ‖ commitment(32) ‖ ciphertext ‖ tag(16)``.

        Raises:
            TypeError: ``data`` is not bytes, or ``context`` no mapping of strings.
            ValueError: ``data`` or ``context`` exceeds its bounds.
            securekit.exceptions.KeyStateError: The primary is past its ``not_after``.
            securekit.exceptions.KeyStoreError: The keyring could not be read for too long, or was rolled back.
            securekit.exceptions.WrapperError: The KMS could not be asked for too long, or said no.
        """
        if type(data) is not bytes:
            data = _as_bytes(data)
        live = self._cache.live
        if live is None or self._monotonic() >= live.attention_at:
            live = self._cache.freshen()
        if live.stop_at is not None:
            self._check_not_after(live)
        key = live.primary
        return key.cipher.encrypt(data, key.associated_data + self._encode(context))

    def decrypt(self, token: bytes, *, context: Mapping[str, str]) -> bytes:
        """Return the data of a record.

        Args:
            token: What `encrypt` returned.
            context: Equal to the one given to `encrypt`.

        Raises:
            TypeError: ``token`` is not bytes, or ``context`` no mapping of strings.
            ValueError: ``context`` exceeds its bounds.
            securekit.exceptions.FormatError: ``token`` is no record.
            securekit.exceptions.KeyNotFoundError: It names a key that is not in this keyring.
            securekit.exceptions.KeyStateError: It names a key that is disabled or destroyed.
            securekit.exceptions.DecryptionError: Wrong context, wrong keyring, or changed bytes.
            securekit.exceptions.KeyStoreError: The keyring could not be read for too long, or was rolled back.
            securekit.exceptions.WrapperError: The KMS could not be asked for too long, or said no.
        """
        encoded = self._encode(context)  # first: a mistake of the caller is none of the record's errors
        live = self._cache.live
        if live is None or self._monotonic() >= live.attention_at:
            live = self._cache.freshen()
        key = live.primary
        if type(token) is not bytes or token[:HEADER_SIZE] != key.header or not OVERHEAD <= len(token) <= MAX_SIZE:
            key = self._key_of(token, live)
        return key.cipher.decrypt(token, key.associated_data + encoded)

    def encrypt_text(self, text: str, *, context: Mapping[str, str]) -> str:
        """Return the record of ``text`` (as UTF-8) in its text form: ``sk1.`` and base64url. See `encrypt`.

        Raises:
            TypeError: ``text`` is not ``str``.
            ValueError: It holds a lone surrogate.
        """
        if not isinstance(text, str):
            message = f"encrypt_text takes str, not {type(text).__name__}; bytes are encrypted by encrypt"
            raise TypeError(message)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            pass  # nothing is raised here: the codec's error holds the text
        else:
            return to_text(self.encrypt(data, context=context))
        message = "the text holds a lone surrogate, which UTF-8 cannot encode"
        raise ValueError(message)

    def decrypt_text(self, token: str, *, context: Mapping[str, str]) -> str:
        """Return the text of a record in its text form. See `decrypt`.

        Raises:
            securekit.exceptions.FormatError: ``token`` is not the text form of a record, or holds bytes that are not UTF-8.
        """
        data = self.decrypt(from_text(token), context=context)
        try:
            return data.decode()
        except UnicodeDecodeError:
            del data  # error trackers show the variables of a frame that raises
        message = "the record holds bytes that are not UTF-8 text; decode its base64url and use decrypt"
        raise FormatError(message)

    def encrypt_many(self, items: Items) -> list[bytes]:
        """Return the record of each ``(data, context)``, in order and faster than `encrypt` one by one.

        Raises:
            TypeError, ValueError, securekit.exceptions.SecureKitError: As `encrypt`; then nothing is returned.
        """
        live = self._cache.current()
        self._check_not_after(live)
        cipher, encode, start = live.primary.cipher, self._encode, live.primary.associated_data
        records: list[bytes] = []
        for batch in _batches(items):
            records += cipher.encrypt_each(
                [(data if type(data) is bytes else _as_bytes(data), start + encode(context)) for data, context in batch]
            )
        return records

    @overload
    def decrypt_many(self, items: Items, *, errors: Literal["raise"] = ...) -> list[bytes]: ...
    @overload
    def decrypt_many(self, items: Items, *, errors: Literal["return"]) -> list[bytes | SecureKitError]: ...
    def decrypt_many(self, items: Items, *, errors: Literal["raise", "return"] = "raise") -> list[bytes] | list[bytes | SecureKitError]:
        """Return the data of each ``(token, context)``, in order.

        Args:
            items: What `encrypt_many` returned, with the contexts.
            errors: ``"raise"`` stops at the first failure; ``"return"`` puts the exception in the place of the data.

        Raises:
            TypeError, ValueError, securekit.exceptions.SecureKitError: As `decrypt`.
        """
        if errors not in {"raise", "return"}:
            message = f'errors must be "raise" or "return", not {errors!r}'
            raise ValueError(message)
        live = self._cache.current()
        results: list[bytes | SecureKitError] = []
        for batch in _batches(items):
            results += self._decrypt_batch(batch, live, errors)
        return results

    def needs_reencrypt(self, token: bytes | str) -> bool:
        """Whether a record is under a key that is not the primary, so that encrypting it again would move it forward.

        Args:
            token: A record, or its text form. Only its header is read.

        Raises:
            securekit.exceptions.FormatError: ``token`` is no record.
            securekit.exceptions.KeyNotFoundError: It names a key that is not in this keyring.
        """
        key_id = check_record(from_text(token) if isinstance(token, str) else token)
        live = self._cache.current()
        if live.opened.document.key(key_id) is None:
            live = self._cache.reread(key_id)
        return lifecycle.require(live.opened.document, key_id).state is not KeyState.PRIMARY

    def _decrypt_batch(self, batch: list[tuple[bytes, Mapping[str, str]]], live: Live, errors: str) -> list[bytes | SecureKitError]:
        encode, primary = self._encode, live.primary
        results: list[bytes | SecureKitError | None] = []
        by_key: dict[RecordKey, tuple[list[int], list[tuple[bytes, bytes]]]] = {primary: ([], [])}
        last, (places, messages) = primary, by_key[primary]
        for token, context in batch:
            encoded = encode(context)
            key = primary
            if type(token) is not bytes or token[:HEADER_SIZE] != key.header or not OVERHEAD <= len(token) <= MAX_SIZE:
                try:
                    key = self._key_of(token, live)
                except SecureKitError as error:
                    if errors == "raise":
                        raise
                    results.append(error.with_traceback(None))
                    continue
            if key is not last:
                last, (places, messages) = key, by_key.setdefault(key, ([], []))
            places.append(len(results))
            messages.append((token, key.associated_data + encoded))
            results.append(None)
        for key, (places, messages) in by_key.items():
            for place, plaintext in zip(places, key.cipher.decrypt_each(messages), strict=True):
                results[place] = plaintext
        if errors == "raise" and None in results:
            raise DecryptionError
        return [DecryptionError() if result is None else result for result in results]

    def _key_of(self, token: bytes, live: Live) -> RecordKey:
        """Return the key that a record's header names."""
        if type(token) is not bytes or token[:1] != VERSION or not OVERHEAD <= len(token) <= MAX_SIZE:
            check_record(token)
        key = live.keys.get(token[1:HEADER_SIZE])
        if key is None:
            key = self._find(token[1:HEADER_SIZE], live)
        if key is not live.primary and self._source.is_watched:  # a whole table may be under old keys
            self._source.emit(Event(EventKind.OLD_KEY_USED, self.path, key.key_id))
        return key

    def _find(self, raw_id: bytes, live: Live) -> RecordKey:
        """Open a key version that this process has not used yet; look for one it does not know in the store."""
        key_id = raw_id.hex()
        if live.opened.document.key(key_id) is None:
            live = self._cache.reread(key_id)
        version = lifecycle.require(live.opened.document, key_id)
        if version.state in {KeyState.DISABLED, KeyState.DESTROYED}:
            hint = f"; bring it back with: securekit keys enable {self.path}@{key_id}" if version.state is KeyState.DISABLED else ""
            message = f"{self.path}@{key_id} is {version.state} and does not decrypt{hint}"
            raise KeyStateError(message)
        return live.keys.setdefault(raw_id, unseal(live.opened, version))

    def _check_not_after(self, live: Live) -> None:
        if live.stop_at is not None and self._source.clock.time() >= live.stop_at:
            key_id = live.opened.document.primary.id
            message = (
                f"{self.path}@{key_id} is past its not_after and no longer encrypts; make a new key with: securekit keys rotate {self.path}"
            )
            raise KeyStateError(message)


def _batches(items: Items) -> Iterator[list[tuple[bytes, Mapping[str, str]]]]:
    """Yield the items a few at a time, so that what is made on the way to the result needs little memory."""
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _as_bytes(data: object) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    hint = "; text is encrypted by encrypt_text" if isinstance(data, str) else ""
    message = f"data must be bytes, not {type(data).__name__}{hint}"
    raise TypeError(message)
