# SPDX-License-Identifier: Apache-2.0
"""What the tests of configuration share: realistic documents of every format, hosts that read them, authors who sign them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from securekit._primitives.signatures import SigningCertificate, SigningKey
from securekit.config import Document, DocumentTrust, Edit, Trust, parse_path
from securekit.config._tree import Path as ValuePath
from securekit.wrappers import CertificateWrapper, KeyWrapper
from tests.identities import Issued, clock, issue, pem, private_key, usage

FILES = Path(__file__).parent / "files"
FORMATS = ("yaml", "json", "toml", "env", "ini")
ENVIRONMENT = "production"
SECRETS = 11  # in each of the files

PATTERNS = {
    "yaml": ("**.password", "stripe.*secret*", "sentry.dsn", "tls.private_key", "api.tokens", "session.signing_key"),
    "json": ("**.password", "stripe.*secret*", "sentry.dsn", "tls.private_key", "api.tokens[*]", "session.signing_key"),
    "toml": ("**.password", "web.tls.key_password", "*.secret_key", "payments.api_key", "payments.webhook_secret", "jobs.signing_key"),
    "env": ("*PASSWORD", "*SECRET*", "PAY_API_KEY", "S3_ACCESS_KEY"),
    "ini": (
        "*.password",
        '"web.tls".key_password',
        "*.secret_key",
        "payments.api_key",
        "payments.webhook_secret",
        "*.access_key",
        "jobs.signing_key",
    ),
}
"""What is encrypted in each of the files."""

PASSWORD = {form: "DB_PASSWORD" if form == "env" else "db.password" for form in FORMATS}
"""The path of one of the secrets."""

CLEAR = {form: "DB_HOST" if form == "env" else "db.host" for form in FORMATS}
"""The path of a value in clear text."""


@dataclass(frozen=True, slots=True)
class Host:
    """A production host: its certificate, which everybody has, and its private key, which is there alone."""

    issued: Issued

    @property
    def public(self) -> CertificateWrapper:
        return CertificateWrapper.from_pem(self.issued.pem, clock=clock())

    @property
    def private(self) -> CertificateWrapper:
        return CertificateWrapper.from_pem(key=pem(self.issued.key), clock=clock())

    @property
    def name(self) -> tuple[str, str]:
        return self.public.name, self.public.key_ref


@dataclass(frozen=True, slots=True)
class Author:
    """Somebody who signs."""

    certificate: SigningCertificate
    key: SigningKey


@cache
def host(number: int = 0, kind: str = "p256") -> Host:
    """Return the host of that number; others have other keys."""
    return Host(issue(f"web{number}.example", private_key(kind, 100 + number)))


@cache
def author(name: str = "alice") -> Author:
    """Return the author of that name."""
    key: Any = ed25519.Ed25519PrivateKey.generate()
    return Author(SigningCertificate.read(issue(name, key, usage("digital_signature")).pem), SigningKey.read(pem(key)))


def clear(form: str) -> Document:
    """Return the realistic document of a format, in clear text."""
    return Document.read(FILES / f"production.{form}")


@cache
def sealed(form: str) -> Document:
    """Return the same, encrypted for the first host."""
    return encrypt(clear(form))


def encrypt(document: Document, *, patterns: Sequence[str] | None = None, recipients: Sequence[KeyWrapper] = ()) -> Document:
    """Return ``document`` encrypted for the first host, or for ``recipients``."""
    chosen = PATTERNS[document.format] if patterns is None else patterns
    return document.encrypt(environment=ENVIRONMENT, recipients=recipients or [host().public], patterns=chosen, clock=clock()).finish()


def from_text(text: str, form: str = "yaml", *patterns: str) -> Document:
    """Return a short document, encrypted for the first host."""
    return encrypt(Document.parse(text.encode(), format=form), patterns=patterns)


def write_only(document: Document, **options: Any) -> Edit:
    """Begin a session of an author who can read nothing, and has looked at the document."""
    references = [recipient.key_ref for recipient in document.required.recipients]
    return document.edit(adopt=True, confirmed=references, clock=clock(), **options)


def reader(document: Document, *hosts: Host, **options: Any) -> Edit:
    """Begin a session of somebody who can read."""
    references = [recipient.key_ref for recipient in document.required.recipients]
    wrappers = [one.private for one in hosts or (host(),)]
    return document.edit(wrappers=wrappers, confirmed=references, clock=clock(), **options)


def path(text: str) -> ValuePath:
    """Return the path that ``text`` names."""
    return parse_path(text)


def trust_in(document: Document, *authors: Author, **options: Any) -> Trust:
    """Return a trust of this document, as it is, that believes ``authors``."""
    block = document.required
    entry = DocumentTrust(
        **{
            "id": block.document.hex(),
            "environment": block.environment,
            "signers": tuple(one.certificate for one in authors),
            "required": 1,
            "recipients": frozenset(recipient.name for recipient in block.recipients),
            "generation": 1,
            "state": None,
            "mounts": (),
            "source": Path("trust.toml"),
            **options,
        }
    )
    return Trust({entry.id: entry}, Path("trust.toml"))
