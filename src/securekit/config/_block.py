# SPDX-License-Identifier: Apache-2.0
"""The metadata block of a document: texts to values and back. The format is ``docs/spec/config.md``, section "Metadata".

Every entry is one text on one line, whatever the document's format, so that a changed secret changes few lines. Nothing
here is trusted before a signature or the integrity tag has been verified.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from securekit._wire import base64url
from securekit.exceptions import FormatError
from securekit.keyring._clock import format_time, parse_time
from securekit.wrappers._protocol import MAX_CIPHERTEXT_SIZE, WrappedKey
from securekit.wrappers._recipients import MAX_RECIPIENTS

from ._path import MAX_PATTERN, Patterns
from ._tree import Metadata

__all__ = ["FORMAT", "MAX_KEYS", "DataKey", "MetadataBlock", "Recipient", "Signature", "check_environment"]

FORMAT = "securekit/config/1"
MAX_KEYS = 64
MAX_SIGNATURES = 16
MAX_GENERATION = 2**53 - 1
ID_SIZE = 16  # bytes of a document's id
TAG_SIZE = 32  # bytes, HMAC-SHA-256
_MAX_PUBLIC = 2048  # bytes; the largest is an X-Wing key of 1,216
_MAX_SIGNATURE = 1024  # bytes, RSA-8192
_MAX_REFERENCE = 700  # characters, as in every other format
_NAMES = ("format", "document", "environment", "generation", "encrypt", "recipients", "keys", "tag", "signatures")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RECIPIENT = re.compile(r"([a-z0-9-]{1,64}) ([\x21-\x7e]{1,2800}) ([0-9a-f]{64}|-) ([0-9TZ:-]{20}|-) (\S(?:.{0,254}\S)?)")
_PUBLIC_KINDS = ("x509-", "hpke-")  # whose reference is the SHA-256 of the public key
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can unwrap the data keys, with what is needed to wrap to them again.

    Attributes:
        wrapper: The name of the kind of wrapper, such as ``"x509-hpke-p256"``.
        key_ref: Names the key: of a public key, its SHA-256 in hexadecimal, computed here.
        public: The public key, canonical SubjectPublicKeyInfo in DER, or an X-Wing key; None where wrapping takes a secret.
        about: ``fingerprint``, ``not_after`` and ``subject`` of a certificate, for display. No decision rests on them.
    """

    wrapper: str
    key_ref: str
    public: bytes | None
    about: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> tuple[str, str]:
        """The pair ``(wrapper, key_ref)``, unique within a document."""
        return self.wrapper, self.key_ref

    @property
    def subject(self) -> str:
        """What people call it."""
        return self.about.get("subject") or self.wrapper

    def encode(self) -> str:
        """Return the one line: wrapper, public key or reference, fingerprint, last moment, subject; ``-`` for nothing."""
        key = base64url.encode(self.public) if self.public is not None else self.key_ref or _NOTHING
        about = [self.about.get(name, "").strip() or _NOTHING for name in ("fingerprint", "not_after", "subject")]
        return " ".join((self.wrapper, key, *about))

    @classmethod
    def decode(cls, text: str) -> Recipient:
        """Return what `encode` gave.

        Raises:
            securekit.exceptions.FormatError: ``text`` is no such line.
        """
        found = _RECIPIENT.fullmatch(text)
        if found is None:
            _refuse("has a recipient of another form")
        wrapper, key, *facts = found.groups()
        about = {name: fact for name, fact in zip(("fingerprint", "not_after", "subject"), facts, strict=True) if fact != _NOTHING}
        if "not_after" in about:
            parse_time(about["not_after"])
        if not wrapper.startswith(_PUBLIC_KINDS):
            if len(key) > _MAX_REFERENCE:
                _refuse("has a recipient with a reference that is too long")
            return cls(wrapper, "" if key == _NOTHING else key, None, about)
        public = base64url.decode(key)
        if len(public) > _MAX_PUBLIC:
            _refuse("has a recipient with a public key that is too large")
        return cls(wrapper, hashlib.sha256(public).hexdigest(), public, about)


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key that was made in one editing session: its copies stand in the order of the recipients."""

    id: str
    created: int
    copies: tuple[bytes, ...]

    def encode(self) -> str:
        """Return the one line: id, when it was made, and the wrapped copies."""
        return " ".join((self.id, format_time(self.created), *map(base64url.encode, self.copies)))

    @classmethod
    def decode(cls, text: str, recipients: Sequence[Recipient]) -> DataKey:
        """Return what `encode` gave.

        Raises:
            securekit.exceptions.FormatError: ``text`` is no such line.
        """
        key_id, created, *copies = text.split(" ") if " " in text else (text, "")
        if not re.fullmatch(r"[0-9a-f]{8}", key_id) or len(copies) != len(recipients):
            _refuse("has a data key of another form")
        if any(not 0 < len(copy) <= -(-MAX_CIPHERTEXT_SIZE * 4 // 3) for copy in copies):
            _refuse("has a wrapped data key that is out of bounds")
        return cls(key_id, parse_time(created), tuple(map(base64url.decode, copies)))

    def wrapped(self, recipients: Sequence[Recipient]) -> tuple[WrappedKey, ...]:
        """Return the wrapped copies as wrappers take them."""
        return tuple(
            WrappedKey(recipient.wrapper, recipient.key_ref, copy, recipient.about)
            for recipient, copy in zip(recipients, self.copies, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """An author's signature: ``reference`` is the SHA-256 of the signer's public key in hexadecimal."""

    reference: str
    value: bytes

    def encode(self) -> str:
        """Return the one line."""
        return f"{self.reference} {base64url.encode(self.value)}"

    @classmethod
    def decode(cls, text: str) -> Signature:
        """Return what `encode` gave.

        Raises:
            securekit.exceptions.FormatError: ``text`` is no such line.
        """
        reference, _, value = text.partition(" ")
        if not re.fullmatch(r"[0-9a-f]{64}", reference) or not 0 < len(value) <= -(-_MAX_SIGNATURE * 4 // 3):
            _refuse("has a signature of another form")
        return cls(reference, base64url.decode(value))


@dataclass(frozen=True, slots=True)
class MetadataBlock:
    """What a document says of itself.

    Attributes:
        document: Its id, 16 bytes; drawn once.
        environment: Where it belongs, such as ``"production"``.
        generation: Grows with every change.
        encrypt: The patterns of the paths that must be encrypted.
        recipients: Who can read, in the order of their names.
        keys: The data keys, the newest last.
        tag: The integrity tag.
        signatures: Of authors, in the order of their references.
    """

    document: bytes
    environment: str
    generation: int
    encrypt: tuple[str, ...]
    recipients: tuple[Recipient, ...]
    keys: tuple[DataKey, ...] = ()
    tag: bytes = bytes(TAG_SIZE)
    signatures: tuple[Signature, ...] = ()

    @property
    def patterns(self) -> Patterns:
        """The patterns, ready to match."""
        return Patterns(self.encrypt)

    def key_binding(self, key_id: str) -> tuple[bytes | str, ...]:
        """Return what the wrapped copies of a data key are bound to."""
        return ("config", self.document, self.environment, bytes.fromhex(key_id))

    def encode(self) -> Metadata:
        """Return the block as it is written."""
        return {
            "format": FORMAT,
            "document": self.document.hex(),
            "environment": self.environment,
            "generation": str(self.generation),
            "encrypt": list(self.encrypt),
            "recipients": [recipient.encode() for recipient in self.recipients],
            "keys": [key.encode() for key in self.keys],
            "tag": base64url.encode(self.tag),
            "signatures": [signature.encode() for signature in self.signatures],
        }

    def tagged(self) -> list[bytes]:
        """Return the parts of the canonical document that stand for this block: all of it but tag and signatures."""
        parts: list[bytes] = []
        for name, value in replace(self, tag=b"", signatures=()).encode().items():
            texts = [value] if isinstance(value, str) else value
            parts += (name.encode(), b"%d" % len(texts), *[text.encode() for text in texts])
        return parts

    @classmethod
    def decode(cls, metadata: Metadata) -> MetadataBlock:
        """Return what `encode` gave.

        Raises:
            securekit.exceptions.FormatError: ``metadata`` is not the one encoding of a block within bounds.
        """
        if metadata.get("format") != FORMAT:
            message = f"the securekit block is not of format {FORMAT}"
            raise FormatError(message)
        if tuple(sorted(metadata)) != tuple(sorted(_NAMES)):
            _refuse("has other entries than it should")
        lists = {name: _texts(metadata[name], most) for name, most in _LISTS.items()}
        recipients = tuple(map(Recipient.decode, lists["recipients"]))
        block = cls(
            document=bytes.fromhex(_text(metadata, "document", r"[0-9a-f]{32}")),
            environment=_text(metadata, "environment", _ENVIRONMENT.pattern),
            generation=int(_text(metadata, "generation", r"[1-9][0-9]{0,15}")),
            encrypt=lists["encrypt"],
            recipients=recipients,
            keys=tuple(DataKey.decode(text, recipients) for text in lists["keys"]),
            tag=base64url.decode(_text(metadata, "tag", r"[A-Za-z0-9_-]{43}")),
            signatures=tuple(map(Signature.decode, lists["signatures"])),
        )
        block.check()
        return block

    def check(self) -> None:
        """Check what `decode` demands beyond the form of each entry: what could not be read again is never written.

        Raises:
            securekit.exceptions.FormatError: Something is out of order, twice there, missing or out of bounds.
        """
        for what, names, most in (
            ("recipients", [recipient.name for recipient in self.recipients], MAX_RECIPIENTS),
            ("signatures", [signature.reference for signature in self.signatures], MAX_SIGNATURES),
        ):
            if names != sorted(set(names)) or len(names) > most:  # type: ignore[type-var]
                _refuse(f"has {what} that are out of order, twice the same, or more than {most}")
        if not self.recipients or not 1 <= len({key.id for key in self.keys}) == len(self.keys) <= MAX_KEYS:
            _refuse(f"has no recipient, or not 1 to {MAX_KEYS} different data keys")
        if not 1 <= self.generation <= MAX_GENERATION:
            _refuse("has a generation that is out of bounds")
        try:
            Patterns(self.encrypt)
        except ValueError as error:
            message = f"the securekit block has a pattern of another form: {error}"
            raise FormatError(message) from None


_LISTS = {"encrypt": 256, "recipients": MAX_RECIPIENTS, "keys": MAX_KEYS, "signatures": MAX_SIGNATURES}
_MAX_TEXT = max(MAX_PATTERN, 300_000)  # characters of a line; 64 copies of a data key


def check_environment(name: str) -> str:
    """Return ``name`` if an environment can be called so.

    Raises:
        ValueError: It is not 1 to 64 of letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _ENVIRONMENT.fullmatch(name):
        message = f"an environment is 1 to 64 letters, digits, '.', '_' and '-', such as production, not {name!r}"
        raise ValueError(message)
    return name


def _text(metadata: Metadata, name: str, form: str) -> str:
    value = metadata[name]
    if not isinstance(value, str) or not re.fullmatch(form, value):
        _refuse(f"has a {name} of another form")
    return value


def _texts(value: str | Sequence[str], most: int) -> tuple[str, ...]:
    if isinstance(value, str) or len(value) > most or any(len(text) > _MAX_TEXT or not text.isprintable() for text in value):
        _refuse("has a list that is out of bounds, or no list")
    return tuple(value)


def _refuse(fault: str) -> NoReturn:
    message = f"the securekit block {fault}"
    raise FormatError(message)
