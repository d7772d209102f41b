# SPDX-License-Identifier: Apache-2.0
"""Scenarios of envelopes: ``docs/spec/envelope.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.golden import reference as ref
from tests.vectors.golden.refused_wrapped_keys import KEKS
from tests.vectors.golden.scenario import Scenario, Scenarios, drawn
from tests.vectors.golden.wrapped_keys import hpke, keyring, local, passphrase, post_quantum, rsa

MESSAGE, STREAM = 0, 1
DATA_KEY, MESSAGE_ID = drawn("envelope data key", 32), drawn("envelope message id", 16)
OTHER_ID, OTHER_KEY = drawn("other message id", 16), drawn("other data key", 32)
CONTEXT = {"order": "7", "table": "invoice"}
HELLO = b"Gr\xc3\xbc\xc3\x9fe"
SLOT = 12
CHUNK = 16384


def package(message_id: bytes = MESSAGE_ID, key: bytes = DATA_KEY) -> bytes:
    """Return what each recipient's copy protects."""
    return ref.package(key, ["envelope", message_id])


def everyone() -> list[Scenario]:
    """Return a wrapped copy of every kind, in the order of a header."""
    curves = [hpke(kind, package=package()) for kind in ("p256", "p384", "x25519")]
    others = [local(package=package()), passphrase(package=package()), keyring(package=package()), rsa(package=package())]
    return sorted([*others, *curves, post_quantum(package=package())], key=lambda copy: (copy["wrapper"], copy["key_ref"]))


def entry(copy: Scenario, *facts: tuple[ref.Part, ref.Part], **changes: Any) -> bytes:
    """Return a recipient from the scenario of a wrapped key."""
    fields = {"name": copy["wrapper"], "key_ref": copy["key_ref"], "ciphertext": bytes.fromhex(copy["ciphertext"])} | changes
    return ref.envelope_recipient(fields["name"], fields["key_ref"], fields["ciphertext"], list(facts))


ESCROW = hpke("p256", package=package())
MINE = entry(local(package=package()))


def header(recipients: Sequence[bytes] = (MINE,), *, flags: int = MESSAGE, key: bytes = DATA_KEY, **more: Any) -> bytes:
    """Return an authentic header."""
    return ref.envelope_header(key, list(recipients), flags=flags, **({"message_id": MESSAGE_ID} | more))


def bound(flags: int, context: dict[str, str], message_id: bytes = MESSAGE_ID) -> bytes:
    """Return what a payload is bound to."""
    return ref.pae(label(flags), bytes([flags]), message_id, ref.context(context))


def label(flags: int) -> str:
    """Return the name of a payload's key."""
    return f"securekit/envelope/1 {'stream' if flags else 'message'}"


def message(data: bytes = HELLO, context: dict[str, str] = CONTEXT) -> dict[str, bytes]:
    """Return a message's payload, with its steps."""
    return ref.kc_xaes(ref.hkdf(DATA_KEY, label(MESSAGE)), drawn("envelope nonce", 24), data, bound(MESSAGE, context))


def chunked(data: bytes = HELLO, context: dict[str, str] = CONTEXT, salt: str = "envelope salt") -> dict[str, Any]:
    """Return a stream's payload, with its steps."""
    return ref.cobblestone(ref.hkdf(DATA_KEY, label(STREAM)), bound(STREAM, context), drawn(salt, 24), data)


def payload(steps: dict[str, Any], chunks: Iterable[bytes] | None = None) -> bytes:
    """Return the bytes of a stream's payload."""
    return bytes(steps["head"] + b"".join(steps["chunks"] if chunks is None else chunks))


def slots(first: bytes, second: bytes | None = None, *, exponent: int = SLOT) -> bytes:
    """Return two slots, padded."""
    size = 1 << exponent
    return first.ljust(size, b"\0") + (first if second is None else second).ljust(size, b"\0")


def openers(*copies: Scenario) -> list[Scenario]:
    """Return the KEKs of wrapped keys."""
    return [{name: copy[name] for name in KEKS if name in copy} for copy in copies or [local()]]


def good(sealed: bytes, data: bytes = HELLO, *copies: Scenario, context: dict[str, str] = CONTEXT, **more: object) -> Scenario:
    """Return a scenario that opens, with each of the openers alone."""
    flags = MESSAGE if sealed.startswith(b"sk-envelope/1\n\0") else STREAM
    steps: dict[str, Any] = message(data, context) if flags == MESSAGE else chunked(data, context)
    names = ("derived_key", "commitment") if flags == MESSAGE else ("aes_key", "base_nonce", "commitment")
    return {
        "expect": "success",
        "openers": openers(*copies),
        "context": context,
        "plaintext": data.hex(),
        "data_key": DATA_KEY.hex(),
        "message_id": MESSAGE_ID.hex(),
        "header_key": ref.hkdf(DATA_KEY, "securekit/envelope/1 header").hex(),
        "payload_key": ref.hkdf(DATA_KEY, label(flags)).hex(),
        "payload_context": bound(flags, context).hex(),
        **{name: steps[name].hex() for name in names},
        "sealed": sealed.hex(),
        **more,
    }


def no(expect: str, note: str, sealed: bytes, *copies: Scenario, **changes: object) -> Scenario:
    """Return a scenario that must be refused."""
    return {"expect": expect, "note": note, "openers": openers(*copies), "context": CONTEXT, "sealed": sealed.hex(), **changes}


def flipped(data: bytes, place: int, bit: int = 1) -> bytes:
    """Return the bytes with one bit flipped."""
    place %= len(data)
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def envelopes() -> Scenarios:
    """Messages, streams and files with two headers that open."""
    long, sealed = drawn("envelope data", CHUNK + 1), message()["message"]
    singles = {copy["wrapper"]: good(header([entry(copy)]) + sealed, HELLO, copy) for copy in everyone()}
    facts = entry(ESCROW, ("issuer", "CN=Gr\u00fc\u00dfe"), ("subject", "x" * 512))
    stream = header(flags=STREAM)
    slot = header(flags=STREAM, slot=SLOT)
    return (
        singles
        | {
            "message-empty": good(header() + message(b"")["message"], b""),
            "message-no-context": good(header() + message(HELLO, {})["message"], context={}),
            "message-all-recipients": good(header([entry(copy) for copy in everyone()]) + sealed, HELLO, *everyone()),
            "message-facts": good(header([MINE, facts]) + sealed, HELLO, local(), ESCROW),
            "stream": good(stream + payload(chunked())),
            "stream-empty": good(stream + payload(chunked(b"")), b""),
            "stream-no-context": good(stream + payload(chunked(HELLO, {})), context={}),
            "stream-full-chunk": good(stream + payload(chunked(long[:CHUNK])), long[:CHUNK], note="a full chunk, and an empty last one"),
            "stream-two-chunks": good(stream + payload(chunked(long)), long),
            "file": good(slots(slot) + payload(chunked())),
            "file-all-recipients": good(
                slots(header([entry(copy) for copy in everyone()], flags=STREAM, slot=13), exponent=13) + payload(chunked()),
                HELLO,
                *everyone(),
            ),
        }
        | exchanged(slot)
    )


def exchanged(slot: bytes) -> Scenarios:
    """Files whose two headers are not the same."""
    newer = header(flags=STREAM, slot=SLOT, generation=7)
    last = header(flags=STREAM, slot=SLOT, generation=2**32 - 1)
    to_escrow = header([entry(ESCROW)], flags=STREAM, slot=SLOT, generation=8)
    padded = slots(slot)[:4095] + b"\x01"
    lying = header(flags=STREAM, slot=13)
    variants: dict[str, tuple[str, bytes, bytes]] = {
        "newer-second": ("the second header is of generation 7", slot, newer),
        "newer-first": ("the first header is of generation 7", newer, slot),
        "last-generation": ("the first header is of the last generation", last, newer),
        "torn-first": ("the first header's tag is wrong", flipped(newer, -1), slot),
        "torn-second": ("the second header claims the last generation, and its tag is wrong", slot, flipped(last, -1)),
        "zeros-first": ("nothing is at the first place", b"", slot),
        "zeros-second": ("nothing is at the second place", slot, b""),
        "padding-first": ("the first header is not padded with zeros", padded, slot),
        "padding-second": ("the second header is not padded with zeros", slot, padded),
        "foreign-second": ("the second header is for somebody else", slot, to_escrow),
        "lying-second": ("the second header tells another size of the slots", slot, lying),
        "flags-first": ("the first header has unknown flags", flipped(slot, 14, 2), slot),
        "size-first": ("the first header tells another size of the slots: one bit", flipped(slot, 31), slot),
    }
    counts = {"newer-second": 7, "newer-first": 7, "last-generation": 2**32 - 1}
    files = {
        f"file-{name}": good(slots(one, two) + payload(chunked()), note=note, generation=counts.get(name, 0))
        for name, (note, one, two) in variants.items()
    }
    large = header(flags=STREAM, slot=14)
    lower = slots(lying, header(flags=STREAM, slot=SLOT, generation=9), exponent=13)
    return files | {
        "file-lower-second": good(
            lower + payload(chunked()), note="the second header, of generation 9, tells smaller slots than there are", generation=0
        ),
        "file-zeros-first-16k": good(bytes(1 << 14) + slots(large, exponent=14)[: 1 << 14] + payload(chunked()), note="slots of 16 KiB"),
        "file-size-first-16k": good(
            slots(flipped(large, 31, 2), large, exponent=14) + payload(chunked()), note="the first header tells 4 KiB, and they have 16 KiB"
        ),
    }


def refused_envelopes() -> Scenarios:
    """Return all that must not open, each for one reason."""
    return malformed() | recipients() | changed_messages() | changed_streams() | changed_files()


def malformed() -> Scenarios:
    """Headers that are not as written; their tags are right."""
    rest = message()["message"]
    plain = header()
    wrong = {
        "magic": ("another version", b"sk-envelope/2\n" + plain[14:]),
        "magic-crlf": ("a carriage return", b"sk-envelope/1\r\n" + plain[14:]),
        "empty": ("no bytes at all", b""),
        "flags-2": ("an unknown flag", header(flags=2)),
        "flags-3": ("an unknown flag beside that of a stream", header(flags=3)),
        "message-slots": ("a message with slots", slots(header(slot=SLOT))),
        "slot-11": ("slots of 2 KiB", slots(header(flags=STREAM, slot=11), exponent=11)),
        "generation": ("a generation without slots", header(generation=1)),
        "no-recipients": ("no recipients", header([])),
        "65-recipients": ("65 recipients", header([entry(local(), key_ref=f"{number:016x}") for number in range(64)] + [entry(ESCROW)])),
        "same-recipient": ("one recipient twice", header([MINE, MINE])),
        "order": ("recipients in descending order", header([entry(ESCROW), MINE])),
    }
    cut = {f"truncated-{size}": no("format error", f"the first {size} bytes", plain[:size]) for size in (13, 14, 36, 38, 39, 100)}
    cut["truncated-mac"] = no("format error", "a tag of 31 bytes", plain[:-1])
    return cut | {name: no("format error", note, data + rest if data else b"") for name, (note, data) in wrong.items()}


def recipients() -> Scenarios:
    """Recipients beyond their bounds."""
    copy = local(package=package())
    nine = [(str(number), "") for number in range(9)]
    wrong = {
        "name-empty": ("a name of no bytes", entry(copy, name="")),
        "name-65": ("a name of 65 bytes", entry(copy, name="x" * 65)),
        "name-nul": ("a name with U+0000", entry(copy, name="lo\0cal")),
        "name-utf-8": ("a name that is not UTF-8", entry(copy, name=b"\xff")),
        "key-ref-701": ("a reference of 701 bytes", entry(copy, key_ref="x" * 701)),
        "key-ref-surrogate": ("a surrogate in the reference", entry(copy, key_ref=b"\xed\xa0\x80")),
        "nine-facts": ("nine facts", entry(copy, *nine)),
        "facts-order": ("facts in descending order", entry(copy, ("b", ""), ("a", ""))),
        "fact-twice": ("a fact twice", entry(copy, ("a", ""), ("a", "x"))),
        "fact-name-65": ("a fact with a name of 65 bytes", entry(copy, ("x" * 65, ""))),
        "fact-text-513": ("a fact with a text of 513 characters", entry(copy, ("a", "x" * 513))),
        "fact-nul": ("a fact with U+0000", entry(copy, ("a", "\0"))),
        "bytes-behind": ("a byte behind the facts", (len(MINE) - 1).to_bytes(2) + MINE[2:] + b"\0"),
        "size-4095": ("a recipient of 4,095 bytes", (4095).to_bytes(2) + MINE[2:].ljust(4095, b"\0")),
    }
    headers = {name: (note, header([data])) for name, (note, data) in wrong.items()} | {
        "ciphertext-empty": ("a ciphertext of no bytes, for somebody else", header([MINE, entry(ESCROW, ciphertext=b"")])),
        "ciphertext-3073": ("a ciphertext of 3,073 bytes, for somebody else", header([MINE, entry(ESCROW, ciphertext=bytes(3073))])),
    }
    return {f"recipient-{name}": no("format error", note, data + message()["message"]) for name, (note, data) in headers.items()}


def changed_messages() -> Scenarios:
    """Messages that are not what was sealed, or not for us."""
    plain, sealed = header(), message()["message"]
    whole = plain + sealed
    moved = header([entry(local(package=package(OTHER_ID)))]) + sealed
    fake = header(key=drawn("foreign", 32)) + sealed
    stream = header(flags=STREAM) + payload(chunked())
    wrong: dict[str, tuple[str, bytes, Scenario]] = {
        "context": ("another context", whole, {"context": {"order": "8", "table": "invoice"}}),
        "no-context": ("no context", whole, {"context": {}}),
        "changed-id": ("one bit of the message id", flipped(whole, 15), {}),
        "changed-copy": ("one bit of the recipient's ciphertext", flipped(whole, 70), {}),
        "changed-mac": ("one bit of the header's tag", flipped(whole, len(plain) - 1), {}),
        "changed-nonce": ("one bit of the nonce", flipped(whole, len(plain)), {}),
        "changed-commitment": ("one bit of the commitment", flipped(whole, len(plain) + 24), {}),
        "changed-ciphertext": ("one bit of the ciphertext", flipped(whole, len(plain) + 56), {}),
        "changed-tag": ("one bit of the tag", flipped(whole, -1), {}),
        "header-key": ("the header is authenticated under another data key", fake, {}),
        "moved-copy": ("the recipient's copy was made for another message", moved, {}),
        "other-payload": ("the payload of a message with another id", plain + other_message(), {}),
        "as-stream": ("a message's payload behind the header of a stream", header(flags=STREAM) + sealed, {}),
        "as-message": ("a stream's payload behind the header of a message", plain + stream[len(header(flags=STREAM)) :], {}),
        "payload-truncated": ("one byte less", whole[:-1], {}),
        "payload-extended": ("one byte more", whole + b"\0", {}),
        "payload-empty": ("the header alone", plain, {}),
        "payload-71": ("71 bytes behind the header", plain + sealed[:71], {}),
    }
    scenarios = {f"message-{name}": no("decryption error", note, data, **more) for name, (note, data, more) in wrong.items()}
    disabled = keyring(package=package())
    away = header([entry(disabled)]) + sealed
    return scenarios | {
        "message-foreign-kek": no("key not found", "another KEK is configured", whole, local(kek=drawn("foreign", 32))),
        "message-denied": no("denied", "the parent's key is disabled", away, disabled | {"parent_state": "disabled"}),
    }


def other_message() -> bytes:
    """Return the payload of a message with another id and the same data key."""
    context = bound(MESSAGE, CONTEXT, OTHER_ID)
    return ref.kc_xaes(ref.hkdf(DATA_KEY, label(MESSAGE)), drawn("envelope nonce", 24), HELLO, context)["message"]


def changed_streams() -> Scenarios:
    """Streams whose chunks are not what was sealed."""
    begin, data = header(flags=STREAM), drawn("envelope data", CHUNK + 1)
    steps = chunked(data)
    one, two = steps["chunks"]
    other = chunked(data, salt="other salt")
    extra = AESGCM(steps["aes_key"]).encrypt(ref.xor(steps["base_nonce"], (2).to_bytes(12)), b"more", None)
    wrong: dict[str, tuple[str, bytes, Scenario]] = {
        "context": ("another context", payload(chunked()), {"context": {"order": "8"}}),
        "changed-salt": ("one bit of the salt", flipped(payload(chunked()), 0), {}),
        "changed-commitment": ("one bit of the commitment", flipped(payload(chunked()), 24), {}),
        "changed-chunk": ("one bit of the only chunk", flipped(payload(chunked()), 56), {}),
        "changed-first": ("one bit of the first chunk", flipped(payload(steps), 56), {}),
        "no-chunks": ("salt and commitment alone", payload(steps, []), {}),
        "short-head": ("55 bytes of payload", payload(steps)[:55], {}),
        "no-last-chunk": ("the full chunk alone", payload(steps, [one]), {}),
        "last-chunk-alone": ("the last chunk alone", payload(steps, [two]), {}),
        "swapped": ("the last chunk first", payload(steps, [two, one]), {}),
        "doubled": ("the full chunk twice", payload(steps, [one, one, two]), {}),
        "trailing": ("a byte behind the last chunk", payload(steps) + b"\0", {}),
        "trailing-chunk": ("an authentic chunk behind the last one", payload(steps, [one, two, extra]), {}),
        "truncated": ("one byte less", payload(steps)[:-1], {}),
        "spliced": ("the last chunk of another stream under the same key", payload(steps, [one, other["chunks"][1]]), {}),
    }
    return {f"stream-{name}": no("decryption error", note, begin + data, **more) for name, (note, data, more) in wrong.items()}


def changed_files() -> Scenarios:
    """Files of whose headers none counts."""
    slot, rest = header(flags=STREAM, slot=SLOT), payload(chunked())
    escrow = header([MINE, entry(ESCROW)], flags=STREAM, slot=SLOT)
    foreign = [entry(local(package=package(OTHER_ID)))]
    other, newer = (header(foreign, flags=STREAM, slot=SLOT, message_id=OTHER_ID, generation=number) for number in (0, 1))
    theirs = [entry(local(package=package(key=OTHER_KEY)))]
    other_key = header(theirs, flags=STREAM, slot=SLOT, generation=1, key=OTHER_KEY)
    torn, padded = flipped(slot, -1), slots(slot)[:4095] + b"\x01"
    return {
        "file-both-torn": no("decryption error", "both tags are wrong", slots(torn) + rest),
        "file-both-padded": no("format error", "neither header is padded with zeros", slots(padded) + rest),
        "file-both-zeros": no("format error", "no header at all", slots(b"") + rest),
        "file-both-lying": no("format error", "both tell another size", slots(flipped(slot, 31, 3)) + rest),
        "file-one-slot": no("decryption error", "the second header is missing", slot.ljust(1 << SLOT, b"\0") + rest),
        "file-equal-generations": no("disagreement", "two headers of one generation, both right", slots(slot, escrow) + rest),
        "file-other-message": no("disagreement", "the second header is that of another file", slots(slot, other) + rest),
        "file-other-message-newer": no(
            "disagreement", "the second header is another file's, of a higher generation", slots(slot, newer) + rest
        ),
        "file-other-key": no("disagreement", "the second header is newer, and has another data key", slots(slot, other_key) + rest),
    }
