# SPDX-License-Identifier: Apache-2.0
"""Keyrings above keyrings: how deep they stand, that they never stand in a circle, and what becomes of what is below."""

from __future__ import annotations

import threading

import pytest

from securekit.exceptions import (
    KeyNotFoundError,
    WrapperDeniedError,
    WrapperError,
    WrapperUnavailableError,
)
from securekit.keyring import Event, EventKind, Keyring, KeyringWrapper, KeyStore
from securekit.keyring._unlocking import Trust
from securekit.testing import FakeClock, FlakyWrapper
from securekit.wrappers import KeyWrapper, WrappedKey
from tests.keyring.parts import LOCAL, FailingStorage, document, local, refusal, store_on


class Family:
    """A tenant's keyring under a region's, each in a store of its own."""

    def __init__(self, **options: float) -> None:
        self.clock = FakeClock()
        self.kms = FlakyWrapper()
        self.events: list[Event] = []
        self.above = FailingStorage()
        self.below = FailingStorage()
        self.regions = store_on(self.above, wrapper=self.kms, clock=self.clock, **options)
        self.region = self.regions.keyring("eu", create=True)
        self.tenants = self.another_store(**options)
        self.tenant = self.tenants.keyring("eu/acme", create=True)
        self.token = self.tenant.encrypt(b"x", context={})

    def another_store(self, **options: float) -> KeyStore:
        return store_on(
            self.below,
            wrapper=lambda _: KeyringWrapper(self.region),
            also_open=local(9),
            clock=self.clock,
            on_event=self.events.append,
            **options,
        )

    def read(self) -> bytes:
        return self.tenant.decrypt(self.token, context={})


def _chain(length: int) -> Keyring:
    """Return the lowest of ``length`` keyrings above each other."""
    storage = FailingStorage()
    ring = store_on(storage, wrapper=LOCAL).keyring("k0", create=True)
    for number in range(1, length):
        ring = store_on(storage, wrapper=KeyringWrapper(ring)).keyring(f"k{number}", create=True)
    return ring


def test_four_keyrings_may_stand_above_one() -> None:
    """Depth 4 works from a cold start; a fifth keyring above another is refused, and nothing is written."""
    ring = _chain(5)
    assert ring.depth == 4
    ring.refresh()
    assert ring.decrypt(ring.encrypt(b"x", context={}), context={}) == b"x"

    store = store_on(FailingStorage(), wrapper=KeyringWrapper(ring))
    with pytest.raises(WrapperError, match="more than 4 keyrings stand above each other: k4 → k3 → k2 → k1 → k0"):
        store.keyring("k5", create=True)
    assert store.paths() == []


def test_five_keyrings_above_one_do_not_open() -> None:
    """A document that stands deeper, as another program may have written it, is refused at the way up."""
    wrapper, binding = KeyringWrapper(_chain(5)), ("keyring", "k5", bytes(16))
    wrapped = WrappedKey("keyring", wrapper.key_ref, b"\x01" + bytes.fromhex(wrapper.key_ref[-8:]) + bytes(137))
    with pytest.raises(WrapperError, match="more than 4 keyrings"):
        wrapper.unwrap(wrapped, binding)


def test_a_keyring_is_not_rewrapped_to_what_stands_under_it() -> None:
    """A circle would lock both out for good: it is refused before anything is written, at any distance."""
    storage = FailingStorage()
    top = store_on(storage, wrapper=LOCAL)
    a = top.keyring("a", create=True)
    b = store_on(storage, wrapper=KeyringWrapper(a)).keyring("b", create=True)
    c = store_on(storage, wrapper=KeyringWrapper(b)).keyring("c", create=True)
    before = dict(storage._documents)

    for ring in (a, b, c):
        with pytest.raises(WrapperError, match="in a circle"):
            top.rewrap(KeyringWrapper(ring), prefix="a")
    assert storage._documents == before


def test_a_circle_that_is_there_is_found_and_does_not_hang() -> None:
    """Two keyrings that another program has wrapped to each other are an error, from a cold start and from a warm one."""
    storage = FailingStorage()
    stores: dict[str, KeyStore] = {}
    rings: dict[str, Keyring] = {}
    for path, other in (("a", "b"), ("b", "a")):
        storage._documents[path] = document(path=path, keyring_id=path.encode() * 16)
        rings[path] = store_on(storage, wrapper=LOCAL).keyring(path)
        stores[path] = store_on(storage, wrapper=lambda _, other=other: KeyringWrapper(rings[other]))  # type: ignore[misc]
    circle = {path: document(path=path, keyring_id=path.encode() * 16, wrappers=[KeyringWrapper(rings[o])]) for path, o in ("ab", "ba")}
    storage._documents.update(circle)
    for path in "ab":
        rings[path] = _unloaded(stores[path], path)
    found: list[type | None] = []

    thread = threading.Thread(target=lambda: found.extend(refusal(stores[path].keyring, path) for path in "abab"), daemon=True)
    thread.start()
    thread.join(10)

    assert found == [WrapperError] * 4


def _unloaded(store: KeyStore, path: str) -> Keyring:
    """Return the store's keyring object, which has not read anything yet."""
    ring = store._rings[path] = Keyring(path, store._source, Trust())
    store._held[path] = ring
    return ring


def test_a_name_in_another_store_is_no_circle() -> None:
    """A keyring of the same path in another store may stand above."""
    region = store_on(FailingStorage(), wrapper=LOCAL).keyring("eu/acme", create=True)
    tenant = store_on(FailingStorage(), wrapper=KeyringWrapper(region)).keyring("eu/acme", create=True)
    tenant.refresh()
    assert tenant.depth == 1


def test_a_rotated_parent_goes_on_to_open() -> None:
    """After the parent rotates, children open as before, are due for a rewrap, and get the parent's new key by it."""
    family = Family()
    old = family.tenant.recipients[0].key_ref
    fresh = family.region.rotate().id
    family.tenant.refresh()
    assert family.read() == b"x"
    assert [due.action for due in family.tenant.due()] == ["rewrap"]

    assert family.tenants.rewrap() == ["eu/acme"]
    family.tenant.refresh()

    assert [wrapped.key_ref for wrapped in family.tenant.recipients] == [f"eu@{fresh}"]
    assert family.tenant.due() == []
    family.region.disable(old.partition("@")[2])
    family.tenant.refresh()
    assert family.read() == b"x"


@pytest.mark.parametrize("end", ["disable", "destroy"])
def test_without_the_parents_key_children_are_unreadable_within_refresh(end: str) -> None:
    """When the key that a child is wrapped under goes, the child refuses at the latest after refresh, for writers and readers."""
    family = Family()
    key_id = family.region.primary().id
    family.region.rotate()
    if end == "disable":
        family.region.disable(key_id)
    else:
        family.region.destroy(key_id, force=True)

    family.clock.advance(61)

    assert refusal(family.read) is WrapperDeniedError
    assert refusal(family.tenant.encrypt, b"x", context={}) is WrapperDeniedError
    assert refusal(family.another_store().keyring, "eu/acme") is WrapperDeniedError
    if end == "disable":
        family.region.enable(key_id)
        family.clock.advance(2)
        assert family.read() == b"x"


def test_deleting_the_parent_makes_children_unreadable_within_refresh() -> None:
    """The whole parent gone is a no, too, and not an outage that memory would bridge."""
    family = Family()
    receipt = family.regions.delete("eu")
    family.clock.advance(61)
    assert refusal(family.read) is WrapperDeniedError
    assert receipt.remaining == (f"local {family.kms.key_ref}",)


def test_an_erasure_names_the_parent_that_older_copies_open_with() -> None:
    """The receipt of a child says which key of its parent has to go before the erasure is complete."""
    family = Family()
    old = family.tenant.primary().id
    family.tenant.rotate()
    receipt = family.tenant.destroy(old, force=True)
    assert receipt.remaining == (f"keyring eu@{family.region.primary().id}",)


def test_an_unreachable_parent_is_an_outage_that_memory_bridges() -> None:
    """While the parent's store cannot be read, children serve on for stale_if_error, and then say that it is unreachable."""
    family = Family(stale_if_error=3600)
    family.above.fail_at(0, for_good=True)
    for _ in range(58):
        family.clock.advance(61)
        assert family.read() == b"x"
    family.clock.advance(3600)
    assert refusal(family.read) is WrapperUnavailableError
    assert refusal(family.another_store().keyring, "eu/acme") is WrapperUnavailableError
    family.above.fail_at(None)
    family.clock.advance(2)
    assert family.read() == b"x"


def test_a_parent_that_was_rolled_back_refuses() -> None:
    """A parent that refuses its own document refuses its children."""
    family = Family()
    old = family.above._documents["eu"]
    family.region.rotate()
    family.above._documents["eu"] = old
    family.clock.advance(61)
    assert refusal(family.read) is WrapperDeniedError


def test_a_parents_kms_that_says_no_is_passed_on() -> None:
    """What the KEK at the top answers reaches the bottom as it is."""
    family = Family(cache_ttl=60)
    family.kms.denied = True
    family.clock.advance(61)
    assert refusal(family.read) is WrapperDeniedError


def test_calls_to_the_parent_are_reported() -> None:
    """Events of a child name the wrapper above it."""
    family = Family()
    family.tenant.refresh()
    details = [event.detail for event in family.events if event.kind is EventKind.KMS_CALL]
    assert details == ["wrap keyring", "unwrap keyring", "unwrap keyring"]


def test_a_way_out_beside_the_parent() -> None:
    """A child that is wrapped to another KEK as well opens with it when the parent is gone."""
    family = Family()
    both: list[KeyWrapper] = [KeyringWrapper(family.region), local(9)]
    family.tenants.rewrap(both)
    family.regions.delete("eu")
    family.tenant.refresh()
    assert family.read() == b"x"


def test_many_keys_are_wrapped_at_once() -> None:
    """Both wrap_many and unwrap_many agree with their singular forms, and name the parent's primary."""
    wrapper = KeyringWrapper(_chain(1))
    keys = [bytes([number]) * 32 for number in range(5)]
    wrapped = wrapper.wrap_many((key, [str(key[0])]) for key in keys)
    assert {one.recipient for one in wrapped} == {("keyring", wrapper.key_ref)}
    assert wrapper.unwrap_many((one, [str(number)]) for number, one in enumerate(wrapped)) == keys
    assert repr(wrapper) == "<KeyringWrapper k0>"
    assert not wrapper.outsiders_can_wrap


def test_an_unknown_key_of_the_parent_is_looked_for() -> None:
    """A child that another process wrapped under a newer key of the parent opens at once."""
    family = Family()
    elsewhere = store_on(family.above, wrapper=LOCAL, clock=family.clock).keyring("eu")
    elsewhere.rotate()
    store_on(family.below, wrapper=KeyringWrapper(elsewhere), clock=family.clock).keyring("eu/new", create=True)
    assert family.another_store().keyring("eu/new").depth == 1


def test_errors_of_a_parent_are_ours() -> None:
    """What goes wrong above is translated once, and keeps its cause for people."""
    family = Family()
    family.regions.delete("eu")
    with pytest.raises(WrapperDeniedError, match="eu that holds the KEK, or its key, is gone or refused") as caught:
        KeyringWrapper(family.region).wrap(bytes(32), ["x"])
    assert isinstance(caught.value.__cause__, KeyNotFoundError)
