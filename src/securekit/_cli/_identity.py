# SPDX-License-Identifier: Apache-2.0
"""``securekit identity``: private keys of hosts and people, and the certificates that others wrap to or verify with."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from ._groups import SuggestingGroup
from ._ui import handled, note

__all__ = ["identity"]


@click.group(cls=SuggestingGroup)
def identity() -> None:
    """Make a private key, with the certificate or public key that others wrap keys to, or verify signatures with.

    Whoever has the certificate can wrap; only the holder of the private key unwraps. An escrow key in a safe, and the key
    of a production host, are identities. So is the key with which an author signs configuration documents.
    """


@identity.command()
@click.option("--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The private key's new file, of mode 0600.")
@click.option("--cert", type=click.Path(path_type=Path), metavar="FILE", help="The new file of a self-signed certificate; or")
@click.option("--csr", type=click.Path(path_type=Path), metavar="FILE", help="of a signing request, for an authority of yours.")
@click.option("--name", help="The common name in the certificate, for example web1.example.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["p256", "p384", "rsa3072", "rsa4096", "ed25519"]),
    default="p256",
    show_default=True,
    help="An ed25519 key signs configuration documents, and cannot be wrapped to.",
)
@click.option("--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="How long the certificate is valid.")
@click.option("--encrypt", is_flag=True, help="Ask for a password, and encrypt the private key with it.")
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Encrypt the private key with the password in this guarded file.",
)
@click.option("--pq", is_flag=True, help="Make a post-quantum key pair (X-Wing) instead, without a certificate;")
@click.option("--public", type=click.Path(path_type=Path), metavar="FILE", help="and this is the new file of its public key.")
@click.pass_context
@handled
def new(
    context: click.Context,
    *,
    key: Path,
    cert: Path | None,
    csr: Path | None,
    name: str | None,
    kind: str,
    days: int,
    encrypt: bool,
    password_file: Path | None,
    pq: bool,
    public: Path | None,
) -> None:
    """Make a private key and a self-signed certificate, or a signing request; or a post-quantum key pair.

    \b
    securekit identity new --key escrow.key --cert escrow.pem --name escrow.example --days 3650 --encrypt
    securekit keys rewrap --to local:root.key --to cert:escrow.pem
    securekit identity new --pq --key archive.key --public archive.pub
    securekit identity new --type ed25519 --key anna.key --cert anna.pem --name anna --encrypt
    """
    from securekit._wire.key_files import read_secret_text
    from securekit.wrappers import PostQuantumWrapper, new_identity

    if pq or public:
        _refuse_others(context, allowed={"key", "pq", "public"})
        if not (pq and public):
            message = "a post-quantum key pair is made with --pq, --key FILE and --public FILE"
            raise ValueError(message)
        PostQuantumWrapper.generate(key=key, public=public)
    else:
        if not name:
            message = "--name is missing: a certificate has a name, for example web1.example"
            raise ValueError(message)
        password = read_secret_text(password_file) if password_file else None
        if encrypt and password is None:
            password = click.prompt("Password for the private key", hide_input=True, confirmation_prompt=True, err=True)
        new_identity(name, key=key, cert=cert, csr=csr, kind=kind, days=days, password=password)
    note(f"made {key} (private: keep it where only its owner reads it) and {public or cert or csr} (public)")


def _refuse_others(context: click.Context, *, allowed: set[str]) -> None:
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in allowed and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            message = f"{parameter.opts[0]} goes with certificates, not with --pq"
            raise ValueError(message)
