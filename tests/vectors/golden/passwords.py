# SPDX-License-Identifier: Apache-2.0
"""Scenarios of hashes of passwords: ``docs/spec/password-hash.md``."""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata

import bcrypt
from argon2.low_level import Type, hash_secret_raw

from tests.vectors.golden.scenario import Scenario, Scenarios, drawn

PASSWORD = "correct horse battery staple"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def nfkc(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode()


def string(label: str, scheme: str, hashed: bytes, **numbers: int) -> tuple[str, str]:
    """Return what follows ``n=``, and the inner string."""
    salt = drawn(f"password {label}", 16)
    match scheme:
        case "argon2id":
            digest = hash_secret_raw(hashed, salt, numbers["t"], numbers["m"], numbers["p"], 32, Type.ID)
            parameters = "v=19$m={m},t={t},p={p}".format(**numbers)
        case "scrypt":
            digest = hashlib.scrypt(hashed, salt=salt, n=1 << numbers["ln"], r=numbers["r"], p=numbers["p"], dklen=32, maxmem=1 << 28)
            parameters = "ln={ln},r={r},p={p}".format(**numbers)
        case "pbkdf2-sha256":
            digest = hashlib.pbkdf2_hmac("sha256", hashed, salt, numbers["i"], 32)
            parameters = f"i={numbers['i']}"
        case _:
            alphabet = bytes.maketrans(
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            )
            setting = b"$2b$%02d$" % numbers["rounds"] + base64.b64encode(salt).rstrip(b"=").translate(alphabet)
            keyed = base64.b64encode(hmac.digest(salt, hashed, "sha384"))
            return ",pre=hmac-sha384", bcrypt.hashpw(keyed, setting).decode()
    return "", f"${scheme}${parameters}${b64(salt)}${b64(digest)}"


def scenario(scheme: str, *, password: str = PASSWORD, label: str = "", **numbers: int) -> Scenario:
    """Return a hash that its password verifies."""
    hashed = nfkc(password)
    pre, inner = string(label or scheme, scheme, hashed, **numbers)
    return {"expect": "success", "password": password, "hashed": hashed.hex(), "hash": f"$securekit$v=1,n=nfkc{pre}{inner}"}


def layered(layer: str, digest: bytes, scheme: str, *, salt: bytes = b"", **numbers: int) -> Scenario:
    """Return a hash over a digest of an old table."""
    pre, inner = string(layer, scheme, digest, **numbers)
    suffix = f",salt={b64(salt)}" if salt else ""
    text = f"$securekit$v=1,n=none{pre},onion={layer}{suffix}{inner}"
    return {"expect": "success", "password": PASSWORD, "hashed": digest.hex(), "hash": text}


def refused(given: Scenario, expect: str, note: str, *, old: str = "", new: str = "", password: str | None = None) -> Scenario:
    """Return a scenario that is right in everything but one thing."""
    assert old in given["hash"]
    return {"expect": expect, "note": note, "password": password or given["password"], "hash": given["hash"].replace(old, new, 1)}


def passwords() -> Scenarios:
    """Hashes that verify, and hashes that must not."""
    argon2 = scenario("argon2id", m=65_536, t=3, p=1)
    small = scenario("argon2id", label="small", m=64, t=2, p=2)
    scrypt = scenario("scrypt", ln=17, r=8, p=1)
    pbkdf2 = scenario("pbkdf2-sha256", i=600_000)
    of_bcrypt = scenario("bcrypt", rounds=12)
    raw = PASSWORD.encode()
    md5 = layered("md5-hex", hashlib.md5(raw).hexdigest().encode(), "argon2id", m=64, t=1, p=1)
    sha1 = hashlib.sha1(b"NaCl" + raw).hexdigest().encode()
    salted = layered("sha1-salt-password", sha1, "bcrypt", salt=b"NaCl", rounds=4)
    return {
        "argon2id": argon2,
        "argon2id-two-lanes": small,
        "scrypt": scrypt,
        "pbkdf2": pbkdf2,
        "bcrypt": of_bcrypt,
        "decomposed": scenario("pbkdf2-sha256", password="pa\u0308sswo\u0308rd \ufb01\uff11", label="decomposed", i=1),
        "nul-and-100-bytes": scenario("bcrypt", password="x\0" * 50, label="nul", rounds=4),
        "over-md5": md5,
        "over-salted-sha1": salted,
        "another-password": refused(small, "password error", "another password", password=PASSWORD + " "),
        "another-lane": refused(small, "password error", "one lane less", old="p=2", new="p=1"),
        "digest-as-password": refused(md5, "password error", "the digest of the old table", password=bytes.fromhex(md5["hashed"]).decode()),
        "cut-off-at-nul": refused(
            scenario("bcrypt", password="x\0y", label="cut", rounds=4), "password error", "what stands before the NUL", password="x"
        ),
        "version-2": refused(small, "format error", "another version", old="v=1,", new="v=2,"),
        "not-normalised": refused(small, "format error", "no layer, and not normalised", old="n=nfkc", new="n=none"),
        "leading-zero": refused(small, "format error", "a number with a leading zero", old="t=2", new="t=02"),
        "another-order": refused(small, "format error", "parameters in another order", old="m=64,t=2", new="t=2,m=64"),
        "argon2i": refused(small, "format error", "a scheme that others use", old="argon2id", new="argon2i"),
        "four-gibibytes": refused(argon2, "format error", "memory above the ceiling", old="m=65536", new="m=4194304"),
        "ln-30": refused(scrypt, "format error", "memory above the ceiling", old="ln=17", new="ln=30"),
        "iterations-2-31": refused(pbkdf2, "format error", "work above the ceiling", old="i=600000", new="i=2147483648"),
        "rounds-31": refused(of_bcrypt, "format error", "work above the ceiling", old="$12$", new="$31$"),
        "without-pre": refused(of_bcrypt, "format error", "bcrypt of the password itself", old=",pre=hmac-sha384"),
        "unknown-layer": refused(md5, "format error", "a layer that is not defined", old="md5-hex", new="md2-hex"),
        "layer-without-salt": refused(salted, "format error", "the layer's salt is missing", old=",salt=TmFDbA"),
        "trailing-newline": {**small, "expect": "format error", "note": "a newline at its end", "hash": small["hash"] + "\n"},
    }
