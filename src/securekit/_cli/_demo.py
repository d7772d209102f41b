# SPDX-License-Identifier: Apache-2.0
"""``securekit demo``: the main job on real input, each step with the call that does it."""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import click

from securekit.envelope import Envelope
from securekit.exceptions import SecureKitError
from securekit.keyring import FileKeyStore, Keyring
from securekit.wrappers import CertificateWrapper, LocalWrapper, new_identity

from ._ui import fail, handled

__all__ = ["demo"]

_FIELDS = ("name", "iban", "email")
_ARCHIVE = {"kind": "source"}  # the context of the sealed archive


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Work in this new or empty folder; a temporary one if not given.",
)
@handled
def demo(directory: Path | None) -> None:
    """Show the main job on real input: keyrings, encrypted rows, rotation, escrow and recovery, sealed files, and what an attacker gets.

    Everything stays in a folder that is printed, to be looked at.
    """
    folder = directory or Path(tempfile.mkdtemp(prefix="securekit-demo-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        fail(f"{folder} is not empty", hint="choose another folder with --dir")
    click.echo(f"Working in {folder}\n")
    _Demo(folder).run()
    click.echo(f"\nLook around: {folder}")


class _Demo:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._step = 0
        self._failures = 0
        text = files("securekit._cli").joinpath("customers.csv").read_text("utf-8")
        self._rows = list(csv.DictReader(io.StringIO(text)))

    def run(self) -> None:
        kek = self._make_kek()
        store = FileKeyStore(self._folder / "keys", wrapper=kek)
        rings = self._make_keyrings(store)
        sealed = self._encrypt(rings)
        self._rotate(rings, sealed)
        self._escrow(store, kek, sealed)
        self._rewrap_file(self._seal_file())
        self._attack(rings, sealed)
        if self._failures:
            fail(f"{self._failures} steps of the demo did not do what they should")

    def _make_kek(self) -> LocalWrapper:
        self._say("Make a KEK, in a file that only we can read", "securekit keys new-kek root.key", "LocalWrapper.generate('root.key')")
        kek = LocalWrapper.generate(self._folder / "root.key")
        self._tell(f"root.key holds the KEK {kek.key_ref}")
        return kek

    def _make_keyrings(self, store: FileKeyStore) -> dict[str, Keyring]:
        self._say(
            "Make a keyring per account", "securekit keys create eu/acme/customers", "store.keyring('eu/acme/customers', create=True)"
        )
        rings = {row["account"]: store.keyring(f"eu/{row['account']}/customers", create=True) for row in self._rows}
        for ring in rings.values():
            self._tell(f"{ring.path} has the primary key {ring.primary().id}")
        return rings

    def _encrypt(self, rings: dict[str, Keyring]) -> list[dict[str, str]]:
        self._say(
            "Encrypt the customers, field by field, each bound to its table, column and row",
            "securekit encrypt customers.csv --keyring 'eu/{account}/customers' --column iban \\\n"
            "       --context table=customers --context column=iban --context 'id={id}'",
            "ring.encrypt_text(iban, context={'table': 'customers', 'column': 'iban', 'id': '1001'})",
        )
        sealed = [
            row | {field: rings[row["account"]].encrypt_text(row[field], context=_context(row, field)) for field in _FIELDS}
            for row in self._rows
        ]
        self._save("customers.csv", self._rows)
        self._save("customers.sealed.csv", sealed)
        self._tell(f"{len(sealed)} rows, {len(sealed) * len(_FIELDS)} fields; for example {sealed[0]['iban'][:40]}…")
        return sealed

    def _rotate(self, rings: dict[str, Keyring], sealed: list[dict[str, str]]) -> None:
        self._say("Rotate: a new primary key; older ones go on to decrypt", "securekit keys rotate eu/acme/customers", "ring.rotate()")
        acme = rings["acme"]
        self._tell(f"acme's primary key is now {acme.rotate().id}")
        opened = [acme.decrypt_text(row["iban"], context=_context(row, "iban")) for row in sealed if row["account"] == "acme"]
        self._check(opened == [row["iban"] for row in self._rows if row["account"] == "acme"], "all old ciphertexts still open")
        due = sum(rings[row["account"]].needs_reencrypt(row[field]) for row in sealed for field in _FIELDS)
        self._check(due == len(opened) * len(_FIELDS), f"{due} fields are due for re-encryption: all of acme's, and nobody else's")

    def _escrow(self, store: FileKeyStore, kek: LocalWrapper, sealed: list[dict[str, str]]) -> None:
        self._say(
            "Add an escrow certificate: its private key belongs in a safe",
            "securekit identity new --key escrow.key --cert escrow.pem --name escrow.example --days 3650\n"
            "   $ securekit keys rewrap --to local:root.key --to cert:escrow.pem",
            "store.rewrap([kek, CertificateWrapper.from_files(cert='escrow.pem')])",
        )
        key, cert = self._folder / "escrow.key", self._folder / "escrow.pem"
        new_identity("escrow.example", key=key, cert=cert, days=3650)
        changed = store.rewrap([kek, CertificateWrapper.from_files(cert=cert)])
        self._tell(f"{len(changed)} keyrings are wrapped to both now; no data was touched")

        self._say(
            "Suppose that root.key is lost: recover with the escrow key",
            "securekit keys rewrap --wrap 'cert:?key=escrow.key' --recover --to local:new.key --to cert:escrow.pem \\\n"
            f"       --drop {kek.key_ref}",
            "FileKeyStore('keys', wrapper=escrow).keyring('eu/acme/customers', recover=True)",
        )
        recovered = FileKeyStore(self._folder / "keys", wrapper=CertificateWrapper.from_files(key=key))
        row = next(row for row in sealed if row["account"] == "globex")
        plain = recovered.keyring("eu/globex/customers", recover=True).decrypt_text(row["iban"], context=_context(row, "iban"))
        self._check(
            plain == next(clear["iban"] for clear in self._rows if clear["id"] == row["id"]), "globex's data opens without root.key"
        )
        self._refused(
            "the escrow key alone, without saying that this is a recovery",
            lambda: FileKeyStore(self._folder / "keys", wrapper=CertificateWrapper.from_files(key=key)).keyring("eu/acme/customers"),
        )

    def _seal_file(self) -> Path:
        self._say(
            "Seal a file, this program's own source, to the escrow certificate",
            "securekit encrypt source.zip --to escrow.pem --context kind=source -o source.zip.sk",
            "Envelope([escrow]).open_writer('source.zip.sk', context={'kind': 'source'})",
        )
        archive, sealed = self._folder / "source.zip", self._folder / "source.zip.sk"
        _zip_source(archive)
        escrow = Envelope(CertificateWrapper.from_files(cert=self._folder / "escrow.pem"))
        with escrow.open_writer(sealed, context=_ARCHIVE) as writer:
            writer.write(archive.read_bytes())
        self._tell(f"source.zip has {archive.stat().st_size:,} bytes, source.zip.sk {sealed.stat().st_size:,}")
        return sealed

    def _rewrap_file(self, sealed: Path) -> None:
        escrow = CertificateWrapper.from_files(key=self._folder / "escrow.key")
        self._say(
            "Hand the file to a partner: in place and whatever its size, only its header is written",
            "securekit identity new --key partner.key --cert partner.pem --name partner.example\n"
            "   $ securekit rewrap source.zip.sk --identity escrow.key --to partner.pem --drop escrow.pem",
            "Envelope([partner], also_open=[escrow]).rewrap_file('source.zip.sk', drop=[escrow])",
        )
        key, cert = self._folder / "partner.key", self._folder / "partner.pem"
        new_identity("partner.example", key=key, cert=cert)
        Envelope(CertificateWrapper.from_files(cert=cert), also_open=[escrow]).rewrap_file(sealed, drop=[escrow])
        self._refused("the escrow key", lambda: Envelope(escrow).open_reader(sealed, context=_ARCHIVE))

        self._say(
            "The partner reads at an offset: only what is read is decrypted",
            "securekit decrypt source.zip.sk --identity partner.key --context kind=source --range 0-3",
            "zipfile.ZipFile(Envelope([partner]).open_reader('source.zip.sk', context={'kind': 'source'}))",
        )
        partner = Envelope(CertificateWrapper.from_files(key=key))
        with partner.open_reader(sealed, context=_ARCHIVE) as reader, zipfile.ZipFile(reader) as archive:
            text = archive.read("securekit/_cli/_demo.py")
        self._check(text == Path(__file__).read_bytes(), "the source of this demo comes out of the middle of the archive")

    def _attack(self, rings: dict[str, Keyring], sealed: list[dict[str, str]]) -> None:
        self._say("What an attacker gets", "securekit decrypt …", "ring.decrypt_text(token, context=…)")
        acme, globex = rings["acme"], rings["globex"]
        token, context = sealed[0]["iban"], _context(self._rows[0], "iban")
        elsewhere = _context(self._rows[1], "iban")
        self._refused("a wrong context (another row)", lambda: acme.decrypt_text(token, context=elsewhere))
        self._refused("a flipped bit", lambda: acme.decrypt_text(_flip(token), context=context))
        self._refused("another account's keyring", lambda: globex.decrypt_text(token, context=context))

    def _say(self, what: str, command: str, call: str) -> None:
        self._step += 1
        click.echo(f"{self._step}. {what}\n   $ {command}\n   >>> {call}")

    def _tell(self, text: str) -> None:
        click.echo(f"   {text}")

    def _check(self, holds: bool, promise: str) -> None:  # noqa: FBT001 - reads as an assertion
        self._failures += not holds
        self._tell(f"{'ok' if holds else 'NOT SO'}: {promise}")

    def _refused(self, what: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except SecureKitError as error:
            self._check(True, f"{what}: {type(error).__name__}: {error}")  # noqa: FBT003 - reads as an assertion
        else:
            self._check(False, f"{what} is refused")  # noqa: FBT003 - reads as an assertion

    def _save(self, name: str, rows: list[dict[str, str]]) -> None:
        with (self._folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _zip_source(target: Path) -> None:
    package = Path(__file__).parents[1]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.write(path, path.relative_to(package.parent))


def _context(row: dict[str, str], field: str) -> dict[str, str]:
    return {"table": "customers", "column": field, "id": row["id"]}


def _flip(token: str) -> str:
    middle = len(token) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
