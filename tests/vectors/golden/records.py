# SPDX-License-Identifier: Apache-2.0
"""Scenarios of records: ``docs/spec/record.md``."""

from __future__ import annotations

from tests.vectors.golden import reference as ref
from tests.vectors.golden.scenario import KEY_ID, OTHER_PATH, PATH, Scenario, Scenarios, changed, drawn

CONTEXT = {"table": "invoice", "column": "iban", "id": "42"}


def record(label: str, plaintext: bytes, context: dict[str, str], *, path: str = PATH, **more: object) -> Scenario:
    """Return a record that opens, with its intermediate values."""
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
        "text": text_of(message),
        **more,
    }


def text_of(message: bytes) -> str:
    """Return a record's text form."""
    return "sk1." + ref.base64url(message)


def refused(scenario: Scenario, expect: str, note: str, **changes: object) -> Scenario:
    """Return ``scenario`` with its inputs changed so that it must be refused; intermediate values are left out."""
    inputs = {name: scenario[name] for name in ("path", "key_id", "key", "context", "record")}
    return {"expect": expect, "note": note, **inputs, **changes}


def records() -> Scenarios:
    """Records that open, and records that must not."""
    iban = record("iban", b"DE89 3704 0044 0532 0130 00", CONTEXT)
    return openable(iban) | misplaced(iban) | damaged(iban) | mistaken(iban) | misspelt(iban)


def openable(iban: Scenario) -> Scenarios:
    """Records that open."""
    longest = {f"k{number:02}".ljust(128, "x"): "v" * number for number in range(32)}
    order = {"b": "2", "a": "1", "ab": "3", "é": "4", "\U0001f511": "5", "\uff5e": "6"}
    return {
        "iban": iban,
        "empty-plaintext": record("empty", b"", CONTEXT),
        "empty-context": record("no context", b"x", {}),
        "one-block": record("one block", bytes(range(16)), {"id": "1"}),
        "kibibyte": record("kibibyte", drawn("kibibyte", 1024), CONTEXT),
        "unicode-context": record("unicode", "Ørsted".encode(), {"région": "Île-de-France", "名": "値", "a": ""}),
        "context-order": record("order", b"sorted by UTF-8 bytes", order),
        "largest-context": record("largest context", b"x", longest),
        "longest-key": record("longest key", b"x", {"é" * 64: "128 bytes, 64 characters"}),
        "longest-value": record("longest value", b"x", {"k": "v" * 4096}),
        "eight-segments": record("eight segments", b"x", CONTEXT, path="a/b/c/d/e/f/g/h"),
        "longest-segment": record("longest segment", b"x", CONTEXT, path="eu/" + "a" * 64),
        "dots-in-path": record("dots", b"x", CONTEXT, path="eu-1/acme.example_2/in.voices"),
        "active-key": record("active key", b"x", CONTEXT, state="active"),
    }


def misplaced(iban: Scenario) -> Scenarios:
    """A genuine record in another place, or under a key that cannot be used."""
    swapped = {"table": "invoice", "iban": "column", "id": "42"}
    shifted = CONTEXT | {"table": "invoic", "column": "eiban"}
    return {
        "other-context": refused(iban, "decryption error", "the id is another", context=CONTEXT | {"id": "43"}),
        "missing-context-pair": refused(iban, "decryption error", "the id is missing", context={"table": "invoice", "column": "iban"}),
        "added-context-pair": refused(iban, "decryption error", "an empty value more", context=CONTEXT | {"z": ""}),
        "shifted-context": refused(iban, "decryption error", "a character moved from one value to its neighbour", context=shifted),
        "swapped-context": refused(iban, "decryption error", "a key and its value swapped", context=swapped),
        "other-path": refused(iban, "decryption error", "the same key under another path", path=OTHER_PATH),
        "other-key": refused(iban, "decryption error", "the id of the key, and other bytes", key=drawn("another key", 32).hex()),
        "unknown-key-id": refused(iban, "key not found", "no key of that id", record=changed(iban["record"], 1)),
        "disabled-key": refused(iban, "key state error", "the key is disabled", state="disabled"),
        "destroyed-key": refused(iban, "key state error", "the key is destroyed; its bytes were these", state="destroyed"),
        "disabled-key-changed": refused(
            iban, "key state error", "the state is looked at before the tag", state="disabled", record=changed(iban["record"], -1)
        ),
    }


def damaged(iban: Scenario) -> Scenarios:
    """Records with other bytes, more of them or fewer."""
    raw = iban["record"]
    return {
        "changed-version": refused(iban, "format error", "version 0", record=changed(raw, 0)),
        "changed-nonce": refused(iban, "decryption error", "one bit of the nonce", record=changed(raw, 5)),
        "changed-nonce-tail": refused(iban, "decryption error", "one bit of the nonce's second half", record=changed(raw, 17)),
        "changed-commitment": refused(iban, "decryption error", "one bit of the commitment", record=changed(raw, 29, 0x80)),
        "changed-commitment-tail": refused(iban, "decryption error", "one bit of the commitment's second half", record=changed(raw, 60)),
        "changed-ciphertext": refused(iban, "decryption error", "one bit of the ciphertext", record=changed(raw, 61)),
        "changed-tag": refused(iban, "decryption error", "one bit of the tag", record=changed(raw, -1)),
        "truncated": refused(iban, "decryption error", "the last byte is missing", record=raw[:-2]),
        "extended": refused(iban, "decryption error", "one byte more", record=raw + "00"),
        "too-short": refused(iban, "format error", "76 bytes, one less than an empty record", record=raw[: 2 * 76]),
        "header-only": refused(iban, "format error", "version and key id alone", record=raw[:10]),
        "empty": refused(iban, "format error", "no bytes at all", record=""),
    }


def mistaken(iban: Scenario) -> Scenarios:
    """Contexts outside of the limits: the caller's error, whatever the record is."""
    contexts = {
        "context-33-pairs": ("33 pairs", {f"k{number:02}": "" for number in range(33)}),
        "context-empty-key": ("an empty key", {"": "x"}),
        "context-long-key": ("a key of 129 bytes", {"k" * 129: "x"}),
        "context-long-key-unicode": ("a key of 65 characters, 130 bytes", {"é" * 65: "x"}),
        "context-long-value": ("a value of 4,097 bytes", {"k": "v" * 4097}),
        "context-long-value-unicode": ("a value of 2,049 characters, 4,098 bytes", {"k": "é" * 2049}),
        "context-surrogate-key": ("a key with a lone surrogate", {"\ud800": "x"}),
        "context-surrogate-value": ("a value with a lone surrogate", {"k": "\udfff"}),
    }
    scenarios = {name: refused(iban, "caller error", note, context=context) for name, (note, context) in contexts.items()}
    first = refused(iban, "caller error", "an empty key, and no record", context={"": "x"}, record="00")
    return scenarios | {"context-before-record": first}


def misspelt(iban: Scenario) -> Scenarios:
    """Texts that are not the text form of a record."""
    raw, text = bytes.fromhex(iban["record"]), iban["text"]
    texts = {
        "padded-text": ("base64 padding", text_of(raw + b"\x00") + "="),
        "trailing-bits-text": ("non-zero trailing bits", text[:-1] + chr(ord(text[-1]) + 1)),
        "newline-text": ("a line's end inside", text[:50] + "\n" + text[50:]),
        "newline-after-text": ("a line's end behind it", text + "\n"),
        "space-before-text": ("a space before it", " " + text),
        "prefix-text": ("an upper-case prefix", "SK1." + text[4:]),
        "other-prefix-text": ("another version in the prefix", "sk2." + text[4:]),
        "no-prefix-text": ("no prefix", text[4:]),
        "empty-text": ("no characters at all", ""),
        "prefix-alone-text": ("the prefix alone", "sk1."),
        "plus-text": ("a + of the other alphabet", text[:8] + "+" + text[9:]),
        "slash-text": ("a / of the other alphabet", text[:8] + "/" + text[9:]),
        "full-width-text": ("a letter beyond ASCII", text[:8] + "\uff21" + text[9:]),
        "impossible-length-text": ("one character more than whole bytes, of four", text_of(raw[:102]) + "A"),
        "version-text": ("a record of version 0", text_of(bytes.fromhex(changed(iban["record"], 0)))),
        "too-short-text": ("a record of 76 bytes", text_of(raw[:76])),
    }
    return {name: {"expect": "format error", "note": note, "text": spelling} for name, (note, spelling) in texts.items()}
