# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files beside it: ``uv run python -m tests.vectors.golden.generate``.

One scenario per file. ``expect`` is one of ``success``, ``decryption error``, ``format error``, ``key not found`` and
``key state error``. Golden files are never changed: every later release must open them. This makes them anew only so that a
test can see that the description and the bytes still agree.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.vectors.golden import reference as ref

HERE = Path(__file__).parent
PATH, KEY_ID = "eu/acme/invoices", "9f3a01c2"
CONTEXT = {"table": "invoice", "column": "iban", "id": "42"}
Scenarios = dict[str, dict[str, Any]]


def drawn(label: str, size: int) -> bytes:
    """Bytes that stand for random ones, from a label."""
    return hashlib.shake_256(f"securekit golden {label}".encode()).digest(size)


def main() -> None:
    """Write every file."""
    for folder, scenarios in everything().items():
        (HERE / folder).mkdir(exist_ok=True)
        for name, scenario in scenarios.items():
            (HERE / folder / f"{name}.json").write_text(json.dumps(scenario, indent=1, ensure_ascii=False) + "\n", "utf-8")


def everything() -> dict[str, Scenarios]:
    """Return the scenarios of each format."""
    return {"record": records(), "wrapped-key": wrapped_keys(), "keyring": keyrings()}


# ------------------------------------------------------------------------------------------------------- records


def record(label: str, plaintext: bytes, context: dict[str, str], *, path: str = PATH, **more: object) -> dict[str, Any]:
    """Return a record with its intermediate values; ``expect`` is success unless ``more`` says otherwise."""
    key, nonce = drawn(f"{label} key", 32), drawn(f"{label} nonce", 24)
    header = b"\x01" + bytes.fromhex(KEY_ID)
    associated_data = ref.pae("securekit/record/1", path, header, ref.context(context))
    steps = ref.kc_xaes(key, nonce, plaintext, associated_data)
    message = header + steps.pop("message")
    return {
        "expect": "success",
        "path": path,
        "key_id": KEY_ID,
        "key": key.hex(),
        "context": context,
        "plaintext": plaintext.hex(),
        "encoded_context": ref.context(context).hex(),
        "associated_data": associated_data.hex(),
        "nonce": nonce.hex(),
        **{name: value.hex() for name, value in steps.items()},
        "record": message.hex(),
        "text": "sk1." + ref.base64url(message),
        **more,
    }


def refused(scenario: dict[str, Any], expect: str, note: str, **changes: object) -> dict[str, Any]:
    """Return ``scenario`` with its inputs changed so that it must be refused; intermediate values are left out."""
    inputs: dict[str, Any] = {name: scenario[name] for name in ("path", "key_id", "key", "context", "record") if name in scenario}
    return {"expect": expect, "note": note, **inputs, **changes}


def changed(text: str, position: int, bit: int = 1) -> str:
    """Return hexadecimal ``text`` with one bit of one byte flipped."""
    data = bytearray.fromhex(text)
    data[position] ^= bit
    return data.hex()


def records() -> Scenarios:
    """Records that open, and records that must not."""
    iban = record("iban", b"DE89 3704 0044 0532 0130 00", CONTEXT)
    longest = {f"k{number:02}".ljust(128, "x"): "v" * number for number in range(32)}
    raw = iban["record"]
    return {
        "iban": iban,
        "empty-plaintext": record("empty", b"", CONTEXT),
        "empty-context": record("no context", b"x", {}),
        "one-block": record("one block", bytes(range(16)), {"id": "1"}),
        "kibibyte": record("kibibyte", drawn("kibibyte", 1024), CONTEXT),
        "unicode-context": record("unicode", "Ørsted".encode(), {"région": "Île-de-France", "名": "値", "a": ""}),
        "context-order": record(
            "order", b"sorted by UTF-8 bytes", {"b": "2", "a": "1", "ab": "3", "é": "4", "\U0001f511": "5", "\uff5e": "6"}
        ),
        "largest-context": record("largest context", b"x", longest),
        "longest-value": record("longest value", b"x", {"k": "v" * 4096}),
        "eight-segments": record("eight segments", b"x", CONTEXT, path="a/b/c/d/e/f/g/h"),
        "dots-in-path": record("dots", b"x", CONTEXT, path="eu-1/acme.example_2/in.voices"),
        "other-context": refused(iban, "decryption error", "the id is another", context=CONTEXT | {"id": "43"}),
        "missing-context-pair": refused(iban, "decryption error", "the id is missing", context={"table": "invoice", "column": "iban"}),
        "shifted-context": refused(
            iban,
            "decryption error",
            "a character moved from one value to its neighbour",
            context=CONTEXT | {"table": "invoic", "column": "eiban"},
        ),
        "other-path": refused(iban, "decryption error", "the same key under another path", path="eu/globex/invoices"),
        "other-key": refused(iban, "decryption error", "the id of the key, and other bytes", key=drawn("another key", 32).hex()),
        "unknown-key-id": refused(iban, "key not found", "no key of that id", record=changed(raw, 1)),
        "changed-nonce": refused(iban, "decryption error", "one bit of the nonce", record=changed(raw, 5)),
        "changed-commitment": refused(iban, "decryption error", "one bit of the commitment", record=changed(raw, 29, 0x80)),
        "changed-ciphertext": refused(iban, "decryption error", "one bit of the ciphertext", record=changed(raw, 61)),
        "changed-tag": refused(iban, "decryption error", "one bit of the tag", record=changed(raw, -1)),
        "changed-version": refused(iban, "format error", "version 0", record=changed(raw, 0)),
        "truncated": refused(iban, "decryption error", "the last byte is missing", record=raw[:-2]),
        "extended": refused(iban, "decryption error", "one byte more", record=raw + "00"),
        "too-short": refused(iban, "format error", "76 bytes, one less than an empty record", record=raw[: 2 * 76]),
        "padded-text": {
            "expect": "format error",
            "note": "base64 padding",
            "text": "sk1." + ref.base64url(bytes.fromhex(raw) + b"\x00") + "=",
        },
        "trailing-bits-text": {
            "expect": "format error",
            "note": "non-zero trailing bits",
            "text": iban["text"][:-1] + chr(ord(iban["text"][-1]) + 1),
        },
        "newline-text": {"expect": "format error", "note": "a line's end inside", "text": iban["text"][:50] + "\n" + iban["text"][50:]},
        "prefix-text": {"expect": "format error", "note": "an upper-case prefix", "text": "SK1." + iban["text"][4:]},
    }


# --------------------------------------------------------------------------------------------------- wrapped keys

KEYRING_ID = drawn("keyring id", 16)
SECRET = drawn("keyring secret", 32)
BINDING: list[ref.Part] = ["keyring", PATH, KEYRING_ID]
LOCAL_KEY = drawn("local key", 32)
PARENT_PATH, PARENT_KEY_ID, PARENT_KEY = "eu/acme/tenant", "00c0ffee", drawn("parent key", 32)
PASSPHRASE = "correct horse battery staple"
# Small, so that the vectors are quick; real ones have 64 MiB.
ARGON2 = {"memory": 256, "passes": 1, "lanes": 2}


def private_keys() -> dict[str, Any]:
    """Return the private keys of the vectors, from numbers; the RSA key is read from a file."""
    return {
        "p256": ec.derive_private_key(int.from_bytes(drawn("p256", 31)), ec.SECP256R1()),
        "p384": ec.derive_private_key(int.from_bytes(drawn("p384", 47)), ec.SECP384R1()),
        "x25519": x25519.X25519PrivateKey.from_private_bytes(drawn("x25519", 32)),
        "rsa": load_pem_private_key((HERE / "rsa3072.pem").read_bytes(), None),
    }


def ephemeral(curve: str) -> Any:
    """Return the ephemeral key of an HPKE message."""
    label = f"{curve} ephemeral"
    if curve == "x25519":
        return x25519.X25519PrivateKey.from_private_bytes(drawn(label, 32))
    size = {"p256": 31, "p384": 47}[curve]
    return ec.derive_private_key(int.from_bytes(drawn(label, size)), {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[curve])


def pem(key: Any) -> str:
    """Return a private key as PKCS#8 in PEM."""
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def wrapped(wrapper: str, key_ref: str, ciphertext: bytes) -> dict[str, Any]:
    """Return the part that all scenarios of wrapped keys share."""
    return {
        "expect": "success",
        "binding": [part.hex() if isinstance(part, bytes) else part for part in BINDING],
        "key": SECRET.hex(),
        "package": ref.package(SECRET, BINDING).hex(),
        "wrapper": wrapper,
        "key_ref": key_ref,
        "ciphertext": ciphertext.hex(),
    }


def local(label: str = "") -> dict[str, Any]:
    """Wrap under a local key."""
    key_ref = (f"{label}:" if label else "") + ref.hkdf(LOCAL_KEY, "securekit/local/1 ref")[:8].hex()
    associated_data = ref.pae("securekit/wrap/local/1", key_ref)
    steps = ref.kc_xaes(LOCAL_KEY, drawn("local nonce", 24), ref.package(SECRET, BINDING), associated_data)
    return wrapped("local", key_ref, steps["message"]) | {"kek": LOCAL_KEY.hex(), "label": label, "associated_data": associated_data.hex()}


def passphrase(label: str = "") -> dict[str, Any]:
    """Wrap under a passphrase."""
    salt = drawn("salt", 16)
    parameters = salt + ARGON2["memory"].to_bytes(4) + bytes([ARGON2["passes"], ARGON2["lanes"]])
    key = ref.passphrase_key(PASSPHRASE, salt, **ARGON2)
    associated_data = ref.pae("securekit/wrap/passphrase/1", label + ":" if label else "", parameters)
    steps = ref.kc_xaes(key, drawn("passphrase nonce", 24), ref.package(SECRET, BINDING), associated_data)
    scenario = wrapped("passphrase", label + ":" if label else "", parameters + steps["message"])
    return scenario | {"passphrase": PASSPHRASE, "label": label, "derived_key": key.hex(), "associated_data": associated_data.hex()}


def certificate(kind: str) -> dict[str, Any]:
    """Wrap to a public key."""
    key = private_keys()[kind]
    name = "x509-rsa-oaep-256" if kind == "rsa" else f"x509-hpke-{kind}"
    key_ref = ref.spki_hash(key.public_key())
    message = ref.package(SECRET, BINDING)
    more: dict[str, Any] = {"private_key": pem(key)}
    if kind == "rsa":
        ciphertext = ref.rsa_oaep(key.public_key(), message, drawn("oaep seed", 32))
    else:
        info = ref.pae("securekit/wrap/1", name, key_ref)
        ciphertext = ref.hpke(kind, ephemeral(kind), key.public_key(), message, info=info)
        more |= {"ephemeral_private_key": pem(ephemeral(kind)), "info": info.hex()}
    return wrapped(name, key_ref, ciphertext) | more


def keyring() -> dict[str, Any]:
    """Wrap under another keyring."""
    header = b"\x01" + bytes.fromhex(PARENT_KEY_ID)
    associated_data = ref.pae("securekit/wrap/keyring/1", PARENT_PATH, header)
    steps = ref.kc_xaes(PARENT_KEY, drawn("keyring nonce", 24), ref.package(SECRET, BINDING), associated_data)
    scenario = wrapped("keyring", f"{PARENT_PATH}@{PARENT_KEY_ID}", header + steps["message"])
    return scenario | {
        "parent_path": PARENT_PATH,
        "parent_key_id": PARENT_KEY_ID,
        "parent_key": PARENT_KEY.hex(),
        "associated_data": associated_data.hex(),
    }


def wrapped_keys() -> Scenarios:
    """Wrapped keys of every kind, and some that must not open."""
    plain, spoken = local(), passphrase()
    p256 = certificate("p256")
    greedy = bytearray.fromhex(spoken["ciphertext"])
    greedy[16:20] = (4 * 1024 * 1024).to_bytes(4)
    binding = ["keyring", "eu/globex/invoices", KEYRING_ID.hex()]
    return {
        "local": plain,
        "local-label": local("eu-1"),
        "passphrase": spoken,
        "passphrase-label": passphrase("paper"),
        "rsa-oaep-3072": certificate("rsa"),
        "hpke-p256": p256,
        "hpke-p384": certificate("p384"),
        "hpke-x25519": certificate("x25519"),
        "keyring": keyring(),
        "local-other-binding": plain | {"expect": "decryption error", "note": "another path", "binding": binding},
        "hpke-other-binding": p256 | {"expect": "decryption error", "note": "another path", "binding": binding},
        "local-changed": plain | {"expect": "decryption error", "ciphertext": changed(plain["ciphertext"], 60)},
        "local-truncated": plain | {"expect": "format error", "note": "136 bytes", "ciphertext": plain["ciphertext"][:-2]},
        "hpke-changed": p256 | {"expect": "decryption error", "ciphertext": changed(p256["ciphertext"], 1)},
        "hpke-extended": p256 | {"expect": "format error", "note": "147 bytes", "ciphertext": p256["ciphertext"] + "00"},
        "passphrase-4-gib": spoken | {"expect": "format error", "note": "Argon2id with 4 GiB", "ciphertext": greedy.hex()},
    }


# ------------------------------------------------------------------------------------------------------- keyrings

KEYS = {KEY_ID: drawn("primary", 32), "0a0b0c0d": drawn("older", 32), "11223344": drawn("staged", 32), "55667788": drawn("disabled", 32)}


def version(key_id: str, state: str, secret: bytes = SECRET, **more: object) -> dict[str, Any]:
    """Return one key version of a document."""
    key = KEYS.get(key_id)
    return {
        "created": "2026-01-02T03:04:05Z",
        "disabled": None,
        "due": False,
        "id": key_id,
        "key": ref.base64url(ref.sealed_key(secret, PATH, KEYRING_ID, key_id, key=key, nonce=drawn(f"nonce of {key_id}", 24)))
        if key
        else None,
        "not_after": None,
        "promoted": "2026-01-02T03:04:05Z",
        "state": state,
        **more,
    }


def recipient(scenario: dict[str, Any], **about: str) -> dict[str, Any]:
    """Return a recipient of a document from the scenario of a wrapped key."""
    return {
        "about": about,
        "ciphertext": ref.base64url(bytes.fromhex(scenario["ciphertext"])),
        "key_ref": scenario["key_ref"],
        "wrapper": scenario["wrapper"],
    }


def document(recipients: list[dict[str, Any]], keys: list[dict[str, Any]], **more: object) -> dict[str, Any]:
    """Return a document's members but for the tag."""
    return {
        "created": "2026-01-02T03:04:05Z",
        "format": "securekit/keyring/1",
        "id": ref.base64url(KEYRING_ID),
        "keys": keys,
        "path": PATH,
        "recipients": sorted(recipients, key=lambda entry: (entry["wrapper"], entry["key_ref"])),
        "refresh": 60,
        "revision": 1,
        "stale_if_error": 86400,
        **more,
    }


def sealed(members: dict[str, Any], **more: object) -> dict[str, Any]:
    """Return the scenario of a document that opens."""
    return {
        "expect": "success",
        "path": PATH,
        "kek": LOCAL_KEY.hex(),
        "secret": SECRET.hex(),
        "mac_key": ref.hkdf(SECRET, "securekit/keyring/1 document").hex(),
        "keys_key": ref.hkdf(SECRET, "securekit/keyring/1 keys").hex(),
        "keys": {key["id"]: KEYS[key["id"]].hex() for key in members["keys"] if key["key"]},
        "states": {key["id"]: key["state"] for key in members["keys"]},
        "document": ref.keyring_document(members, SECRET).decode(),
        **more,
    }


def keyrings() -> Scenarios:
    """Documents that open, and documents that must not."""
    mine, escrow = recipient(local()), recipient(certificate("p256"), subject="CN=escrow.example", not_after="2036-01-01T00:00:00Z")
    primary = version(KEY_ID, "primary")
    one = document([mine], [primary])
    older = version("0a0b0c0d", "active", created="2025-06-01T00:00:00Z", promoted="2025-06-01T00:00:00Z")
    disabled = version("55667788", "disabled", disabled="2026-01-01T00:00:00Z")
    destroyed = version("99aabbcc", "destroyed", disabled="2025-12-01T00:00:00Z")
    text = ref.keyring_document(one, SECRET).decode()

    def no(expect: str, note: str, data: str, **more: object) -> dict[str, Any]:
        return {"expect": expect, "note": note, "path": PATH, "kek": LOCAL_KEY.hex(), "document": data, **more}

    def remade(members: dict[str, Any]) -> str:
        return ref.keyring_document(members, SECRET).decode()

    return {
        "one-key": sealed(one),
        "rotated": sealed(document([mine], [older, primary], revision=2)),
        "staged": sealed(document([mine], [primary, version("11223344", "active", promoted=None)], revision=2)),
        "all-states": sealed(document([mine], [older, disabled, destroyed, primary], revision=7)),
        "due": sealed(document([mine], [older | {"due": True}, primary], revision=3)),
        "not-after": sealed(document([mine], [primary | {"not_after": "2036-01-01T00:00:00Z"}])),
        "escrow": sealed(document([mine, escrow], [primary], revision=2), escrow_private_key=pem(private_keys()["p256"])),
        "five-recipients": sealed(
            document(
                [mine, escrow, recipient(passphrase("paper")), recipient(certificate("rsa")), recipient(certificate("x25519"))], [primary]
            ),
            passphrase=PASSPHRASE,
            passphrase_label="paper",
        ),
        "under-a-keyring": sealed(
            document([mine, recipient(keyring())], [primary]),
            parent_path=PARENT_PATH,
            parent_key_id=PARENT_KEY_ID,
            parent_key=PARENT_KEY.hex(),
        ),
        "longest-times": sealed(document([mine], [primary], refresh=31622400, stale_if_error=0, revision=9007199254740991)),
        "changed-state": no(
            "decryption error",
            "a disabled key made active without the secret",
            remade(document([mine], [older, disabled, primary]))
            .replace('"disabled":"2026-01-01T00:00:00Z"', '"disabled":null')
            .replace('"state":"disabled"', '"state":"active"'),
        ),
        "changed-refresh": no("decryption error", "refresh is another", text.replace('"refresh":60', '"refresh":61')),
        "other-path": no("decryption error", "moved to another path", text, path="eu/globex/invoices"),
        "foreign-kek": no("key not found", "no recipient is ours", text, kek=drawn("foreign", 32).hex()),
        "two-primaries": no(
            "format error", "authentic, and with two primary keys", remade(document([mine], [older | {"state": "primary"}, primary]))
        ),
        "twice-the-id": no(
            "format error", "authentic, and with one key id twice", remade(document([mine], [version(KEY_ID, "active"), primary]))
        ),
        "recipient-twice": no("format error", "authentic, and with one recipient twice", remade(document([mine, mine], [primary]))),
        "recipient-order": no("format error", "authentic, and with recipients out of order", remade(one | {"recipients": [escrow, mine]})),
        "unknown-member": no("format error", "authentic, and with one member more", remade(one | {"note": "hello"})),
        "white-space": no("format error", "not canonical: a space", text.replace('"refresh":', '"refresh": ')),
        "duplicate-member": no("format error", "not canonical: a member twice", text.replace('"refresh":60', '"refresh":60,"refresh":60')),
        "float": no("format error", "not canonical: a float", text.replace('"refresh":60', '"refresh":60.0')),
        "truncated": no("format error", "the last byte is missing", text[:-1]),
        "newline": no("format error", "a line's end behind it", text + "\n"),
    }


if __name__ == "__main__":
    main()
