# SPDX-License-Identifier: Apache-2.0
"""A watcher always holds a whole and valid configuration, notices every change, and survives what goes wrong."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from securekit.config import Document, load, parse_path
from securekit.config._settings import validate
from securekit.config._watcher import Values, Watch, Watcher, file_stamp
from securekit.exceptions import ConfigError, FormatError
from securekit.secret import Secret
from tests.config.parts import author, from_text, host, trust_in, write_only

CANARY = "hunter2-Canary"


class Settings(BaseModel):
    port: int
    password: Secret[str]
    hosts: list[str] = []


def values_of(path: Path) -> dict[str, Any]:
    """Read a stand-in for an encrypted document: JSON whose password is a secret."""
    try:
        values: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        message = f"{path.name} is no JSON"
        raise FormatError(message) from None
    values["password"] = Secret(values["password"])
    return values


def write(path: Path, text: str = "", **values: object) -> None:
    """Replace the file as a whole."""
    fresh = path.with_name("fresh")
    fresh.write_text(text or json.dumps({"port": 1, "password": CANARY, **values}))
    fresh.replace(path)


class Seen:
    """What callbacks were told."""

    def __init__(self) -> None:
        self.changes: list[tuple[Settings, tuple[str, ...]]] = []
        self.errors: list[Exception] = []

    def change(self, new: Settings, paths: tuple[str, ...]) -> None:
        self.changes.append((new, paths))


@contextmanager
def watched(path: Path, seen: Seen, **options: Any) -> Iterator[Watch[Settings]]:
    def read() -> tuple[Values, Settings]:
        values = values_of(path)
        return values, validate(values, Settings)

    options = {"interval": 0.02, "on_change": seen.change, "on_error": seen.errors.append, **options}
    with Watch(read, lambda: file_stamp(path), name=path.name, **options) as watch:
        yield watch


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.005)


def looks(watch: Watch[Any], number: int = 3) -> None:
    """Wait until the thread has looked a few times more."""
    time.sleep(number * watch._interval)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "app.json")
    return tmp_path / "app.json"


def test_a_change_is_seen(path: Path) -> None:
    """A changed file is read and swapped in, and the callback is told which paths differ."""
    seen = Seen()
    with watched(path, seen) as watch:
        first = watch.current
        write(path, port=2, password="other", hosts=["a", "b"])
        until(lambda: seen.changes)

        assert first.port == 1
        assert watch.current.port == 2
        assert watch.current.password.reveal() == "other"
        assert seen.changes == [(watch.current, ("hosts", "password", "port"))]

        write(path, port=2, password="other", hosts=["a", "c"])
        until(lambda: len(seen.changes) == 2)
        assert seen.changes[1][1] == ("hosts.1",)


def test_what_only_looks_new_is_no_change(path: Path) -> None:
    """A file that was written again with the same values calls nobody."""
    seen = Seen()
    with watched(path, seen) as watch:
        write(path)
        path.touch()
        looks(watch)

        watch.reload()

    assert seen.changes == []
    assert seen.errors == []


def test_a_swapped_folder_is_seen(tmp_path: Path) -> None:
    """Kubernetes' way, a link to a folder that is set to another, is a change, even if date and size of the file are equal."""
    for name, port in [("one", 1), ("two", 2)]:
        (tmp_path / name).mkdir()
        write(tmp_path / name / "app.json", port=port)
        os.utime(tmp_path / name / "app.json", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "app.json").symlink_to("..data/app.json")
    seen = Seen()
    with watched(tmp_path / "app.json", seen) as watch:
        (tmp_path / "..tmp").symlink_to("two")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        until(lambda: seen.changes)

        assert watch.current.port == 2


@pytest.mark.parametrize("bad", ["no JSON " + CANARY, json.dumps({"port": CANARY, "password": CANARY}), json.dumps({"password": CANARY})])
def test_a_bad_file_keeps_the_last_good_one(path: Path, bad: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is no good is not used, reported once and logged without a value; the next good file is used."""
    seen = Seen()
    with watched(path, seen) as watch:
        write(path, bad)
        until(lambda: seen.errors)
        looks(watch, 10)

        assert watch.current.port == 1
        assert len(seen.errors) == 1
        assert isinstance(seen.errors[0], FormatError | ConfigError)
        assert [record.name for record in caplog.records] == ["securekit.config"]
        assert CANARY not in caplog.text

        write(path, port=3)
        until(lambda: watch.current.port == 3)
        write(path, bad + " ")
        until(lambda: len(seen.errors) == 2)


def test_a_missing_file_keeps_the_last_good_one(path: Path) -> None:
    """While the file is gone, what was read stays; when it is back it is read."""
    seen = Seen()
    with watched(path, seen) as watch:
        path.unlink()
        until(lambda: seen.errors)
        assert watch.current.port == 1

        write(path, port=2)
        until(lambda: watch.current.port == 2)

    assert [type(error) for error in seen.errors] == [FileNotFoundError]


def test_what_fails_for_a_while_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """A failure that is not the file's, such as a key holder out of reach, is retried at every look; foreign text is not logged."""
    answers: Iterator[int | OSError] = iter([1, OSError(CANARY), OSError(CANARY), 2])
    stamps = iter([0])
    errors: list[Exception] = []

    def read() -> tuple[Values, int]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return {"n": answer}, answer

    with Watch(read, lambda: next(stamps, 1), name="n", interval=0.02, on_error=errors.append) as watch:
        until(lambda: watch.current == 2)

    assert len(errors) == 1
    assert "OSError" in caplog.text
    assert CANARY not in caplog.text


def test_the_first_reading_raises(path: Path) -> None:
    """There is no watcher without a configuration, and no thread is left of it."""
    write(path, "no JSON")

    with pytest.raises(FormatError), watched(path, Seen()):
        pass

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("watching")]


def test_reloading_by_hand(path: Path) -> None:
    """`reload` reads at once; a bad file raises there and changes nothing."""
    seen = Seen()
    with watched(path, seen, interval=1000) as watch:
        looks_at_once = 0.1
        time.sleep(looks_at_once)
        write(path, port=2)
        watch.reload()
        assert watch.current.port == 2

        write(path, "no JSON")
        with pytest.raises(FormatError):
            watch.reload()
        assert watch.current.port == 2

    assert [paths for _, paths in seen.changes] == [("port",)]


def test_callbacks_that_raise_are_survived(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A callback's own error is logged by its type, and the next change is seen all the same."""

    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    with watched(path, Seen(), on_change=broken, on_error=broken) as watch:
        write(path, port=2)
        until(lambda: "a callback of app.json failed: RuntimeError" in caplog.text)
        write(path, "no JSON")
        until(lambda: caplog.text.count("RuntimeError") == 2)
        write(path, port=3)
        until(lambda: watch.current.port == 3)

    assert CANARY not in caplog.text


def test_sighup_reads_at_once_and_calls_the_handler_before(path: Path) -> None:
    """With `reload_on_sighup` the signal reads the file, a handler from before is called, and `close` gives the signal back."""
    calls: list[int] = []
    former = signal.signal(signal.SIGHUP, lambda number, _: calls.append(number))
    try:
        before = signal.getsignal(signal.SIGHUP)
        with watched(path, Seen(), interval=1000) as watch:
            watch.reload_on_sighup()
            watch.reload_on_sighup()
            write(path, port=2)
            os.kill(os.getpid(), signal.SIGHUP)
            until(lambda: watch.current.port == 2)

        assert calls == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_handler_that_came_later_stays(path: Path) -> None:
    """`close` leaves SIGHUP to whoever has taken it since."""
    former = signal.getsignal(signal.SIGHUP)
    try:
        with watched(path, Seen()) as watch:
            watch.reload_on_sighup()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


def test_sighup_reports_each_failure(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever sends the signal learns of a failure each time, though the file is the same."""
    former = signal.getsignal(signal.SIGHUP)
    seen = Seen()
    with watched(path, seen, interval=1000) as watch:
        watch.reload_on_sighup()
        write(path, "no JSON")
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: len(seen.errors) == 1)
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: len(seen.errors) == 2)

    assert signal.getsignal(signal.SIGHUP) == former


def test_signals_are_for_the_main_thread(path: Path) -> None:
    """Elsewhere `reload_on_sighup` is refused, as Python does."""
    failures: list[Exception] = []

    with watched(path, Seen()) as watch:

        def other() -> None:
            try:
                watch.reload_on_sighup()
            except ValueError as error:
                failures.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    assert len(failures) == 1


FORKING = """
import json, os, sys, time
from pathlib import Path
from securekit.config._watcher import Watch, file_stamp

path = Path(sys.argv[1])
def read():
    values = json.loads(path.read_text())
    return values, values["port"]

watch = Watch(read, lambda: file_stamp(path), name="app", interval=0.02)
child = os.fork()
if child == 0:
    (path.parent / "forked").touch()
    while read()[1] != 2:
        time.sleep(0.005)
    first = watch.current
    path.with_name("later").write_text(json.dumps({"port": 3}))
    path.with_name("later").replace(path)
    end = time.monotonic() + 20
    while watch.current != 3 and time.monotonic() < end:
        time.sleep(0.005)
    os._exit(0 if (first, watch.current) == (2, 3) else 1)
while not (path.parent / "forked").exists():
    time.sleep(0.005)
path.with_name("fresh").write_text(json.dumps({"port": 2}))
path.with_name("fresh").replace(path)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.measured
def test_a_forked_child_goes_on_watching(path: Path) -> None:
    """A child that was forked sees changes, also from before it first asks, though threads are not forked."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, path], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_readers_see_whole_configurations_alone(path: Path) -> None:
    """While the file changes all the time, every reader sees values that belong together."""
    mixed: list[Settings] = []
    stop = threading.Event()

    with watched(path, Seen(), interval=0.001) as watch:
        write(path, port=0, hosts=["0"])
        until(lambda: watch.current.hosts == ["0"])

        def reader() -> None:
            while not stop.is_set():
                settings = watch.current
                if settings.hosts != [str(settings.port)]:
                    mixed.append(settings)
                time.sleep(0.0005)

        threads = [threading.Thread(target=reader) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(100):
            write(path, port=number, hosts=[str(number)])
            time.sleep(0.002)
        until(lambda: watch.current.port == 99)
        stop.set()
        for thread in threads:
            thread.join()

    assert mixed == []


def test_closing_ends_the_thread(path: Path) -> None:
    """After `close` nothing is read any more, what was read stays, and closing again or from a callback is fine."""
    seen = Seen()
    watches: list[Watch[Settings]] = []
    with watched(path, seen, on_change=lambda *_: watches[0].close()) as watch:
        watches.append(watch)
        write(path, port=2)
        until(lambda: watch._thread is not None and not watch._thread.is_alive())
        write(path, port=3)
        watch.close()

        assert watch.current.port == 2


def test_an_interval_is_above_zero(path: Path) -> None:
    """A busy loop is refused."""
    with pytest.raises(ValueError, match="interval"), watched(path, Seen(), interval=0):
        pass


@pytest.mark.parametrize("into", [None, Settings])
def test_a_watcher_loads_documents(tmp_path: Path, into: type[Settings] | None) -> None:
    """`Watcher` reads as `securekit.config.load` does, options passed on, gives the mapping or the model, and closes no way back.

    A later document that is not valid is not kept as the highest generation: a service that is started anew has the one before.
    """
    first = from_text(f"port: 1\npassword: {CANARY}\n", "yaml", "password")
    document, state = tmp_path / "production.yaml", tmp_path / "state"
    changes: list[tuple[str, ...]] = []
    errors: list[Exception] = []
    options: dict[str, Any] = {"identity": host().private, "trust": trust_in(first, author(), state=state)}

    def deploy(port: object) -> None:
        edit = write_only(first)
        edit.set(parse_path("port"), port, clear=True)  # type: ignore[arg-type]
        signed = (edit.finish() if port != 1 else first).sign(author().key)
        document.with_name("fresh").write_bytes(signed.to_bytes())
        document.with_name("fresh").replace(document)

    deploy(1)
    with Watcher(
        document,
        environment="production",
        into=into,
        interval=0.02,
        on_change=lambda _, paths: changes.append(paths),
        on_error=errors.append,
        **options,
    ) as watcher:
        if into:
            deploy("no number")
            until(lambda: errors)
            load(write_back(document, first), environment="production", **options)
        deploy(2)
        until(lambda: changes)

        current: Any = watcher.current
        assert (current.port if into else current["port"]) == 2
    assert changes == [("port",)]


def write_back(path: Path, document: Document) -> Path:
    """Put a document beside ``path``."""
    beside = path.with_name("before.yaml")
    beside.write_bytes(document.sign(author().key).to_bytes())
    return beside


def test_nothing_is_logged_of_values(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change is logged by its paths."""
    seen = Seen()
    with caplog.at_level(logging.INFO, "securekit.config"), watched(path, seen):
        write(path, password="Other-" + CANARY)
        until(lambda: seen.changes)

    assert "app.json was read again; different: password" in caplog.text
    assert CANARY not in caplog.text
