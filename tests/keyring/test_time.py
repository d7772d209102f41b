# SPDX-License-Identifier: Apache-2.0
"""What depends on the calendar: when keys stop to encrypt, what is due, when a key may be destroyed, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from securekit.exceptions import KeyStateError
from securekit.keyring import Due, Keyring, KeyState
from securekit.keyring._storage import MemoryStorage
from securekit.testing import FakeClock, memory_store
from tests.keyring.parts import CONTEXT, LOCAL, PATH, certificate, document, local, refusal, storage_with, store_on, version

DAY = 86_400
WAIT = 60 + DAY  # seconds: refresh and stale_if_error
Y2038 = 2**31 - 1_767_225_600.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ring(clock: FakeClock) -> Keyring:
    return memory_store(clock=clock, refresh=60, rotate_after=90 * DAY, max_messages=10).keyring(PATH, create=True)


def _at(clock: FakeClock, seconds: float) -> datetime:
    return datetime.fromtimestamp(clock.time() + seconds, UTC)


def _actions(ring: Keyring) -> list[str]:
    return [due.action for due in ring.due()]


def test_a_key_past_its_not_after_decrypts_and_does_not_encrypt(ring: Keyring, clock: FakeClock) -> None:
    """To the second, for every verb, bound or not, until a rotation."""
    ring.rotate(not_after=_at(clock, 100))
    token = ring.encrypt(b"x", context=CONTEXT)
    bound = ring.bind(**CONTEXT)
    clock.advance(99)
    assert bound.decrypt(ring.encrypt(b"y", context=CONTEXT)) == b"y"
    clock.advance(1)

    for refused in (
        lambda: ring.encrypt(b"x", context={}),
        lambda: ring.encrypt_text("x", context={}),
        lambda: ring.encrypt_many([(b"x", {})]),
        lambda: bound.encrypt(b"x"),
        lambda: bound.encrypt_many([(b"x", {})]),
    ):
        with pytest.raises(KeyStateError, match=f"{PATH}@{ring.primary().id} is past its not_after .*securekit keys rotate {PATH}"):
            refused()

    assert ring.decrypt(token, context=CONTEXT) == b"x"
    assert ring.decrypt_many([(token, CONTEXT)]) == [b"x"]
    assert bound.decrypt(token) == b"x"
    assert not ring.needs_reencrypt(token)
    ring.rotate()
    assert ring.decrypt(ring.encrypt(b"z", context={}), context={}) == b"z"


def test_a_key_past_its_not_after_is_not_promoted(ring: Keyring, clock: FakeClock) -> None:
    """Staged for too long, it must not begin to encrypt."""
    staged = ring.rotate(promote=False, not_after=_at(clock, 100))
    clock.advance(100)
    with pytest.raises(KeyStateError, match="must not encrypt any more"):
        ring.promote(staged.id)


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (datetime(2030, 1, 1), "needs a time zone"),  # noqa: DTZ001 - the mistake that is refused
        (datetime(2025, 12, 31, tzinfo=UTC), "not_after is past: 2025-12-31"),
        (datetime(2026, 1, 1, tzinfo=UTC), "is past"),
        (datetime(2026, 1, 1, 1, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1))), "is past"),  # which begins a second that has begun
    ],
)
def test_a_not_after_that_makes_no_sense_is_refused(ring: Keyring, moment: datetime, message: str) -> None:
    """Without a time zone, or past, it is the caller's mistake, and nothing is written."""
    with pytest.raises(ValueError, match=message):
        ring.rotate(not_after=moment)
    assert ring.revision == 1


def test_a_not_after_is_kept_in_utc(ring: Keyring) -> None:
    """Whatever the time zone it was given in."""
    given = datetime(2027, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    fresh = ring.rotate(not_after=given)
    assert fresh.not_after == given
    assert fresh.not_after is not None
    assert fresh.not_after.tzinfo is UTC


@pytest.mark.parametrize("jump", [DAY, -DAY, -1_767_225_600.0, Y2038, 10 * Y2038])
def test_no_jump_of_the_clock_stops_decryption(ring: Keyring, clock: FakeClock, jump: float) -> None:
    """A day forward or back, 1970, 2038 and beyond: what was encrypted opens, and the keyring still changes and is read."""
    ring.rotate(not_after=_at(clock, 2 * DAY))
    token = ring.encrypt(b"x", context={})
    clock.jump(jump)
    assert ring.decrypt(token, context={}) == b"x"
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    ring.enable(old)
    ring.refresh()
    assert ring.decrypt(token, context={}) == b"x"
    assert isinstance(ring.due(), list)


def test_a_clock_set_back_makes_a_key_valid_only_for_as_long_as_it_is_wrong(ring: Keyring, clock: FakeClock) -> None:
    """not_after follows the calendar that the machine has; a key whose time is over is so again when the clock is right."""
    ring.rotate(not_after=_at(clock, 100))
    clock.jump(DAY)
    assert refusal(ring.encrypt, b"x", context={}) is KeyStateError
    clock.jump(-DAY)
    ring.encrypt(b"x", context={})
    clock.advance(100)
    assert refusal(ring.encrypt, b"x", context={}) is KeyStateError


@pytest.mark.parametrize(
    ("jump", "advance", "allowed"),
    [(0, WAIT, False), (0, WAIT + 1, True), (-DAY, WAIT + 1, False), (-DAY, 2 * WAIT, True), (-1_767_225_600.0, 10 * WAIT, False)],
)
def test_a_clock_set_back_never_destroys_early(ring: Keyring, clock: FakeClock, jump: float, advance: float, allowed: bool) -> None:
    """The wait is counted on the calendar: a clock that is set back makes it longer, and never shorter."""
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    clock.jump(jump)
    clock.advance(advance)
    assert refusal(ring.destroy, old) is (None if allowed else KeyStateError)


def test_the_wait_is_that_of_the_document() -> None:
    """Who destroys obeys the times that all readers obey, not its own."""
    clock, storage = FakeClock(), MemoryStorage()
    store_on(storage, clock=clock, refresh=1000, stale_if_error=2000).keyring(PATH, create=True)
    ring = store_on(storage, clock=clock, refresh=10, stale_if_error=0).keyring(PATH)
    old = ring.primary().id
    ring.rotate()
    ring.disable(old)
    clock.advance(3000)
    with pytest.raises(KeyStateError, match="longer than 3000 seconds"):
        ring.destroy(old)
    clock.advance(1)
    assert ring.destroy(old).key_ids == (old,)


def test_what_was_never_disabled_is_destroyed_by_force_alone(ring: Keyring) -> None:
    """An active key says what has to happen first; the primary goes not even by force."""
    old = ring.primary().id
    ring.rotate()
    with pytest.raises(KeyStateError, match="must have been disabled for longer"):
        ring.destroy(old)
    assert ring.destroy(old, force=True).key_ids == (old,)
    assert ring.keys()[0].disabled == ring.keys()[0].created
    with pytest.raises(KeyStateError, match="is primary and cannot be destroyed: promote another key first"):
        ring.destroy(ring.primary().id, force=True)


@pytest.mark.parametrize(
    ("verb", "state", "hint"),
    [
        ("promote", KeyState.DISABLED, "enable it first"),
        ("promote", KeyState.DESTROYED, "rotate to get a new key"),
        ("disable", KeyState.PRIMARY, "promote another key first"),
        ("disable", KeyState.DESTROYED, "destroyed is for ever"),
        ("enable", KeyState.DESTROYED, "destroyed is for ever"),
    ],
)
def test_a_state_that_forbids_says_what_to_do(verb: str, state: KeyState, hint: str) -> None:
    """The message names the key, its state and the way out."""
    keys = [version(number, each) for number, each in enumerate(KeyState)]
    ring = store_on(storage_with(document(keys=keys))).keyring(PATH)
    key_id = next(key.id for key in ring.keys() if key.state is state)
    with pytest.raises(KeyStateError, match=f"{PATH}@{key_id} is {state} and cannot be {verb.rstrip('e')}ed: {hint}"):
        getattr(ring, verb)(key_id)


def test_nothing_is_due_at_first(ring: Keyring) -> None:
    """A new keyring needs nothing."""
    assert ring.due() == []


def test_a_primary_that_is_old_is_due(ring: Keyring, clock: FakeClock) -> None:
    """Counted from its promotion, to the second; the key still works."""
    old = ring.primary().id
    clock.advance(90 * DAY - 1)
    assert ring.due() == []
    clock.advance(1)
    assert ring.due() == [Due("rotate", PATH, old, "primary for 90 days, 0:00:00, longer than 90 days, 0:00:00")]
    ring.encrypt(b"x", context={})
    staged = ring.rotate(promote=False).id
    clock.advance(61)
    ring.promote(staged)
    assert ring.due() == []
    ring.promote(old)
    assert ring.due() == []


def test_a_primary_that_encrypted_much_is_due(ring: Keyring) -> None:
    """As many messages of this process as the store was told, counted by 64 KiB of each."""
    for _ in range(9):
        ring.encrypt(b"x", context={})
    assert ring.due() == []
    ring.encrypt(bytes(65_537), context={})
    assert ring.primary().messages == 11
    assert ring.due() == [Due("rotate", PATH, ring.primary().id, "encrypted 11 messages in this process alone")]
    ring.encrypt(b"x", context={})


def test_a_primary_whose_time_ends_is_due(ring: Keyring, clock: FakeClock) -> None:
    """Within refresh of its not_after, and after it."""
    ring.rotate(not_after=_at(clock, 1000))
    clock.advance(939)
    assert ring.due() == []
    clock.advance(1)
    assert [due.reason for due in ring.due()] == ["reaches its not_after within the refresh time"]
    clock.advance(60)
    assert [due.reason for due in ring.due()] == ["is past its not_after and no longer encrypts"]


def test_a_staged_key_is_due_when_everybody_knows_it(ring: Keyring, clock: FakeClock) -> None:
    """Not before refresh is over, and no more when it was promoted, or disabled."""
    staged = ring.rotate(promote=False).id
    clock.advance(60)
    assert ring.due() == []
    clock.advance(1)
    assert [(due.action, due.key_id) for due in ring.due()] == [("promote", staged)]
    ring.disable(staged)
    assert ring.due() == []
    ring.enable(staged)
    assert _actions(ring) == ["promote"]
    ring.promote(staged)
    assert ring.due() == []


def test_what_a_former_recipient_knew_is_due_until_it_is_destroyed() -> None:
    """A marked key is to be re-encrypted from; once destroyed, there is nothing left to do."""
    keys = [version(1, KeyState.PRIMARY), version(2, due=True), version(3, KeyState.DESTROYED, due=True)]
    ring = store_on(storage_with(document(keys=keys))).keyring(PATH)
    assert [(due.action, due.key_id) for due in ring.due()] == [("re-encrypt", "00000002")]
    ring.destroy("00000002", force=True)
    assert ring.due() == []


@pytest.mark.parametrize(
    ("wrappers", "due"), [(LOCAL, []), ([LOCAL, certificate()], ["rewrap"]), (local(1), ["rewrap"]), ([LOCAL, local(1)], ["rewrap"])]
)
def test_a_document_without_one_of_our_recipients_is_due(wrappers: Any, due: list[str]) -> None:
    """The store's own wrappers are to be recipients; others that are there as well are nobody's business."""
    ring = store_on(storage_with(document(wrappers=[LOCAL, local(9)])), wrapper=wrappers, also_open=LOCAL).keyring(PATH)
    assert _actions(ring) == due


def test_key_infos_tell_all_that_may_be_known(ring: Keyring, clock: FakeClock) -> None:
    """Names, states and times, in the order in which the keys were made."""
    created = _at(clock, 0)
    old = ring.primary()
    clock.advance(10)
    ring.rotate()
    clock.advance(10)
    info = ring.disable(old.id)
    assert info.full_name == f"{PATH}@{old.id}"
    assert (info.state, info.created, info.promoted, info.disabled) == (KeyState.DISABLED, created, created, _at(clock, 0))
    assert ring.promote(f"{PATH}@{ring.primary().id}").state is KeyState.PRIMARY
