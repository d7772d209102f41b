# SPDX-License-Identifier: Apache-2.0
"""Scenarios of wrapped keys that open: ``docs/spec/wrapped-key.md``."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.vectors.golden import reference as ref
from tests.vectors.golden.scenario import PATH, Scenario, Scenarios, drawn

KEYRING_ID = drawn("keyring id", 16)
SECRET = drawn("keyring secret", 32)
BINDING: list[ref.Part] = ["keyring", PATH, KEYRING_ID]
PACKAGE = ref.package(SECRET, BINDING)
LOCAL_KEY = drawn("local key", 32)
PARENT_PATH, PARENT_KEY_ID, PARENT_KEY = "eu/acme/tenant", "00c0ffee", drawn("parent key", 32)
XWING_SEED = drawn("x-wing seed", 32)
PASSPHRASE = "correct horse battery staple"
# Small, so that the vectors are quick; real ones have 64 MiB.
MEMORY, PASSES, LANES = 256, 1, 2


@cache
def private_key(kind: str, label: str = "") -> Any:
    """Return a private key of the vectors, from a number; RSA keys are read from a file."""
    if kind.startswith("rsa"):
        return load_pem_private_key((Path(__file__).parent / f"{kind}.pem").read_bytes(), None)
    label = f"{kind} {label}".rstrip()
    if kind == "x25519":
        return x25519.X25519PrivateKey.from_private_bytes(drawn(label, 32))
    size, curve = {"p256": (31, ec.SECP256R1()), "p384": (47, ec.SECP384R1())}[kind]
    return ec.derive_private_key(int.from_bytes(drawn(label, size)), curve)


def pem(key: Any) -> str:
    """Return a private key as PKCS#8 in PEM."""
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def wrapped(wrapper: str, key_ref: str, ciphertext: bytes) -> Scenario:
    """Return the part that all scenarios share."""
    return {
        "expect": "success",
        "binding": [part.hex() if isinstance(part, bytes) else part for part in BINDING],
        "key": SECRET.hex(),
        "package": PACKAGE.hex(),
        "wrapper": wrapper,
        "key_ref": key_ref,
        "ciphertext": ciphertext.hex(),
    }


def local(label: str = "", *, kek: bytes = LOCAL_KEY, package: bytes = PACKAGE) -> Scenario:
    """Wrap under a local key."""
    key_ref = (f"{label}:" if label else "") + ref.hkdf(kek, "securekit/local/1 ref")[:8].hex()
    associated_data = ref.pae("securekit/wrap/local/1", key_ref)
    steps = ref.kc_xaes(kek, drawn("local nonce", 24), package, associated_data)
    return wrapped("local", key_ref, steps["message"]) | {"kek": kek.hex(), "label": label, "associated_data": associated_data.hex()}


def passphrase(
    label: str = "", *, text: str = PASSPHRASE, memory: int = MEMORY, passes: int = PASSES, lanes: int = LANES, package: bytes = PACKAGE
) -> Scenario:
    """Wrap under a passphrase."""
    salt = drawn("salt", 16)
    parameters = salt + memory.to_bytes(4) + bytes([passes, lanes])
    key = ref.passphrase_key(text, salt, memory=memory, passes=passes, lanes=lanes)
    key_ref = f"{label}:" if label else ""
    associated_data = ref.pae("securekit/wrap/passphrase/1", key_ref, parameters)
    steps = ref.kc_xaes(key, drawn("passphrase nonce", 24), package, associated_data)
    scenario = wrapped("passphrase", key_ref, parameters + steps["message"])
    return scenario | {"passphrase": text, "label": label, "derived_key": key.hex(), "associated_data": associated_data.hex()}


def rsa(bits: int = 3072, *, package: bytes = PACKAGE, label: bytes = b"") -> Scenario:
    """Wrap to an RSA key."""
    key = private_key(f"rsa{bits}")
    ciphertext = ref.rsa_oaep(key.public_key(), package, drawn("oaep seed", 32), label=label)
    return wrapped("x509-rsa-oaep-256", ref.spki_hash(key.public_key()), ciphertext) | {"private_key": pem(key)}


def hpke(kind: str, *, package: bytes = PACKAGE, info: bytes | None = None, forged: tuple[bytes, bytes] | None = None) -> Scenario:
    """Wrap to a key of a curve."""
    key, ephemeral = private_key(kind), private_key(kind, "ephemeral")
    name, key_ref = f"x509-hpke-{kind}", ref.spki_hash(key.public_key())
    info = ref.pae("securekit/wrap/1", name, key_ref) if info is None else info
    ciphertext = ref.hpke(kind, ephemeral, key.public_key(), package, info=info, forged=forged)
    more = {"private_key": pem(key), "ephemeral_private_key": pem(ephemeral), "info": info.hex()}
    return wrapped(name, key_ref, ciphertext) | more


def post_quantum(*, package: bytes = PACKAGE, info: bytes | None = None) -> Scenario:
    """Wrap to an X-Wing key. ML-KEM's part was encapsulated once, since its randomness cannot be given, and is read from a file."""
    public, key_ref = ref.xwing_public(XWING_SEED), hashlib.sha256(ref.xwing_public(XWING_SEED)).hexdigest()
    info = ref.pae("securekit/wrap/1", "hpke-mlkem768-x25519", key_ref) if info is None else info
    mlkem = bytes.fromhex((Path(__file__).parent / "mlkem768.hex").read_text())
    ephemeral = private_key("x25519", "ephemeral").public_key().public_bytes_raw()
    enc = mlkem + ephemeral
    secret = ref.xwing_secret(XWING_SEED, enc)
    ciphertext = ref.xwing_hpke(secret, enc, package, info=info)
    more = {"seed": XWING_SEED.hex(), "public_key": public.hex(), "shared_secret": secret.hex(), "info": info.hex()}
    return wrapped("hpke-mlkem768-x25519", key_ref, ciphertext) | more


def top_bit() -> Scenario:
    """Wrap with a bit in the encapsulated key that X25519 ignores."""
    ephemeral, recipient = private_key("x25519", "ephemeral"), private_key("x25519").public_key()
    enc = ephemeral.public_key().public_bytes_raw()
    return hpke("x25519", forged=(enc[:-1] + bytes([enc[-1] | 0x80]), ephemeral.exchange(recipient)))


def keyring(*, purpose: str = "securekit/wrap/keyring/1", more: tuple[bytes, ...] = (), package: bytes = PACKAGE) -> Scenario:
    """Wrap under another keyring."""
    header = b"\x01" + bytes.fromhex(PARENT_KEY_ID)
    associated_data = ref.pae(purpose, PARENT_PATH, header, *more)
    steps = ref.kc_xaes(PARENT_KEY, drawn("keyring nonce", 24), package, associated_data)
    scenario = wrapped("keyring", f"{PARENT_PATH}@{PARENT_KEY_ID}", header + steps["message"])
    return scenario | {
        "parent_path": PARENT_PATH,
        "parent_key_id": PARENT_KEY_ID,
        "parent_key": PARENT_KEY.hex(),
        "associated_data": associated_data.hex(),
    }


def wrapped_keys() -> Scenarios:
    """Wrapped keys of every kind."""
    return {
        "local": local(),
        "local-label": local("eu-1"),
        "local-longest-label": local("9" + "-" * 31),
        "passphrase": passphrase(),
        "passphrase-label": passphrase("paper"),
        "passphrase-unicode": passphrase(text="Gr\u00fc\u00dfe aus \u6771\u4eac"),
        "passphrase-spaces": passphrase(text="  eight and spaces  "),
        "passphrase-least-memory": passphrase(memory=8, passes=16, lanes=1),
        "passphrase-most-lanes": passphrase(memory=128, lanes=16),
        "rsa-oaep-3072": rsa(),
        "rsa-oaep-2052": rsa(2052) | {"note": "the modulus has 2,052 bits, and so 257 bytes"},
        "hpke-p256": hpke("p256"),
        "hpke-p384": hpke("p384"),
        "hpke-x25519": hpke("x25519"),
        "hpke-x25519-top-bit": top_bit() | {"note": "X25519 masks the top bit of enc (RFC 7748, section 5); HPKE binds it as it is"},
        "hpke-mlkem768-x25519": post_quantum(),
        "keyring": keyring(),
        "keyring-active-key": keyring() | {"note": "the parent's key is no longer primary", "parent_state": "active"},
    }
