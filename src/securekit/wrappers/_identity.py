# SPDX-License-Identifier: Apache-2.0
"""New identities: a private key in a guarded file, and the certificate, or the request for one, that others wrap to or verify with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securekit._primitives import certificates, private_keys
from securekit._wire.atomic import write_new
from securekit.exceptions import KeyFileError

__all__ = ["KINDS", "new_identity"]

KINDS = tuple(private_keys.KINDS)
_MAX_DAYS = 36_500
_SKEW = timedelta(hours=1)  # clocks of other machines may be behind


def new_identity(
    name: str,
    *,
    key: str | os.PathLike[str],
    cert: str | os.PathLike[str] | None = None,
    csr: str | os.PathLike[str] | None = None,
    kind: str = "p256",
    days: int = 365,
    password: str | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Make a private key, and a self-signed certificate or a certificate signing request over it.

    Nothing that exists is overwritten, and when one of the files cannot be written, neither is left.

    Args:
        name: The common name, 1 to 64 printable characters, for example ``web1.example``.
        key: The private key's new file, of mode 0600.
        cert: The certificate's new file; or
        csr: the request's new file, for an authority of yours to sign.
        kind: ``"p256"``, ``"p384"``, ``"rsa3072"`` or ``"rsa4096"``, which are wrapped to; or ``"ed25519"``, which signs
            configuration documents and cannot be wrapped to.
        days: For how long the certificate is valid, 1 to 36,500.
        password: Encrypts the private key in its file: 1 to 1,023 bytes of UTF-8.
        clock: Seconds since 1970, for tests.

    Raises:
        ValueError: An argument has another form; or both or neither of ``cert`` and ``csr`` are given.
        securekit.exceptions.KeyFileError: A file exists already, or cannot be written.
    """
    if (cert is None) == (csr is None):
        message = "one of cert and csr is needed: a self-signed certificate, or a request for one"
        raise ValueError(message)
    if kind not in KINDS:
        message = f"a private key is one of {', '.join(KINDS)}, not {kind!r}"
        raise ValueError(message)
    if not 1 <= days <= _MAX_DAYS:
        message = f"days must be 1 to {_MAX_DAYS}, not {days}"
        raise ValueError(message)
    private = private_keys.generate(kind)
    pem = private_keys.to_pem(private, password=password)
    if cert is not None:
        now = datetime.fromtimestamp(int(clock()), UTC)
        public = certificates.self_signed(private, name, not_before=now - _SKEW, not_after=now + timedelta(days=days))
    else:
        public = certificates.request(private, name)
    public_file = Path(cert or csr or "")
    _write(public_file, public, 0o644)
    try:
        _write(Path(key), pem, 0o600)
    except KeyFileError:
        public_file.unlink()
        raise


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        write_new(path, data, mode=mode)
    except FileExistsError:
        message = f"{path} exists already and is not overwritten; choose another name"
        raise KeyFileError(message) from None
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise KeyFileError(message) from None
