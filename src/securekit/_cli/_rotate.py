# SPDX-License-Identifier: Apache-2.0
"""``securekit rotate``: plans, runs and proofs over all that a ``rotation.toml`` names."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ._groups import SuggestingGroup
from ._options import as_json
from ._ui import FAILED, STOPPED, UNVERIFIED, fail, handled, note, print_json, print_table, printable, progress

if TYPE_CHECKING:
    from types import FrameType

    from securekit.rotation import Chain, Estate, Plan, Report, RunProgress, Verification

__all__ = ["rotate"]

CONFIG_VARIABLE = "SECUREKIT_ROTATION"

F = TypeVar("F", bound=Callable[..., Any])

_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_workers = click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="How many batches are worked at at once."
)
_NAMES = click.argument("names", nargs=-1, metavar="[SOURCE]...")
_KEY = click.argument("key", metavar="KEY")


def _with_estate(command: F) -> F:
    """Give a command ``--config``, and what the file says as its first argument."""

    @click.option(
        "--config",
        "file",
        default="rotation.toml",
        show_default=True,
        envvar=CONFIG_VARIABLE,
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="What there is to rotate. `securekit rotate sample` prints one.",
    )
    @wraps(command)
    def run(*args: Any, file: Path, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        from securekit.rotation import Estate

        return command(Estate.read(file), *args, **kwargs)

    return run  # type: ignore[return-value]


@click.group(cls=SuggestingGroup)
def rotate() -> None:
    """Plan, run and prove rotations; what is due, and what to do when a key has leaked.

    \b
    rewrap       another KEK, or other recipients: data keys and data stay as they are
    rotate       a new primary data key for a keyring: securekit keys rotate PATH
    re-encrypt   stored records move to the primary, so that an old key can be destroyed

    What there is to rotate stands in a rotation.toml. A run may be killed at any moment: started again, it goes on.

    \b
    securekit rotate sample > rotation.toml      and fill it in
    securekit rotate plan                        what is there, and what would be done
    securekit rotate run customers               do it
    securekit rotate retire eu/acme/customers@9f3a01c2
    """


@rotate.command()
@handled
def sample() -> None:
    """Print a rotation.toml with every setting and what it means."""
    from importlib.resources import files

    click.echo((files("securekit.rotation") / "sample.toml").read_text(), nl=False)


@rotate.command("plan")
@_NAMES
@as_json
@handled
@_with_estate
def plan_(estate: Estate, names: tuple[str, ...], *, as_json: bool) -> None:
    """Count what is in the sources, by key, and what would be done. Nothing is changed or decrypted."""
    plans = {name: estate.plan(name) for name in names or estate.sources}
    if as_json:
        print_json({name: plan.to_json() for name, plan in plans.items()})
        return
    _print_plans(plans)


@rotate.command()
@_NAMES
@_workers
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Items that are checked off at a time.")
@click.option("--items-per-second", type=float, help="No more than so many items per second.")
@click.option("--bytes-per-second", type=float, help="No more than so many bytes of ciphertext per second.")
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), help="A directory for each run's report, as JSON and as a page."
)
@click.option("--sign", type=click.Path(path_type=Path, dir_okay=False), metavar="KEY", help="A private key that signs the reports.")
@_dry_run
@as_json
@handled
@_with_estate
def run(estate: Estate, names: tuple[str, ...], *, dry_run: bool, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - what is passed on
    """Rewrap and re-encrypt what needs it, in the sources named, or in all.

    Each run keeps a journal. Killed at any moment, or stopped with Ctrl-C, it goes on when it is started again. Items that cannot be
    handled are named at the end, and stop no other; then the exit code is 1.

    With --json, every line of output is a JSON object: how far it is, and at the end the report.
    """
    for name in names:
        estate.source(name)
    plans = {name: estate.plan(name) for name in names or estate.sources}
    if dry_run:
        if as_json:
            print_json({name: plan.to_json() for name, plan in plans.items()})
        else:
            _print_plans(plans)
        return
    _run_all(estate, {name: plan for name, plan in plans.items() if plan.todo or plan.faults}, as_json=as_json, **options)


@rotate.command()
@_workers
@as_json
@handled
@_with_estate
def resume(estate: Estate, *, workers: int, as_json: bool) -> None:
    """Go on with every run that was not finished."""
    from securekit.rotation._journal import unfinished

    names = [name for name in unfinished(estate.journals) if name in estate.sources]
    if not names:
        note("no run is unfinished")
        return
    _run_all(estate, {name: estate.plan(name) for name in names}, as_json=as_json, workers=workers)


@rotate.command()
@click.argument("key", required=False)
@_workers
@as_json
@handled
@_with_estate
def verify(estate: Estate, key: str | None, *, workers: int, as_json: bool) -> None:
    """Read everything in all sources and stores, prove that it opens, and say which keys it needs.

    With KEY, such as eu/acme/customers@9f3a01c2 or "vault-transit transit/app v1": whether anything needs it. Exit code 0: nothing does;
    3: something does, or something does not open.
    """
    if key:
        _check_known(estate, key)
    proof = _verified(estate, workers)
    if as_json:
        print_json(proof.to_json() | ({"key": key, "needs": proof.known(key)} if key else {}))
    else:
        print_table(["key", "items"], [{"key": name, "items": f"{count:,}"} for name, count in sorted(proof.counts.items())])
        for failure in proof.failures:
            note(f"securekit: error: {printable(failure.item)}: {printable(failure.reason)}")
        note(f"{proof.items:,} items were read, {proof.failed:,} do not open")
        if key:
            note(f"{proof.known(key):,} items need {printable(key)}")
            if not proof.known(key) and "@" not in key:
                note("securekit: hint: a name that is spelled wrongly is not needed either; compare it with `securekit rotate plan`")
    if proof.failed or (key and proof.needs(key)):
        sys.exit(UNVERIFIED)


@rotate.command()
@_KEY
@click.option("--destroy", is_flag=True, help="Destroy it for ever: it must have been disabled for long enough.")
@click.option("--force", metavar="KEY", help="The name of the key once more: without proof, and without waiting. What needs it is lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_workers
@_dry_run
@as_json
@handled
@_with_estate
def retire(estate: Estate, key: str, *, destroy: bool, force: str | None, yes: bool, workers: int, dry_run: bool, as_json: bool) -> None:
    """Disable the data key KEY (PATH@ID), after proving that nothing needs it; later, with --destroy, destroy it.

    Everything in all sources and stores is read first. A key is destroyed only with a proof that was begun when no process could
    write under it any more.
    """
    from securekit.rotation import retire as retire_key

    path, at, _ = key.rpartition("@")
    if not at:
        message = f"a data key is named PATH@ID, not {key!r}; a KEK is retired where it is kept, once `securekit rotate verify KEK` says 0"
        raise ValueError(message)
    store = estate.store_of(path)
    proof = None if force else _verified(estate, workers)
    if dry_run:
        note(
            f"{proof.needs(key):,} items need {key}" if proof else f"{key} would be {'destroyed' if destroy else 'disabled'} without proof"
        )
        return
    if proof is not None:
        _check_breadth(proof, key, destroy=destroy)
    if destroy and not yes:
        click.confirm(f"Destroy {key} for ever?", abort=True, err=True)
    done = retire_key(key, store=store, proof=proof, destroy=destroy, force=force)
    if as_json:
        print_json(done)
        return
    note(f"{key} is {done.state}")
    if done.destroyable_at is not None:
        from securekit.keyring._clock import format_time

        note(f"after {format_time(done.destroyable_at)}: securekit rotate retire {key} --destroy")
    if done.receipt is not None:
        print_json(done.receipt)


@rotate.command()
@as_json
@handled
@_with_estate
def due(estate: Estate, *, as_json: bool) -> None:
    """Say what the policy wants to be done. Exit code 0: nothing; 1: something. For cron and monitoring."""
    from securekit.rotation import find_due

    found = find_due(estate)
    if as_json:
        print_json(found)
    else:
        columns = ["action", "where", "what", "reason", "command"]
        print_table(columns, [{name: getattr(one, name) for name in columns} for one in found])
        note(f"{len(found)} things are due" if found else "nothing is due")
    if found:
        sys.exit(FAILED)


@rotate.command()
@_workers
@_dry_run
@as_json
@handled
@_with_estate
def auto(estate: Estate, *, workers: int, dry_run: bool, as_json: bool) -> None:
    """Do what is due, as far as a program may: rewrap, rotate, promote, re-encrypt. Nothing is disabled or destroyed."""
    from securekit.rotation import do_what_is_due, find_due

    if dry_run:
        found = [one for one in find_due(estate) if one.automatic]
        if as_json:
            print_json(found)
        for one in [] if as_json else found:
            click.echo(printable(f"{one.action} {one.where} {one.what}: {one.reason}"))
        return
    with _stopping() as stop:
        reports = do_what_is_due(estate, workers=workers, say=note, progress=_teller(as_json=as_json), stop=stop)
    _finish(reports, as_json=as_json, stopped=stop.is_set())


@rotate.command()
@_KEY
@click.option("--yes", is_flag=True, help="Do not ask.")
@_workers
@_dry_run
@as_json
@handled
@_with_estate
def compromise(estate: Estate, key: str, *, yes: bool, workers: int, dry_run: bool, as_json: bool) -> None:
    """KEY has leaked: list what it opened; then rotate, wait, re-encrypt, verify, and say what is left to do.

    KEY is a data key (PATH@ID), a KEK ("local 0bac1fe1ddce8316", "vault-transit transit/app v1"), or the fingerprint of a certificate's
    key. For a KEK, give the store another one in rotation.toml first, with the leaked one in also_open. Killed, it goes on when it is
    started again. Nothing is disabled or destroyed.
    """
    from securekit.rotation import blast_radius, run_chain

    found = blast_radius(estate, key)
    if dry_run and as_json:
        print_json(found)
        return
    if not as_json:
        columns = ["where", "kind", "what", "items"]
        print_table(columns, [{name: getattr(one, name) for name in columns} for one in found])
    note(f"{key} opened {sum(one.items for one in found):,} things")
    if dry_run:
        return
    if not yes:
        click.confirm("Rotate and re-encrypt all of this?", abort=True, err=True)
    with _stopping() as stop:
        chain = run_chain(estate, key, workers=workers, say=note, progress=_teller(as_json=as_json), stop=stop)
    _tell_chain(chain, as_json=as_json)
    if chain.proof is None:
        sys.exit(STOPPED)
    if chain.needed or chain.proof.failed:
        sys.exit(UNVERIFIED)
    _finish(chain.reports, as_json=True, stopped=False, quiet=True)


def _tell_chain(chain: Chain, *, as_json: bool) -> None:
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


def _run_all(
    estate: Estate,
    plans: dict[str, Plan],
    *,
    as_json: bool,
    report: Path | None = None,
    sign: Path | None = None,
    **options: Any,  # noqa: ANN401 - of the engine
) -> None:
    from securekit.rotation import run as run_plan
    from securekit.rotation._journal import journal_of

    if not plans:
        note("nothing needs anything")
        return
    key = _signing_key(sign)
    reports = []
    with _stopping() as stop:
        for name, plan in plans.items():
            if stop.is_set():
                break
            journal = journal_of(estate.journals, name, plan.identity())
            note(f"{name}: {plan.kind} {plan.todo:,} of {plan.items:,} items; the journal is {journal}")
            with _progress(plan.todo, as_json=as_json) as tell:
                done = run_plan(plan, journal=journal, progress=tell, stop=stop, **options)
            reports.append(done)
            if report is not None:
                _write_report(report, journal.stem, done, key)
    _finish(reports, as_json=as_json, stopped=stop.is_set())


def _finish(reports: Sequence[Report], *, as_json: bool, stopped: bool, quiet: bool = False) -> None:
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


def _teller(*, as_json: bool) -> Callable[[RunProgress], object] | None:
    return _tell_json if as_json else None


def _tell_json(state: RunProgress) -> None:
    from dataclasses import asdict

    click.echo(json.dumps({"progress": asdict(state)}))


def _check_known(estate: Estate, key: str) -> None:
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


def _check_breadth(proof: Verification, key: str, *, destroy: bool) -> None:
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


def _verified(estate: Estate, workers: int) -> Verification:
    from securekit.rotation._verify import verify_jobs

    with progress("items") as advance:
        return verify_jobs(estate.jobs(), workers=workers, progress=advance)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
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


def _signing_key(path: Path | None) -> Any:  # noqa: ANN401 - a SigningKey, whose module is slow to import
    if path is None:
        return None
    from securekit._primitives.signatures import SigningKey
    from securekit._wire.key_files import read_key_file

    def ask() -> str:
        answer: str = click.prompt(f"Password of {path}", hide_input=True, err=True)
        return answer

    return SigningKey.read(read_key_file(path), password=ask)


def _write_report(directory: Path, name: str, report: Report, key: Any) -> None:  # noqa: ANN401 - a SigningKey
    from securekit._wire.atomic import write_atomic

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(directory / f"{name}.json", json.dumps(report.to_json(), indent=2).encode() if key is None else report.sign(key))
    write_atomic(directory / f"{name}.md", report.page().encode())


def _print_plans(plans: dict[str, Plan]) -> None:
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
