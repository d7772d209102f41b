# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import securekit.envelope
from securekit.envelope import Envelope, EnvelopeInspection, inspect
from securekit.exceptions import DecryptionError, EnvelopeError, FormatError, KeyNotFoundError, WrapperDeniedError, WrapperUnavailableError
from securekit.keyring import KeyringWrapper, MemoryKeyStore
from securekit.testing import FlakyWrapper, memory_store
from securekit.wrappers import Binding, KeyWrapper, LocalWrapper, PassphraseWrapper, WrappedKey
from tests.conftest import Count
from tests.envelope.parts import CONTEXT, LOCAL, OPAQUE, Counting, Pipe, everyone, local, read, slotted, stream

KINDS = ["local", "passphrase", "keyring", "post-quantum", "rsa", "p256", "p384", "x25519"]
CLASSICAL = [kind for kind in KINDS if kind != "post-quantum"]


@given(data=st.binary(max_size=200), context=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20), max_size=4))
def test_what_is_sealed_opens_with_an_equal_context(data: bytes, context: dict[str, str]) -> None:
    """Any bytes under any context come back, as a message and as a stream."""
    envelope = Envelope(LOCAL)
    target = io.BytesIO()
    with envelope.open_writer(target, context=context) as writer:
        writer.write(data)

    assert envelope.decrypt(envelope.encrypt(data, context=context), context=context) == data
    assert envelope.decrypt(target.getvalue(), context=context) == data


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_bytes_of_every_type_are_sealed(data: Any) -> None:
    """What is like bytes is sealed as bytes."""
    assert Envelope(LOCAL).decrypt(Envelope(LOCAL).encrypt(data, context={}), context={}) == b"bytes"


def test_other_types_are_a_mistake() -> None:
    """Text, and sealed messages that are no bytes, are refused by their type."""
    with pytest.raises(TypeError, match="data must be bytes, not str"):
        Envelope(LOCAL).encrypt("text", context={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a sealed message is bytes, not bytearray"):
        Envelope(LOCAL).decrypt(bytearray(), context={})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Envelope(LOCAL).encrypt(b"", context={"order": 7})  # type: ignore[dict-item]


def test_no_recipient_is_a_mistake() -> None:
    """An envelope is for somebody."""
    with pytest.raises(ValueError, match="needs a recipient"):
        Envelope([])


def test_the_overhead_with_one_local_recipient_is_small() -> None:
    """A message to one local KEK costs at most 320 bytes, and the same for every size."""
    costs = {len(Envelope(LOCAL).encrypt(bytes(size), context=CONTEXT)) - size for size in (0, 1, 1024)}

    assert len(costs) == 1
    assert costs.pop() <= 320


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["message", "stream", "file"])
def test_each_recipient_opens_alone(kind: str, how: str, count: Count) -> None:
    """One message to recipients of every kind opens with each of them by itself."""
    sender = Envelope(list(everyone().values()), allow_classical=True)
    sealed = {
        "message": lambda: sender.encrypt(b"secret", context=CONTEXT),
        "stream": lambda: stream(b"secret", envelope=sender),
        "file": lambda: slotted_by(sender),
    }[how]()

    assert Envelope(everyone()[kind]).decrypt(sealed, context=CONTEXT) == b"secret"
    count("messages to eight recipients opened by one", 1)


def slotted_by(envelope: Envelope) -> bytes:
    target = io.BytesIO()
    with envelope.open_writer(target, context=CONTEXT) as writer:
        writer.write(b"secret")
    return target.getvalue()


@pytest.mark.parametrize("kind", [kind for kind in CLASSICAL if kind not in {"local", "passphrase", "keyring"}])
def test_a_post_quantum_recipient_does_not_stand_beside_a_certificate(kind: str) -> None:
    """Neither sealing nor rewrapping mixes them, unless told to."""
    strong, weak = everyone()["post-quantum"], everyone()[kind]
    sealed = Envelope([strong]).encrypt(b"secret", context={})

    with pytest.raises(ValueError, match="allow_classical=True"):
        Envelope([strong, weak]).encrypt(b"secret", context={})
    with pytest.raises(ValueError, match="allow_classical=True"):
        Envelope([strong]).rewrap(sealed, wrappers=[strong, weak])

    mixed = Envelope([strong, weak], allow_classical=True).rewrap(sealed)
    assert Envelope([weak]).decrypt(mixed, context={}) == b"secret"
    assert Envelope([strong, LOCAL]).decrypt(Envelope([strong, LOCAL]).encrypt(b"x", context={}), context={}) == b"x"


def test_a_keyring_does_not_mix_them_either() -> None:
    """A keyring whose copies a quantum computer shall not open has no certificate beside them."""
    with pytest.raises(ValueError, match="post-quantum recipient beside a certificate"):
        MemoryKeyStore(wrapper=[LOCAL, everyone()["post-quantum"], everyone()["p256"]]).keyring("a", create=True)
    MemoryKeyStore(wrapper=[LOCAL, everyone()["post-quantum"]]).keyring("a", create=True)


def test_who_may_open_besides_is_no_recipient() -> None:
    """Wrappers of ``also_open`` open, and are not sealed to."""
    old, new = local(1), local(2)
    envelope = Envelope(new, also_open=[old])

    assert envelope.decrypt(Envelope(old).encrypt(b"x", context={}), context={}) == b"x"
    assert references(envelope.encrypt(b"x", context={})) == [new.key_ref]


def references(sealed: bytes) -> list[str]:
    found = inspect(sealed)
    assert isinstance(found, EnvelopeInspection)
    return [wrapped.key_ref for wrapped in found.recipients]


def test_nobody_else_opens() -> None:
    """Without a wrapper that is a recipient, the error says to whom it is sealed, and what was tried."""
    sealed = Envelope(local(1)).encrypt(b"x", context={})

    with pytest.raises(KeyNotFoundError, match=f"wrapped to local {local(1).key_ref}, and is to be opened with local {local(2).key_ref}"):
        Envelope(local(2)).decrypt(sealed, context={})


@pytest.mark.parametrize("context", [{}, {"order": "8"}, {"order": "7", "more": ""}, {"orde": "r7"}])
@pytest.mark.parametrize("make", [lambda: Envelope(LOCAL).encrypt(b"x", context={"order": "7"}), lambda: in_context({"order": "7"})])
def test_another_context_does_not_open(context: dict[str, str], make: Any) -> None:
    """Messages and streams are bound to the whole of their context."""
    with pytest.raises(DecryptionError) as caught:
        Envelope(LOCAL).decrypt(make(), context=context)
    assert (caught.value.args, caught.value.__cause__, caught.value.__context__) == ((OPAQUE,), None, None)


def in_context(context: dict[str, str]) -> bytes:
    target = io.BytesIO()
    with Envelope(LOCAL).open_writer(target, context=context) as writer:
        writer.write(b"x")
    return target.getvalue()


def test_a_message_is_no_stream() -> None:
    """What is to be opened whole is not read in pieces: the error says how to open it."""
    sealed = Envelope(LOCAL).encrypt(b"x", context={})
    for source in (io.BytesIO(sealed), Pipe(sealed)):
        with pytest.raises(FormatError, match="open it with decrypt"):
            Envelope(LOCAL).open_reader(source, context={})  # type: ignore[arg-type]


def test_a_holder_that_is_away_is_passed_over() -> None:
    """Another recipient opens instead; if none does, a no outweighs an absence."""
    away, denying = FlakyWrapper(LOCAL), FlakyWrapper(local(1))
    sealed = Envelope([LOCAL, local(1), local(2)]).encrypt(b"x", context={})
    away.unavailable, denying.denied = True, True

    assert Envelope([away, local(2)]).decrypt(sealed, context={}) == b"x"
    with pytest.raises(WrapperUnavailableError):
        Envelope([away]).decrypt(sealed, context={})
    with pytest.raises(WrapperDeniedError):
        Envelope([away, denying]).decrypt(sealed, context={})


def test_secrets_that_outsiders_do_not_have_are_tried_first() -> None:
    """A certificate's key is used only where nothing else opens."""
    certificate, secret = Counting(everyone()["p256"]), Counting(LOCAL)
    sealed = Envelope([everyone()["p256"], LOCAL]).encrypt(b"x", context={})

    Envelope([certificate, secret]).decrypt(sealed, context={})

    assert (certificate.unwraps, secret.unwraps) == (0, 1)


def test_every_call_to_a_wrapper_is_reported() -> None:
    """The report names the wrapper and the verb, and how long it took."""
    calls: list[tuple[KeyWrapper, str]] = []
    envelope = Envelope([LOCAL, local(1)], report=lambda wrapper, verb, seconds: calls.append((wrapper, verb)) if seconds >= 0 else None)

    sealed = envelope.encrypt(b"x", context={})
    envelope.decrypt(sealed, context={})

    assert [(wrapper.key_ref, verb) for wrapper, verb in calls] == [
        (LOCAL.key_ref, "wrap"),
        (local(1).key_ref, "wrap"),
        (LOCAL.key_ref, "unwrap"),
    ]


def test_it_shows_references_and_is_not_copied() -> None:
    """The representation names public references, and what holds KEKs is neither pickled nor copied."""
    envelope = Envelope([LOCAL, PassphraseWrapper("correct horse battery staple")])

    assert repr(envelope) == f"<Envelope local {LOCAL.key_ref}, passphrase>"
    for write in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            write(envelope)


# ---------------------------------------------------------------------------------------------- rewrap


def opens(sealed: bytes, *wrappers: KeyWrapper) -> bool:
    try:
        return Envelope(wrappers).decrypt(sealed, context=CONTEXT) == b"secret"
    except KeyNotFoundError:
        return False


@pytest.mark.parametrize("how", ["message", "stream"])
def test_rewrap_replaces_our_own_kek(how: str) -> None:
    """A KEK of ours makes way for the new one, and no byte of the payload changes."""
    old, new = local(1), local(2)
    sealed = Envelope(old).encrypt(b"secret", context=CONTEXT) if how == "message" else stream(b"secret", old)

    rewrapped = Envelope(new, also_open=[old]).rewrap(sealed)

    assert opens(rewrapped, new)
    assert not opens(rewrapped, old)
    assert rewrapped[-70:] == sealed[-70:]
    assert len(rewrapped) == len(sealed)


def test_rewrap_to_the_same_recipients_changes_nothing() -> None:
    """Who is there already is not wrapped to again."""
    sealed = Envelope([LOCAL, local(1)]).encrypt(b"secret", context=CONTEXT)

    assert Envelope([local(1), LOCAL]).rewrap(sealed) is sealed


def test_rewrap_adds_and_keeps() -> None:
    """A copy that is there stays as it is, even if its wrapper is only named; a new one is added."""
    escrow = everyone()["p256"]
    sealed = Envelope([LOCAL, escrow]).encrypt(b"secret", context=CONTEXT)

    rewrapped = Envelope([LOCAL, escrow, local(1)]).rewrap(sealed)

    before, after = ({wrapped.key_ref: wrapped.ciphertext for wrapped in recipients(data)} for data in (sealed, rewrapped))
    assert before.items() < after.items()
    assert all(opens(rewrapped, wrapper) for wrapper in (LOCAL, escrow, local(1)))


def recipients(sealed: bytes) -> Sequence[WrappedKey]:
    found = inspect(sealed)
    assert isinstance(found, EnvelopeInspection)
    return found.recipients


def test_nobody_is_lost_silently() -> None:
    """A recipient that is neither replaced nor dropped by name stops the rewrap; dropped by reference or by wrapper, it is gone."""
    partner = everyone()["x25519"]
    sealed = Envelope([LOCAL, partner]).encrypt(b"secret", context=CONTEXT)

    with pytest.raises(EnvelopeError, match=f"would lose x509-hpke-x25519 {partner.key_ref[:16]}…: give its wrapper as well, or drop it"):
        Envelope(LOCAL).rewrap(sealed)

    for drop in (partner, partner.key_ref):
        rewrapped = Envelope(LOCAL).rewrap(sealed, drop=[drop])
        assert opens(rewrapped, LOCAL)
        assert not opens(rewrapped, partner)
    with pytest.raises(ValueError, match="is to be dropped, and is among the wrappers that stay"):
        Envelope([LOCAL, partner]).rewrap(sealed, drop=[partner])


def test_rewrap_leaves_1_to_64_recipients() -> None:
    """A message is never rewrapped to nobody, nor to more recipients than a reader takes."""
    crowd = [local(number) for number in range(64)]
    sealed = Envelope(crowd).encrypt(b"secret", context=CONTEXT)

    with pytest.raises(ValueError, match="1 to 64 wrappers are needed, not 0"):
        Envelope(crowd[0]).rewrap(sealed, wrappers=[], drop=crowd)
    with pytest.raises(ValueError, match="1 to 64 wrappers are needed, not 65"):
        Envelope(crowd[0]).rewrap(sealed, wrappers=[*crowd, local(64)])
    assert opens(sealed, crowd[63])


def test_sixty_five_recipients_are_refused() -> None:
    """64 are the most, and two that name the same KEK are one too many."""
    crowd = [local(number) for number in range(65)]
    assert opens(Envelope(crowd[:64]).encrypt(b"secret", context=CONTEXT), crowd[63])
    with pytest.raises(ValueError, match="1 to 64 wrappers are needed, not 65"):
        Envelope(crowd).encrypt(b"", context={})
    with pytest.raises(ValueError, match="two of the wrappers name the same KEK"):
        Envelope([LOCAL, LocalWrapper(bytes(range(32)))]).encrypt(b"", context={})


def test_another_passphrase_takes_the_place_of_the_old_one() -> None:
    """A passphrase has no reference that tells it from another one: rewrapping finds out by opening."""
    old, new = PassphraseWrapper("correct horse battery staple"), PassphraseWrapper("incorrect horse battery staple")
    sealed = Envelope(old).encrypt(b"secret", context=CONTEXT)

    rewrapped = Envelope(old).rewrap(sealed, wrappers=[new])

    assert opens(rewrapped, new)
    with pytest.raises(DecryptionError):
        opens(rewrapped, old)
    assert Envelope(old).rewrap(sealed, wrappers=[PassphraseWrapper("correct horse battery staple")]) == sealed


def test_a_holder_that_is_away_is_not_another_kek() -> None:
    """A wrapper of a recipient that stays is asked whether it opens; if it does not answer, its copy stays."""
    away = FlakyWrapper(local(1))
    sealed = Envelope([LOCAL, local(1)]).encrypt(b"secret", context=CONTEXT)
    away.unavailable = True

    assert Envelope(LOCAL).rewrap(sealed, wrappers=[LOCAL, away]) == sealed


def test_a_keyring_is_a_recipient_of_which_every_key_opens() -> None:
    """After a rotation the old key still opens; a rewrap moves the message to the new one."""
    ring = memory_store().keyring("eu/acme/files", create=True)
    envelope = Envelope(KeyringWrapper(ring))
    sealed = envelope.encrypt(b"secret", context=CONTEXT)
    old = ring.primary().id
    new = ring.rotate().id

    rewrapped = envelope.rewrap(sealed)

    assert references(sealed) == [f"eu/acme/files@{old}"]
    assert references(rewrapped) == [f"eu/acme/files@{new}"]
    ring.destroy(old, force=True)
    assert opens(rewrapped, KeyringWrapper(ring))
    with pytest.raises(WrapperDeniedError):
        opens(sealed, KeyringWrapper(ring))


def test_a_file_with_two_headers_is_rewrapped_as_a_file() -> None:
    """Its bytes alone are not rewrapped: there are two headers to be changed in place."""
    with pytest.raises(FormatError, match="rewrap it in place, with rewrap_file"):
        Envelope(LOCAL).rewrap(slotted(b"secret"))


class Wordy(Counting):
    """A wrapper whose copies say what they are told to."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(LOCAL)
        self._changes = changes

    def wrap(self, key: bytes, binding: Binding) -> WrappedKey:
        return replace(LOCAL.wrap(key, binding), **self._changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"wrapper": ""},
        {"wrapper": "x" * 65},
        {"wrapper": "x" * 256},
        {"wrapper": "\0"},
        {"key_ref": "x" * 701},
        {"key_ref": "x" * 70_000},
        {"key_ref": "\ud800"},
        {"ciphertext": b""},
        {"ciphertext": bytes(3073)},
        {"about": {str(number): "" for number in range(9)}},
        {"about": {str(number): "" for number in range(256)}},
        {"about": {"x" * 65: ""}},
        {"about": {"x": "\U0001f600" * 513}},
        {"about": {str(number): "\U0001f600" * 512 for number in range(3)}},
    ],
)
def test_a_recipient_out_of_bounds_is_not_written(changes: dict[str, Any]) -> None:
    """What a wrapper of somebody else gives is held to the bounds of the format before anything is sealed with it."""
    with pytest.raises(FormatError, match="the header of the sealed message"):
        Envelope(Wordy(**changes)).encrypt(b"", context={})


def test_a_recipient_at_its_bounds_is_read_again() -> None:
    """The longest names, references and descriptions come back."""
    about = {str(number): "x" * 512 for number in range(5)} | {"y" * 64: "\U0001f600" * 100}
    wordy = Wordy(wrapper="w" * 64, key_ref="r" * 700, ciphertext=bytes(1), about=about)
    sealed = Envelope([LOCAL, wordy]).encrypt(b"secret", context=CONTEXT)

    assert recipients(sealed)[1].about == about
    assert opens(sealed, LOCAL)


def test_a_stream_reads_from_bytes_whatever_it_was_written_to() -> None:
    """``decrypt`` takes whole streams, with one header and with two."""
    for sealed in (stream(bytes(100_000)), slotted(bytes(100_000))):
        assert Envelope(LOCAL).decrypt(sealed, context=CONTEXT) == bytes(100_000)
        assert read(sealed, Envelope(LOCAL)) == bytes(100_000)


def test_the_package_gives_its_names_and_no_others() -> None:
    """Every public name is there, and any other one is an AttributeError as usual."""
    for name in securekit.envelope.__all__:
        assert getattr(securekit.envelope, name)
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        _ = securekit.envelope.Missing
