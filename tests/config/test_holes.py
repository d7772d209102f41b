# SPDX-License-Identifier: Apache-2.0
"""Each hole that was found in another tool, tried against this one. No application starts with what an attacker has made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from securekit import Secret
from securekit.config import Document, Trust, load
from securekit.exceptions import ConfigError, DecryptionError, FormatError, KeyNotFoundError, SecureKitError
from tests.config.parts import FORMATS, PASSWORD, Host, author, clear, from_text, host, path, reader, sealed, trust_in, write_only
from tests.identities import pem

TEXT = """\
db:
  host: db1
  port: 5432
  pool_min: 5
  pool_max: 50
  debug: false
  items: [one, two]
  password: fake-db
smtp:
  host: mail
  password: fake-mail
"""
DOCUMENT = from_text(TEXT, "yaml", "**.password")


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


class Start:
    """An application that starts with a document: on a host with its key, and with a trust or without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, document: Document | str, trust: Trust | None = None, on: Host | None = None) -> dict[str, object]:
        text = document if isinstance(document, str) else document.source.text
        file = self._folder / f"production.{'yaml' if isinstance(document, str) else document.format}"
        file.write_bytes(text.encode())
        key = self._folder / "host.key"
        key.unlink(missing_ok=True)
        key.touch(mode=0o600)
        key.write_bytes(pem((on or host()).issued.key))
        return load(file, environment="production", identity=key, trust=trust or trust_in(DOCUMENT, author()))


def signed(document: Document) -> Document:
    return document.sign(author().key)


def changed(old: str, new: str, document: Document = DOCUMENT) -> Document:
    """Return the document with one thing changed by hand, and the signature of an author who saw nothing of it."""
    text = signed(document).source.text
    assert text.count(old) == 1
    return document.with_text(text.replace(old, new))


def token(name: str, document: Document = DOCUMENT) -> str:
    return next(str(leaf.value) for leaf in document.leaves() if leaf.name == name)


HAND_EDITS = {
    "renamed_key": ("  pool_min: 5", "  pool_least: 5"),
    "inserted_null": ("  debug: false", "  debug: false\n  bypass: null"),
    "inserted_empty_text": ("  debug: false", '  debug: false\n  bypass: ""'),
    "inserted_empty_mapping": ("  debug: false", "  debug: false\n  bypass: {}"),
    "deleted_value": ("  debug: false\n", ""),
    "joined_list_items": ("[one, two]", "[onetwo]"),
    "list_to_scalar": ("[one, two]", "onetwo"),
    "null_list_item": ("[one, two]", "[one, two, null]"),
    "digits_moved_across_values": ("pool_min: 5\n  pool_max: 50", "pool_min: 55\n  pool_max: 0"),
    "bool_to_text": ("debug: false", 'debug: "false"'),
    "int_to_text": ("port: 5432", 'port: "5432"'),
    "int_to_float": ("port: 5432", "port: 5432.0"),
    "swapped_key_names": ("pool_min: 5\n  pool_max: 50", "pool_max: 5\n  pool_min: 50"),
    "changed_value": ("host: db1", "host: db2"),
}


@pytest.mark.parametrize("edit", HAND_EDITS)
def test_sops_mac_covers_no_keys_types_or_nulls(edit: str, start: Start) -> None:
    """What sops decrypts without a warning after a hand edit is refused: by the signature, and by the tag without one."""
    document = changed(*HAND_EDITS[edit])
    with pytest.raises(ConfigError, match="does not verify"):
        start(document)
    with pytest.raises(DecryptionError):
        document.open([host().private])


def test_sops_nested_mapping_rewritten_as_one_key() -> None:
    """``smtp: {password: …}`` written as ``"smtp:password": …``, or with a dot, is another path: it does not decrypt."""
    for key in ("smtp:password", "smtp.password"):
        text = DOCUMENT.source.text.replace(
            f"smtp:\n  host: mail\n  password: {token('smtp.password')}", f'"{key}": {token("smtp.password")}'
        )
        document = DOCUMENT.with_text(text)
        with pytest.raises(DecryptionError):
            document.open([host().private], adopt=True).at((key,))


def test_sops_type_change_of_an_encrypted_value() -> None:
    """The type is inside of what is authenticated: ``False`` never arrives as the text ``"False"``."""
    document = from_text("debug: false\nport: 5432\nname: x\n", "yaml", "*")
    opened = document.open([host().private])
    assert [opened.at(path(name)) for name in ("debug", "port", "name")] == [False, 5432, "x"]
    assert type(opened.at(path("debug"))) is bool
    assert len({len(token(name, document)) for name in ("debug", "port", "name")}) == 1


def test_sops_recipient_injected_before_a_rotate() -> None:
    """A recipient that was put into the file by hand reads nothing, neither now nor after the next rotate."""
    mallory = host(9)
    own = from_text("a: fake\n", "yaml", "a")
    stranger = from_text("a: fake\n", "yaml", "a")
    forged = own.required
    line = stranger.edit(wrappers=[host().private], confirmed=[host().name[1]])
    line.add_recipient(mallory.public)
    injected = line.finish().required.recipients
    text = own.source.with_metadata(
        replace(
            forged,
            recipients=injected,
            keys=tuple(replace(key, copies=tuple(key.copies[0] for _ in injected)) for key in forged.keys),
        ).encode()
    )
    document = own.with_text(text)
    with pytest.raises(SecureKitError):
        document.open([host().private])
    with pytest.raises(SecureKitError):
        document.open([mallory.private])
    # Even who adopts the document does not wrap to a recipient that nobody has confirmed.
    with pytest.raises(ConfigError, match="has never written to the recipient"):
        document.edit(wrappers=[host().private], confirmed=[host().name[1]], adopt=True)
    with pytest.raises(ConfigError, match=re.escape(mallory.name[1][:16])):
        document.edit(wrappers=[host().private], trust=trust_in(own, author()), adopt=True)


def test_sops_forged_whole_file(start: Start) -> None:
    """Whoever has the public certificates makes a file with a valid tag; no host that knows its authors starts with it."""
    forged = Document.parse(TEXT.replace("fake-db", "chosen by mallory").encode(), format="yaml").encrypt(
        environment="production", recipients=[host().public], patterns=["**.password"]
    )
    document = replace_id(forged.finish())
    assert document.open([host().private]).at(path("db.password")) == "chosen by mallory"
    for claimed in (document, document.sign(author("mallory").key)):
        with pytest.raises(ConfigError):
            start(claimed)


def replace_id(document: Document) -> Document:
    """Return the document under the id of the genuine one, whole: its author knows its data key."""
    genuine = DOCUMENT.required
    edit = Document.parse(document.source.with_metadata(None).encode(), format="yaml").encrypt(
        environment="production", recipients=[host().public], patterns=[]
    )
    block = replace(edit._block, document=genuine.document, encrypt=genuine.encrypt)
    edit._block = block
    edit._key = edit._new_key(block)
    values = document.open([host().private])
    edit._seal({leaf.path: values.value(leaf) for leaf in document.leaves() if leaf.token is not None})
    return edit.finish()


def test_sops_a_former_author_reads_a_later_secret() -> None:
    """Whoever made a data key knows it, and so what is written under it: nobody else ever writes under it."""
    first = write_only(DOCUMENT)
    first.set(path("db.password"), "written by a former author")
    known = first._key
    after = first.finish()
    later = write_only(after)
    later.set(path("smtp.password"), "written later")
    document = later.finish()
    secret = next(leaf for leaf in document.leaves() if leaf.name == "smtp.password").token
    assert secret is not None
    assert secret.key_id != known.id
    with pytest.raises(DecryptionError):
        known.open(path("smtp.password"), secret)
    # Nor does an administrator who can read, and so has the former author's data key at hand.
    admin = reader(document)
    admin.set(path("db.password"), "written by an administrator")
    changed_by_admin = admin.finish()
    assert known.id not in {key.id for key in changed_by_admin.required.keys}


@pytest.mark.parametrize("value", ["p@ss;word#1", "a # b", "; c", "# d", "e = f: g"])
def test_sops_ini_values_with_comment_signs(value: str) -> None:
    """An INI value is all that stands there, ``#`` and ``;`` as well: nothing of it is left in clear text."""
    document = from_text(f"[db]\npassword = {value}\nhost = x\n", "ini", "db.password")
    assert value not in document.source.with_metadata(None)
    assert "word#1" not in document.source.text
    assert document.open([host().private]).at(path("db.password")) == value


@pytest.mark.parametrize("form", FORMATS)
def test_sops_a_misspelt_pattern_leaves_secrets_clear(form: str) -> None:
    """A pattern that matches nothing is an error when the file is encrypted, and not a leak when it is deployed."""
    with pytest.raises(ConfigError, match="matches nothing"):
        clear(form).encrypt(environment="production", recipients=[host().public], patterns=[PASSWORD[form], "**.pasword"])


@pytest.mark.parametrize("form", FORMATS)
def test_sops_set_creates_a_misspelt_path(form: str) -> None:
    """A path that is not there is made only by who says so."""
    with pytest.raises(ConfigError, match="did you mean"):
        write_only(sealed(form)).set(path(PASSWORD[form] + "x"), "fake")


def test_sops_another_environment(start: Start) -> None:
    """A staging file is no production file."""
    staging = Document.parse(TEXT.encode(), format="yaml").encrypt(
        environment="staging", recipients=[host().public], patterns=["**.password"]
    )
    with pytest.raises(ConfigError, match="belongs to the environment 'staging', and 'production' was asked for"):
        start(staging.finish())


def test_eyaml_malleable_ciphertext() -> None:
    """A changed bit of a token is refused; it never becomes another value."""
    value = token("db.password")
    for position in (20, 60, 100, len(value) - 3):
        other = value[:position] + ("A" if value[position] != "A" else "B") + value[position + 1 :]
        document = DOCUMENT.with_text(DOCUMENT.source.text.replace(value, other))
        with pytest.raises((DecryptionError, FormatError)):
            document.open([host().private], adopt=True).at(path("db.password"))


@pytest.mark.parametrize("form", FORMATS)
def test_eyaml_swapped_values(form: str) -> None:
    """Two secrets that change places do not decrypt there."""
    document = sealed(form)
    one, two = [leaf for leaf in document.leaves() if leaf.token is not None][:2]
    swapped = document.with_text(document.source.replace({one.path: two.value, two.path: one.value}))
    opened = swapped.open([host().private], adopt=True)
    for leaf in (one, two):
        with pytest.raises(DecryptionError):
            opened.at(leaf.path)
    with pytest.raises(DecryptionError):
        swapped.open([host().private])


@pytest.mark.parametrize("form", FORMATS)
def test_dotenvx_ciphertext_handed_to_the_application(form: str, start: Start) -> None:
    """With a wrong key there are no values at all, and never a ciphertext in the place of a password."""
    with pytest.raises(KeyNotFoundError):
        start(signed(sealed(form)), trust=trust_in(sealed(form), author()), on=host(5))


FOREIGN = ("ENC[AES256_GCM,data:x]", "ENC[PKCS7,MIIB]", "encrypted:" + "B" * 80, "$ANSIBLE_VAULT;1.1;AES256", "Bearer {token}", "{token}x")


@pytest.mark.parametrize("value", FOREIGN)
def test_other_ciphertexts_never_reach_the_application(value: str) -> None:
    """A ciphertext of another tool, or a token inside of a text, is refused where it would be the application's password."""
    text = value.replace("{token}", token("db.password"))
    document = DOCUMENT.with_text(DOCUMENT.source.replace({path("db.host"): text}))
    with pytest.raises((ConfigError, FormatError), match=r"^db\.host"):
        document.open([host().private], adopt=True).reveal()
    with pytest.raises((ConfigError, FormatError), match=r"db\.host"):
        write_only(DOCUMENT).set(path("db.host"), text, protect=True)


def test_ansible_vault_secrets_in_errors(start: Start) -> None:
    """No error shows a value or a key: neither of the document, nor of the identity."""
    for document in (changed("host: db1", "host: db2"), changed("  debug: false", "  debug: fake-db")):
        with pytest.raises(SecureKitError) as caught:
            start(document)
        assert "fake" not in str(caught.value)
        assert "PRIVATE" not in str(caught.value)


def test_genuine(start: Start) -> None:
    """The genuine document starts: what is refused above is refused for what was done to it."""
    values = start(signed(DOCUMENT))
    assert values["smtp"] == {"host": "mail", "password": Secret("fake-mail")}
