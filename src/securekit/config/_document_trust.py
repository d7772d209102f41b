# SPDX-License-Identifier: Apache-2.0
"""What is checked about one document: who signed it, who may read it, and that it is no older than it may be."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import NoReturn

from securekit._primitives.signatures import SigningCertificate
from securekit._wire.atomic import write_atomic, write_new
from securekit._wire.key_files import read_policy_file
from securekit.exceptions import CertificateError, ConfigError, ConflictError, KeyFileError, SecurityWarning
from securekit.wrappers._recipients import describe

__all__ = ["DocumentTrust", "Recipient", "by_key", "exists"]

Recipient = tuple[str, str]
"""The name of a kind of wrapper, and a reference, as in `securekit.wrappers.WrappedKey.recipient`."""

_MAX_STATE_SIZE = 1024  # bytes
_MAX_NAMED = 5  # signers in a message
_ATTEMPTS = 16  # of other processes that record a generation at the same moment


@dataclass(frozen=True, slots=True)
class DocumentTrust:
    """Whom to believe about one document.

    Attributes:
        id: The document's: 32 hexadecimal digits.
        environment: What the document's must be, or None.
        signers: Whose signatures count.
        required: How many different keys of theirs must have signed, 1 or more.
        recipients: Who may be able to read.
        generation: The least, 0 or more.
        state: The file that keeps the highest generation seen, or None.
        mounts: Where references to a Vault may lead.
        source: The file that says all this.
    """

    id: str
    environment: str | None
    signers: tuple[SigningCertificate, ...]
    required: int
    recipients: frozenset[Recipient]
    generation: int
    state: Path | None
    mounts: tuple[str, ...]
    source: Path

    def check_recipients(self, recipients: Iterable[Recipient]) -> None:
        """Check that nobody else is among ``recipients``.

        Raises:
            securekit.exceptions.ConfigError: Somebody is; the message names them.
        """
        strangers = sorted(set(recipients) - self.recipients)
        if strangers:
            named = ", ".join(describe(*stranger) for stranger in strangers)
            self._refuse(f"may be read by {named}, which {self.source} does not allow: remove them, or add them to its recipients")

    def check_signatures(
        self, signatures: Iterable[tuple[str, bytes]], message: bytes, *, clock: Callable[[], float] = time.time
    ) -> tuple[SigningCertificate, ...]:
        """Check that enough of the signers have signed ``message``, and return those who have, one certificate for each key.

        Signatures of others are passed over. One of a signer that does not verify is an error, whatever else there is.

        Args:
            signatures: Pairs of the public key's reference and the signature.
            message: What was signed.
            clock: Seconds since 1970, for tests.

        Raises:
            securekit.exceptions.ConfigError: It is unsigned, or signed only by others, or by too few, or was changed since.
        """
        given: dict[str, bytes] = {}
        for reference, signature in signatures:
            if reference in given:
                self._refuse(f"has two signatures of one key, {reference[:16]}…: remove one of them")
            given[reference] = signature
        known = by_key(self.signers)
        if not given:
            self._refuse(f"is not signed: let {_named(known.values(), 'or')} sign it")
        accepted = tuple(signer for reference, signer in known.items() if reference in given)
        for signer in accepted:
            try:
                signer.verify(given[signer.reference], message)
            except CertificateError:
                self._refuse(f"was changed since {signer.subject} signed it, or the signature was: it does not verify")
        if not accepted:
            keys = ", ".join(f"{reference[:16]}…" for reference in sorted(given))
            self._refuse(f"is signed only by keys that {self.source} does not allow ({keys}): let {_named(known.values(), 'or')} sign it")
        if len(accepted) < self.required:
            rest = _named((signer for reference, signer in known.items() if reference not in given), "or")
            self._refuse(f"is signed by {_named(accepted, 'and')}, and {self.required} signers are required: let {rest} sign it, too")
        self._warn_of_expired(accepted, datetime.fromtimestamp(clock(), UTC))
        return accepted

    def check_generation(self, generation: int, *, remember: bool = True) -> None:
        """Check that the document is not older than it may be, and remember ``generation``; for when its signatures were checked.

        Args:
            generation: The document's.
            remember: Whether it is kept; otherwise it is only compared, and nothing is written.

        Raises:
            securekit.exceptions.ConfigError: It is older than the least, or than one that this host has seen; or the state cannot
                be read or written.
        """
        if generation < self.generation:
            self._refuse(f"is of generation {generation}, and {self.source} asks for {self.generation} or later: deploy a newer one")
        if self.state is None:
            return
        for _ in range(_ATTEMPTS):
            before, seen = self._read_state(self.state)
            if generation < seen:
                self._refuse(
                    f"is of generation {generation}, and this host has seen {seen}: deploy a newer one;"
                    f" or, if it is meant to go back: rm {quote(str(self.state))}"
                )
            if generation == seen or not remember or self._write_state(self.state, before, generation):
                return
        self._refuse(f"cannot be recorded in {self.state}, which others change all the time: run the command again")

    def _read_state(self, path: Path) -> tuple[bytes | None, int]:
        """Return the state's bytes, None if there is none, and the highest generation seen, -1 if there is none."""
        try:
            if not exists(path):
                return None, -1
            data = read_policy_file(path, max_size=_MAX_STATE_SIZE)
        except KeyFileError as error:
            self._refuse(f"cannot be compared with what this host has seen: {error}")
        seen = _parse_state(data, self.id)
        if seen is None:
            self._refuse(
                f"cannot be compared with what this host has seen, since {path} is damaged, or another document's:"
                f" name a state of its own in {self.source}, or start anew with: rm {quote(str(path))}"
            )
        return data, seen

    def _write_state(self, path: Path, before: bytes | None, generation: int) -> bool:
        """Write the state; False if another process was faster."""
        data = json.dumps({"generation": generation, "id": self.id}).encode() + b"\n"
        try:
            if before is None:
                write_new(path, data, mode=0o644)
            else:
                write_atomic(path, data, mode=0o644, expected=before)
        except (FileExistsError, ConflictError):
            return False
        except OSError as error:
            folder = quote(str(path.parent))
            self._refuse(
                f"cannot be recorded in {path}: {error.strerror}; make its folder with: install -d -o {os.geteuid()} -m 755 {folder}"
            )
        return True

    def _warn_of_expired(self, signers: Iterable[SigningCertificate], now: datetime) -> None:
        for signer in signers:
            if now > signer.not_after:
                text = (
                    f"the certificate of {signer.subject}, who signed document {self.id}, expired on {signer.not_after:%Y-%m-%d}: renew it"
                )
                warnings.warn(text, SecurityWarning, stacklevel=3)

    def _refuse(self, problem: str) -> NoReturn:
        message = f"document {self.id} {problem}"
        raise ConfigError(message) from None


def _parse_state(data: bytes, identifier: str) -> int | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    match found:
        case {"generation": int(seen), "id": str(name)} if name == identifier and type(seen) is int and seen >= 0:
            return seen
    return None


def by_key(signers: Iterable[SigningCertificate]) -> dict[str, SigningCertificate]:
    """Return the signers by their keys. Of two certificates over one key, the old one and a renewed one, the younger counts."""
    return {signer.reference: signer for signer in sorted(signers, key=lambda signer: signer.not_after)}


def exists(path: Path) -> bool:
    """Whether something has this name, be it a link to nothing.

    Raises:
        securekit.exceptions.KeyFileError: That cannot be told. Then it is not as if nothing were there.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        message = f"cannot look for {path}: {error.strerror}"
        raise KeyFileError(message) from None
    return True


def _named(signers: Iterable[SigningCertificate], word: str) -> str:
    subjects = [signer.subject for signer in signers]
    return f" {word} ".join(subjects[:_MAX_NAMED] + (["others"] if len(subjects) > _MAX_NAMED else []))
