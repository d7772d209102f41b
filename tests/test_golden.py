# SPDX-License-Identifier: Apache-2.0
"""The golden files open, or are refused, as they say; and the reference that made them makes the same bytes again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securekit._primitives.aead import KcXaes256Gcm
from securekit._wire.pae import ContextEncoder, encode_context
from securekit.exceptions import DecryptionError, FormatError, KeyNotFoundError, KeyStateError
from securekit.keyring import Keyring, KeyringWrapper, MemoryKeyStore, from_text, to_text
from securekit.keyring import _lifecycle as lifecycle
from securekit.keyring._document import KeyringDocument, KeyringSecret, KeyState, KeyVersion
from securekit.keyring._record import RecordKey
from securekit.wrappers import CertificateWrapper, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey
from tests.conftest import Count
from tests.vectors.golden import generate, reference

GOLDEN = Path(__file__).parent / "vectors" / "golden"
EXPECTED: dict[str, type[Exception]] = {
    "decryption error": DecryptionError,
    "format error": FormatError,
    "key not found": KeyNotFoundError,
    "key state error": KeyStateError,
}
FOLDERS = ("record", "wrapped-key", "keyring")


def files(folder: str) -> list[Any]:
    return [pytest.param(json.loads(path.read_text("utf-8")), id=path.stem) for path in sorted((GOLDEN / folder).glob("*.json"))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_reference_makes_the_same_files(folder: str) -> None:
    """What is described and what is stored agree, to the byte, and no file is without a description."""
    stored = {path.stem: json.loads(path.read_text("utf-8")) for path in (GOLDEN / folder).glob("*.json")}

    assert stored == generate.everything()[folder]
    assert len(stored) >= 10


@pytest.mark.parametrize("scenario", files("record"))
def test_a_golden_record_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A record opens to its plaintext, and is made again to the byte; or it is refused with the one error named."""
    ring = ring_with(scenario.get("path", "a"), scenario.get("key_id", "00000000"), bytes.fromhex(scenario.get("key", "00" * 32)))

    def open_it() -> bytes:
        token = bytes.fromhex(scenario["record"]) if "record" in scenario else from_text(scenario["text"])
        return ring.decrypt(token, context=scenario.get("context", {}))

    check(scenario, open_it, "plaintext", count)
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

    check(scenario, lambda: wrapper.unwrap(wrapped, binding), "key", count)
    assert wrapper.opens(wrapped)


@pytest.mark.parametrize("scenario", files("keyring"))
def test_a_golden_keyring_is_judged_as_it_says(scenario: dict[str, Any], count: Count) -> None:
    """A keyring document opens with each of its KEKs, to the keys and states named, or is refused with the one error named."""
    data, path = scenario["document"].encode(), scenario["path"]

    def open_with(wrapper: KeyWrapper, *, recover: bool = False) -> dict[str, str]:
        store = MemoryKeyStore(wrapper=wrapper)
        store._storage._documents[path] = data  # type: ignore[attr-defined]
        ring = store.keyring(path, recover=recover)
        opened = ring._cache.current().opened
        return {
            key.id: opened.secret.open_key(opened.document, key.id, key.sealed).hex()
            for key in opened.document.keys
            if key.sealed is not None
        }

    local = LocalWrapper(bytes.fromhex(scenario["kek"]))
    check(scenario, lambda: open_with(local), "keys", count)
    if "escrow_private_key" in scenario:
        escrow = CertificateWrapper.from_pem(key=scenario["escrow_private_key"].encode())
        assert open_with(escrow, recover=True) == scenario["keys"]
    if "passphrase" in scenario:
        assert open_with(PassphraseWrapper(scenario["passphrase"], label=scenario["passphrase_label"])) == scenario["keys"]
    if "parent_key" in scenario:
        parent = ring_with(scenario["parent_path"], scenario["parent_key_id"], bytes.fromhex(scenario["parent_key"]))
        assert open_with(KeyringWrapper(parent)) == scenario["keys"]
    if scenario["expect"] == "success":
        document = KeyringDocument.decode(data).document
        assert {key.id: key.state.value for key in document.keys} == scenario["states"]
        assert document.encode(KeyringSecret(bytes.fromhex(scenario["secret"]))) == data


def check(scenario: dict[str, Any], open_it: Callable[[], Any], result: str, count: Count) -> None:
    expect = scenario["expect"]
    count("golden scenarios", 1)
    if expect == "success":
        found = open_it()
        assert (found.hex() if isinstance(found, bytes) else found) == scenario[result]
        return
    with pytest.raises(EXPECTED[expect]) as caught:
        open_it()
    assert type(caught.value) is EXPECTED[expect]


def ring_with(path: str, key_id: str, key: bytes) -> Keyring:
    """Return a keyring at ``path`` whose primary is the given key."""
    store = MemoryKeyStore(wrapper=LocalWrapper(bytes(32)))
    store.keyring(path, create=True)
    opened = store.keyring(path)._cache.current().opened
    version = KeyVersion(
        id=key_id,
        state=KeyState.ACTIVE,
        created=0,
        promoted=None,
        disabled=None,
        not_after=None,
        due=False,
        sealed=opened.secret.seal_key(opened.document, key_id, key),
    )
    store.keyring(path)._cache.update(lambda now_opened, now: lifecycle.promote(now_opened.document.with_key(version), key_id, now=now))
    return store.keyring(path)


def wrapper_of(scenario: dict[str, Any]) -> KeyWrapper:
    match scenario["wrapper"]:
        case "local":
            return LocalWrapper(bytes.fromhex(scenario["kek"]), label=scenario["label"])
        case "passphrase":
            return PassphraseWrapper(scenario["passphrase"], label=scenario["label"])
        case "keyring":
            return KeyringWrapper(ring_with(scenario["parent_path"], scenario["parent_key_id"], bytes.fromhex(scenario["parent_key"])))
        case _:
            return CertificateWrapper.from_pem(key=scenario["private_key"].encode())


def test_the_reference_has_the_published_commitment() -> None:
    """The reference behind the golden files reproduces the published KC-XAES-256-GCM answers."""
    published = json.loads((GOLDEN.parent / "xaes-256-gcm" / "kc-xaes-256-gcm-kat.json").read_text())["tests"]
    for case in published:
        steps = reference.kc_xaes(*(bytes.fromhex(case[name]) for name in ("key", "nonce", "msg", "aad")))
        assert steps["commitment"].hex() == case["commitment"]
        assert steps["message"] == KcXaes256Gcm(bytes.fromhex(case["key"]))._encrypt_with(
            bytes.fromhex(case["nonce"]), bytes.fromhex(case["msg"]), bytes.fromhex(case["aad"])
        )
