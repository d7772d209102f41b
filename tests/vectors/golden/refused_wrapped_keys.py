# SPDX-License-Identifier: Apache-2.0
"""Scenarios of wrapped keys that must not open, each for one reason."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors.golden import reference as ref
from tests.vectors.golden.scenario import OTHER_PATH, PATH, Scenario, Scenarios, changed, drawn
from tests.vectors.golden.wrapped_keys import (
    BINDING,
    KEYRING_ID,
    PACKAGE,
    SECRET,
    hpke,
    keyring,
    local,
    passphrase,
    pem,
    post_quantum,
    private_key,
    rsa,
)

KEKS = ("kek", "label", "passphrase", "private_key", "seed", "parent_path", "parent_key_id", "parent_key", "parent_state")
"""The members that say which KEK is configured."""


def no(expect: str, note: str, scenario: Scenario, **changes: object) -> Scenario:
    """Return ``scenario`` with changes for which it must be refused; intermediate values are left out."""
    inputs = {name: scenario[name] for name in ("binding", "wrapper", "key_ref", "ciphertext", *KEKS) if name in scenario}
    return {"expect": expect, "note": note, **inputs, **changes}


def denied(note: str, scenario: Scenario, **changes: object) -> Scenario:
    """Return a scenario in which the KEK's holder says no."""
    return no("denied", note, scenario, **changes)


def fail(note: str, scenario: Scenario, **changes: object) -> Scenario:
    """Return a scenario that is a decryption error."""
    return no("decryption error", note, scenario, **changes)


def malformed(note: str, scenario: Scenario, **changes: object) -> Scenario:
    """Return a scenario that is a format error."""
    return no("format error", note, scenario, **changes)


def refused_wrapped_keys() -> Scenarios:
    """Return all of them."""
    private = local_ones() | passphrases() | argon2_parameters() | keyrings()
    return foreign() | lengths() | packages() | private | public_keys() | points() | post_quantum_keys()


def all_kinds() -> Scenarios:
    """Return one wrapped key of each kind."""
    kinds = {f"hpke-{curve}": hpke(curve) for curve in ("p256", "p384", "x25519")}
    others = {"local": local(), "passphrase": passphrase(), "rsa": rsa(), "keyring": keyring(), "hpke-mlkem768-x25519": post_quantum()}
    return others | kinds


def foreign() -> Scenarios:
    """Another name, key_ref or binding than the configured ones."""
    scenarios: Scenarios = {}
    elsewhere = ["keyring", OTHER_PATH, KEYRING_ID.hex()]
    for kind, plain in all_kinds().items():
        scenarios[f"{kind}-other-binding"] = fail("wrapped for another path", plain, binding=elsewhere)
        scenarios[f"{kind}-other-name"] = fail("another wrapper's name", plain, wrapper="vault-transit")
        scenarios[f"{kind}-other-key-ref"] = fail("another key_ref", plain, key_ref="x" + plain["key_ref"])
    plain = local()
    return scenarios | {
        "local-other-keyring-id": fail("wrapped for another keyring", plain, binding=["keyring", PATH, drawn("other id", 16).hex()]),
        "local-other-purpose": fail("wrapped for another purpose", plain, binding=["config", PATH, KEYRING_ID.hex()]),
        "local-other-name-truncated": fail("name and key_ref before the length", plain, wrapper="x", ciphertext=plain["ciphertext"][2:]),
    }


def lengths() -> Scenarios:
    """Ciphertexts of another length than their kind has."""
    scenarios: Scenarios = {}
    for kind, plain in all_kinds().items():
        scenarios[f"{kind}-truncated"] = malformed("one byte less", plain, ciphertext=plain["ciphertext"][:-2])
        scenarios[f"{kind}-extended"] = malformed("one byte more", plain, ciphertext=plain["ciphertext"] + "00")
    return scenarios | {"local-empty": malformed("no bytes at all", local(), ciphertext="")}


def packages() -> Scenarios:
    """Packages of another shape, encrypted as they should be."""
    version = b"\x02" + PACKAGE[1:]
    unprefixed = PACKAGE[:33] + hashlib.sha256(ref.pae(*BINDING)).digest()
    return {
        "local-package-version": fail("the package's first byte is 0x02", local(package=version)),
        "local-package-hash": fail("the last bit of the hash", local(package=PACKAGE[:-1] + bytes([PACKAGE[-1] ^ 1]))),
        "local-package-plain-hash": fail("no prefix in the hashed binding", local(package=unprefixed)),
        "rsa-package-version": fail("the package's first byte is 0x02", rsa(package=version)),
        "rsa-package-short": fail("a package of 64 bytes", rsa(package=PACKAGE[:-1])),
        "rsa-package-long": fail("a package of 66 bytes", rsa(package=PACKAGE + b"\x00")),
        "rsa-package-key": fail("the bare key", rsa(package=SECRET)),
        "hpke-p256-package-version": fail("the package's first byte is 0x02", hpke("p256", package=version)),
    }


def local_ones() -> Scenarios:
    """Local KEKs that are not the right one, and changed bytes."""
    plain, labelled, raw = local(), local("eu-1"), local()["ciphertext"]
    other = local(kek=drawn("foreign", 32))
    return {
        "local-changed-nonce": fail("one bit of the nonce", plain, ciphertext=changed(raw, 0)),
        "local-changed-commitment": fail("one bit of the commitment", plain, ciphertext=changed(raw, 24)),
        "local-changed": fail("one bit of the encrypted package", plain, ciphertext=changed(raw, 60)),
        "local-changed-tag": fail("one bit of the tag", plain, ciphertext=changed(raw, -1)),
        "local-foreign-kek": fail("another KEK is configured", plain, kek=other["kek"]),
        "local-wrong-kek": fail("another KEK, and key_ref is made to fit it", other, ciphertext=raw),
        "local-no-label": fail("the label is missing", labelled, label=""),
        "local-other-label": fail("another label is configured", labelled, label="eu-2"),
        "local-moved-label": fail("key_ref and wrapper have another label", labelled, label="eu-2", key_ref=local("eu-2")["key_ref"]),
    }


def passphrases() -> Scenarios:
    """Passphrases that are not the right one, and changed bytes."""
    plain, labelled, raw = passphrase(), passphrase("paper"), passphrase()["ciphertext"]
    composed = passphrase(text="Gr\u00fc\u00dfe aus \u6771\u4eac")
    return {
        "passphrase-wrong": fail("another passphrase", plain, passphrase="correct horse battery stapler"),
        "passphrase-space": fail("a space behind it", plain, passphrase=plain["passphrase"] + " "),
        "passphrase-decomposed": fail("the same letters in another normal form", composed, passphrase="Gru\u0308\u00dfe aus \u6771\u4eac"),
        "passphrase-other-label": fail("another label is configured", labelled, label="vault"),
        "passphrase-moved-label": fail("key_ref and wrapper have another label", labelled, label="vault", key_ref="vault:"),
        "passphrase-changed-salt": fail("one bit of the salt", plain, ciphertext=changed(raw, 0)),
        "passphrase-changed-memory": fail("257 KiB", plain, ciphertext=changed(raw, 19)),
        "passphrase-changed-commitment": fail("one bit of the commitment", plain, ciphertext=changed(raw, 22 + 24)),
        "passphrase-changed-tag": fail("one bit of the tag", plain, ciphertext=changed(raw, -1)),
    }


def argon2_parameters() -> Scenarios:
    """Parameters out of bounds, each refused before anything is derived."""
    plain = passphrase()
    raw = plain["ciphertext"]
    parameters = {
        "4-gib": ("4 GiB", 4 * 1024 * 1024, 1, 2),
        "too-much-memory": ("1 GiB and 1 KiB", 1024 * 1024 + 1, 1, 2),
        "all-ones": ("every bit is set", 2**32 - 1, 255, 255),
        "no-memory": ("no memory", 0, 1, 1),
        "too-little-memory": ("less than 8 KiB per lane", 15, 1, 2),
        "no-passes": ("0 passes", 256, 0, 2),
        "17-passes": ("17 passes", 256, 17, 2),
        "no-lanes": ("0 lanes", 256, 1, 0),
        "17-lanes": ("17 lanes", 256, 1, 17),
        "too-much-work": ("1 GiB with 5 passes", 1024 * 1024, 5, 2),
    }
    return {
        f"passphrase-{name}": malformed(
            note, plain, ciphertext=raw[:32] + memory.to_bytes(4).hex() + bytes([passes, lanes]).hex() + raw[2 * 22 :]
        )
        for name, (note, memory, passes, lanes) in parameters.items()
    }


def public_keys() -> Scenarios:
    """Changed bytes and other parameters under public keys."""
    x, sealed, kinds = hpke("x25519"), rsa(), {"hpke-p256": 65, "hpke-p384": 97, "hpke-x25519": 32}
    raw = sealed["ciphertext"]
    modulus = private_key("rsa3072").private_numbers().public_numbers.n
    scenarios = {
        "rsa-changed": fail("one bit", sealed, ciphertext=changed(raw, 200)),
        "rsa-zero": fail("all bits are 0", sealed, ciphertext="00" * 384),
        "rsa-modulus": fail("the modulus itself", sealed, ciphertext=modulus.to_bytes(384).hex()),
        "rsa-all-ones": fail("an integer above the modulus", sealed, ciphertext="ff" * 384),
        "rsa-label": fail("OAEP with a label", rsa(label=b"securekit")),
    }
    for kind, size in kinds.items():
        plain = hpke(kind.removeprefix("hpke-"))
        scenarios[f"{kind}-changed"] = fail("one bit of the encrypted package", plain, ciphertext=changed(plain["ciphertext"], size))
        scenarios[f"{kind}-changed-tag"] = fail("one bit of the tag", plain, ciphertext=changed(plain["ciphertext"], -1))
        scenarios[f"{kind}-no-info"] = fail("an empty info", hpke(kind.removeprefix("hpke-"), info=b""))
    other = private_key("x25519", "ephemeral")
    wrong = fail("another key, and key_ref is made to fit it", x, private_key=pem(other), key_ref=ref.spki_hash(other.public_key()))
    return scenarios | {"hpke-x25519-wrong-key": wrong}


def points() -> Scenarios:
    """Encapsulated keys that are no public keys. Where that is possible, they would open if they were believed."""
    p256, p384, x = hpke("p256"), hpke("p384"), hpke("x25519")
    point = private_key("p256", "ephemeral").public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = private_key("p256", "ephemeral").exchange(ec.ECDH(), private_key("p256").public_key())
    right, wrong = 6 + point[-1] % 2, 7 - point[-1] % 2
    return {
        "hpke-p256-changed-point": fail("not on the curve", p256, ciphertext=changed(p256["ciphertext"], 1)),
        "hpke-p384-changed-point": fail("not on the curve", p384, ciphertext=changed(p384["ciphertext"], 1)),
        "hpke-p256-zero-point": fail("all bytes of the point are 0", p256, ciphertext="00" * 65 + p256["ciphertext"][130:]),
        "hpke-p256-hybrid-point": fail("the hybrid form of X9.62", hpke("p256", forged=(bytes([right]) + point[1:], shared))),
        "hpke-p256-wrong-hybrid-point": fail("hybrid, of the other sign", hpke("p256", forged=(bytes([wrong]) + point[1:], shared))),
        "hpke-p256-compressed-point": malformed("the compressed form", hpke("p256", forged=(bytes([right - 4]) + point[1:33], shared))),
        "hpke-x25519-changed-point": fail("one bit of the point", x, ciphertext=changed(x["ciphertext"], 0)),
        "hpke-x25519-zero-point": fail("the shared point is zero", hpke("x25519", forged=(bytes(32), bytes(32)))),
        "hpke-x25519-small-order": fail("a point of order 1", hpke("x25519", forged=(b"\x01" + bytes(31), bytes(32)))),
    }


def post_quantum_keys() -> Scenarios:
    """Changed bytes and other keys under X-Wing."""
    name, plain = "hpke-mlkem768-x25519", post_quantum()
    raw = plain["ciphertext"]
    places = {
        "mlkem": ("ML-KEM rejects implicitly", 0),
        "point": ("one bit of the point", 1088),
        "sealed": ("one bit of the package", 1120),
    }
    scenarios = {f"{name}-changed-{what}": fail(note, plain, ciphertext=changed(raw, place)) for what, (note, place) in places.items()}
    return scenarios | {
        f"{name}-changed-tag": fail("one bit of the tag", plain, ciphertext=changed(raw, -1)),
        f"{name}-top-bit": fail("a bit that X25519 ignores, and the shared secret does not", plain, ciphertext=changed(raw, 1119, 0x80)),
        f"{name}-zero-point": fail("the shared point is zero", plain, ciphertext=raw[: 2 * 1088] + "00" * 32 + raw[2 * 1120 :]),
        f"{name}-no-info": fail("an empty info", post_quantum(info=b"")),
        f"{name}-package-version": fail("the package's first byte is 0x02", post_quantum(package=b"\x02" + PACKAGE[1:])),
        f"{name}-wrong-seed": fail("another seed, and key_ref is made to fit it", plain, **other_seed()),
    }


def other_seed() -> Scenario:
    """Return another X-Wing key and its reference."""
    seed = drawn("other x-wing seed", 32)
    return {"seed": seed.hex(), "key_ref": hashlib.sha256(ref.xwing_public(seed)).hexdigest()}


def keyrings() -> Scenarios:
    """Keys under another keyring."""
    plain = keyring()
    raw = plain["ciphertext"]
    context = ref.context({})
    return {
        "keyring-version": malformed("version 0", plain, ciphertext=changed(raw, 0)),
        "keyring-changed-key-id": fail("the key id is not that of key_ref", plain, ciphertext=changed(raw, 4)),
        "keyring-changed-key-ref": fail("key_ref names another key of the parent", plain, key_ref="eu/acme/tenant@00c0ffef"),
        "keyring-changed": fail("one bit of the encrypted package", plain, ciphertext=changed(raw, 70)),
        "keyring-changed-tag": fail("one bit of the tag", plain, ciphertext=changed(raw, -1)),
        "keyring-wrong-key": fail("the parent's key has other bytes", plain, parent_key=drawn("foreign", 32).hex()),
        "keyring-other-parent": fail("another parent is configured", plain, parent_path=OTHER_PATH),
        "keyring-record": fail("a record of data with the package in it", keyring(purpose="securekit/record/1", more=(context,))),
        "keyring-missing-key": denied("the parent has no such key", plain, parent_key_id="00c0ffef"),
        "keyring-disabled-key": denied("the parent's key is disabled", plain, parent_state="disabled"),
        "keyring-destroyed-key": denied("the parent's key is destroyed; its bytes were these", plain, parent_state="destroyed"),
        "keyring-disabled-key-truncated": malformed(
            "the length before the parent's key", plain, parent_state="disabled", ciphertext=raw[:-2]
        ),
        "keyring-disabled-key-changed": denied(
            "the key's state before its use", plain, parent_state="disabled", ciphertext=changed(raw, -1)
        ),
    }
