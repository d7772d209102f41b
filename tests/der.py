# SPDX-License-Identifier: Apache-2.0
"""Writes DER (ITU-T X.690), and from it key files that ask for whatever a test likes."""

from __future__ import annotations

import base64

INTEGER, OCTETS, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30
DATA = bytes.fromhex("2a864886f70d010701")  # PKCS#7 data
SHROUDED = bytes.fromhex("2a864886f70d010c0a0102")  # an encrypted key in PKCS#12
PLAIN = bytes.fromhex("2a864886f70d010c0a0101")
PBES2 = bytes.fromhex("2a864886f70d01050d")
PBKDF2 = bytes.fromhex("2a864886f70d01050c")
SCRYPT = bytes.fromhex("2b06010401da47040b")
AES_256_CBC = bytes.fromhex("60864801650304012a")
SHA_256 = bytes.fromhex("608648016503040201")
PBE_MD5_DES = bytes.fromhex("2a864886f70d010503")
PBE_SHA1_3DES = bytes.fromhex("2a864886f70d010c0103")


def tlv(tag: int, *contents: bytes) -> bytes:
    """Encode one element."""
    inner = b"".join(contents)
    size = len(inner)
    octets = size.to_bytes(-(-size.bit_length() // 8)) if size >= 0x80 else b""
    return bytes([tag]) + (bytes([0x80 | len(octets)]) + octets if octets else bytes([size])) + inner


def integer(value: int) -> bytes:
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, signed=True))


def pbes2(derivation: bytes, *parameters: bytes) -> bytes:
    """Return an algorithm identifier: AES-256-CBC under a key from ``derivation``."""
    function = tlv(SEQUENCE, tlv(OID, derivation), tlv(SEQUENCE, tlv(OCTETS, b"saltsalt"), *parameters))
    return tlv(SEQUENCE, tlv(OID, PBES2), tlv(SEQUENCE, function, tlv(SEQUENCE, tlv(OID, AES_256_CBC), tlv(OCTETS, bytes(16)))))


def pbkdf2(iterations: int) -> bytes:
    return pbes2(PBKDF2, integer(iterations))


def scrypt(cost: int, blocks: int = 8, lanes: int = 1) -> bytes:
    return pbes2(SCRYPT, integer(cost), integer(blocks), integer(lanes))


def pbes1(algorithm: bytes, iterations: int) -> bytes:
    return tlv(SEQUENCE, tlv(OID, algorithm), tlv(SEQUENCE, tlv(OCTETS, b"saltsalt"), integer(iterations)))


def encrypted_key(algorithm: bytes, size: int = 144) -> bytes:
    """Return an EncryptedPrivateKeyInfo (RFC 5958, section 3) of nothing."""
    return tlv(SEQUENCE, algorithm, tlv(OCTETS, bytes(size)))


def encrypted_pem(algorithm: bytes, size: int = 144) -> bytes:
    return to_pem("ENCRYPTED PRIVATE KEY", encrypted_key(algorithm, size))


def pkcs12(*bags: bytes, mac_iterations: int | None = 2048) -> bytes:
    """Return a PKCS#12 file (RFC 7292, section 4) with these bags."""
    bag = tlv(SEQUENCE, *bags)
    content = tlv(
        SEQUENCE, tlv(OID, DATA), tlv(0xA0, tlv(OCTETS, tlv(SEQUENCE, tlv(SEQUENCE, tlv(OID, DATA), tlv(0xA0, tlv(OCTETS, bag))))))
    )
    digest = tlv(SEQUENCE, tlv(SEQUENCE, tlv(OID, SHA_256)), tlv(OCTETS, bytes(32)))
    mac = tlv(SEQUENCE, digest, tlv(OCTETS, b"saltsalt"), integer(mac_iterations)) if mac_iterations is not None else b""
    return tlv(SEQUENCE, integer(3), content, mac)


def key_bag(algorithm: bytes, size: int = 144) -> bytes:
    return tlv(SEQUENCE, tlv(OID, SHROUDED), tlv(0xA0, encrypted_key(algorithm, size)))


def to_pem(label: str, data: bytes) -> bytes:
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(data), label.encode())
