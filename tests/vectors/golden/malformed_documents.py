# SPDX-License-Identifier: Apache-2.0
"""Scenarios of keyring documents with a member that is missing, too much, of another form, or out of bounds.

Each is authentic: a reader that does not look at that member would open it.
"""

from __future__ import annotations

import json

from tests.vectors.golden import reference as ref
from tests.vectors.golden.documents import (
    DESTROYED,
    DISABLED,
    ESCROW,
    MADE,
    MINE,
    OLDER,
    ONE,
    PRIMARY,
    Members,
    authentic,
    document,
    entry,
    no,
    version,
)
from tests.vectors.golden.scenario import KEY_ID, Scenario, Scenarios
from tests.vectors.golden.wrapped_keys import KEYRING_ID


def malformed(note: str, members: Members) -> Scenario:
    """Return an authentic document that is a format error."""
    return no("format error", note, authentic(members))


def each_malformed(prefix: str, faults: dict[str, tuple[str, Members]]) -> Scenarios:
    """Return authentic documents that are format errors, by the rest of their name."""
    return {f"{prefix}-{name}": malformed(note, members) for name, (note, members) in faults.items()}


def without(members: Members, name: str) -> Members:
    """Return ``members`` without one of them."""
    return {other: value for other, value in members.items() if other != name}


def malformed_documents() -> Scenarios:
    """Return all of them."""
    return top_members() | numbers() | times() | paths() | key_members() | recipient_members() | abouts()


def top_members() -> Scenarios:
    """Members of the document itself."""
    faults = {
        "unknown-member": ("one member more", ONE | {"note": "hello"}),
        "no-stale-if-error": ("one member less", without(ONE, "stale_if_error")),
        "format-2": ("another format", ONE | {"format": "securekit/keyring/2"}),
        "format-null": ("no format", ONE | {"format": None}),
        "id-short": ("an id of 15 bytes", ONE | {"id": ref.base64url(KEYRING_ID[:-1])}),
        "id-long": ("an id of 17 bytes", ONE | {"id": ref.base64url(KEYRING_ID + b"x")}),
        "id-padded": ("a padded id", ONE | {"id": ref.base64url(KEYRING_ID) + "=="}),
        "id-plus": ("an id in the other alphabet", ONE | {"id": "+" * 21 + "A"}),
        "id-trailing-bits": ("an id with non-zero trailing bits", ONE | {"id": "A" * 21 + "B"}),
        "id-number": ("an id that is no text", ONE | {"id": 1}),
        "no-keys": ("no keys", document([MINE], [])),
        "keys-object": ("keys that are no array", ONE | {"keys": {}}),
        "no-recipients": ("no recipients", document([], [PRIMARY])),
        "65-recipients": ("65 recipients", document([MINE, *(entry("x", str(number)) for number in range(64))], [PRIMARY])),
        "recipients-null": ("recipients that are no array", ONE | {"recipients": None}),
    }
    return {name: malformed(f"authentic, and with {note}", members) for name, (note, members) in faults.items()}


def numbers() -> Scenarios:
    """Numbers out of bounds."""
    bad: dict[str, list[object]] = {
        "refresh": [0, -1, 31622401, "60", True, None],
        "stale_if_error": [-1, 31622401, False],
        "revision": [0, -1, 2**53, 2**64, "1"],
    }
    scenarios: Scenarios = {}
    for name, values in bad.items():
        for value in values:
            spelling = json.dumps(value)
            fault = malformed(f"authentic, and with {name} of {spelling}", ONE | {name: value})
            scenarios[f"{name}-{spelling}".replace("_", "-").replace('"', "")] = fault
    return scenarios


def times() -> Scenarios:
    """Texts that are no time."""
    texts: dict[str, object] = {
        "month-13": "2026-13-02T03:04:05Z",
        "month-0": "2026-00-02T03:04:05Z",
        "day-0": "2026-01-00T03:04:05Z",
        "february-30": "2026-02-30T03:04:05Z",
        "february-29": "2026-02-29T03:04:05Z",
        "hour-24": "2026-01-02T24:00:00Z",
        "minute-60": "2026-01-02T03:60:05Z",
        "second-60": "2026-06-30T23:59:60Z",
        "year-0": "0000-01-02T03:04:05Z",
        "year-10000": "10000-01-02T03:04:05Z",
        "offset": "2026-01-02T03:04:05+00:00",
        "local": "2026-01-02T03:04:05",
        "fraction": "2026-01-02T03:04:05.0Z",
        "lower-case": "2026-01-02t03:04:05z",
        "space": "2026-01-02 03:04:05Z",
        "basic": "20260102T030405Z",
        "other-digits": "\u0662\u0660\u0662\u0666-01-02T03:04:05Z",
        "newline": "2026-01-02T03:04:05Z\n",
        "number": 1767323045,
        "null": None,
    }
    return {f"time-{name}": malformed(f"authentic, and created at {text!r}", ONE | {"created": text}) for name, text in texts.items()}


def paths() -> Scenarios:
    """Texts that are no path."""
    texts = {
        "empty": "",
        "upper-case": "EU/acme/invoices",
        "dots": "eu/acme/..",
        "dash-first": "eu/-acme/invoices",
        "dot-last": "eu/acme/invoices.",
        "slash-first": "/eu/acme/invoices",
        "slash-last": "eu/acme/invoices/",
        "two-slashes": "eu//invoices",
        "nine-segments": "a/b/c/d/e/f/g/h/i",
        "long-segment": "a" * 65,
        "unicode": "eu/acmé/invoices",
        "newline": "eu/acme/invoices\n",
    }
    return {f"path-{name}": malformed("authentic, and with a path of another form", ONE | {"path": text}) for name, text in texts.items()}


def key_members() -> Scenarios:
    """Members of key versions."""

    def key(**members: object) -> Members:
        return document([MINE], [OLDER, PRIMARY, version("11223344", "active") | members])

    plain, raw = version("11223344", "active"), ref.b64(str(PRIMARY["key"]))
    faults = {
        "no-due": ("lacks a member", document([MINE], [PRIMARY, without(plain, "due")])),
        "member-more": ("has a member more", key(note="")),
        "no-object": ("is text", document([MINE], [PRIMARY]) | {"keys": [PRIMARY, "x"]}),
        "state-unknown": ("has an unknown state", key(state="retired")),
        "state-upper-case": ("has a state in capitals", key(state="Active")),
        "state-null": ("has no state", key(state=None)),
        "due-null": ("has a due mark of null", key(due=None)),
        "due-number": ("has a due mark of 0", key(due=0)),
        "id-upper-case": ("has an id in capitals", key(id="AABBCCDD")),
        "id-short": ("has an id of 7 digits", key(id="1122334")),
        "id-long": ("has an id of 9 digits", key(id="112233445")),
        "id-number": ("has an id that is no text", key(id=11223344)),
        "active-with-disabled": ("is active, and has a time at which it was disabled", key(disabled=MADE)),
        "primary-with-disabled": ("is primary, and has such a time", document([MINE], [PRIMARY | {"disabled": MADE}])),
        "disabled-without-time": ("is disabled without such a time", document([MINE], [PRIMARY, DISABLED | {"disabled": None}])),
        "destroyed-without-time": ("is destroyed without such a time", document([MINE], [PRIMARY, DESTROYED | {"disabled": None}])),
        "active-without-bytes": ("is active without bytes", key(key=None)),
        "disabled-without-bytes": ("is disabled without bytes", document([MINE], [PRIMARY, DISABLED | {"key": None}])),
        "destroyed-with-bytes": ("is destroyed with bytes", document([MINE], [PRIMARY, DESTROYED | {"key": PRIMARY["key"]}])),
        "short": ("has 103 bytes", key(key=ref.base64url(raw[:-1]))),
        "long": ("has 105 bytes", key(key=ref.base64url(raw + b"x"))),
        "padded": ("is padded", key(key=str(PRIMARY["key"]) + "=")),
        "trailing-bits": ("has non-zero trailing bits", key(key=ref.base64url(bytes(104))[:-1] + "B")),
        "created-null": ("was never made", key(created=None)),
        "not-after-text": ("has a not_after that is no time", key(not_after="never")),
        "promoted-number": ("has a promoted that is no time", key(promoted=0)),
    }
    documents = {
        "primary-not-promoted": ("a primary that was never promoted", document([MINE], [PRIMARY | {"promoted": None}])),
        "two-primaries": ("two primary keys", document([MINE], [OLDER | {"state": "primary"}, PRIMARY])),
        "no-primary": ("no primary key", document([MINE], [OLDER])),
        "twice-the-id": ("one key id twice", document([MINE], [version(KEY_ID, "active"), PRIMARY])),
    }
    return each_malformed("key", {name: (f"authentic, and a key {note}", members) for name, (note, members) in faults.items()}) | {
        name: malformed(f"authentic, and with {note}", members) for name, (note, members) in documents.items()
    }


def recipient_members() -> Scenarios:
    """Members of wrapped copies."""

    def other(**members: object) -> Members:
        return document([MINE], [PRIMARY]) | {"recipients": [MINE, entry("vault-transit", "app") | members]}

    crowd = [entry("x", "b"), entry("x", "a")]
    faults = {
        "member-less": ("lacks a member", ONE | {"recipients": [without(MINE, "about")]}),
        "member-more": ("has a member more", other(label="")),
        "wrapper-empty": ("has no wrapper's name", ONE | {"recipients": [MINE | {"wrapper": ""}]}),
        "wrapper-long": ("has a wrapper's name of 65 characters", other(wrapper="x" * 65)),
        "wrapper-upper-case": ("has a wrapper's name in capitals", ONE | {"recipients": [entry("Vault", "app"), MINE]}),
        "wrapper-underscore": ("has a wrapper's name with _", other(wrapper="vault_transit")),
        "wrapper-null": ("has a wrapper's name of null", other(wrapper=None)),
        "key-ref-long": ("has a key_ref of 701 characters", other(key_ref="k" * 701)),
        "key-ref-space": ("has a key_ref with a space", other(key_ref="a b")),
        "key-ref-unicode": ("has a key_ref beyond ASCII", other(key_ref="é")),
        "key-ref-control": ("has a key_ref with a control character", other(key_ref="a\x7f")),
        "key-ref-newline": ("has a key_ref with a line's end", other(key_ref="app\n")),
        "key-ref-null": ("has a key_ref of null", other(key_ref=None)),
        "ciphertext-empty": ("has no ciphertext", other(ciphertext="")),
        "ciphertext-long": ("has a ciphertext of 3,073 bytes", other(ciphertext=ref.base64url(bytes(3073)))),
        "ciphertext-padded": ("has a padded ciphertext", other(ciphertext="AA==")),
        "ciphertext-trailing-bits": ("has non-zero trailing bits", other(ciphertext="AB")),
        "ciphertext-impossible": ("has a ciphertext of an impossible length", other(ciphertext="AAAAA")),
        "ciphertext-null": ("has a ciphertext of null", other(ciphertext=None)),
        "twice": ("is there twice", document([MINE, MINE], [PRIMARY])),
        "order": ("is out of order", ONE | {"recipients": [ESCROW, MINE]}),
        "order-of-one-wrapper": ("is out of order, among those of one wrapper", ONE | {"recipients": [MINE, *crowd]}),
    }
    return each_malformed("recipient", {name: (f"authentic, and a recipient {note}", members) for name, (note, members) in faults.items()})


def abouts() -> Scenarios:
    """What is there for display, out of its bounds."""
    values: dict[str, object] = {
        "nine": {str(number): "" for number in range(9)},
        "name-empty": {"": "x"},
        "name-long": {"x" * 65: ""},
        "name-upper-case": {"Subject": ""},
        "name-dot": {"a.b": ""},
        "text-long": {"x": "é" * 513},
        "number": {"x": 1},
        "null-value": {"x": None},
        "nested": {"x": {}},
        "null": None,
        "array": [],
    }
    return {
        f"about-{name}": malformed("authentic, and with a description out of bounds", document([MINE | {"about": about}], [PRIMARY]))
        for name, about in values.items()
    }
