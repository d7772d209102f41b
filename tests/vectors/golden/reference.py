# SPDX-License-Identifier: Apache-2.0
"""The formats once more, written from the pages under ``docs/spec/`` and without any of securekit's code.

Randomness is an argument here, so that vectors come out the same every time. That is what makes this unfit for anything
but vectors.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

Part = bytes | str


def pae(*parts: Part) -> bytes:
    """Pre-authentication encoding: LE64(count), then LE64(length) and the bytes of each part."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return len(encoded).to_bytes(8, "little") + b"".join(len(part).to_bytes(8, "little") + part for part in encoded)


def context(pairs: dict[str, str]) -> bytes:
    """A context: keys and values alternating, sorted by the key's UTF-8 bytes."""
    ordered = sorted((key.encode(), value.encode()) for key, value in pairs.items())
    return pae(*[part for pair in ordered for part in pair])


def base64url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def hkdf(key: bytes, info: Part, *, size: int = 32, digest: str = "sha256", salt: bytes = b"") -> bytes:
    """HKDF (RFC 5869)."""
    extracted = hkdf_extract(key, digest=digest, salt=salt)
    return hkdf_expand(extracted, info.encode() if isinstance(info, str) else info, size=size, digest=digest)


def hkdf_extract(key: bytes, *, digest: str = "sha256", salt: bytes = b"") -> bytes:
    """The first step of HKDF (RFC 5869, section 2.2)."""
    return hmac.digest(salt or bytes(hashlib.new(digest).digest_size), key, digest)


def hkdf_expand(extracted: bytes, info: bytes, *, size: int, digest: str) -> bytes:
    """The second step of HKDF (RFC 5869, section 2.3)."""
    output, block, counter = b"", b"", 1
    while len(output) < size:
        block = hmac.digest(extracted, block + info + bytes([counter]), digest)
        output, counter = output + block, counter + 1
    return output[:size]


def aes(key: bytes, block: bytes) -> bytes:
    """The bare block cipher."""
    encryptor = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305 - the block cipher alone
    return encryptor.update(block) + encryptor.finalize()


def xor(*values: bytes) -> bytes:
    """Exclusive or of byte strings of one length."""
    result = bytes(len(values[0]))
    for value in values:
        result = bytes(a ^ b for a, b in zip(result, value, strict=True))
    return result


def kc_xaes(key: bytes, nonce: bytes, plaintext: bytes, associated_data: bytes) -> dict[str, bytes]:
    """KC-XAES-256-GCM with its intermediate values; ``message`` is nonce, commitment, ciphertext and tag."""
    block = aes(key, bytes(16))
    doubled = int.from_bytes(block) << 1
    k1 = ((doubled ^ (0x87 if doubled >> 128 else 0)) & ((1 << 128) - 1)).to_bytes(16)
    head, tail = nonce[:12], nonce[12:]
    derived = aes(key, xor(b"\x00\x01X\x00" + head, k1)) + aes(key, xor(b"\x00\x02X\x00" + head, k1))
    x1 = aes(key, b"XCMT" + head)
    w1, w2 = (xor(x1, tail + bytes([0, 1, 0, i]), k1) for i in (1, 2))
    commitment = aes(key, w1) + aes(key, w2)
    sealed = AESGCM(derived).encrypt(tail, plaintext, associated_data)
    return {
        "subkey_k1": k1,
        "derived_key": derived,
        "commitment_x1": x1,
        "commitment": commitment,
        "ciphertext": sealed[:-16],
        "tag": sealed[-16:],
        "message": nonce + commitment + sealed,
    }


def package(key: bytes, binding: list[Part]) -> bytes:
    """The 65 bytes that every wrapper protects."""
    return b"\x01" + key + hashlib.sha256(pae("securekit/wrap/1", *binding)).digest()


def passphrase_key(passphrase: str, salt: bytes, *, memory: int, passes: int, lanes: int) -> bytes:
    """Argon2id (RFC 9106), version 0x13."""
    return hash_secret_raw(passphrase.encode(), salt, passes, memory, lanes, 32, Type.ID)


def spki_hash(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | x25519.X25519PublicKey) -> str:
    """SHA-256 of the canonical SubjectPublicKeyInfo."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def rsa_oaep(key: rsa.RSAPublicKey, plaintext: bytes, seed: bytes, *, label: bytes = b"") -> bytes:
    """RSAES-OAEP (RFC 8017, section 7.1.1) with SHA-256 and the given 32-byte seed."""
    numbers, size = key.public_numbers(), (key.key_size + 7) // 8

    def mask(value: bytes, length: int) -> bytes:
        blocks = (hashlib.sha256(value + counter.to_bytes(4)).digest() for counter in range(-(-length // 32)))
        return b"".join(blocks)[:length]

    block = hashlib.sha256(label).digest() + bytes(size - len(plaintext) - 66) + b"\x01" + plaintext
    masked = xor(block, mask(seed, len(block)))
    encoded = b"\x00" + xor(seed, mask(masked, 32)) + masked
    return pow(int.from_bytes(encoded), numbers.e, numbers.n).to_bytes(size)


HPKE_IDS = {"p256": (0x0010, 0x0001, "sha256"), "p384": (0x0011, 0x0002, "sha384"), "x25519": (0x0020, 0x0001, "sha256")}


def hpke(
    curve: str,
    ephemeral: Any,
    recipient: Any,
    plaintext: bytes,
    *,
    info: bytes,
    associated_data: bytes = b"",
    forged: tuple[bytes, bytes] | None = None,
) -> bytes:
    """HPKE base mode, single shot (RFC 9180, sections 4 to 6), with the given ephemeral private key and AES-256-GCM.

    ``forged`` takes the place of the encapsulated key and of the shared point: what a reader that does not check them would use.
    """
    enc, shared = forged or (encoded_point(ephemeral.public_key()), _agreed(ephemeral, recipient))
    key, nonce = _hpke_schedule(curve, shared, enc + encoded_point(recipient), info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, associated_data)


def hpke_open(curve: str, recipient: Any, message: bytes, *, info: bytes, associated_data: bytes = b"") -> bytes:
    """Decrypt what `hpke` makes."""
    if curve == "x25519":
        sender: Any = x25519.X25519PublicKey.from_public_bytes(message[:32])
    else:
        size = 2 * (recipient.curve.key_size // 8) + 1
        sender = ec.EllipticCurvePublicKey.from_encoded_point(recipient.curve, message[:size])
    enc = encoded_point(sender)
    key, nonce = _hpke_schedule(curve, _agreed(recipient, sender), enc + encoded_point(recipient.public_key()), info)
    return AESGCM(key).decrypt(nonce, message[len(enc) :], associated_data)


def encoded_point(key: Any) -> bytes:
    """Encode a public key as HPKE does (RFC 9180, section 7.1.1)."""
    if isinstance(key, x25519.X25519PublicKey):
        return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return bytes(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _agreed(private: Any, public: Any) -> bytes:
    return bytes(private.exchange(public) if isinstance(public, x25519.X25519PublicKey) else private.exchange(ec.ECDH(), public))


def _hpke_schedule(curve: str, shared: bytes, points: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return key and nonce of the first message (RFC 9180, sections 4.1 and 5.1)."""
    kem_id, kdf_id, digest = HPKE_IDS[curve]
    kem, size = b"KEM" + kem_id.to_bytes(2), hashlib.new(digest).digest_size
    extracted = _labelled_extract(digest, kem, b"", b"eae_prk", shared)
    secret = _labelled_expand(digest, kem, extracted, b"shared_secret", points, size=size)
    return hpke_keys(b"HPKE" + kem_id.to_bytes(2) + kdf_id.to_bytes(2) + (0x0002).to_bytes(2), digest, secret, info)


def hpke_keys(suite: bytes, digest: str, secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return key and nonce of the first message from the KEM's shared secret (RFC 9180, section 5.1)."""
    hashes = _labelled_extract(digest, suite, b"", b"psk_id_hash", b"") + _labelled_extract(digest, suite, b"", b"info_hash", info)
    extracted = _labelled_extract(digest, suite, secret, b"secret", b"")
    key = _labelled_expand(digest, suite, extracted, b"key", b"\x00" + hashes, size=32)
    return key, _labelled_expand(digest, suite, extracted, b"base_nonce", b"\x00" + hashes, size=12)


def _labelled_extract(digest: str, suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return hkdf_extract(b"HPKE-v1" + suite + label + key, digest=digest, salt=salt)


def _labelled_expand(digest: str, suite: bytes, key: bytes, label: bytes, more: bytes, *, size: int) -> bytes:
    return hkdf_expand(key, size.to_bytes(2) + b"HPKE-v1" + suite + label + more, size=size, digest=digest)


def xwing_keys(seed: bytes) -> tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey]:
    """The two private keys of an X-Wing seed (draft-connolly-cfrg-xwing-kem, section 5.2)."""
    expanded = hashlib.shake_256(seed).digest(96)
    return mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), x25519.X25519PrivateKey.from_private_bytes(expanded[64:])


def xwing_public(seed: bytes) -> bytes:
    """The 1,216 bytes of its public key."""
    first, second = xwing_keys(seed)
    return first.public_key().public_bytes_raw() + second.public_key().public_bytes_raw()


def xwing_secret(seed: bytes, enc: bytes) -> bytes:
    """The shared secret that is encapsulated for the seed (the draft's section 5.5)."""
    first, second = xwing_keys(seed)
    point = x25519.X25519PublicKey.from_public_bytes(enc[1088:])
    shared = first.decapsulate(enc[:1088]) + second.exchange(point) + enc[1088:] + second.public_key().public_bytes_raw()
    return hashlib.sha3_256(shared + bytes.fromhex("5c2e2f2f5e5c")).digest()


def xwing_hpke(secret: bytes, enc: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """HPKE base mode to an X-Wing key with HKDF-SHA256 and AES-256-GCM, with what was encapsulated and its shared secret."""
    key, nonce = hpke_keys(b"HPKE\x64\x7a\x00\x01\x00\x02", "sha256", secret, info)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")


def canonical(value: object) -> bytes:
    """Canonical JSON (RFC 8785) of what keyring documents hold: no floats, ASCII names."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def keyring_document(document: dict[str, Any], secret: bytes) -> bytes:
    """A document, whose members are given but for ``mac``, authenticated under ``secret``."""
    tag = hmac.digest(hkdf(secret, "securekit/keyring/1 document"), canonical(document), "sha256")
    return canonical(document | {"mac": base64url(tag)})


def sealed_key(secret: bytes, path: str, keyring_id: bytes, key_id: str, *, key: bytes, nonce: bytes) -> bytes:
    """One key version, encrypted under the keyring secret."""
    associated_data = pae("securekit/keyring/1 key", path, keyring_id, bytes.fromhex(key_id))
    return kc_xaes(hkdf(secret, "securekit/keyring/1 keys"), nonce, key, associated_data)["message"]


def envelope_recipient(name: str, key_ref: Part, ciphertext: bytes, facts: list[tuple[Part, Part]]) -> bytes:
    """A recipient in an envelope's header; the facts in the given order."""
    parts = [_prefixed(1, name), _prefixed(2, key_ref), _prefixed(2, ciphertext), bytes([len(facts)])]
    return _prefixed(2, b"".join(parts + [_prefixed(1, fact) + _prefixed(2, text) for fact, text in facts]))


def _prefixed(size: int, value: Part) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(size) + data


def envelope_header(
    data_key: bytes, recipients: list[bytes], *, flags: int, message_id: bytes, slot: int = 0, generation: int = 0
) -> bytes:
    """A header, authenticated under the data key."""
    fixed = b"sk-envelope/1\n" + bytes([flags]) + message_id + bytes([slot]) + generation.to_bytes(4) + bytes([len(recipients)])
    body = fixed + b"".join(recipients)
    return body + hmac.digest(hkdf(data_key, "securekit/envelope/1 header"), body, "sha256")


def cobblestone(key: bytes, context: bytes, salt: bytes, plaintext: bytes) -> dict[str, Any]:
    """Cobblestone-256 (C2SP chunked encryption) with its intermediate values; ``head`` is salt and commitment."""
    label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
    derived = hkdf_expand(key, label + salt + context, size=76, digest="sha512")
    aes_key, base_nonce, commitment = derived[:32], derived[32:44], derived[44:]
    cut = [plaintext[begin : begin + 16384] for begin in range(0, len(plaintext) + 1, 16384)]
    chunks = [AESGCM(aes_key).encrypt(xor(base_nonce, number.to_bytes(12)), chunk, None) for number, chunk in enumerate(cut)]
    return {"aes_key": aes_key, "base_nonce": base_nonce, "commitment": commitment, "head": salt + commitment, "chunks": chunks}
