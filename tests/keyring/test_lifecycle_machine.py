# SPDX-License-Identifier: Apache-2.0
"""The life of a keyring, in any order: a machine that does what people do, beside a model that is only a dictionary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from securekit.exceptions import ConflictError, KeyNotFoundError, KeyStateError, KeyStoreError
from securekit.keyring import Keyring, KeyState, KeyStore
from securekit.keyring._storage import DocumentStorage, MemoryStorage
from securekit.testing import FakeClock, memory_store
from securekit.wrappers import KeyWrapper
from tests.keyring.parts import PATH, certificate, escrow, local, refusal
from tests.openbao import OpenBao

REFRESH, STALE = 60, 600  # seconds
WAIT = REFRESH + STALE


@dataclass
class Model:
    """What the keyring must be: the state of each key, in order, and what has been encrypted under it."""

    states: dict[str, KeyState] = field(default_factory=dict)
    disabled_at: dict[str, float] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    revision: int = 1
    kek: int = 0
    escrowed: bool = False
    wrapper: Callable[[int], KeyWrapper] = local

    @property
    def primary(self) -> str:
        (primary,) = (key_id for key_id, state in self.states.items() if state is KeyState.PRIMARY)
        return primary

    def promote(self, key_id: str) -> None:
        if key_id != self.primary:
            self.states[self.primary] = KeyState.ACTIVE
            self.states[key_id] = KeyState.PRIMARY
            self.revision += 1

    def recipients(self) -> list[KeyWrapper]:
        return [self.wrapper(self.kek), *([certificate()] if self.escrowed else [])]


class KeyringLife(RuleBasedStateMachine):
    """One process changes the keyring, another one reads and changes it too, and both must agree with the model."""

    tokens = Bundle("tokens")
    backups = Bundle("backups")

    def make_storage(self) -> DocumentStorage:
        return MemoryStorage()

    def wrapper(self, number: int) -> KeyWrapper:
        """Return one of several KEKs."""
        return local(number)

    def lay(self, data: bytes) -> bytes:
        """Put a document in the place of the one that is there, past every check, and return that one."""
        assert isinstance(self.storage, MemoryStorage)
        before, self.storage._documents[PATH] = self.storage._documents[PATH], data
        return before

    @initialize()
    def create(self) -> None:
        self.clock = FakeClock()
        self.storage = self.make_storage()
        self.stores = [self._another_process(), self._another_process()]
        self.model = Model(wrapper=self.wrapper)
        ring = self.stores[0].keyring(PATH, create=True)
        self.model.states[ring.primary().id] = KeyState.PRIMARY
        self.kept: list[tuple[bytes, bytes, str]] = []

    def _another_process(self) -> KeyStore:
        every: list[KeyWrapper] = [self.wrapper(number) for number in range(4)]
        return KeyStore(
            self.storage,
            wrapper=lambda _: self.model.recipients(),
            also_open=every,
            clock=self.clock,
            refresh=REFRESH,
            stale_if_error=STALE,
        )

    def _ring(self, process: int) -> Keyring:
        """Return the keyring in one of the processes, which has waited until it must see what the other one did."""
        self.clock.advance(REFRESH + 1)
        return self.stores[process].keyring(PATH)

    def _key(self, choice: int) -> str:
        return list(self.model.states)[choice % len(self.model.states)]

    processes = st.integers(0, 1)
    choices = st.integers(0, 20)

    @rule(target=tokens, process=processes, data=st.binary(max_size=40))
    def encrypt(self, process: int, data: bytes) -> tuple[bytes, bytes, str]:
        token = self._ring(process).encrypt(data, context={"n": str(len(data))})
        assert token[1:5].hex() == self.model.primary
        self.kept.append((token, data, self.model.primary))
        return self.kept[-1]

    @rule(process=processes, token=tokens)
    def decrypt(self, process: int, token: tuple[bytes, bytes, str]) -> None:
        self._check(self._ring(process), *token)

    def _check(self, ring: Keyring, token: bytes, data: bytes, key_id: str) -> None:
        """A token opens if and only if its key may decrypt."""
        context = {"n": str(len(data))}
        state = self.model.states[key_id]
        if state in {KeyState.PRIMARY, KeyState.ACTIVE}:
            assert ring.decrypt(token, context=context) == data
        else:
            assert refusal(ring.decrypt, token, context=context) is KeyStateError
        assert ring.needs_reencrypt(token) == (state is not KeyState.PRIMARY)

    @precondition(lambda self: len(self.model.states) < 12)
    @rule(process=processes, promoted=st.booleans())
    def rotate(self, process: int, promoted: bool) -> None:
        fresh = self._ring(process).rotate(promoted).id
        assert fresh not in self.model.states
        self.model.states[fresh] = KeyState.ACTIVE
        if promoted:
            self.model.promote(fresh)
        else:
            self.model.revision += 1

    @rule(process=processes, choice=choices)
    def promote(self, process: int, choice: int) -> None:
        key_id, ring = self._key(choice), self._ring(process)
        state = self.model.states[key_id]
        allowed = state is KeyState.PRIMARY or (state is KeyState.ACTIVE and key_id not in self.model.due)
        assert refusal(ring.promote, key_id) is (None if allowed else KeyStateError)
        if allowed:
            self.model.promote(key_id)

    @rule(process=processes, choice=choices)
    def disable(self, process: int, choice: int) -> None:
        key_id, ring = self._key(choice), self._ring(process)
        state = self.model.states[key_id]
        allowed = state in {KeyState.ACTIVE, KeyState.DISABLED}
        assert refusal(ring.disable, key_id) is (None if allowed else KeyStateError)
        if state is KeyState.ACTIVE:
            self.model.states[key_id] = KeyState.DISABLED
            self.model.disabled_at[key_id] = self.clock.time()
            self.model.revision += 1

    @rule(process=processes, choice=choices)
    def enable(self, process: int, choice: int) -> None:
        key_id, ring = self._key(choice), self._ring(process)
        state = self.model.states[key_id]
        assert refusal(ring.enable, f"{PATH}@{key_id}") is (KeyStateError if state is KeyState.DESTROYED else None)
        if state is KeyState.DISABLED:
            self.model.states[key_id] = KeyState.ACTIVE
            self.model.revision += 1

    @rule(process=processes, choice=choices, force=st.booleans())
    def destroy(self, process: int, choice: int, force: bool) -> None:
        key_id, ring = self._key(choice), self._ring(process)
        state = self.model.states[key_id]
        waited = state is KeyState.DISABLED and int(self.clock.time()) - int(self.model.disabled_at[key_id]) > WAIT
        allowed = state is KeyState.DESTROYED or (state is not KeyState.PRIMARY and (force or waited))
        assert refusal(ring.destroy, key_id, force=force) is (None if allowed else KeyStateError)
        if allowed and state is not KeyState.DESTROYED:
            self.model.states[key_id] = KeyState.DESTROYED
            self.model.revision += 1

    @rule(seconds=st.integers(0, 2 * WAIT))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(process=processes)
    def name_an_unknown_key(self, process: int) -> None:
        assert refusal(self._ring(process).disable, "no such key") is KeyNotFoundError

    @rule(process=processes, kek=st.integers(0, 3))
    def rewrap(self, process: int, kek: int) -> None:
        changes = kek != self.model.kek
        self.model.kek = kek
        assert self.stores[process].rewrap(self.model.recipients()) == ([PATH] if changes else [])
        self.model.revision += changes

    @precondition(lambda self: not self.model.escrowed)
    @rule(process=processes)
    def add_escrow(self, process: int) -> None:
        self.model.escrowed = True
        assert self.stores[process].rewrap(self.model.recipients()) == [PATH]
        self.model.revision += 1

    @precondition(lambda self: self.model.escrowed and len(self.model.states) < 12)
    @rule(process=processes)
    def drop_escrow(self, process: int) -> None:
        self.model.escrowed = False
        assert refusal(self.stores[process].rewrap, self.model.recipients()) is KeyStoreError
        assert self.stores[process].rewrap(self.model.recipients(), drop=[certificate()]) == [PATH]
        self.model.due |= set(self.model.states)
        (fresh,) = {key.id for key in self._ring(process).keys()} - self.model.states.keys()
        self.model.states[fresh] = KeyState.ACTIVE
        self.model.promote(fresh)

    @rule(target=backups, process=processes)
    def backup(self, process: int) -> tuple[bytes, int]:
        return self.stores[process].backup(PATH), self.model.revision

    @rule(backup=consumes(backups), process=processes)
    def roll_back(self, backup: tuple[bytes, int], process: int) -> None:
        """A document of an earlier revision is refused, and what was there works again as soon as it is back."""
        data, revision = backup
        self.stores[1 - process].keyring(PATH).refresh()
        self.stores[process].keyring(PATH).refresh()
        now = self.lay(data)
        ring = self.stores[process].keyring(PATH)
        for use in (ring.rotate, ring.refresh) if revision < self.model.revision else ():
            assert refusal(use) is KeyStoreError
        assert refusal(self.stores[process].restore, now) in {None, ConflictError}
        self.lay(now)
        self.clock.advance(REFRESH + 1)

    @rule(process=processes)
    def copy_elsewhere(self, process: int) -> None:
        """A copy is the same keyring for all purposes, and stays one when the original goes on."""
        copied = self.stores[process].copy(PATH, memory_store(wrapper=local(9), clock=self.clock))
        self._compare(copied)
        for token in self.kept:
            self._check(copied, *token)

    @rule(process=processes)
    def lose_and_restore(self, process: int) -> None:
        """What is deleted is gone for every process, and a backup brings all of it back."""
        backup = self.stores[process].backup(PATH)
        ring = self.stores[process].keyring(PATH)
        self.stores[process].delete(PATH)
        assert refusal(ring.encrypt, b"", context={}) is KeyNotFoundError
        assert refusal(self._ring, 1 - process) is KeyNotFoundError
        with contextlib.suppress(KeyStoreError):
            self.stores[1 - process].keyring(PATH, create=True)
        assert self.stores[process].paths() == []
        self._compare(self.stores[process].restore(backup))

    @precondition(lambda self: self.model.escrowed)
    @rule()
    def open_with_the_escrow_key(self) -> None:
        self._compare(KeyStore(self.storage, wrapper=escrow(), clock=self.clock).keyring(PATH, recover=True))

    def _compare(self, ring: Keyring) -> None:
        keys = ring.keys()
        assert {key.id: key.state for key in keys} == self.model.states
        assert [key.id for key in keys] == list(self.model.states)
        assert {key.id for key in keys if key.due} == self.model.due
        assert ring.revision == self.model.revision

    @invariant()
    def both_processes_agree_with_the_model(self) -> None:
        for process in range(2):
            ring = self._ring(process)
            self._compare(ring)
            assert ring.primary().id == self.model.primary
            for token in self.kept[-8:]:
                self._check(ring, *token)


KeyringLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestKeyringLife = pytest.mark.repetitive(KeyringLife.TestCase)


@pytest.mark.repetitive
def test_the_life_of_a_keyring_in_vault(bao: OpenBao) -> None:
    """The same, with the document in Vault's key-value engine and KEKs in its Transit engine."""
    from securekit.vault import TransitWrapper, VaultConnection
    from securekit.vault._kv import KvStorage

    vault = VaultConnection(bao.address, token=bao.root_token)

    class InVault(KeyringLife):
        def make_storage(self) -> DocumentStorage:
            self.prefix = f"life{time.monotonic_ns()}"
            return KvStorage(vault, mount="kv", prefix=self.prefix)

        def wrapper(self, number: int) -> KeyWrapper:
            return TransitWrapper(vault, "app", label=f"kek-{number}")

        def lay(self, data: bytes) -> bytes:
            place = f"kv/data/{self.prefix}/{PATH}"
            before = bao.request("GET", place)["data"]["data"]["document"].encode()
            bao.request("POST", place, {"data": {"document": data.decode()}})
            return bytes(before)

    run_state_machine_as_test(InVault, settings=settings(max_examples=20, stateful_step_count=30))
