# SPDX-License-Identifier: Apache-2.0
"""What a policy wants to be done, and doing it. Nothing is ever refused because it is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, cast

from securekit.exceptions import FormatError
from securekit.keyring import KeyState
from securekit.keyring._clock import parse_time
from securekit.keyring._due import find_due as find_due_of_keyring
from securekit.keyring._survey import survey
from securekit.opening import file_of
from securekit.wrappers._exchange import is_due_for
from securekit.wrappers._recipients import describe

from ._documents import find_documents
from ._engine import run
from ._journal import journal_of
from ._plan import Plan, plan

if TYPE_CHECKING:
    from securekit.keyring._document import KeyringDocument

    from ._documents import ConfigDocuments
    from ._engine import RunProgress
    from ._report import Report
    from ._settings import Estate, EstateSource, EstateStore, Policy

__all__ = ["Due", "do_what_is_due", "find_due"]

Action = Literal["rotate", "promote", "rewrap", "re-encrypt", "destroy", "renew KEK", "renew certificate", "look"]


@dataclass(frozen=True, slots=True)
class Due:
    """Something that the policy wants to be done.

    Attributes:
        action: ``"rotate"``, ``"promote"``, ``"rewrap"``, ``"re-encrypt"``; ``"destroy"``, ``"renew KEK"``, ``"renew certificate"`` and
            ``"look"``, which people do.
        where: The store or source.
        what: The keyring, key or recipient; empty if it is the whole source.
        reason: Why, for people.
        automatic: Whether `do_what_is_due` does it.
        command: What does it, or begins it.
        primary: For ``"rotate"``, the id of the key that is to be replaced.
    """

    action: Action
    where: str
    what: str
    reason: str
    automatic: bool
    command: str
    primary: str = ""


def find_due(estate: Estate, *, now: float | None = None) -> list[Due]:
    """Return what is due in all stores and sources.

    Args:
        estate: The stores, the sources and the policy.
        now: Seconds since 1970; the clock's if None.

    Raises:
        securekit.exceptions.SecureKitError, OSError: A store, a KMS or a source cannot be read.
    """
    moment = time.time() if now is None else now
    found: list[Due] = []
    for store in estate.stores.values():
        found += _of_store(store, estate.policy, moment)
    for source in estate.sources.values():
        if source.kind == "config":
            found += _of_documents(source, estate.policy, moment)
        elif source.kind != "store":
            found += _of_source(estate, source)
    return found


def do_what_is_due(
    estate: Estate,
    *,
    workers: int = 1,
    say: Callable[[str], object] = lambda _: None,
    progress: Callable[[RunProgress], object] | None = None,
    stop: threading.Event | None = None,
    now: float | None = None,
) -> list[Report]:
    """Do what is due, as far as a program may: rewrap, then rotate and promote, then re-encrypt. Killed, it goes on when called again.

    Args:
        estate: The stores, the sources and the policy.
        workers: Threads that work side by side.
        say: Told what is done, line by line.
        progress: Told how far a run is.
        stop: Ends it after the batches that are begun.
        now: Seconds since 1970; the clock's if None.

    Returns:
        The reports of the runs.

    Raises:
        securekit.exceptions.SecureKitError, OSError: As `find_due` and `securekit.rotation.run`.
    """
    stopping = stop or threading.Event()
    moment = time.time() if now is None else now
    due = [one for one in find_due(estate, now=moment) if one.automatic]
    reports: list[Report] = []

    def go(name: str, what: Plan) -> None:
        if what.todo and not stopping.is_set():
            say(f"{name}: {what.kind} {what.todo:,} items")
            journal = journal_of(estate.journals, name, what.identity())
            reports.append(run(what, journal=journal, workers=workers, progress=progress, stop=stopping))

    for name in dict.fromkeys(one.where for one in due if one.action == "rewrap" and one.where in estate.stores):
        go(name, estate.plan(name))
    for one in sorted(due, key=lambda one: one.action):  # a key that is promoted spares its keyring a rotation
        if one.action in {"rotate", "promote"} and one.where in estate.stores and not stopping.is_set():
            _change_primary(estate, one, say)
    for source in estate.sources.values():
        if source.kind == "config":
            if any(one.where == source.name for one in due):
                go(source.name, plan(_older(source, estate.policy, moment)))
        elif source.kind != "store":
            go(source.name, estate.plan(source.name))
    return reports


def _change_primary(estate: Estate, due: Due, say: Callable[[str], object]) -> None:
    ring = estate.stores[due.where].open().keyring(due.what.partition("@")[0])
    ring.refresh()
    if due.action == "rotate" and ring.primary().id != due.primary:
        return  # done meanwhile, or due for two reasons
    info = ring.rotate() if due.action == "rotate" else ring.promote(due.what)
    say(f"{due.where}: {info.full_name} is primary now")


def _of_store(store: EstateStore, policy: Policy, now: float) -> Iterator[Due]:
    opened = store.open()
    rewrap = 0
    for path, found in survey(opened, opened.paths()):
        if isinstance(found, str):
            yield Due("look", store.name, path, found, automatic=False, command=f"securekit keys show {path}")
            continue
        rewrap += is_due_for(found.recipients, opened._source.writers(path), ())  # noqa: SLF001 - as `KeyStore.rewrap`
        yield from _of_keyring(store.name, found, policy, now)
    if rewrap:
        reason = f"{rewrap:,} keyrings are not wrapped to the store's KEKs, or under an older version of them"
        yield Due("rewrap", store.name, "", reason, automatic=True, command=f"securekit rotate run {store.name}")
    yield from _of_keks(store, policy, now)


def _of_keyring(where: str, document: KeyringDocument, policy: Policy, now: float) -> Iterator[Due]:
    path = document.path
    of_keyring = find_due_of_keyring(
        document, now=now, rotate_after=policy.data_key_max_age, max_messages=policy.max_messages, messages=0, targets=()
    )
    rotates = False
    for one in of_keyring:
        if one.action == "rotate" and not rotates:
            rotates = True
            command = f"securekit keys rotate {path}"
            yield Due("rotate", where, path, one.reason, automatic=True, command=command, primary=document.primary.id)
        elif one.action == "promote":
            key = f"{path}@{one.key_id}"
            yield Due("promote", where, key, one.reason, automatic=True, command=f"securekit keys promote {key}")
        elif one.action == "re-encrypt":
            key = f"{path}@{one.key_id}"
            yield Due("destroy", where, key, one.reason, automatic=False, command=f"securekit rotate retire {key}")
    wait = max(policy.grace, document.refresh + document.stale_if_error)
    for version in document.keys:
        if version.state is KeyState.DISABLED and now - (version.disabled or now) > wait:
            key = f"{path}@{version.id}"
            reason = f"disabled for longer than {timedelta(seconds=wait)}"
            yield Due("destroy", where, key, reason, automatic=False, command=f"securekit rotate retire {key} --destroy")
    for wrapped in document.recipients:
        yield from _of_certificate(where, wrapped.about.get("not_after", ""), describe(*wrapped.recipient), policy, now)


def _of_keks(store: EstateStore, policy: Policy, now: float) -> Iterator[Due]:
    for name in store.wrap:
        kind, _, rest = name.partition(":")
        file = file_of(name) if kind == "local" else None
        born: float | None = None
        command = f"securekit keys new-kek NEW.key; then name it in wrap, and {name} in also_open: securekit rotate run {store.name}"
        if file is not None and file.exists():
            born = file.stat().st_mtime
        elif kind == "vault":
            born = _born_in_vault(name)
            mount, _, key = rest.partition("?")[0].rpartition("/")
            command = f"bao write -f {mount}/keys/{key}/rotate, then: securekit rotate run {store.name}"
        if born is not None and now - born > policy.kek_max_age:
            reason = f"the KEK is {timedelta(seconds=int(now - born))} old, longer than {timedelta(seconds=policy.kek_max_age)}"
            yield Due("renew KEK", store.name, name, reason, automatic=False, command=command)


def _born_in_vault(name: str) -> float | None:
    """Return when the latest version of a Transit key was made; None if Vault does not say."""
    from securekit.opening import open_wrapper
    from securekit.vault import TransitWrapper

    wrapper = open_wrapper(name)
    facts = wrapper.check() if isinstance(wrapper, TransitWrapper) else {}
    versions = facts.get("keys")
    born = versions.get(str(facts.get("latest_version"))) if isinstance(versions, dict) else None
    return float(born) if isinstance(born, int) else None


def _of_source(estate: Estate, source: EstateSource) -> Iterator[Due]:
    what = estate.plan(source.name)
    if what.todo:
        action: Action = what.kind
        reason = f"{what.todo:,} of {what.items:,} items"
        yield Due(action, source.name, "", reason, automatic=True, command=f"securekit rotate run {source.name}")
    for fault in what.faults:
        yield Due(
            "look",
            source.name,
            "",
            f"{fault.items:,} items: {fault.fault}",
            automatic=False,
            command=f"securekit rotate plan {source.name}",
        )
    for tally in what.tallies:
        if tally.state == KeyState.PRIMARY and tally.items >= estate.policy.max_messages:
            path, _, primary = tally.keys[0].rpartition("@")
            reason = f"{tally.items:,} records of {source.name} are under its primary"
            command = f"securekit keys rotate {path}"
            yield Due("rotate", source.store, path, reason, automatic=True, command=command, primary=primary)


def _of_documents(source: EstateSource, policy: Policy, now: float) -> Iterator[Due]:
    documents = _older(source, policy, now)
    what = plan(documents)
    reasons: dict[Action, str] = {
        "re-encrypt": f"documents have data keys that are older than {timedelta(seconds=policy.config_data_key_max_age)}",
        "rewrap": "documents have other recipients",
    }
    for action, reason in reasons.items():
        items = sum(tally.items for tally in what.tallies if tally.action == action)
        if items:
            yield Due(action, source.name, "", f"{items:,} {reason}", automatic=True, command=f"securekit rotate run {source.name}")
    for place, found in find_documents(documents.root):
        if isinstance(found, str):
            yield Due("look", source.name, place, found, automatic=False, command=f"securekit config verify {place}")
            continue
        for recipient in found.required.recipients:
            yield from _of_certificate(source.name, recipient.about.get("not_after", ""), f"{place}: {recipient.subject}", policy, now)


def _of_certificate(where: str, not_after: str, what: str, policy: Policy, now: float) -> Iterator[Due]:
    if not not_after:
        return
    try:
        until = datetime.fromtimestamp(parse_time(not_after), UTC)
    except FormatError:
        return
    left = until.timestamp() - now
    if left < policy.certificate_warning:
        reason = f"the certificate {'ends' if left > 0 else 'ended'} on {until:%Y-%m-%d}"
        command = "securekit config recipients add FILE NEW.pem" if ":" in what else "securekit keys rewrap --to …"
        yield Due("renew certificate", where, what, reason, automatic=False, command=command)


def _older(source: EstateSource, policy: Policy, now: float) -> ConfigDocuments:
    documents = cast("ConfigDocuments", source.open())
    # Never later than now: what is encrypted anew would be due again at once.
    return documents.older_than(datetime.fromtimestamp(int(min(now - policy.config_data_key_max_age, time.time())), UTC))
