# SPDX-License-Identifier: Apache-2.0
"""Scenarios of keyring documents that are not canonical, not authentic, not ours, or not to be believed, each for one reason."""

from __future__ import annotations

from tests.vectors.golden import reference as ref
from tests.vectors.golden.documents import (
    DISABLED,
    ESCROW,
    KEYS,
    MINE,
    OLDER,
    ONE,
    PRIMARY,
    TEXT,
    Members,
    authentic,
    document,
    entry,
    no,
    opener,
    recipient,
    replaced,
    sealed_key,
)
from tests.vectors.golden.scenario import KEY_ID, OTHER_PATH, PATH, Scenario, Scenarios, changed, drawn
from tests.vectors.golden.wrapped_keys import KEYRING_ID, SECRET, hpke, keyring, local


def refused_documents() -> Scenarios:
    """Return all of them."""
    return encodings() | macs() | forgeries() | broken_keys() | wrapped_copies() | beliefs()


def encodings() -> Scenarios:
    """Texts that are not the canonical form of what they say."""
    shown = authentic(document([MINE | {"about": {"x": "é\n/\x1f"}}], [PRIMARY]))
    texts: dict[str, tuple[str, str | bytes]] = {
        "white-space": ("a space", TEXT.replace('"refresh":', '"refresh": ')),
        "newline": ("a line's end behind it", TEXT + "\n"),
        "byte-order-mark": ("a byte order mark", "\ufeff" + TEXT),
        "duplicate-member": ("a member twice", TEXT.replace('"refresh":60', '"refresh":60,"refresh":60')),
        "member-order": ("two members in another order", TEXT.replace('"refresh":60,"revision":1', '"revision":1,"refresh":60')),
        "member-order-in-key": (
            "two members of a key in another order",
            TEXT.replace(f'"disabled":null,"due":false,"id":"{KEY_ID}"', f'"due":false,"disabled":null,"id":"{KEY_ID}"'),
        ),
        "float": ("60.0", TEXT.replace('"refresh":60', '"refresh":60.0')),
        "exponent": ("6e1", TEXT.replace('"refresh":60', '"refresh":6e1')),
        "leading-zero": ("060", TEXT.replace('"refresh":60', '"refresh":060')),
        "minus-zero": ("-0", TEXT.replace('"stale_if_error":86400', '"stale_if_error":-0')),
        "not-a-number": ("NaN", TEXT.replace('"refresh":60', '"refresh":NaN')),
        "escaped-letter": ("é as an escape", shown.replace("é", "\\u00e9")),
        "escaped-slash": ("an escaped /", shown.replace("/\\u", "\\/\\u")),
        "long-escape": ("\\u000a for \\n", shown.replace("\\n", "\\u000a")),
        "upper-case-escape": ("\\u001F for \\u001f", shown.replace("\\u001f", "\\u001F")),
        "raw-control-character": ("a line's end that is not escaped", shown.replace("\\n", "\n")),
        "escaped-name": ("an escape in a member's name", TEXT.replace('"refresh"', '"r\\u0065fresh"')),
        "escaped-surrogate": ("a lone surrogate, escaped", shown.replace("é", "\\ud800")),
        "invalid-utf-8": ("a byte 0xff", shown.encode().replace("é".encode(), b"\xff")),
        "surrogate-bytes": ("a lone surrogate in bytes", shown.encode().replace("é".encode(), b"\xed\xa0\x80")),
        "overlong-utf-8": ("a letter in two bytes", shown.encode().replace("é".encode(), b"\xc1\xa1")),
        "utf-16": ("another encoding", TEXT.encode("utf-16-le")),
        "truncated": ("the last byte is missing", TEXT[:-1]),
        "trailing-comma": ("a comma behind the last member", TEXT[:-1] + ",}"),
        "two-documents": ("the document twice", TEXT + TEXT),
        "empty": ("no bytes at all", ""),
        "null": ("null", "null"),
        "array": ("an array around it", f"[{TEXT}]"),
    }
    return {name: no("format error", f"not canonical: {note}", text) for name, (note, text) in texts.items()}


def macs() -> Scenarios:
    """A mac of another form."""
    at = TEXT.index('"mac"')
    texts = {
        "no-mac": ("without mac", TEXT[:at] + TEXT[TEXT.index('"path"') :]),
        "mac-short": ("a mac of 31 bytes", replaced("mac", ref.base64url(bytes(31)))),
        "mac-long": ("a mac of 33 bytes", replaced("mac", ref.base64url(bytes(33)))),
        "mac-null": ("a mac of null", TEXT[:at] + '"mac":null,' + TEXT[TEXT.index('"path"') :]),
        "mac-padded": ("padding", replaced("mac", ref.base64url(bytes(32)) + "=")),
        "mac-trailing-bits": ("non-zero trailing bits", replaced("mac", ref.base64url(bytes(32))[:-1] + "B")),
    }
    return {name: no("format error", note, text) for name, (note, text) in texts.items()}


def forgeries() -> Scenarios:
    """Documents that were changed, moved, or made by somebody else."""
    everything = authentic(document([MINE], [OLDER, DISABLED, PRIMARY]))
    enabled = everything.replace('"disabled":"2026-01-01T00:00:00Z"', '"disabled":null').replace('"state":"disabled"', '"state":"active"')
    tag = ref.b64(TEXT[TEXT.index('"mac":"') + 7 :][:43])
    return {
        "changed-state": fail("a disabled key made active without the secret", enabled),
        "changed-refresh": fail("refresh is another", TEXT.replace('"refresh":60', '"refresh":61')),
        "changed-revision": fail("revision is another", TEXT.replace('"revision":1', '"revision":2')),
        "changed-about": fail("about is another", TEXT.replace('"about":{}', '"about":{"x":""}')),
        "changed-mac": fail("one bit of the mac", replaced("mac", ref.base64url(bytes.fromhex(changed(tag.hex(), 0))))),
        "added-recipient": fail("a recipient added without the secret", added(entry("vault-transit", "app"))),
        "other-path": fail("moved to another path", TEXT, path=OTHER_PATH),
        "other-path-foreign-kek": fail("the path before the recipients", TEXT, path=OTHER_PATH, openers=[foreign()]),
        "other-secret": fail("authentic under another secret than the wrapped one", authentic(ONE, drawn("other secret", 32))),
        "foreign-kek": no("key not found", "no recipient is ours", TEXT, openers=[foreign()]),
        "no-wrapper": no("key not found", "no wrapper is configured", TEXT, openers=[]),
    }


def broken_keys() -> Scenarios:
    """Authentic documents in which a key version does not decrypt."""
    broken = ref.base64url(bytes.fromhex(changed(ref.b64(OLDER["key"]).hex(), -1)))
    keys = {
        "key-broken": ("the tag of the older key is changed", [OLDER | {"key": broken}, PRIMARY]),
        "primary-key-broken": ("the tag of the primary key is changed", [OLDER, PRIMARY | {"key": broken}]),
        "disabled-key-broken": ("a disabled key is another's", [DISABLED | {"key": OLDER["key"]}, PRIMARY]),
        "keys-swapped": ("two keys changed places", [OLDER | {"key": PRIMARY["key"]}, PRIMARY | {"key": OLDER["key"]}]),
        "key-of-other-id": ("a key was sealed for another id", [OLDER | {"key": sealed_key("01020304", KEYS["0a0b0c0d"])}, PRIMARY]),
    }
    return {name: fail(f"authentic, and {note}", authentic(document([MINE], versions))) for name, (note, versions) in keys.items()}


def wrapped_copies() -> Scenarios:
    """Documents whose wrapped copy of the secret is not for them, or not to be had."""
    garbage = entry("local", MINE["key_ref"], drawn("garbage", 137))
    short = entry("local", MINE["key_ref"], bytes(136))
    second = recipient(keyring())
    under = authentic(document([second], [PRIMARY]))
    both = [opener(local()), opener(keyring())]

    def copied(*binding: ref.Part) -> str:
        return authentic(document([recipient(local(package=ref.package(SECRET, ["keyring", *binding])))], [PRIMARY]))

    return {
        "copy-of-other-path": fail("the wrapped copy is that of another path", copied(OTHER_PATH, KEYRING_ID)),
        "copy-of-other-keyring": fail("the wrapped copy is that of another keyring", copied(PATH, drawn("other id", 16))),
        "copy-garbage": fail("the wrapped copy is garbage", authentic(document([garbage], [PRIMARY]))),
        "copy-garbage-is-final": fail(
            "the first wrapped copy is garbage, and the second would open",
            authentic(document([garbage, second], [PRIMARY])),
            openers=both,
        ),
        "copy-short": no("format error", "the wrapped copy has 136 bytes", authentic(document([short], [PRIMARY]))),
        "copy-short-is-final": no(
            "format error",
            "the same, and the second would open",
            authentic(document([short, second], [PRIMARY])),
            openers=both,
        ),
        "denied": no("denied", "the parent's key is disabled", under, openers=[opener(keyring(), parent_state="disabled")]),
        "denied-no-key": no("denied", "the parent has no such key", under, openers=[opener(keyring(), parent_key_id="00c0ffef")]),
        "denied-then-foreign": no(
            "denied", "the only other KEK is none of its recipients", under, openers=[opener(keyring(), parent_state="disabled"), foreign()]
        ),
    }


def fail(note: str, data: str, **more: object) -> Scenario:
    """Return a scenario that is a decryption error."""
    return no("decryption error", note, data, **more)


def foreign() -> Scenario:
    """Return a local KEK that no document is wrapped to."""
    return opener(local(kek=drawn("foreign", 32)))


def added(member: Members) -> str:
    """Return the document with one recipient more, and its old tag."""
    text = authentic(document([MINE, member], [PRIMARY]))
    begin, old = text.index('"mac":"'), TEXT.index('"mac":"')
    return text[:begin] + TEXT[old : old + 51] + text[begin + 51 :]


def beliefs() -> Scenarios:
    """Documents that open through a certificate alone, and old revisions."""
    escrow = opener(hpke("p256"))
    alone = authentic(document([ESCROW], [PRIMARY], revision=2))
    beside = authentic(document([MINE, ESCROW], [PRIMARY]))
    later, newer = alone.replace('"revision":2', '"revision":3'), TEXT.replace('"revision":1', '"revision":2')
    forged = authentic(document([ESCROW, entry("local", MINE["key_ref"], drawn("garbage", 137))], [PRIMARY]))
    other_id = drawn("other id", 16).hex()
    return {
        "escrow-alone": no("refused", "it opens through a certificate alone", alone, openers=[escrow]),
        "escrow-other-id": no("refused", "another id is pinned", alone, openers=[escrow], keyring_id=other_id),
        "escrow-beside-local": no("refused", "the local KEK is not configured", beside, openers=[escrow]),
        "escrow-changed": no("decryption error", "the mac before the belief", later, openers=[escrow]),
        "other-id": no("refused", "another id is pinned", TEXT, keyring_id=other_id),
        "rolled-back": no("refused", "revision 1, and at least 2 is asked for", TEXT, minimum_revision=2),
        "rolled-back-changed": no("decryption error", "the mac before the revision", newer, minimum_revision=3),
        "insiders-first": no(
            "decryption error",
            "forged: it opens for the certificate, and its local copy is garbage",
            forged,
            openers=[escrow, opener(local())],
            keyring_id=KEYRING_ID.hex(),
        ),
    }
