# SPDX-License-Identifier: Apache-2.0
"""``securekit rotate``: plans, runs and proofs over all that a ``rotation.toml`` names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ._groups import SuggestingGroup
from ._options import as_json
from ._rotation_runs import (
    check_breadth,
    check_known,
    finish_with,
    plan_each,
    print_plans,
    run_all,
    signing_key,
    stopping,
    tell_chain,
    teller,
    verify_all,
    write_report,
)
from ._ui import FAILED, STOPPED, UNVERIFIED, handled, note, print_json, print_table, printable

if TYPE_CHECKING:
    from securekit.rotation import Estate

__all__ = ["rotate"]

CONFIG_VARIABLE = "SECUREKIT_ROTATION"

F = TypeVar("F", bound=Callable[..., Any])

_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_workers = click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="How many batches are worked at at once."
)
_report = click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="A directory for reports, as JSON and as pages.")
_sign = click.option("--sign", type=click.Path(path_type=Path, dir_okay=False), metavar="KEY", help="A private key that signs the reports.")
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
    plans, failed = plan_each(estate, names or tuple(estate.sources))
    if as_json:
        print_json({name: plan.to_json() for name, plan in plans.items()})
    else:
        print_plans(plans)
    if failed:
        sys.exit(FAILED)


@rotate.command()
@_NAMES
@_workers
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Items that are checked off at a time.")
@click.option("--items-per-second", type=float, help="No more than so many items per second.")
@click.option("--bytes-per-second", type=float, help="No more than so many bytes of ciphertext per second.")
@_report
@_sign
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
    plans, failed = plan_each(estate, names or tuple(estate.sources))
    if dry_run:
        if as_json:
            print_json({name: plan.to_json() for name, plan in plans.items()})
        else:
            print_plans(plans)
        if failed:
            sys.exit(FAILED)
        return
    run_all(estate, {name: plan for name, plan in plans.items() if plan.todo or plan.faults}, failed, as_json=as_json, **options)


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
    run_all(estate, *plan_each(estate, names), as_json=as_json, workers=workers)


@rotate.command()
@click.argument("key", required=False)
@_workers
@_report
@_sign
@as_json
@handled
@_with_estate
def verify(estate: Estate, key: str | None, *, workers: int, report: Path | None, sign: Path | None, as_json: bool) -> None:
    """Read everything in all sources and stores, prove that it opens, and say which keys it needs.

    With KEY, such as eu/acme/customers@9f3a01c2 or "vault-transit transit/app v1": whether anything needs it. Exit code 0: nothing does;
    3: something does, or something does not open.
    """
    if key:
        check_known(estate, key)
    signer = signing_key(sign)  # before the work: it may ask for a password
    proof = verify_all(estate, workers)
    if report is not None:
        write_report(report, f"verification-{datetime.fromtimestamp(proof.began, UTC):%Y%m%dT%H%M%SZ}", proof, signer)
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
    proof = None if force else verify_all(estate, workers)
    if dry_run:
        note(
            f"{proof.needs(key):,} items need {key}" if proof else f"{key} would be {'destroyed' if destroy else 'disabled'} without proof"
        )
        return
    if proof is not None:
        check_breadth(proof, key, destroy=destroy)
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
    with stopping() as stop:
        reports = do_what_is_due(estate, workers=workers, say=note, progress=teller(as_json=as_json), stop=stop)
    finish_with(reports, as_json=as_json, stopped=stop.is_set())


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
    with stopping() as stop:
        chain = run_chain(estate, key, workers=workers, say=note, progress=teller(as_json=as_json), stop=stop)
    tell_chain(chain, as_json=as_json)
    if chain.proof is None:
        sys.exit(STOPPED)
    if chain.needed or chain.proof.failed:
        sys.exit(UNVERIFIED)
    finish_with(chain.reports, as_json=True, stopped=False, quiet=True)
