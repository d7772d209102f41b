# SPDX-License-Identifier: Apache-2.0
"""What can be said of a document without any private key: for CI, pre-commit hooks and people."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from securekit.exceptions import ConfigError, FormatError
from securekit.keyring._clock import format_time, parse_time
from securekit.wrappers._recipients import describe

from ._base import check_signed, check_trust
from ._block import MAX_KEYS
from ._token import foreign
from ._trust import DocumentTrust

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningCertificate

    from ._document import Document
    from ._trust import Trust
    from ._walk import Leaf

__all__ = ["Finding", "Severity", "examine", "suspicious"]

_DAY = 24 * 3600  # seconds
_OLD = 365 * _DAY
_MANY_KEYS = MAX_KEYS * 3 // 4

# Names that secrets have, and shapes that they have.
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase|wort)?$|_pw$|secret|token$|api_?key|access_?key|private_?key|credential|(^|_)key$|dsn$", re.IGNORECASE
)
_SHAPES = {
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"): "it holds a private key in clear text",
    re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@", re.IGNORECASE): "it holds an address with a password in clear text",
    re.compile(r"(AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,}|sk_(live|test)_[A-Za-z0-9]{16,}"): (
        "it has the form of an access key or token of a known service"
    ),
}
_RANDOM = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_MIN_ENTROPY = 4.2  # bits per character: hexadecimal has at most 4
_HARMLESS = re.compile(r"\$\{[^}]*\}|/[\w./-]+|[\w.-]+\.[a-z]{2,}|vault:.*|x{3,}|\*{3,}|<[^>]*>", re.IGNORECASE)


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The document must not be deployed."""
    WARNING = "warning"
    """It works, and should not stay so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: How bad it is.
        what: In one sentence; no value of the document is in it.
        repair: What to do about it.
        path: Of the value that it is about, as people write it; empty if it is about the whole document.
        line: Where, from 1; 0 if it is not known.
    """

    severity: Severity
    what: str
    repair: str = ""
    path: str = ""
    line: int = 0


def examine(
    document: Document,
    *,
    trust: Trust | None = None,
    signers: Sequence[SigningCertificate] = (),
    days: int = 30,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Return what is wrong with a document, the errors first. No private key is needed; the integrity tag is not verified.

    Args:
        document: As it was read.
        trust: Whom to believe.
        signers: Instead of a trust: one of these must have signed.
        days: A certificate that expires within so many is a warning.
        clock: Seconds since 1970, for tests.
    """
    if document.block is None:
        what = "it is not encrypted: there is no securekit block"
        return [Finding(Severity.ERROR, what, f"encrypt it with: securekit config encrypt {_file(document)}")]
    now = clock()
    found = [
        *_signatures(document, trust, signers),
        *_patterns(document),
        *_values(document),
        *_recipients(document, now, days),
        *_keys(document, now),
    ]
    return sorted(found, key=lambda finding: finding.severity is not Severity.ERROR)


def _signatures(document: Document, trust: Trust | None, signers: Sequence[SigningCertificate]) -> Iterator[Finding]:
    if trust is None and not signers:
        yield Finding(
            Severity.WARNING,
            "its signatures were not checked: nothing says who may sign",
            f"name the signers with --signer, or set up a trust.toml: securekit config trust {_file(document)} --signer CERT",
        )
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if signers:
                check_signed(document, _entry_of(document, signers))
            if trust is not None:
                check_trust(document, trust, known=bool(signers))
        except ConfigError as error:
            yield Finding(
                Severity.ERROR, str(error), f"sign it with: securekit config sign {_file(document)} --sign KEY; or correct the trust"
            )
    for warning in caught:
        yield Finding(Severity.WARNING, str(warning.message))


def _entry_of(document: Document, signers: Sequence[SigningCertificate]) -> DocumentTrust:
    """Return a trust that says no more than who may sign."""
    return DocumentTrust(
        id=document.required.document.hex(),
        environment=None,
        signers=tuple(signers),
        required=1,
        recipients=frozenset(recipient.name for recipient in document.required.recipients),
        generation=0,
        state=None,
        mounts=(),
        source=Path("--signer"),
    )


def _file(document: Document) -> str:
    """Return the document's name as a shell takes it."""
    return quote(document.name)


def _patterns(document: Document) -> Iterator[Finding]:
    paths = [path for path, _ in document.places()]
    for pattern in document.required.patterns.unmatched(paths):
        yield Finding(
            Severity.ERROR,
            f"the pattern {pattern!r} matches nothing: is it misspelt?",
            f"correct it, or remove it with: securekit config unset {_file(document)} --pattern {quote(pattern)}",
        )


def _values(document: Document) -> Iterator[Finding]:
    covered = document.covered(document.required.patterns)
    ids = {key.id for key in document.required.keys}
    file = _file(document)

    def about(leaf: Leaf, severity: Severity, what: str, repair: str) -> Finding:
        return Finding(severity, what, repair, leaf.name, document.source.line(leaf.path))

    for leaf in document.leaves():
        try:
            token = leaf.token
        except FormatError as error:
            yield about(
                leaf,
                Severity.ERROR,
                str(error).removeprefix(f"{leaf.name}: "),
                f"restore it, or set its value anew with: securekit config set {file} {quote(leaf.name)}",
            )
            continue
        protected = leaf.path in covered
        if token is not None:
            if token.key_id not in ids:
                repair = f"set its value anew with: securekit config set {file} {quote(leaf.name)}"
                yield about(leaf, Severity.ERROR, "it is encrypted under a data key that is not there", repair)
            if not protected:
                repair = f"add a pattern: securekit config encrypt {file} --encrypt {quote(leaf.name)}"
                yield about(leaf, Severity.WARNING, "it is encrypted, and no pattern says that it must be", repair)
        elif protected:
            repair = f"securekit config encrypt {file} --adopt; and change it at its source"
            yield about(leaf, Severity.ERROR, "it must be encrypted, and is in clear text", repair)
        elif foreign(leaf.value):
            repair = f"set its value anew with: securekit config set {file} {quote(leaf.name)}"
            yield about(leaf, Severity.ERROR, "it holds a ciphertext of another tool", repair)
        elif (suspicion := _suspicion(leaf)) is not None:
            severity, what = suspicion
            yield about(leaf, severity, what, f"securekit config encrypt {file} --encrypt {quote(leaf.name)}; and change it at its source")


def suspicious(document: Document) -> list[tuple[Leaf, str]]:
    """Return the values in clear text that look like secrets, each with the reason."""
    covered = document.covered(document.required.patterns)
    clear = [leaf for leaf in document.leaves() if leaf.token is None and leaf.path not in covered]
    return [(leaf, found[1]) for leaf in clear if (found := _suspicion(leaf)) is not None]


def _suspicion(leaf: Leaf) -> tuple[Severity, str] | None:
    """Return why a clear value looks like a secret, if it does."""
    value = leaf.value
    if not isinstance(value, str) or not value:
        return None
    for shape, what in _SHAPES.items():
        if shape.search(value):
            return Severity.ERROR, what
    name = next((segment for segment in reversed(leaf.path) if isinstance(segment, str)), "")
    what = ""
    if _HARMLESS.fullmatch(value) is None:
        if _SECRET_NAME.search(name):
            what = "its name is that of a secret, and it is in clear text"
        elif _RANDOM.fullmatch(value) and _entropy(value) >= _MIN_ENTROPY:
            what = "it looks like a random secret, and is in clear text"
    return (Severity.WARNING, what) if what else None


def _entropy(text: str) -> float:
    """Return Shannon's entropy in bits per character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def _recipients(document: Document, now: float, days: int) -> Iterator[Finding]:
    for recipient in document.required.recipients:
        until = recipient.about.get("not_after")
        if until is None:
            continue
        left = parse_time(until) - now
        replace = f"give it a new certificate: securekit config recipients add {_file(document)} CERTIFICATE, and later remove"
        who = f"the certificate of the recipient {recipient.subject} ({describe(*recipient.name)})"
        if left < 0:
            yield Finding(Severity.ERROR, f"{who} expired on {until[:10]}", replace)
        elif left < days * _DAY:
            yield Finding(Severity.WARNING, f"{who} expires on {until[:10]}, in {int(left / _DAY)} days", replace)


def _keys(document: Document, now: float) -> Iterator[Finding]:
    keys = document.required.keys
    repair = f"let somebody who can read it run: securekit config rotate {_file(document)}"
    if len(keys) >= _MANY_KEYS:
        yield Finding(Severity.WARNING, f"it has {len(keys)} data keys of at most {MAX_KEYS}", repair)
    oldest = min(key.created for key in keys)
    if now - oldest > _OLD:
        yield Finding(Severity.WARNING, f"its oldest data key is of {format_time(oldest)[:10]}", repair)
