# SPDX-License-Identifier: Apache-2.0
"""``securekit identity``: private keys of hosts and people, and the certificates that others wrap to."""

from __future__ import annotations

from pathlib import Path

import click

from ._groups import SuggestingGroup
from ._ui import handled, note

__all__ = ["identity"]


@click.group(cls=SuggestingGroup)
def identity() -> None:
    """Make a private key, with the certificate that others wrap keys to.

    Whoever has the certificate can wrap; only the holder of the private key unwraps. An escrow key in a safe, and the key
    of a production host, are identities.
    """


@identity.command()
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The private key's new file, of mode 0600.")
@click.option("--cert", type=click.Path(path_type=Path), metavar="FILE", help="The new file of a self-signed certificate; or")
@click.option("--csr", type=click.Path(path_type=Path), metavar="FILE", help="of a signing request, for an authority of yours.")
@click.option("--name", required=True, help="The common name, for example web1.example.")
@click.option("--type", "kind", type=click.Choice(["p256", "p384", "rsa3072", "rsa4096"]), default="p256", show_default=True)
@click.option("--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="How long the certificate is valid.")
@click.option("--encrypt", is_flag=True, help="Ask for a password, and encrypt the private key with it.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Encrypt the private key with the password in this guarded file.",
)
@handled
def new(
    *, key: Path, cert: Path | None, csr: Path | None, name: str, kind: str, days: int, encrypt: bool, password_file: Path | None
) -> None:
    """Make a private key and a self-signed certificate, or a signing request.

    \b
    securekit identity new --key escrow.key --cert escrow.pem --name escrow.example --days 3650 --encrypt
    securekit keys rewrap --to local:root.key --to cert:escrow.pem
    """
    from securekit._wire.key_files import read_secret_text
    from securekit.wrappers import new_identity

    password = read_secret_text(password_file) if password_file else None
    if encrypt and password is None:
        password = click.prompt("Password for the private key", hide_input=True, confirmation_prompt=True, err=True)
    new_identity(name, key=key, cert=cert, csr=csr, kind=kind, days=days, password=password)
    note(f"made {key} (private: keep it where only its owner reads it) and {cert or csr} (public)")
