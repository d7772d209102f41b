# SPDX-License-Identifier: Apache-2.0
"""The golden files open, or are refused, as they say; and the reference that made them makes the same bytes again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from securekit._primitives.aead import KcXaes256Gcm
from securekit._primitives.hkdf import hmac_sha256
from securekit._primitives.signatures import SigningCertificate
from securekit._wire.pae import ContextEncoder, encode_context
from securekit.config import Document, OpenDocument
from securekit.config._base import check_trust
from securekit.config._opening import unwrap_keys
from securekit.config._value import encode_value
from securekit.envelope import Envelope
from securekit.envelope._header import DataKey, payload_context
from securekit.envelope._slots import find_slots, open_slots
from securekit.envelope._source import FileSource
from securekit.exceptions import (
    ConfigError,
    DecryptionError,
    EnvelopeError,
    FormatError,
    KeyNotFoundError,
    KeyStateError,
    KeyStoreError,
    PasswordError,
    RotationError,
    WrapperDeniedError,
)
from securekit.keyring import Keyring, KeyringWrapper, MemoryKeyStore, from_text, to_text
from securekit.keyring._document import KeyringDocument, KeyringSecret, KeyState, KeyVersion
from securekit.keyring._record import RecordKey
from securekit.keyring._unlocking import Opened
from securekit.passwords._native import NativeHash
from securekit.rotation._journal import Journal
from securekit.wrappers import CertificateWrapper, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey
from securekit.wrappers._post_quantum import PostQuantumWrapper
from securekit.wrappers._protocol import seal_package
from tests.config.parts import trust_in
from tests.conftest import Count
from tests.envelope.parts import Pipe
from tests.vectors.golden import generate, reference

GOLDEN = Path(__file__).parent / "vectors" / "golden"
EXPECTED: dict[str, type[Exception]] = {
    "caller error": ValueError,
    "decryption error": DecryptionError,
    "denied": WrapperDeniedError,
    "disagreement": EnvelopeError,
    "format error": FormatError,
    "key not found": KeyNotFoundError,
    "key state error": KeyStateError,
    "rotation error": RotationError,
    "password error": PasswordError,
}
FOLDERS = ("record", "wrapped-key", "keyring", "envelope", "config", "rotation-journal", "password-hash")


def files(folder: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text("utf-8")), id=path.stem) for path in sorted((GOLDEN / folder).glob("*.json"))]


@cache
def made() -> dict[str, Any]:
    """Return what the generator makes of each format."""
    return dict(generate.everything())


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_reference_makes_the_same_files(folder: str) -> None:
    """What is described and what is stored agree, to the byte, and no file is without a description."""
    stored = {path.stem: json.loads(path.read_text("utf-8")) for path in (GOLDEN / folder).glob("*.json")}

    assert stored == made()[folder]
    assert len(stored) >= 10


@pytest.mark.parametrize("scenario", files("record"))
def test_a_golden_record_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A record opens to its plaintext, and is made again to the byte; or it is refused with the one error named."""
    inputs = {"path": "a", "key_id": "00000000", "key": "00" * 32, "context": {}} | scenario
    ring = ring_with(inputs["path"], inputs["key_id"], bytes.fromhex(inputs["key"]), inputs.get("state", "primary"))

    def open_it() -> bytes:
        token = bytes.fromhex(inputs["record"]) if "record" in inputs else from_text(inputs["text"])
        return ring.decrypt(token, context=inputs["context"])

    judge(scenario, open_it, count, lambda plaintext: plaintext.hex() == scenario["plaintext"])
    if scenario["expect"] == "success":
        key = RecordKey(bytes.fromhex(scenario["key"]), path=scenario["path"], key_id=scenario["key_id"])
        associated_data = key.associated_data + ContextEncoder().encode(scenario["context"])
        sealed = key.cipher._encrypt_with(bytes.fromhex(scenario["nonce"]), bytes.fromhex(scenario["plaintext"]), associated_data)
        assert encode_context(scenario["context"]).hex() == scenario["encoded_context"]
        assert associated_data.hex() == scenario["associated_data"]
        assert sealed.hex() == scenario["record"]
        assert to_text(sealed) == scenario["text"]
        assert from_text(scenario["text"]) == sealed


@pytest.mark.parametrize("scenario", files("wrapped-key"))
def test_a_golden_wrapped_key_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A wrapped key unwraps under the KEK and binding named, or is refused with the one error named."""
    wrapper = wrapper_of(scenario)
    wrapped = WrappedKey(scenario["wrapper"], scenario["key_ref"], bytes.fromhex(scenario["ciphertext"]))
    binding = [*scenario["binding"][:2], bytes.fromhex(scenario["binding"][2])]

    judge(scenario, lambda: wrapper.unwrap(wrapped, binding), count, lambda key: key.hex() == scenario["key"])
    if scenario["expect"] == "success":
        assert wrapper.opens(wrapped)
        assert seal_package(bytes.fromhex(scenario["key"]), binding).hex() == scenario["package"]


@pytest.mark.parametrize("scenario", files("rotation-journal"))
def test_a_golden_journal_is_judged_as_it_says(scenario: dict[str, Any], tmp_path: Path, count: Count) -> None:
    """A run goes on where its journal is, whichever version of securekit has written it; or it is refused."""
    file = tmp_path / "rotate.journal"
    file.write_text(scenario["journal"])

    def open_it() -> bytes:
        with Journal(file, scenario["plan"]) as journal:
            progress = asdict(journal.progress)
        assert set(scenario["plan"]["targets"]) <= set(journal.plan["targets"])
        return json.dumps(progress | {"attempts": len(progress["attempts"])}).encode()

    judge(scenario, open_it, count, lambda progress: json.loads(progress) == scenario["progress"])


@pytest.mark.parametrize("scenario", files("keyring"))
def test_a_golden_keyring_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A keyring document opens with its KEKs, together and each alone, to the keys named; or is refused with the one error named."""
    data = scenario["document"].encode() if "document" in scenario else bytes.fromhex(scenario["document_bytes"])
    belief = {name: scenario[name] for name in ("keyring_id", "minimum_revision", "recover") if name in scenario}

    def open_with(*openers: dict[str, Any], **belief: Any) -> list[dict[str, str | None]]:
        store = MemoryKeyStore(wrapper=[wrapper_of(opener) for opener in openers])
        store._storage._documents[scenario["path"]] = data  # type: ignore[attr-defined]
        opened = store.keyring(scenario["path"], **belief)._cache.current().opened
        return [{"id": key.id, "state": key.state.value, "key": open_key(opened, key)} for key in opened.document.keys]

    judge(scenario, lambda: open_with(*scenario["openers"], **belief), count, lambda keys: keys == scenario["keys"])
    if scenario["expect"] == "success":
        for opener in scenario["openers"]:
            if opener.get("parent_state", "primary") == "primary":
                assert open_with(opener, recover=True) == scenario["keys"]
        secret, sealed = KeyringSecret(bytes.fromhex(scenario["secret"])), KeyringDocument.decode(data)
        assert sealed.document.encode(secret) == data
        assert hmac_sha256(bytes.fromhex(scenario["mac_key"]), sealed._body) == sealed._mac
        assert KcXaes256Gcm(bytes.fromhex(scenario["keys_key"])).decrypt(secret._cipher.encrypt(b"x", b""), b"") == b"x"


@pytest.mark.parametrize("scenario", files("envelope"))
def test_a_golden_envelope_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """An envelope opens, whole and as a file and a pipe, with each of its KEKs; or is refused with the one error named."""
    sealed, context = bytes.fromhex(scenario["sealed"]), scenario["context"]
    is_stream = not sealed.startswith(b"sk-envelope/1\n\x00")  # a message is opened whole, and not as a file

    def is_right(plaintext: bytes) -> bool:
        return plaintext == bytes.fromhex(scenario["plaintext"])

    for opener in scenario["openers"]:
        envelope = Envelope(wrapper_of(opener))
        judge(scenario, partial(envelope.decrypt, sealed, context=context), count, is_right)
        for source in (io.BytesIO(sealed), Pipe(sealed)) if is_stream else ():
            judge(scenario, partial(read_whole, envelope, source, context), count, is_right)
    if scenario["expect"] == "success":
        key = DataKey(bytes.fromhex(scenario["data_key"]))
        if "generation" in scenario:
            counts = open_slots(Envelope(wrapper_of(scenario["openers"][0])), FileSource(io.BytesIO(sealed)).read_at)
            assert counts.found.header.generation == scenario["generation"]
        for slot in find_slots(FileSource(io.BytesIO(sealed)).read_at):
            if slot.found and slot.found.mac == key.header_mac(slot.found.body):
                found = slot.found.header
                assert found.seal(key) == sealed[slot.offset :][: slot.found.size]
                assert found.message_id.hex() == scenario["message_id"]
                assert payload_context(found, context).hex() == scenario["payload_context"]
                assert key.payload_key(found.flags).hex() == scenario["payload_key"]


@pytest.mark.parametrize("scenario", files("config"))
def test_a_golden_configuration_document_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A configuration document opens to the values named, and has the canonical form named; or it is refused with the one error named."""
    judge(scenario, lambda: opened_config(scenario), count, lambda opened: values_of(opened) == scenario["values"], refused=ConfigError)
    if scenario["expect"] == "success":
        opened = opened_config(scenario)
        assert opened.document.canonical.hex() == scenario["canonical"]
        assert opened.document.to_bytes() == scenario["document"].encode()
        keys = unwrap_keys(opened.document.required, openers_of(scenario), scenario["data_keys"], name="")
        assert {key_id: key.value.hex() for key_id, key in keys.items()} == scenario["data_keys"]


@pytest.mark.parametrize("scenario", files("password-hash"))
def test_a_golden_hash_of_a_password_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A stored hash is the password's, and written again to the byte; or it is refused with the one error named."""

    def verify() -> str:
        stored = NativeHash.parse(scenario["hash"])
        if not stored.matches(scenario["password"].encode()):
            raise PasswordError
        return stored.text()

    judge(scenario, verify, count, lambda text: text == scenario["hash"])


def openers_of(scenario: dict[str, Any]) -> list[KeyWrapper]:
    """Return the configured wrappers of a scenario."""
    return [wrapper_of(opener) for opener in scenario["openers"]]


def opened_config(scenario: dict[str, Any]) -> OpenDocument:
    """Read a configuration document as its page says, to the values that an application gets."""
    document = Document.parse(scenario["document"].encode(), format=scenario["format"])
    document.check_environment(scenario["environment"])
    if "signers" in scenario:
        signers = tuple(SigningCertificate.read(certificate.encode()) for certificate in scenario["signers"])
        check_trust(document, trust_in(document, signers=signers))
    opened = document.open(openers_of(scenario))
    opened.reveal()
    return opened


def values_of(opened: OpenDocument) -> dict[str, str]:
    """Return the encoding of each value by its written path."""
    return {leaf.name: encode_value(opened.value(leaf)).hex() for leaf in opened.document.leaves()}


def read_whole(envelope: Envelope, source: Any, context: dict[str, str]) -> bytes:
    """Return all that a reader gives."""
    with envelope.open_reader(source, context=context) as reader:
        return reader.read()


def judge(
    scenario: dict[str, Any],
    open_it: Callable[[], Any],
    count: Count,
    is_right: Callable[[Any], bool],
    *,
    refused: type[Exception] = KeyStoreError,
) -> None:
    """See that the scenario comes out as it expects, with exactly that class of error."""
    count("golden scenarios", 1)
    if scenario["expect"] == "success":
        assert is_right(open_it())
        return
    expected = refused if scenario["expect"] == "refused" else EXPECTED[scenario["expect"]]
    with pytest.raises(expected) as caught:
        open_it()
    assert type(caught.value) is expected


def open_key(opened: Opened, version: KeyVersion) -> str | None:
    """Return a key version's bytes, in hexadecimal."""
    return None if version.sealed is None else opened.secret.open_key(opened.document, version.id, version.sealed).hex()


def ring_with(path: str, key_id: str, key: bytes, state: str) -> Keyring:
    """Return a keyring at ``path`` that holds the given key in the given state."""
    ring = MemoryKeyStore(wrapper=LocalWrapper(bytes(32))).keyring(path, create=True)

    def add(opened: Opened, now: int) -> KeyringDocument:
        sealed = opened.secret.seal_key(opened.document, key_id, key)
        return opened.document.with_key(KeyVersion(key_id, KeyState.ACTIVE, now, None, None, None, due=False, sealed=sealed))

    ring._cache.update(add)
    match state:
        case "primary":
            ring.promote(key_id)
        case "disabled":
            ring.disable(key_id)
        case "destroyed":
            ring.destroy(key_id, force=True)
    return ring


def wrapper_of(kek: dict[str, Any]) -> KeyWrapper:
    """Return the wrapper with the KEK that a scenario, or an entry of ``openers``, gives."""
    if "kek" in kek:
        return LocalWrapper(bytes.fromhex(kek["kek"]), label=kek["label"])
    if "passphrase" in kek:
        return PassphraseWrapper(kek["passphrase"], label=kek["label"])
    if "private_key" in kek:
        return CertificateWrapper.from_pem(key=kek["private_key"].encode())
    if "seed" in kek:
        return PostQuantumWrapper(seed=bytes.fromhex(kek["seed"]))
    state = kek.get("parent_state", "primary")
    return KeyringWrapper(ring_with(kek["parent_path"], kek["parent_key_id"], bytes.fromhex(kek["parent_key"]), state))


def test_the_reference_has_the_published_commitment() -> None:
    """The reference behind the golden files reproduces the published KC-XAES-256-GCM answers."""
    published = json.loads((GOLDEN.parent / "xaes-256-gcm" / "kc-xaes-256-gcm-kat.json").read_text())["tests"]
    for case in published:
        steps = reference.kc_xaes(*(bytes.fromhex(case[name]) for name in ("key", "nonce", "msg", "aad")))
        assert steps["commitment"].hex() == case["commitment"]
        assert steps["message"] == KcXaes256Gcm(bytes.fromhex(case["key"]))._encrypt_with(
            bytes.fromhex(case["nonce"]), bytes.fromhex(case["msg"]), bytes.fromhex(case["aad"])
        )
