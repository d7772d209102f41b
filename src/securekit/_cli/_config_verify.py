# SPDX-License-Identifier: Apache-2.0
"""``securekit config verify``: what CI and pre-commit hooks can say without any private key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securekit.exceptions import SecureKitError

from ._options import as_json
from ._ui import UNVERIFIED, handled, note, print_json, printable

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningCertificate
    from securekit.config._examine import Finding

__all__ = ["verify"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE...")
@click.option("--signer", "signers", multiple=True, type=click.Path(path_type=Path), metavar="CERT", help="One of these must have signed.")
@click.option(
    "--trust",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The trust.toml that says whom to believe; else the repository's.  [env: SECUREKIT_TRUST]",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option(
    "--days", type=click.IntRange(0, 3650), default=30, show_default=True, help="Warn of certificates that expire within so many days."
)
@as_json
@click.pass_context
@handled
def verify(
    context: click.Context,
    files: tuple[Path, ...],
    *,
    signers: tuple[Path, ...],
    trust: Path | None,
    strict: bool,
    days: int,
    as_json: bool,
) -> None:
    """Check each FILE: structure, signatures, recipients, expiry, patterns, and secrets in clear text. Takes no private key.

    Ends with 3 if one has an error (or, with --strict, a warning). The integrity tag takes a private key, and is verified when
    the document is read; a signature covers it.
    """
    from securekit._primitives.signatures import SigningCertificate

    certificates = [SigningCertificate.read(path.read_bytes()) for path in signers]
    found = {str(path): _examine(path, certificates, trust, days) for path in files}
    if as_json:
        print_json({path: [_row(finding) for finding in findings] for path, findings in found.items()})
    else:
        for path, findings in found.items():
            for finding in findings:
                _print(path, finding)
    bad = [path for path, findings in found.items() if any(strict or finding.severity == "error" for finding in findings)]
    note(f"{len(found) - len(bad)} of {len(found)} documents are in order")
    if bad:
        context.exit(UNVERIFIED)


def _examine(path: Path, signers: list[SigningCertificate], trust: Path | None, days: int) -> list[Finding]:
    from securekit.config import Document
    from securekit.config._examine import Finding, Severity, examine
    from securekit.config._trust import find_trust

    try:
        believed = find_trust(explicit=trust, identity=None, document=path, repository=True)
        return examine(Document.read(path), trust=believed, signers=signers, days=days)
    except SecureKitError as error:
        return [Finding(Severity.ERROR, str(error))]


def _row(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in ("severity", "path", "line", "what", "repair")}


def _print(path: str, finding: Finding) -> None:
    where = f"{path}:{finding.line}" if finding.line else path
    about = f"{finding.path}: " if finding.path else ""
    click.echo(printable(f"{where}: {finding.severity}: {about}{finding.what}"))
    if finding.repair:
        click.echo(printable(f"    {finding.repair}"))
