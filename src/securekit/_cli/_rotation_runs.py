# SPDX-License-Identifier: Apache-2.0
"""What the commands of rotation share: runs one after the other, with progress, signals and reports; proofs; and how they are printed."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._ui import FAILED, SAY_EVERY, STOPPED, fail, note, print_table, printable, progress

if TYPE_CHECKING:
    from types import FrameType

    from securekit.rotation import Chain, Estate, Plan, Report, RunProgress, Verification

__all__ = [
    "check_breadth",
    "check_known",
    "finish_with",
    "plan_each",
    "print_plans",
    "run_all",
    "signing_key",
    "stopping",
    "tell_chain",
    "teller",
    "verify_all",
    "write_report",
]


def tell_chain(chain: Chain, *, as_json: bool) -> None:
    key = chain.key
    if as_json:
        proof = chain.proof.to_json() if chain.proof else None
        told = {"key": key, "rotated": chain.rotated, "proof": proof, "needed": chain.needed, "commands": chain.commands}
        click.echo(json.dumps(told))
    if chain.proof:
        note(f"verified: {chain.proof.known(key):,} items still need {key}; {chain.proof.failed:,} do not open")
        for name, items in chain.needed.items():
            note(f"securekit: error: {items:,} items still need {printable(name)}: repair that, and start this again")
    note("left to do:")
    for command in chain.commands:
        click.echo(command, err=as_json)


def plan_each(estate: Estate, names: Sequence[str]) -> tuple[dict[str, Plan], list[str]]:
    """Plan what can be planned; say why the others cannot, and return their names."""
    plans: dict[str, Plan] = {}
    failed: list[str] = []
    for name in names:
        with _apart(name, failed):
            plans[name] = estate.plan(name)
    return plans, failed


@contextmanager
def _apart(name: str, failed: list[str]) -> Iterator[None]:
    """Let a source that fails stop no other."""
    from securekit.exceptions import SecureKitError

    try:
        yield
    except (SecureKitError, OSError) as error:
        failed.append(name)
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        note(f"securekit: error: {printable(text if text.startswith(name) else f'{name}: {text}')}")


def run_all(
    estate: Estate,
    plans: dict[str, Plan],
    failed: list[str],
    *,
    as_json: bool,
    report: Path | None = None,
    sign: Path | None = None,
    **options: Any,  # noqa: ANN401 - of the engine
) -> None:
    from securekit.rotation import run as run_plan
    from securekit.rotation._journal import journal_of

    if not plans and not failed:
        note("nothing needs anything")
        return
    key = signing_key(sign)
    reports = []
    with stopping() as stop:
        for name, plan in plans.items():
            if stop.is_set():
                break
            with _apart(name, failed):
                journal = journal_of(estate.journals, name, plan.identity())
                note(f"{name}: {plan.kind} {plan.todo:,} of {plan.items:,} items; the journal is {journal}")
                with _progress(plan.todo, as_json=as_json) as tell:
                    done = run_plan(plan, journal=journal, progress=tell, stop=stop, **options)
                reports.append(done)
                if report is not None:
                    write_report(report, journal.stem, done, key)
    finish_with(reports, as_json=as_json, stopped=stop.is_set())
    if failed:
        note(f"securekit: error: {', '.join(failed)}: not done; the others are")
        sys.exit(FAILED)


def finish_with(reports: Sequence[Report], *, as_json: bool, stopped: bool, quiet: bool = False) -> None:
    """Print reports, and end with the exit code that fits."""
    for done in [] if quiet else reports:
        if as_json:
            click.echo(json.dumps({"report": done.to_json()}))
        else:
            counts = ", ".join(f"{getattr(done, name):,} {name}" for name in ("changed", "current", "busy", "failed"))
            click.echo(f"{printable(done.source)}: {done.state}; {counts}")
            for failure in done.failures:
                note(f"securekit: error: {printable(failure.item)}: {printable(failure.reason)}")
    if stopped:
        fail("stopped; what was done stands", hint="securekit rotate resume", code=STOPPED)
    if any(done.failed or done.busy for done in reports):
        sys.exit(FAILED)


@contextmanager
def _progress(total: int, *, as_json: bool) -> Iterator[Callable[[RunProgress], object]]:
    if as_json:
        yield _tell_json
        return
    shown = 0
    with progress("items", total) as advance:

        def tell(state: RunProgress) -> None:
            nonlocal shown
            done = state.changed + state.failed
            advance(done - shown)
            shown = done

        yield tell


def teller(*, as_json: bool) -> Callable[[RunProgress], object]:
    """Return what tells how far several runs are, one after the other: a line now and then."""
    if as_json:
        return _tell_json
    said = time.monotonic()

    def tell(state: RunProgress) -> None:
        nonlocal said
        if (now := time.monotonic()) - said >= SAY_EVERY:
            said = now
            note(str(state))

    return tell


def _tell_json(state: RunProgress) -> None:
    from dataclasses import asdict

    click.echo(json.dumps({"progress": asdict(state)}))


def check_known(estate: Estate, key: str) -> None:
    """Refuse the name of a data key that no store has: nothing needs it, which proves nothing of the key that was meant.

    Raises:
        ValueError: It is the bare id of a data key.
        securekit.exceptions.KeyNotFoundError: There is no such key.
    """
    from securekit.exceptions import KeyNotFoundError
    from securekit.keyring._survey import survey

    if re.fullmatch(r"[0-9a-fA-F]{8}", key):
        message = f"a data key is named PATH@ID, not {key!r}"
        raise ValueError(message)
    path, at, key_id = key.rpartition("@")
    if not at or " " in key:
        return
    documents = [found for store in estate.stores.values() for _, found in survey(store.open(), [path])]
    if not any(not isinstance(found, str) and found.key(key_id) for found in documents):
        message = f"no store has the key {key}: is it spelled as `securekit rotate plan` shows it?"
        raise KeyNotFoundError(message)


def check_breadth(proof: Verification, key: str, *, destroy: bool) -> None:
    """Say what was read, and that a source may be missing if nothing of it was under any key of the keyring.

    Raises:
        securekit.exceptions.RotationError: That is so, and the key is to be destroyed.
    """
    note(f"{proof.items:,} items were read, of {printable(', '.join(proof.sources))}")
    path = key.rpartition("@")[0]
    if any(name.rpartition("@")[0] == path for name in proof.counts):
        return
    text = f"nothing that was read is under any key of {path}: is a source missing from rotation.toml?"
    if destroy:
        from securekit.exceptions import RotationError

        message = f"{text} If there is none, say so with --force {key}"
        raise RotationError(message)
    note(f"securekit: warning: {printable(text)}")


def verify_all(estate: Estate, workers: int) -> Verification:
    from securekit.rotation._verify import verify_jobs

    with progress("items") as advance:
        return verify_jobs(estate.jobs(), workers=workers, progress=advance)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Give an event that the first SIGINT or SIGTERM sets; a second one ends the process as usual."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        stop.set()
        restore()
        note("stopping after the batches that are begun; once more to stop at once")

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def signing_key(path: Path | None) -> Any:  # noqa: ANN401 - a SigningKey, whose module is slow to import
    if path is None:
        return None
    from securekit._primitives.signatures import SigningKey
    from securekit._wire.key_files import read_key_file

    def ask() -> str:
        answer: str = click.prompt(f"Password of {path}", hide_input=True, err=True)
        return answer

    return SigningKey.read(read_key_file(path), password=ask)


def write_report(directory: Path, name: str, report: Report | Verification, key: Any) -> None:  # noqa: ANN401 - a SigningKey
    from securekit._wire.atomic import write_atomic

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(directory / f"{name}.json", json.dumps(report.to_json(), indent=2).encode() if key is None else report.sign(key))
    write_atomic(directory / f"{name}.md", report.page().encode())


def print_plans(plans: dict[str, Plan]) -> None:
    rows = [
        {
            "source": name,
            "keys": ", ".join(tally.keys),
            "state": tally.state,
            "created": f"{tally.created:%Y-%m-%d}" if tally.created else "",
            "items": f"{tally.items:,}",
            "action": tally.action or (f"cannot: {tally.fault}" if tally.fault else ""),
        }
        for name, plan in plans.items()
        for tally in plan.tallies
    ]
    print_table(["source", "keys", "state", "created", "items", "action"], rows)
    for name, plan in plans.items():
        note(f"{name}: {plan.kind} {plan.todo:,} of {plan.items:,} items, {plan.size:,} bytes; plan {plan.id}")
