# SPDX-License-Identifier: Apache-2.0
"""Hashing passwords and verifying them: every failure costs the same, and what is stored only ever grows stronger.

Passwords travel in a `Password` and stored hashes in an object, so that the frames of what is raised show neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from securekit.exceptions import (
    DecryptionError,
    FormatError,
    KeyNotFoundError,
    KeyStateError,
    KeyStoreError,
    PasswordBusyError,
    PasswordError,
    SecureKitError,
    WrapperError,
)
from securekit.secret import Secretive

from ._budget import Budget
from ._native import PREFIX, NativeHash, normalised
from ._password import Password
from ._profile import Profile, profile_of
from ._strength import strengthened

if TYPE_CHECKING:
    from securekit.keyring import Keyring

    from ._rules import PasswordRules
    from ._stored import Cost, StoredHash

__all__ = ["PasswordHasher", "Verified", "parse_hash", "peppered_context"]

_PEPPERED = "sk1."
_MAX_PEPPERED = 8192  # characters; more than any hash needs
T_co = TypeVar("T_co", covariant=True)


class Verified(Secretive):
    """The password is the one.

    Attributes:
        new_hash: A stronger hash to store in the place of the one that was verified, or None.
    """

    __slots__ = ("new_hash",)

    def __init__(self, new_hash: str | None = None) -> None:
        self.new_hash: str | None = new_hash

    def __repr__(self) -> str:
        """Tell whether there is a stronger hash, and nothing of it."""
        return f"Verified(new_hash={'********' if self.new_hash else None})"


class PasswordHasher(Secretive):
    """Hashes new passwords by a profile, and verifies whatever is stored.

    Args:
        profile: ``"modern"`` (argon2id), ``"owasp"`` (argon2id with less memory), ``"policy"`` (scrypt), ``"fips"`` (PBKDF2),
            ``"bcrypt"``, or a `Profile` of your own.
        rules: What a new password has to be; `PasswordRules` as they are if not given: 15 characters at least, and in no list. They are
            asked by `hash`, and never by `verify`.
        pepper: A keyring that encrypts every hash, so that a stolen table is worthless without its keys. Then ``user`` is needed.
        pepper_required: Accept no hash without the pepper: whoever may write to the table cannot put in one of their own. For a table in
            which every hash is peppered already.
        max_memory: MiB that all passwords at work may take together; 512 if not given. Stored hashes that need more do not verify.
        max_waiting: How many may wait for their turn; 64 if not given.
        budget: Instead of these two, one that several hashers share.
        legacy_truncate: Compare foreign hashes of bcrypt with the first 72 bytes of a longer password, as old versions of it made them.

    Raises:
        TypeError: ``profile`` or ``pepper`` is none.
        ValueError: There is no such profile, a pepper is required and not given, the profile's memory exceeds the budget, or there are
            both a budget and its numbers.

    Example:
        >>> hasher = PasswordHasher()
        >>> stored = hasher.hash("correct horse battery staple")
        >>> hasher.verify("correct horse battery staple", hash=stored)
        Verified(new_hash=None)
    """

    __slots__ = ("_decoy", "_legacy_truncate", "_pepper_required", "budget", "pepper", "profile", "rules")

    def __init__(
        self,
        profile: str | Profile = "modern",
        *,
        rules: PasswordRules | None = None,
        pepper: Keyring | None = None,
        pepper_required: bool = False,
        max_memory: int | None = None,
        max_waiting: int | None = None,
        budget: Budget | None = None,
        legacy_truncate: bool = False,
    ) -> None:
        numbers = {name: value for name, value in (("max_memory", max_memory), ("max_waiting", max_waiting)) if value is not None}
        if budget is not None and numbers:
            message = f"give budget, or {' and '.join(numbers)}; not both"
            raise ValueError(message)
        if pepper is not None:
            from securekit.keyring import Keyring

            if not isinstance(pepper, Keyring):
                message = f"pepper must be a Keyring, not {type(pepper).__name__}"
                raise TypeError(message)
        if pepper_required and pepper is None:
            message = "pepper_required needs a pepper: give the keyring"
            raise ValueError(message)
        self.profile: Profile = profile_of(profile)
        self.pepper: Keyring | None = pepper
        self.rules: PasswordRules = self.profile.rules() if rules is None else rules
        self.budget: Budget = budget or Budget(**numbers)
        if not self.budget.grants(self.profile.cost.memory):
            message = (
                f"profile {self.profile.name!r} takes {self.profile.cost.memory / 1024:g} MiB, and max_memory is {self.budget.max_memory}"
            )
            raise ValueError(message)
        self._legacy_truncate = legacy_truncate
        self._pepper_required = pepper_required
        self._decoy = NativeHash.decoy(self.profile.cost)

    def __repr__(self) -> str:
        """Name the profile."""
        return f"<PasswordHasher {self.profile.name}{', peppered' if self.pepper else ''}>"

    def hash(self, password: str, *, user: str | None = None) -> str:
        """Return what to store for a new password.

        Args:
            password: As the rules of this hasher want it.
            user: The id of the user, such as the primary key of the row; bound into the hash where there is a pepper, and needed then.

        Returns:
            A string of ASCII, at most 200 characters without a pepper and 400 with one: ``$securekit$…``, or ``sk1.…`` with a pepper.

        Raises:
            TypeError: ``password`` or ``user`` is not ``str``.
            ValueError: There is a pepper, and no ``user``; or a list of the rules is not whole.
            OSError: A list of the rules cannot be read.
            securekit.exceptions.PasswordError: The password cannot be accepted; the message says why, for whoever chooses it.
            securekit.exceptions.PasswordBusyError: The budget is spent. Retryable.
            securekit.exceptions.SecureKitError: As `securekit.Keyring.encrypt_text`, where there is a pepper.
        """
        task = _Hashing(self, self._new(password, user), self._bound(user))
        del password
        return self._spend(task.prepared())

    async def ahash(self, password: str, *, user: str | None = None) -> str:
        """Return the same from another thread, so that the event loop goes on."""
        task = _Hashing(self, self._new(password, user), self._bound(user))
        del password
        return await self._aspend(task.prepared())

    def verify(self, password: str, *, hash: str | None, user: str | None = None) -> Verified:  # noqa: A002 - promised in this form
        """Return normally if the password is the one, and with it a stronger hash to store, if there is one.

        Each failure costs one verification of the profile: another password, an empty or much too long one, no user, a stored hash that
        is malformed or hostile. Only hashes of another cost than the profile's have their own.

        Args:
            password: As it was typed.
            hash: What is stored; None if there is no such user, or the user has no password.
            user: The id of the user, as it was given to `hash`.

        Raises:
            TypeError: ``password`` is not ``str``, or ``hash`` neither ``str`` nor None.
            ValueError: There are a pepper and a hash, and no ``user``.
            securekit.exceptions.PasswordError: It is not verified, for whatever reason.
            securekit.exceptions.PasswordBusyError: The budget is spent, and nothing was verified. Retryable.
            securekit.exceptions.SecureKitError: The stored hash is peppered, and the pepper's key is disabled, unknown or not reachable.
        """
        login = _Login(self, Password(password), hash, user)
        del password, hash
        return _let_in(self._spend(login.prepared()))

    async def averify(self, password: str, *, hash: str | None, user: str | None = None) -> Verified:  # noqa: A002 - as verify
        """Verify in another thread, so that the event loop goes on. Who waits takes no thread."""
        login = _Login(self, Password(password), hash, user)
        del password, hash
        if self.pepper is not None:  # which may have to ask its keystore
            import asyncio

            await asyncio.to_thread(login.prepared)
        return _let_in(await self._aspend(login.prepared()))

    def _new(self, password: str, user: str | None) -> Password:
        """Hold a new password, and why it cannot be accepted; or an error, which is raised where no frame holds the password."""
        held = Password(password)
        try:
            held.fault = held.fault or self.rules.fault(password, () if user is None else (user,))
        except Exception as error:  # noqa: BLE001 - rules may be anybody's
            held.failure = error.with_traceback(None)
            held.failure.__context__ = None
        return held

    def _bound(self, user: str | None) -> str | None:
        if self.pepper is not None and not isinstance(user, str):
            message = "a hasher with a pepper binds each hash to its user: give user, the id of the row"
            raise ValueError(message)
        return user

    def _spend(self, task: _Task[T_co]) -> T_co:
        """Do the work within the budget."""
        with self.budget.admitted(task.memory):
            outcome, done = _attempt(task)
        return _granted(outcome, done)

    async def _aspend(self, task: _Task[T_co]) -> T_co:
        import asyncio  # which takes long to import

        leave = await self.budget.aadmit(task.memory)

        def work() -> tuple[T_co | None, bool]:
            try:
                return _attempt(task)
            finally:
                leave()

        try:
            begun = asyncio.get_running_loop().run_in_executor(None, work)
        except BaseException:  # the loop shuts down, and takes no work any more
            leave()
            raise
        # Shielded: when the caller is cancelled, the work that was begun ends, and gives its memory back.
        outcome, done = await asyncio.shield(begun)
        return _granted(outcome, done)

    def _peppered(self, inner: str, user: str | None) -> str:
        """Return what is stored for a hash."""
        if self.pepper is None:
            return inner
        try:
            return self.pepper.encrypt_text(inner, context=peppered_context(user))
        except (SecureKitError, ValueError) as error:  # a ValueError is about the user's id
            failure: Exception = error.with_traceback(None)  # whose frames hold the hash
        del inner
        raise failure


class _Task(Protocol[T_co]):
    """What is done within the budget."""

    @property
    def memory(self) -> int:
        """KiB that it takes."""

    def run(self) -> T_co:
        """Do it."""


class _Hashing(Secretive):
    """A new password that is to be hashed."""

    __slots__ = ("_hasher", "_password", "_user", "memory")

    def __init__(self, hasher: PasswordHasher, password: Password, user: str | None) -> None:
        self._hasher = hasher
        self._password = password
        self._user = user
        self.memory: int = hasher.profile.cost.memory

    def prepared(self) -> _Hashing:
        """Refuse what no login would accept."""
        if self._password.failure is not None:
            raise self._password.failure
        if self._password.fault:
            raise PasswordError(self._password.fault)
        return self

    def run(self) -> str:
        """Do the work."""
        made = NativeHash.create(self._hasher.profile.cost, self._password.utf8)
        return self._hasher._peppered(made.text(), self._user)  # noqa: SLF001 - one idea in two classes


class _Login(Secretive):
    """A password, and what it is to be compared with."""

    __slots__ = ("_better", "_hasher", "_inner", "_moves", "_password", "_stored", "_user", "memory")

    def __init__(self, hasher: PasswordHasher, password: Password, stored: str | None, user: str | None) -> None:
        if stored is not None and not isinstance(stored, str):
            message = f"hash must be str or None, not {type(stored).__name__}"
            raise TypeError(message)
        if stored is not None:
            hasher._bound(user)  # noqa: SLF001 - one idea in two classes
        self._hasher = hasher
        self._password = password
        self._user = user
        self._inner = stored
        self._stored: StoredHash | None = None
        self._better: Cost | None = None
        self._moves = False
        self.memory = -1

    def prepared(self) -> _Login:
        """Read what is stored, and know what the work takes."""
        if self.memory < 0:
            hasher = self._hasher
            if not self._password.fault:
                self._unpepper()
                self._stored = None if self._inner is None else _parsed(self._inner, legacy_truncate=hasher._legacy_truncate)  # noqa: SLF001
            if self._stored is not None and not hasher.budget.grants(self._stored.cost.memory):
                self._stored = None
            self.memory = (self._stored or hasher._decoy).cost.memory  # noqa: SLF001
            if self._stored is not None:
                better = strengthened(hasher.profile.cost, self._stored)
                if better is not None and hasher.budget.grants(better.memory):
                    self._better, self.memory = better, max(self.memory, better.memory)
        return self

    def run(self) -> Verified | None:
        """Do the work; return None for another password."""
        if self._stored is None:
            self._hasher._decoy.matches(self._password.utf8)  # noqa: SLF001
            return None
        if not isinstance(self._stored, NativeHash):
            normalised(self._password.utf8)  # for nothing: a long password takes as long here as for a row of ours, or for nobody's
        if not self._stored.matches(self._password.utf8):
            return None
        if self._better is not None:
            self._inner = NativeHash.create(self._better, self._password.utf8).text()
        elif not self._moves:
            return Verified()
        try:
            return Verified(self._hasher._peppered(self._inner or "", self._user))  # noqa: SLF001
        except (KeyStateError, KeyStoreError, WrapperError):
            return Verified()  # the password is the one, and the pepper cannot encrypt at the moment: the next login tries again

    def _unpepper(self) -> None:
        """Decrypt a hash that is peppered; note whether it should be encrypted anew."""
        pepper, text = self._hasher.pepper, self._inner
        if text is None:
            return
        if not text.startswith(_PEPPERED):
            if self._hasher._pepper_required:  # noqa: SLF001
                self._inner = None  # somebody else's: it fails as any other password does
            self._moves = pepper is not None
            return
        if pepper is None:
            if _is_record(text):
                message = "the stored hash is peppered, and this hasher has no pepper: give it the keyring"
                raise KeyNotFoundError(message)
            return
        self._inner = None
        if len(text) <= _MAX_PEPPERED:
            try:
                self._inner = pepper.decrypt_text(text, context=peppered_context(self._user))
                self._moves = pepper.needs_reencrypt(text)
            except (DecryptionError, FormatError):
                pass  # of another row, or changed: it fails as any other password does


def parse_hash(text: str, *, legacy_truncate: bool = False) -> StoredHash:
    """Return a stored hash that is not peppered.

    Raises:
        securekit.exceptions.FormatError: It is in no form that is known, or its cost is out of bounds.
    """
    try:
        if text.startswith(PREFIX):
            return NativeHash.parse(text)
        from . import _foreign

        return _foreign.parse(text, legacy_truncate=legacy_truncate)
    except FormatError as error:
        message = str(error)
    del text  # raised out here, where no frame holds the hash
    raise FormatError(message)


def _parsed(text: str, *, legacy_truncate: bool) -> StoredHash | None:
    try:
        return parse_hash(text, legacy_truncate=legacy_truncate)
    except FormatError:
        return None


def _is_record(text: str) -> bool:
    from securekit.keyring import inspect

    try:
        inspect(text)
    except SecureKitError:
        return False
    return True


def peppered_context(user: str | None) -> dict[str, str]:
    """Return what a peppered hash is bound to."""
    return {"purpose": "password", "user": user or ""}


def _attempt(task: _Task[T_co]) -> tuple[T_co | None, bool]:
    """Do the work; memory that the system does not grant is no error yet, since its frames hold the password."""
    try:
        return task.run(), True
    except MemoryError:
        return None, False


def _granted(outcome: T_co | None, done: bool) -> T_co:  # noqa: FBT001 - the two that _attempt returns
    if not done:
        message = "the system does not grant the memory that hashing a password takes; try again, or lower max_memory"
        raise PasswordBusyError(message)
    return outcome  # type: ignore[return-value] # which is T_co, None included


def _let_in(verified: Verified | None) -> Verified:
    if verified is None:
        raise PasswordError
    return verified
