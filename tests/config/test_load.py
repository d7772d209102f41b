# SPDX-License-Identifier: Apache-2.0
"""``load``: from a document's file to what an application starts with, with every kind of identity, or a refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from securekit import KeyringWrapper, LocalWrapper, MemoryKeyStore, Secret
from securekit.config import Document, Reference, load
from securekit.config._identity import find_identity
from securekit.exceptions import ConfigError, DecryptionError, FormatError, KeyFileError, KeyNotFoundError, SecurityWarning
from securekit.wrappers import CertificateWrapper, KeyWrapper, PostQuantumWrapper, new_identity
from tests.config.parts import CLEAR, ENVIRONMENT, FORMATS, PASSWORD, author, clear, encrypt, host, sealed, trust_in
from tests.identities import pem

pytestmark = pytest.mark.filterwarnings("ignore:nothing says who may sign:securekit.exceptions.SecurityWarning")

TEXT = "a: fake-1\nb: 2\n"


def write(folder: Path, document: Document, name: str = "") -> Path:
    path = folder / (name or f"production.{document.format}")
    document.write(path, expected=None)
    return path


def key_file(folder: Path, name: str = "host.key", data: bytes = b"") -> Path:
    path = folder / name
    path.write_bytes(data or pem(host().issued.key))
    path.chmod(0o600)
    return path


def short(*recipients: KeyWrapper, text: str = TEXT) -> Document:
    return encrypt(Document.parse(text.encode(), format="yaml"), patterns=["a"], recipients=recipients)


def start(path: Path, **options: Any) -> dict[str, Any]:
    return load(path, **{"environment": ENVIRONMENT, "environ": {}, **options})


# ------------------------------------------------------------------------------------------------ identities


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(form: str, tmp_path: Path) -> None:
    """Secrets come as `Secret`, everything else as it stands, and no metadata."""
    values = start(write(tmp_path, sealed(form)), identity=key_file(tmp_path))

    assert "securekit" not in values
    found: Any = values
    for segment in PASSWORD[form].split("."):
        found = found[segment]
    assert isinstance(found, Secret)
    found = values
    for segment in CLEAR[form].split("."):
        found = found[segment]
    assert isinstance(found, str)


@pytest.mark.parametrize("kind", ["argument", "text", "variable", "credential", "wrapper", "list"])
def test_where_the_identity_is(kind: str, tmp_path: Path) -> None:
    """The argument, then SECUREKIT_IDENTITY, then systemd's credential; a file, a wrapper, or several."""
    path = write(tmp_path, sealed("yaml"))
    key = key_file(tmp_path, "securekit.identity" if kind == "credential" else "host.key")
    options: dict[str, dict[str, Any]] = {
        "argument": {"identity": key, "environ": {"SECUREKIT_IDENTITY": "nowhere"}},
        "text": {"identity": str(key)},
        "variable": {"environ": {"SECUREKIT_IDENTITY": str(key), "CREDENTIALS_DIRECTORY": "nowhere"}},
        "credential": {"environ": {"CREDENTIALS_DIRECTORY": str(tmp_path)}},
        "wrapper": {"identity": host().private},
        "list": {"identity": [host(1).private, key]},
    }

    assert start(path, **options[kind])["db"]["password"] == Secret("fake-Pa55: not # real")


def test_no_identity(tmp_path: Path) -> None:
    """It says where one is looked for; a missing file, one that is none, and an empty credentials' folder are errors."""
    path = write(tmp_path, sealed("yaml"))

    for environ in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}):
        with pytest.raises(ConfigError, match="there is no identity: give the private key's file as identity, or set SECUREKIT_IDENTITY"):
            start(path, environ=environ)
    with pytest.raises(KeyFileError, match="nowhere"):
        start(path, identity="nowhere")
    with pytest.raises(KeyFileError, match="no identity"):
        start(path, identity="magic:x")
    with pytest.raises(KeyNotFoundError, match="is wrapped to"):
        start(path, identity=host(1).private)
    key = key_file(tmp_path)
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        start(path, identity=key)


@pytest.mark.parametrize("how", ["argument", "function", "name"])
def test_an_encrypted_private_key(how: str, tmp_path: Path) -> None:
    """Its password is an argument, a function that gives it, or in a guarded file; without one the message says so."""
    new_identity("safe", key=tmp_path / "safe.key", cert=tmp_path / "safe.pem", password="fake-horse")
    path = write(tmp_path, short(CertificateWrapper.from_files(cert=tmp_path / "safe.pem")))
    (tmp_path / "pw").write_text("fake-horse\n")
    (tmp_path / "pw").chmod(0o600)
    key = tmp_path / "safe.key"
    function: Callable[[], str] = lambda: "fake-horse"  # noqa: E731 - as a caller would write it
    options: dict[str, dict[str, Any]] = {
        "argument": {"identity": key, "password": "fake-horse"},
        "function": {"identity": key, "password": function},
        "name": {"identity": f"cert:?key={key}&password_file={tmp_path / 'pw'}"},
    }

    assert start(path, **options[how])["a"] == Secret("fake-1")
    with pytest.raises(KeyFileError, match=r"safe.key is encrypted: give its password"):
        start(path, identity=key)
    with pytest.raises(KeyFileError) as caught:
        start(path, identity=key, password="fake-wrong")
    assert "fake-wrong" not in str(caught.value)


def test_a_person_is_asked_where_there_is_one(tmp_path: Path) -> None:
    """The command line asks; a service never does."""
    new_identity("safe", key=tmp_path / "safe.key", cert=tmp_path / "safe.pem", password="fake-horse")
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return "fake-horse"

    wrappers, file = find_identity(str(tmp_path / "safe.key"), environ={}, ask=ask)

    assert (len(wrappers), file, len(asked)) == (1, tmp_path / "safe.key", 1)


def test_other_recipients(tmp_path: Path) -> None:
    """PKCS#12, X-Wing, a local key and a keyring open a document as a certificate's key does."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    bundle = pkcs12.serialize_key_and_certificates(
        b"host", host().issued.key, host().issued.certificate, None, BestAvailableEncryption(b"fake-horse")
    )
    assert start(write(tmp_path, short(), "p12.yaml"), identity=key_file(tmp_path, "host.p12", bundle), password="fake-horse")["b"] == 2

    PostQuantumWrapper.generate(key=tmp_path / "pq.key", public=tmp_path / "pq.pub")
    public = PostQuantumWrapper.from_public((tmp_path / "pq.pub").read_bytes())
    assert start(write(tmp_path, short(public), "pq.yaml"), identity=tmp_path / "pq.key")["a"] == Secret("fake-1")

    local = LocalWrapper.generate(tmp_path / "root.key")
    assert start(write(tmp_path, short(local), "local.yaml"), identity=f"local:{tmp_path / 'root.key'}")["a"] == Secret("fake-1")

    ring = MemoryKeyStore(wrapper=local).keyring("eu/config", create=True)
    keyring = KeyringWrapper(ring)
    path = write(tmp_path, short(keyring), "keyring.yaml")
    assert start(path, identity=[keyring])["a"] == start(path, identity=keyring)["a"] == Secret("fake-1")


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("environment", ["staging", "Production"])
def test_another_environment(environment: str, tmp_path: Path) -> None:
    """A document of staging is none of production; and it has to be said which one this is."""
    path = write(tmp_path, sealed("yaml"))

    with pytest.raises(ConfigError, match=f"belongs to the environment 'production', and '{environment}' was asked for"):
        start(path, environment=environment)
    with pytest.raises(ValueError, match="environment"):
        start(path, environment="")
    with pytest.raises(TypeError, match="environment"):
        load(path)  # type: ignore[call-overload]


def test_what_is_no_document(tmp_path: Path) -> None:
    """Missing, in clear text, broken, of an unknown format, not UTF-8: each with its reason."""
    key = key_file(tmp_path)
    with pytest.raises(ConfigError, match="cannot read"):
        start(tmp_path / "none.yaml", identity=key)
    with pytest.raises(ConfigError, match="is not encrypted"):
        start(write(tmp_path, clear("yaml"), "clear.yaml"), identity=key)
    for name, data, error in (("b.yaml", b"a: [\n", FormatError), ("u.yaml", b"a: \xff\n", FormatError), ("x.txt", b"a", FormatError)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises((error, ConfigError), match=name):
            start(tmp_path / name, identity=key)
    with pytest.raises(ValueError, match="a document's format is one of yaml, json, toml, env, ini"):
        Document.parse(b"", format="xml")


def test_what_was_changed(tmp_path: Path) -> None:
    """The one decryption error, with a note that names the file; and a secret in clear text where one must be encrypted."""
    path = write(tmp_path, sealed("yaml"))
    path.write_text(path.read_text().replace("5432", "5433", 1))

    with pytest.raises(DecryptionError) as caught:
        start(path, identity=host().private)
    assert "production.yaml: it was changed by hand or by a merge" in caught.value.__notes__[0]


def test_the_format_may_be_given(tmp_path: Path) -> None:
    """If the file's name does not tell."""
    path = write(tmp_path, sealed("yaml"), "settings")

    assert start(path, identity=host().private, format="yaml")["db"]["port"] == 5432


# ------------------------------------------------------------------------------------------------ trust


@pytest.mark.filterwarnings("default")
def test_without_a_trust_it_warns_once(tmp_path: Path) -> None:
    """At the caller's line, so that Python shows it once however often a service loads."""
    path = write(tmp_path, sealed("yaml"))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            load(path, environment=ENVIRONMENT, identity=host().private, environ={})

    assert [(one.category, Path(one.filename).name) for one in caught] == [(SecurityWarning, "test_load.py")]
    assert "whoever can write it can forge it: set up a trust.toml beside the identity" in str(caught[0].message)


@pytest.mark.filterwarnings("error")
def test_with_a_trust_it_does_not(tmp_path: Path) -> None:
    """A signed document loads in silence."""
    document = sealed("yaml").sign(author().key)
    path = write(tmp_path, document)

    assert start(path, identity=host().private, trust=trust_in(document, author()))["db"]["port"] == 5432
    with pytest.raises(ConfigError, match="is signed only by keys"):
        start(path, identity=host().private, trust=trust_in(document, author("bob")))


# ------------------------------------------------------------------------------------------------ references


class Vault:
    """A resolver that counts its calls."""

    def __init__(self, **values: object) -> None:
        self.values = values
        self.calls: list[Sequence[Reference]] = []

    def __call__(self, references: Sequence[Reference], /) -> Mapping[Reference, object]:
        self.calls.append(references)
        return {reference: self.values[reference.field] for reference in references if reference.field in self.values}


def referring(text: str, **options: Any) -> tuple[Document, dict[str, Any]]:
    document = short(text=f"a: fake-1\n{text}").sign(author().key)
    return document, {"identity": host().private, "trust": trust_in(document, author(), **{"mounts": ("kv/app",), **options})}


def test_references_are_resolved_in_one_call(tmp_path: Path) -> None:
    """Each once, to a `Secret`; also in lists, with a version, and where an alias shares them."""
    text = "x: &x {p: 'vault:kv/app/db#password', v: 'vault:kv/app#token@3'}\ny: *x\nl: ['vault:kv/app/db#password']\n"
    document, options = referring(text)
    vault = Vault(password="fake-p", token=b"fake-t")

    values = start(write(tmp_path, document), resolver=vault, **options)

    assert values["x"] == {"p": Secret("fake-p"), "v": Secret(b"fake-t")}
    assert values["y"] == values["x"]
    assert values["l"] == [Secret("fake-p")]
    assert vault.calls == [[Reference("kv", "app/db", "password", None), Reference("kv", "app", "token", 3)]]


def test_without_references_nobody_is_called(tmp_path: Path) -> None:
    """And an encrypted value that looks like one is a value."""
    vault = Vault()
    document = encrypt(Document.parse(b"a: 'vault:kv/app#x'\n", format="yaml"), patterns=["a"])

    assert start(write(tmp_path, document), identity=host().private, resolver=vault)["a"] == Secret("vault:kv/app#x")
    assert vault.calls == []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("vault:kv/app", "its reference is not of the form"),
        ("vault:kv/app#", "its reference is not of the form"),
        ("vault:kv/app/../root#x", "its reference is not of the form"),
        ("vault:kv/app#x@0", "its reference is not of the form"),
        ("vault:kv/app?y#x", "its reference is not of the form"),
        ("vault:kv/app#x y", "its reference is not of the form"),
        ("vault:kv/other#x", "the trust does not allow kv/other: add it to mounts"),
        ("vault:kv/application#x", "the trust does not allow kv/application: add it to mounts"),
        ("vault:secret/app#x", "the trust does not allow secret/app: add it to mounts"),
        ("vault:kv/app#missing", "there is nothing at kv/app#missing"),
    ],
)
def test_references_that_are_refused(reference: str, message: str, tmp_path: Path) -> None:
    """No application takes a reference for its password: with the path of the value, and without a call where that is known."""
    document, options = referring(f"x: {{p: '{reference}'}}\n")

    with pytest.raises(ConfigError, match=message) as caught:
        start(write(tmp_path, document), resolver=Vault(x="fake-x"), **options)

    assert str(caught.value).startswith("x.p refers to Vault, and ")


def test_what_resolving_takes(tmp_path: Path) -> None:
    """A resolver, and a document whose signatures were verified."""
    document, options = referring("x: vault:kv/app#x\n")
    path = write(tmp_path, document)

    with pytest.raises(ConfigError, match="x refers to Vault, and nothing was given that resolves it"):
        start(path, **options)
    with pytest.raises(ConfigError, match="x refers to Vault, and only a document whose signatures were verified may do so"):
        start(path, identity=host().private, resolver=Vault(x="fake-x"))


def test_a_reference_in_another_spelling(tmp_path: Path) -> None:
    """An escaped reference is one all the same, and does not reach the application."""
    document = encrypt(Document.parse(b'{"a": "fake-1", "x": "va\\u0075lt:kv/app#x"}\n', format="json"), patterns=["a"])

    with pytest.raises(ConfigError, match="x refers to Vault"):
        start(write(tmp_path, document), identity=host().private)
