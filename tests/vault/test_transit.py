# SPDX-License-Identifier: Apache-2.0
"""A KEK in Transit: what is wrapped with it, how many at once, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securekit.exceptions import (
    DecryptionError,
    FormatError,
    SecureKitError,
    WrapperDeniedError,
    WrapperError,
    WrapperUnavailableError,
)
from securekit.vault import TransitWrapper, VaultConnection
from securekit.wrappers import WrappedKey
from tests.canaries import walk
from tests.conftest import Count
from tests.keyring.parts import flips
from tests.openbao import OpenBao, running
from tests.vault import faults
from tests.vault.faults import Proxy, closed_port, edited, status

KEY, BINDING = b"canary-key-0123456789abcdefghijk", ["keyring", "eu/acme/invoices", "7"]
FORM = re.compile(rb"vault:v1:[A-Za-z0-9+/]{124}")


def items(number: int) -> list[tuple[bytes, list[str]]]:
    return [(n.to_bytes(32), ["n", str(n)]) for n in range(number)]


def through(proxy: Proxy, bao: OpenBao, key: str) -> TransitWrapper:
    return TransitWrapper(VaultConnection(proxy.address, token=bao.root_token, cooldown=0), key)


# ---------------------------------------------------------------------------------------------------- one key


def test_what_is_wrapped_unwraps(transit: TransitWrapper, key: str) -> None:
    """A key comes back for its binding; what is stored names mount, key and version, and has Transit's own form."""
    wrapped = transit.wrap(KEY, BINDING)
    assert transit.unwrap(wrapped, BINDING) == KEY
    assert (wrapped.wrapper, wrapped.key_ref, dict(wrapped.about)) == ("vault-transit", f"transit/{key}", {"version": "1"})
    assert FORM.fullmatch(wrapped.ciphertext)
    assert transit.wrap(KEY, BINDING).ciphertext != wrapped.ciphertext
    assert transit.opens(wrapped)
    assert not transit.outsiders_can_wrap


def test_the_package_is_what_transit_encrypts(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """Transit sees 65 bytes: a version, the key, and the hash of its binding."""
    wrapped = transit.wrap(KEY, BINDING)
    plaintext = bao.request("POST", f"transit/decrypt/{key}", {"ciphertext": wrapped.ciphertext.decode()})["data"]["plaintext"]
    package = base64.b64decode(plaintext)
    assert (len(package), package[:33]) == (65, b"\1" + KEY)


@pytest.mark.parametrize("binding", [[], ["keyring"], ["keyring", "eu/acme/orders", "7"], [*BINDING, ""]])
def test_another_binding_is_the_one_opaque_error(transit: TransitWrapper, binding: list[str]) -> None:
    """A key that was wrapped for something else is DecryptionError, with nothing attached."""
    with pytest.raises(DecryptionError) as caught:
        transit.unwrap(transit.wrap(KEY, BINDING), binding)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_what_transit_encrypted_for_others_is_no_key(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """Ciphertext of something else under the same key has another size, and 65 bytes of something else have no binding."""

    def encrypted(data: bytes) -> WrappedKey:
        body = {"plaintext": base64.b64encode(data).decode()}
        text = bao.request("POST", f"transit/encrypt/{key}", body)["data"]["ciphertext"]
        return WrappedKey("vault-transit", f"transit/{key}", text.encode())

    with pytest.raises(FormatError):
        transit.unwrap(encrypted(KEY), BINDING)
    with pytest.raises(DecryptionError):
        transit.unwrap(encrypted(bytes(65)), BINDING)


def test_the_key_is_the_configured_one(bao: OpenBao, vault: VaultConnection, transit: TransitWrapper, key: str) -> None:
    """Another key's name or label in a ciphertext is not followed: nothing is even asked."""
    bao.request("POST", f"transit/keys/{key}-other", {"type": "aes256-gcm96"})
    other = TransitWrapper(vault, f"{key}-other").wrap(KEY, BINDING)
    labelled = TransitWrapper(vault, key, label="eu")
    asked = TransitWrapper(VaultConnection("http://127.0.0.1:1", token="t"), key)
    for wrapped in (other, labelled.wrap(KEY, BINDING), WrappedKey("local", f"transit/{key}", other.ciphertext)):
        assert not asked.opens(wrapped)
        with pytest.raises(DecryptionError):
            asked.unwrap(wrapped, BINDING)
    with pytest.raises(DecryptionError):  # and with the right name on it, Transit refuses it
        transit.unwrap(WrappedKey("vault-transit", f"transit/{key}", other.ciphertext), BINDING)
    assert labelled.key_ref == f"eu:transit/{key}"


@pytest.mark.parametrize(
    ("key", "mount"),
    [
        *[(key, "transit") for key in ("", "a/b", "..", "a b", "a?x", "k" * 129, "app\n")],
        *[("app", mount) for mount in ("", "../sys", "transit/", "/transit", "a//b", "t#x")],
    ],
)
def test_names_that_lead_elsewhere(vault: VaultConnection, key: str, mount: str) -> None:
    """A key's name and a mount are parts of a path, and cannot change what the rest of it means."""
    with pytest.raises(ValueError, match="are named by letters, digits"):
        TransitWrapper(vault, key, mount=mount)


def test_a_key_to_wrap_has_32_bytes(transit: TransitWrapper) -> None:
    """Another length is the caller's mistake, and is said without the key."""
    with pytest.raises(ValueError, match="a key to wrap has 32 bytes, not 31"):
        transit.wrap(KEY[:-1], BINDING)


# ------------------------------------------------------------------------------------------------ form, bit by bit


BODY = b"A" * 124


OTHER_FORMS = [
    *[b"", b"vault:v1:", BODY, b" vault:v1:" + BODY, b"Vault:v1:" + BODY, b"vault:V1:" + BODY],
    *[b"vault:v%b:" % version + BODY for version in (b"", b"0", b"01", b"-1", b"+1", b"1 ", b"1234567890", "²".encode())],
    *[b"vault:v1:" + body for body in (BODY[1:], BODY + b"A", BODY[1:] + b"=", BODY[1:] + b"-", BODY + b"\n", BODY + b"====")],
    *[b"vault:v1:" + body for body in (BODY[:60] + b"\n" + BODY[:63], b"\xff" + BODY[1:], b"A" * 1_000_000)],
]


@pytest.mark.parametrize("ciphertext", OTHER_FORMS, ids=range(len(OTHER_FORMS)))
def test_other_forms_are_refused_before_anything_is_asked(ciphertext: bytes) -> None:
    """Only what Transit gives is taken, in its one spelling."""
    wrapper = TransitWrapper(VaultConnection("http://127.0.0.1:1", token="t"), "app")
    wrapped = WrappedKey("vault-transit", "transit/app", ciphertext)
    for call in (lambda: wrapper.unwrap(wrapped, BINDING), lambda: wrapper.rewrap_many([wrapped]), lambda: wrapper.version_of(wrapped)):
        with pytest.raises(FormatError, match="of the form vault:v1"):
            call()


@given(st.binary(max_size=200) | st.binary(max_size=140).map(lambda data: b"vault:v1:" + base64.b64encode(data)))
def test_random_ciphertexts_are_refused_or_asked_for(ciphertext: bytes) -> None:
    """Whatever stands in a document, only our own errors come of it."""
    wrapper = TransitWrapper(VaultConnection("http://127.0.0.1:1", token="t", tries=1, cooldown=1000), "app")
    with pytest.raises((FormatError, WrapperUnavailableError)):
        wrapper.unwrap(WrappedKey("vault-transit", "transit/app", ciphertext), BINDING)


def test_every_flipped_bit_is_refused(transit: TransitWrapper, count: Count) -> None:
    """Whichever bit of a wrapped key is changed, it does not open."""
    wrapped = transit.wrap(KEY, BINDING)
    flipped = list(flips(wrapped.ciphertext))
    asked = 0
    for data in flipped:
        changed = WrappedKey(wrapped.wrapper, wrapped.key_ref, data)
        try:
            transit.version_of(changed)
        except FormatError:
            continue
        asked += 1
        with pytest.raises(DecryptionError):
            transit.unwrap(changed, BINDING)
    assert asked > 400
    count("bit flips refused", len(flipped))


# -------------------------------------------------------------------------------------------------------- many


def test_many_are_wrapped_in_few_calls(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """1,200 keys go in batches, in order, and come back each for its own binding."""
    wrapper = through(proxy, bao, key)
    many = items(1200)
    wrapped = wrapper.wrap_many(many)
    assert len(proxy.seen("encrypt")) == 5
    assert wrapper.unwrap_many([(one, binding) for one, (_, binding) in zip(wrapped, many, strict=True)]) == [each for each, _ in many]
    assert len(proxy.seen("decrypt")) == 5
    bao.request("POST", f"transit/keys/{key}/rotate")
    fresh = wrapper.rewrap_many(wrapped)
    assert {wrapper.version_of(one) for one in fresh} == {2}
    assert wrapper.unwrap_many([(one, binding) for one, (_, binding) in zip(fresh, many, strict=True)]) == [each for each, _ in many]
    assert (wrapper.wrap_many([]), wrapper.unwrap_many([]), wrapper.rewrap_many([])) == ([], [], [])


def test_the_size_of_a_batch_is_found_by_backing_off(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """A server that takes less at once gets less, and is not asked for more again."""
    wrapper = through(proxy, bao, key)
    wrapper._batch = 4000
    many = items(1200)
    wrapper.wrap_many(many)
    assert wrapper._batch == 300
    assert len(proxy.seen("encrypt")) == 2 + 4
    proxy.faulty(None)
    wrapper.wrap_many(many)
    assert len(proxy.seen("encrypt")) == 4


def test_a_server_with_a_low_limit(tmp_path: Path) -> None:
    """A server that is configured to take few texts in a request wraps many keys all the same; one that takes none says so."""
    with running(listener="max_request_json_strings = 60") as server:
        wrapper = TransitWrapper(VaultConnection(server.address, token=server.root_token), "app")
        many = items(100)
        wrapped = wrapper.wrap_many(many)
        assert wrapper.unwrap_many([(one, binding) for one, (_, binding) in zip(wrapped, many, strict=True)]) == [each for each, _ in many]
        assert wrapper._batch < 30


def test_a_limit_that_not_even_one_item_fits(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """Backing off ends at one item."""
    wrapper = through(proxy, bao, key)
    proxy.faulty(status(413, b'{"errors":["http: request body too large"]}'), path="encrypt")
    with pytest.raises(WrapperError, match="413"):
        wrapper.wrap_many(items(16))
    assert len(proxy.seen("encrypt")) == 5


def test_one_bad_item_fails_all(transit: TransitWrapper) -> None:
    """No part of a batch is given out if another part of it is not genuine."""
    wrapped = transit.wrap_many(items(8))
    changed = wrapped[5].ciphertext[:-1] + (b"A" if wrapped[5].ciphertext[-1:] != b"A" else b"B")
    bad = [*wrapped[:5], WrappedKey(wrapped[5].wrapper, wrapped[5].key_ref, changed), *wrapped[6:]]
    with pytest.raises(DecryptionError):
        transit.unwrap_many([(one, ["n", str(n)]) for n, one in enumerate(bad)])
    with pytest.raises(DecryptionError):
        transit.rewrap_many(bad)


CHANGES: dict[str, Callable[[list[Any]], object]] = {
    "short": lambda results: results.pop(),
    "long": lambda results: results.append(results[0]),
    "empty": lambda results: results.clear(),
    "an item that is none": lambda results: results.__setitem__(3, None),
    "an item without a result": lambda results: results[3].clear(),
    "an item of another type": lambda results: results.__setitem__(3, {"plaintext": 7, "ciphertext": 7}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_answer_has_one_result_per_item(name: str, bao: OpenBao, proxy: Proxy, key: str) -> None:
    """Anything else is a malformed answer, of every verb."""
    wrapper = through(proxy, bao, key)
    wrapped = wrapper.wrap_many(items(8))
    proxy.faulty(edited(lambda answer: CHANGES[name](answer["data"]["batch_results"])), path="crypt")
    with pytest.raises(WrapperUnavailableError, match="malformed"):
        wrapper.unwrap_many([(one, ["n", str(n)]) for n, one in enumerate(wrapped)])
    with pytest.raises(WrapperUnavailableError, match="malformed"):
        wrapper.wrap_many(items(8))
    proxy.faulty(edited(lambda answer: CHANGES[name](answer["data"]["batch_results"])), path="rewrap")
    with pytest.raises(WrapperUnavailableError, match="malformed"):
        wrapper.rewrap_many(wrapped)


def test_results_in_another_order_open_nothing(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """What comes back for another item is bound to that one."""
    wrapper = through(proxy, bao, key)
    wrapped = wrapper.wrap_many(items(8))
    proxy.faulty(edited(lambda answer: answer["data"]["batch_results"].reverse()), path="decrypt")
    with pytest.raises(DecryptionError):
        wrapper.unwrap_many([(one, ["n", str(n)]) for n, one in enumerate(wrapped)])


@pytest.mark.parametrize("plaintext", ["", "!", "AAAA", base64.b64encode(bytes(65)).decode(), "ä"])
def test_plaintext_that_is_no_package(plaintext: str, bao: OpenBao, proxy: Proxy, key: str) -> None:
    """Whatever is said to be in a ciphertext, it opens only as the package of that binding."""
    wrapper = through(proxy, bao, key)
    wrapped = wrapper.wrap(KEY, BINDING)
    proxy.faulty(edited(lambda answer: answer["data"]["batch_results"][0].update(plaintext=plaintext)), path="decrypt")
    with pytest.raises(DecryptionError):
        wrapper.unwrap(wrapped, BINDING)


# ------------------------------------------------------------------------------------------------- kinds of keys


def test_no_key_is_made_as_a_side_effect(bao: OpenBao, vault: VaultConnection) -> None:
    """Transit's encrypt makes a key that is not there for a token that may: with such a token, none is made."""
    token = bao.token('path "transit/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }')
    for connection in (vault, VaultConnection(bao.address, token=token)):
        with pytest.raises(WrapperError, match="there is no Transit key misspelt at transit/") as caught:
            TransitWrapper(connection, "misspelt").wrap(KEY, BINDING)
        assert type(caught.value) is WrapperError
        with pytest.raises(WrapperError):
            TransitWrapper(connection, "app", mount="nowhere").wrap(KEY, BINDING)
    assert "misspelt" not in bao.request("LIST", "transit/keys")["data"]["keys"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": "aes256-gcm96", "derived": True}, "derived aes256-gcm96"),
        ({"type": "aes256-gcm96", "derived": True, "convergent_encryption": True}, "derived aes256-gcm96"),
        ({"type": "aes128-gcm96"}, "aes128-gcm96"),
        ({"type": "rsa-2048"}, "rsa-2048"),
        ({"type": "ed25519"}, "ed25519"),
        ({"type": "hmac", "key_size": 32}, "hmac"),
        ({"type": "xchacha20-poly1305"}, "xchacha20-poly1305"),
    ],
)
def test_keys_of_other_types_are_refused(options: dict[str, Any], words: str, bao: OpenBao, vault: VaultConnection) -> None:
    """A key that is derived, weaker, public or no cipher wraps nothing, and the error says which to make."""
    name = f"kind-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", options)
    with pytest.raises(WrapperError, match=f"is of type {words}: make one of type aes256-gcm96, not derived"):
        TransitWrapper(vault, name).wrap(KEY, BINDING)


def test_the_other_cipher_of_256_bits_is_taken(bao: OpenBao, vault: VaultConnection) -> None:
    """ChaCha20-Poly1305 has the same form."""
    name = f"kind-{time.monotonic_ns()}"
    bao.request("POST", f"transit/keys/{name}", {"type": "chacha20-poly1305"})
    wrapper = TransitWrapper(vault, name)
    assert wrapper.unwrap(wrapper.wrap(KEY, BINDING), BINDING) == KEY


def test_versions_tell_what_is_due(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """A wrapped key says its version, and the key its latest; after a rewrap they are equal, and the old one still opens."""
    old = transit.wrap(KEY, BINDING)
    assert (transit.version_of(old), transit.latest_version()) == (1, 1)
    bao.request("POST", f"transit/keys/{key}/rotate")
    assert (transit.version_of(old), transit.latest_version()) == (1, 2)
    (fresh,) = transit.rewrap_many([old])
    assert (transit.version_of(fresh), fresh.about["version"]) == (2, "2")
    assert transit.unwrap(old, BINDING) == transit.unwrap(fresh, BINDING) == KEY


def test_a_version_that_is_not_there_yet(transit: TransitWrapper) -> None:
    """A ciphertext that claims a later version is not genuine."""
    wrapped = transit.wrap(KEY, BINDING)
    with pytest.raises(DecryptionError):
        transit.unwrap(WrappedKey(wrapped.wrapper, wrapped.key_ref, wrapped.ciphertext.replace(b"v1", b"v9", 1)), BINDING)


def test_a_denial_is_of_its_own_class(bao: OpenBao, transit: TransitWrapper, key: str) -> None:
    """Who may only unwrap can not wrap."""
    reader = TransitWrapper(
        VaultConnection(bao.address, token=bao.token(f'path "transit/decrypt/{key}" {{ capabilities = ["update"] }}')), key
    )
    wrapped = transit.wrap(KEY, BINDING)
    assert reader.unwrap(wrapped, BINDING) == KEY
    for call in (lambda: reader.wrap(KEY, BINDING), lambda: reader.rewrap_many([wrapped]), reader.latest_version):
        with pytest.raises(WrapperDeniedError):
            call()


# ------------------------------------------------------------------------------------------------------- secrets


def test_failures_show_no_key(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """Neither the key nor its package is in an error, nor in a frame of ours that an error passed, whichever step failed."""
    wrapper = through(proxy, bao, key)
    wrapped = wrapper.wrap(KEY, BINDING)
    canaries = [repr(KEY)[2:-1], KEY.hex(), base64.b64encode(b"\1" + KEY).decode()[:40], bao.root_token]
    calls: list[Callable[[], object]] = [
        lambda: wrapper.wrap(KEY, BINDING),
        lambda: wrapper.wrap_many([(KEY, BINDING)] * 300),
        lambda: wrapper.unwrap(wrapped, BINDING),
        lambda: wrapper.unwrap_many([(wrapped, BINDING)] * 300),
        lambda: wrapper.unwrap(wrapped, ["other"]),
    ]
    for path in ("keys", "encrypt", "decrypt"):
        for fault in (status(403), status(503), faults.reset_in_body, status(200, b"{}")):
            proxy.faulty(fault, path=path)
            for call in calls:
                try:
                    call()
                except SecureKitError as error:
                    shown = [repr(value) for value in walk(error)]
                    assert not [text for text in shown for canary in canaries if canary in text]


# ------------------------------------------------------------------------------------------------------- asyncio


def test_asyncio_is_never_blocked(bao: OpenBao, proxy: Proxy, key: str) -> None:
    """While Vault is slow, the loop goes on; a task that is cancelled ends at once, and the wrapper works afterwards."""
    wrapper = TransitWrapper(VaultConnection(proxy.address, token=bao.root_token, deadline=0.8, cooldown=0), key)

    async def play() -> None:
        wrapped = await wrapper.awrap(KEY, BINDING)
        assert await wrapper.aunwrap(wrapped, BINDING) == KEY
        proxy.faulty(faults.silent, path="decrypt")
        slow = asyncio.create_task(wrapper.aunwrap(wrapped, BINDING))
        longest, last = 0.0, time.monotonic()
        for _ in range(30):
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        assert longest < 0.2
        slow.cancel()
        begin = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert time.monotonic() - begin < 0.1
        proxy.faulty(None)
        assert await wrapper.aunwrap(wrapped, BINDING) == KEY

    asyncio.run(play())


def test_nobody_listens() -> None:
    """A wrapper whose server is away says so; its name and address are all that it shows."""
    with closed_port() as address:
        wrapper = TransitWrapper(VaultConnection(address, token="hvs.canary"), "app", label="eu")
        with pytest.raises(WrapperUnavailableError, match="refused"):
            wrapper.wrap(KEY, BINDING)
        assert repr(wrapper) == f"<TransitWrapper eu:transit/app at {address}>"
