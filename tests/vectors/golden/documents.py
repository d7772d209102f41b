# SPDX-License-Identifier: Apache-2.0
"""Scenarios of keyring documents that open: ``docs/spec/keyring.md``."""

from __future__ import annotations

from typing import Any

from tests.vectors.golden import reference as ref
from tests.vectors.golden.refused_wrapped_keys import KEKS
from tests.vectors.golden.scenario import KEY_ID, PATH, Scenario, Scenarios, drawn
from tests.vectors.golden.wrapped_keys import KEYRING_ID, SECRET, hpke, keyring, local, passphrase, rsa

Members = dict[str, Any]
MADE = "2026-01-02T03:04:05Z"
KEYS = {KEY_ID: drawn("primary", 32), "0a0b0c0d": drawn("older", 32), "11223344": drawn("staged", 32), "55667788": drawn("disabled", 32)}


def version(key_id: str, state: str, **more: object) -> Members:
    """Return one key version of a document."""
    key = KEYS.get(key_id)
    return {
        "created": MADE,
        "disabled": None,
        "due": False,
        "id": key_id,
        "key": sealed_key(key_id, key) if key else None,
        "not_after": None,
        "promoted": MADE,
        "state": state,
        **more,
    }


def sealed_key(key_id: str, key: bytes) -> str:
    """Return the member ``key`` of a key version."""
    return ref.base64url(ref.sealed_key(SECRET, PATH, KEYRING_ID, key_id, key=key, nonce=drawn(f"nonce of {key_id}", 24)))


def recipient(scenario: Scenario, **about: str) -> Members:
    """Return a recipient of a document from the scenario of a wrapped key."""
    return entry(scenario["wrapper"], scenario["key_ref"], bytes.fromhex(scenario["ciphertext"]), about=about)


def entry(wrapper: str, key_ref: str, ciphertext: bytes = b"x", **more: object) -> Members:
    """Return a recipient of a document."""
    return {"about": {}, "ciphertext": ref.base64url(ciphertext), "key_ref": key_ref, "wrapper": wrapper, **more}


def document(recipients: list[Members], keys: list[Members], **more: object) -> Members:
    """Return a document's members but for the tag."""
    return {
        "created": MADE,
        "format": "securekit/keyring/1",
        "id": ref.base64url(KEYRING_ID),
        "keys": keys,
        "path": PATH,
        "recipients": sorted(recipients, key=lambda member: (member["wrapper"], member["key_ref"])),
        "refresh": 60,
        "revision": 1,
        "stale_if_error": 86400,
        **more,
    }


def opener(scenario: Scenario, **more: object) -> Scenario:
    """Return the KEK of a wrapped key's scenario, as a configured wrapper."""
    return {name: scenario[name] for name in KEKS if name in scenario} | more


def sealed(members: Members, *others: Scenario, **more: object) -> Scenario:
    """Return the scenario of a document that opens with the local KEK, and with each of the ``others``."""
    return {
        "expect": "success",
        "path": PATH,
        "openers": [opener(scenario) for scenario in (local(), *others)],
        "secret": SECRET.hex(),
        "mac_key": ref.hkdf(SECRET, "securekit/keyring/1 document").hex(),
        "keys_key": ref.hkdf(SECRET, "securekit/keyring/1 keys").hex(),
        "keys": [{"id": key["id"], "state": key["state"], "key": KEYS[key["id"]].hex() if key["key"] else None} for key in members["keys"]],
        "document": ref.keyring_document(members, SECRET).decode(),
        **more,
    }


def authentic(members: Members, secret: bytes = SECRET) -> str:
    """Return the document's text."""
    return ref.keyring_document(members, secret).decode()


def no(expect: str, note: str, data: str | bytes, **more: object) -> Scenario:
    """Return a scenario that must be refused; what is not UTF-8 stands in ``document_bytes``."""
    stored = {"document": data} if isinstance(data, str) else {"document_bytes": data.hex()}
    return {"expect": expect, "note": note, "path": PATH, "openers": [opener(local())], **stored, **more}


def replaced(name: str, value: str) -> str:
    """Return the text with another value of a member that is text."""
    begin = TEXT.index(f'"{name}":"') + len(name) + 4
    return TEXT[:begin] + value + TEXT[TEXT.index('"', begin) :]


MINE, ESCROW = recipient(local()), recipient(hpke("p256"), subject="CN=escrow.example", not_after="2036-01-01T00:00:00Z")
PRIMARY = version(KEY_ID, "primary")
OLDER = version("0a0b0c0d", "active", created="2025-06-01T00:00:00Z", promoted="2025-06-01T00:00:00Z")
DISABLED = version("55667788", "disabled", disabled="2026-01-01T00:00:00Z")
DESTROYED = version("99aabbcc", "destroyed", disabled="2025-12-01T00:00:00Z")
ONE = document([MINE], [PRIMARY])
TEXT = authentic(ONE)


def documents() -> Scenarios:
    """Documents that open."""
    return versions() | recipients() | bounds() | beliefs()


def versions() -> Scenarios:
    """Key versions in every state."""
    return {
        "one-key": sealed(ONE),
        "rotated": sealed(document([MINE], [OLDER, PRIMARY], revision=2)),
        "primary-first": sealed(document([MINE], [PRIMARY, OLDER], revision=3), note="promoted back: the order is that of making"),
        "staged": sealed(document([MINE], [PRIMARY, version("11223344", "active", promoted=None)], revision=2)),
        "all-states": sealed(document([MINE], [OLDER, DISABLED, DESTROYED, PRIMARY], revision=7)),
        "due": sealed(document([MINE], [OLDER | {"due": True}, PRIMARY], revision=3)),
        "due-primary": sealed(
            document([MINE], [PRIMARY | {"due": True, "not_after": MADE}]), note="the primary is due, and past its not_after"
        ),
        "not-after": sealed(document([MINE], [PRIMARY | {"not_after": "2036-01-01T00:00:00Z"}])),
    }


def recipients() -> Scenarios:
    """Recipients of every kind, alone and together."""
    paper, wide, x = passphrase("paper"), rsa(), hpke("x25519")
    five = document([MINE, ESCROW, recipient(paper), recipient(wide), recipient(x)], [PRIMARY])
    strange = entry("vault-transit", "k" * 700, bytes(3072))
    crowd = [entry("vault-transit", f"key-{number:02}") for number in range(63)]
    shown = {"unicode": "\U0001f511" * 512, "escaped": '\x00\t\n\x1f"\\/', "raw": "\x7f\u2028é", "empty": "", "a" * 64: "", "_-0": ""}
    under = document([MINE, recipient(keyring())], [PRIMARY])
    return {
        "escrow": sealed(document([MINE, ESCROW], [PRIMARY], revision=2), hpke("p256")),
        "five-recipients": sealed(five, hpke("p256"), paper, wide, x),
        "under-a-keyring": sealed(under, keyring()),
        "denied-passed-over": sealed(under, note="the parent's key is disabled; the local KEK opens")
        | {"openers": [opener(keyring(), parent_state="disabled"), opener(local())]},
        "unknown-wrapper": sealed(document([MINE, strange], [PRIMARY]), note="a wrapper that nobody knows, as long as can be"),
        "64-recipients": sealed(document([MINE, *crowd], [PRIMARY])),
        "about": sealed(document([MINE | {"about": shown}], [PRIMARY])),
        "eight-facts": sealed(document([MINE | {"about": {str(number): "" for number in range(8)}}], [PRIMARY])),
    }


def bounds() -> Scenarios:
    """Values at their bounds."""
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"
    years = {"created": last, "promoted": first, "not_after": first}
    return {
        "longest-times": sealed(document([MINE], [PRIMARY], refresh=31622400, stale_if_error=0, revision=9007199254740991)),
        "shortest-times": sealed(document([MINE], [PRIMARY], refresh=1, stale_if_error=31622400)),
        "earliest-and-latest": sealed(document([MINE], [PRIMARY | years], created=first)),
        "leap-day": sealed(document([MINE], [PRIMARY | {"not_after": "2028-02-29T23:59:59Z"}])),
    }


def beliefs() -> Scenarios:
    """Documents that open through a certificate alone, and are believed; and revisions that are new enough."""
    escrow = hpke("p256")
    alone = sealed(document([ESCROW], [PRIMARY], revision=2)) | {"openers": [opener(escrow)]}
    return {
        "escrow-pinned": alone | {"keyring_id": KEYRING_ID.hex()},
        "escrow-recovery": alone | {"recover": True},
        "pinned": sealed(ONE, keyring_id=KEYRING_ID.hex()),
        "minimum-revision": sealed(document([MINE], [PRIMARY], revision=3), minimum_revision=3),
    }
