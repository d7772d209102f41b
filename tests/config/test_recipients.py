# SPDX-License-Identifier: Apache-2.0
"""Who can be a recipient of a document, and the files in which a host keeps its private key."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from securekit import KeyringWrapper, MemoryKeyStore
from securekit.config import load
from securekit.exceptions import SecurityWarning
from securekit.wrappers import KeyWrapper, LocalWrapper, PostQuantumWrapper
from tests.config.parts import clear, encrypt, host, path, reader, sealed, write_only
from tests.identities import pem

PASSWORD = "fake-horse"


def certificate(kind: str) -> Callable[[Path], tuple[KeyWrapper, KeyWrapper]]:
    return lambda _: (host(0, kind).public, host(0, kind).private)


def post_quantum(folder: Path) -> tuple[KeyWrapper, KeyWrapper]:
    PostQuantumWrapper.generate(key=folder / "key", public=folder / "public")
    return PostQuantumWrapper.from_files(public=folder / "public"), PostQuantumWrapper.from_files(key=folder / "key")


def keyring(_: Path) -> tuple[KeyWrapper, KeyWrapper]:
    store = MemoryKeyStore(wrapper=LocalWrapper(bytes(32)))
    wrapper = KeyringWrapper(store.keyring("eu/production/configuration", create=True))
    return wrapper, wrapper


KINDS = {kind: certificate(kind) for kind in ("rsa", "p256", "p384", "x25519")} | {"post_quantum": post_quantum, "keyring": keyring}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_recipient(kind: str, tmp_path: Path) -> None:
    """Whatever wraps a key can be a recipient: it is written to, reads, and reads what is written later from the metadata alone."""
    public, private = KINDS[kind](tmp_path)
    document = encrypt(clear("yaml"), recipients=[public])
    name = path("db.password")
    first = document.open([private]).at(name)
    edit = document.edit(wrappers=[private], confirmed=[public.key_ref]) if kind == "keyring" else write_only(document)
    edit.set(name, "fake-later")
    later = edit.finish()
    assert (first, later.open([private]).at(name)) == ("fake-Pa55: not # real", "fake-later")


@pytest.mark.parametrize("kind", ["rsa", "p384", "x25519"])
def test_kinds_of_certificates_side_by_side(kind: str) -> None:
    """Recipients of several kinds read one document, and a removed one reads nothing of the next."""
    other = host(0, kind)
    adding = reader(sealed("yaml"))
    adding.add_recipient(other.public)
    both = adding.finish()
    assert both.open([other.private]).reveal() == both.open([host().private]).reveal()


FILES: dict[str, Callable[[Any], bytes]] = {
    "plain.pem": pem,
    "encrypted.pem": lambda key: pem(key, PASSWORD.encode()),
    "host.p12": lambda key: pkcs12.serialize_key_and_certificates(
        b"host", key, host().issued.certificate, None, BestAvailableEncryption(PASSWORD.encode())
    ),
}


@pytest.mark.parametrize("place", ["argument", "variable", "credential"])
@pytest.mark.parametrize("form", FILES)
def test_each_form_and_place_of_an_identity(form: str, place: str, tmp_path: Path) -> None:
    """PEM, encrypted PEM and PKCS#12 are read from the argument, the variable, and systemd's credential, whatever the file's name."""
    file = tmp_path / ("securekit.identity" if place == "credential" else form)
    file.touch(mode=0o600)
    file.write_bytes(FILES[form](host().issued.key))
    document = tmp_path / "production.yaml"
    document.write_bytes(sealed("yaml").to_bytes())
    environ = {"variable": {"SECUREKIT_IDENTITY": str(file)}, "credential": {"CREDENTIALS_DIRECTORY": str(tmp_path)}}.get(place, {})
    options: dict[str, Any] = {"identity": file if place == "argument" else None, "password": PASSWORD, "environ": environ}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        values = load(document, environment="production", **options)
    assert values["db"]["password"].reveal() == "fake-Pa55: not # real"
