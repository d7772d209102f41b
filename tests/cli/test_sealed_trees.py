# SPDX-License-Identifier: Apache-2.0
"""Directory trees of sealed files: sealed, opened and rewrapped, several files at once, one failure among many."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Console
from tests.cli.test_interface import INTERRUPTIBLE

# Ctrl-C when the work comes to its tenth file.
INTERRUPTED = (
    "import os, signal, sys\n"
    "opened = []\n"
    "def interrupt(event, arguments):\n"
    "    if event == 'open' and str(arguments[0]).startswith('data/'):\n"
    "        opened.append(arguments[0])\n"
    "        if len(opened) == 10:\n"
    "            os.kill(os.getpid(), signal.SIGINT)\n"
    "sys.addaudithook(interrupt)\n" + INTERRUPTIBLE
)
NAMES = ("a", "b.txt", "deep/er/c", "deep/d e", "deep/Ünï.sk", ".hidden")
OPENS = ("--identity", "one.key")


def tree(folder: Path) -> dict[str, bytes]:
    """Return what is in a tree, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def host(empty: Console) -> Console:
    """A console with two key pairs, and a tree of files in ``data``."""
    for name in ("one", "two"):
        empty.ok("identity", "new", "--key", f"{name}.key", "--cert", f"{name}.pem", "--name", name)
    for number, name in enumerate(NAMES):
        path = empty.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 10_000))
    empty.env = {}
    return empty


@pytest.fixture
def sealed(host: Console) -> Console:
    """The same, sealed to ``one`` in ``sealed``."""
    host.ok("encrypt", "data", "--to", "one.pem", "-o", "sealed")
    return host


@pytest.mark.parametrize("workers", ["1", "2", "8"])
def test_a_tree_comes_back(workers: str, host: Console) -> None:
    """Every file is sealed under its own name with .sk, and comes back under its own; modes and times on request."""
    os.utime(host.folder / "data/a", ns=(1, 10**18))
    (host.folder / "data/a").chmod(0o640)
    options = ("--workers", workers, "--preserve")
    assert host.ok("encrypt", "data", "--to", "one.pem", "-o", "sealed", *options).raw == b""
    assert set(tree(host.folder / "sealed")) == {f"{name}.sk" for name in NAMES}
    host.ok("decrypt", "sealed", *OPENS, "-o", "out", *options)
    assert tree(host.folder / "out") == tree(host.folder / "data")
    facts = (host.folder / "out/a").stat()
    assert (facts.st_mode & 0o777, facts.st_mtime_ns) == (0o640, 10**18)


def test_each_file_is_sealed_for_itself(sealed: Console) -> None:
    """A sealed file of a tree opens alone, and no two have the same data key or message id."""
    assert sealed.ok("decrypt", "sealed/b.txt.sk", *OPENS).raw == sealed.read("data/b.txt")
    ids = {sealed.ok("inspect", "--json", f"sealed/{name}.sk").json["message_id"] for name in NAMES}
    assert len(ids) == len(NAMES)


def test_names_that_are_no_text(sealed: Console) -> None:
    """A name with bytes that are not UTF-8, or that would steer a terminal, is as good as any; it is shown without them."""
    names = [os.fsdecode(b"odd/\xff\n.txt"), "odd/\x1b[2J"]
    (sealed.folder / "odd").mkdir()
    for name in names:
        (sealed.folder / name).write_bytes(name.encode(errors="surrogateescape"))
    (sealed.folder / "odd/none.sk").write_bytes(b"sk-")
    sealed.ok("encrypt", "odd", "--to", "one.pem", "-o", "odd.sealed")
    done = sealed.process("rewrap", "odd.sealed", *OPENS, "--to", "two.pem", "--drop", "one.pem")
    assert (done.code, set(done.out.splitlines())) == (
        0,
        {"odd.sealed/\ufffd\ufffd.txt.sk", "odd.sealed/\ufffd[2J.sk", "odd.sealed/none.sk.sk"},
    )
    sealed.ok("decrypt", "odd.sealed", "--identity", "two.key", "-o", "odd.opened")
    assert tree(sealed.folder / "odd.opened") == tree(sealed.folder / "odd")
    failed = sealed.process("rewrap", "odd", *OPENS, "--to", "two.pem")
    assert failed.err == "securekit: error: odd/none.sk: not a sealed message: it does not begin with 'sk-envelope/1'\n"
    (sealed.folder / "odd.sealed" / f"{Path(names[1]).name}.sk").write_bytes(b"")
    assert "\x1b" not in sealed("decrypt", "odd.sealed", "--identity", "two.key", "-o", "odd.opened").err


def test_links_are_not_followed(sealed: Console) -> None:
    """Neither sealing nor rewrapping touches what a link in the tree leads to, and both say that something was left out."""
    outside = sealed.folder / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    sealed.ok("encrypt", "outside/secret", "--to", "one.pem", "-o", "outside/secret.sk")
    before = tree(outside)
    for name, target in [("file.sk", "outside/secret.sk"), ("folder.sk", "outside"), ("broken.sk", "nowhere"), ("loop.sk", "sealed")]:
        (sealed.folder / "sealed" / name).symlink_to(sealed.folder / target)
    os.mkfifo(sealed.folder / "sealed/fifo.sk")
    warning = "securekit: warning: left out below sealed: 5 links or other things that are no files\n"

    rewrapped = sealed.ok("rewrap", "sealed", *OPENS, "--to", "two.pem", "--drop", "one.pem")
    opened = sealed.ok("decrypt", "sealed", "--identity", "two.key", "-o", "out")

    assert warning in rewrapped.err
    assert warning in opened.err
    assert tree(outside) == before
    assert tree(sealed.folder / "out") == tree(sealed.folder / "data")


def test_a_folder_that_cannot_be_read_is_an_error(host: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out silently: a tree with an unreadable part is not sealed at all."""
    scandir = os.scandir

    def failing(path: str) -> object:  # rights would keep nobody out who is root
        if str(path).endswith("deep"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    done = host("encrypt", "data", "--to", "one.pem", "-o", "sealed")
    assert (done.code, done.err) == (1, "securekit: error: data/deep: Permission denied\n")
    assert "sealed" not in host.names()


def test_one_failing_file_among_many(sealed: Console) -> None:
    """The others are done; each failure is a line with its name, and the exit code is that of the worst."""
    flipped = bytearray(sealed.read("sealed/deep/d e.sk"))
    flipped[-1] ^= 1
    sealed.write("sealed/deep/d e.sk", flipped)
    done = sealed("decrypt", "sealed", *OPENS, "-o", "out")
    assert done.code == 3
    assert done.err.splitlines() == [
        "securekit: error: sealed/deep/d e.sk: decryption failed: wrong key, wrong context, or the message was changed",
        f"securekit: error: 1 of {len(NAMES)} files failed; the others are done",
    ]
    expected = tree(sealed.folder / "data")
    del expected["deep/d e"]
    assert tree(sealed.folder / "out") == expected

    sealed.write("sealed/a.sk", b"no sealed file")
    assert sealed("decrypt", "sealed", *OPENS, "-o", "out").err.count("securekit: error: sealed/") == 2
    assert sealed("decrypt", "sealed", "--identity", "two.key", "-o", "out2").code == 1
    assert tree(sealed.folder / "out2") == {}


def test_a_tree_needs_a_place(sealed: Console) -> None:
    """Without -o, or with the name of a file behind it, a directory is wrong usage."""
    for typed in (["encrypt", "data", "--to", "one.pem"], ["decrypt", "sealed", *OPENS]):
        done = sealed(*typed)
        assert (done.code, "name another one with -o" in done.err) == (2, True)
        done = sealed(*typed, "-o", "one.pem")
        assert (done.code, "one.pem is there, and is no directory" in done.err) == (2, True)


# rewrap


def test_rewrap_a_tree(sealed: Console) -> None:
    """Every sealed file below gets the new recipient, in place: the data, and all else in the tree, stay byte for byte."""
    sealed.write("sealed/notes", "not sealed")
    before = tree(sealed.folder / "sealed")
    typed = ("rewrap", "sealed", *OPENS, "--to", "two.pem", "--drop", "one.pem")

    dry = sealed.ok(*typed, "--dry-run")
    assert tree(sealed.folder / "sealed") == before
    done = sealed.ok(*typed)

    paths = {f"sealed/{name}.sk" for name in NAMES}
    assert set(dry.out.splitlines()) == set(done.out.splitlines()) == paths
    assert (dry.err, done.err) == ("looked at 6 sealed files\n", "done: 6 sealed files for these recipients now\n")
    after = tree(sealed.folder / "sealed")
    assert {name: data[8192:] for name, data in after.items()} == {name: data[8192:] for name, data in before.items()}
    assert after["notes"] == before["notes"]
    sealed.ok("decrypt", "sealed/a.sk", "--identity", "two.key")
    assert sealed("decrypt", "sealed/b.txt.sk", *OPENS).code == 1
    again = sealed.ok("rewrap", "sealed", "--identity", "two.key", "--to", "two.pem")
    assert (again.out, tree(sealed.folder / "sealed") == after) == ("", True)


def test_no_recipient_is_lost_silently(sealed: Console) -> None:
    """Whoever leaves a recipient out is told its name and the option that drops it; a reference or a file names it."""
    refused = sealed("rewrap", "sealed/a.sk", *OPENS, "--to", "two.pem")
    assert (refused.code, "would lose x509-hpke-p256" in refused.err, "(--drop)" in refused.err) == (1, True, True)
    sealed.ok("rewrap", "sealed/a.sk", *OPENS, "--to", "two.pem", "--to", "one.pem")
    one = next(
        entry["key_ref"]
        for entry in sealed.ok("inspect", "--json", "sealed/a.sk").json["recipients"]
        if entry["about"]["subject"] == "CN=one"
    )
    sealed.ok("rewrap", "sealed/a.sk", *OPENS, "--to", "two.pem", "--drop", one)
    assert sealed("decrypt", "sealed/a.sk", *OPENS).code == 1
    nobody = sealed("rewrap", "sealed/a.sk", "--identity", "two.key", "--drop", "one.pem")
    assert (nobody.code, "who opens it? Name a recipient with --to" in nobody.err) == (2, True)
    wrong = sealed("rewrap", "sealed/a.sk", "--identity", "two.key", "--to", "two.pem", "--drop", "two.pem")
    assert (wrong.code, "is to be dropped, and is among the wrappers that stay" in wrong.err) == (1, True)


def test_rewrap_to_other_kinds(sealed: Console) -> None:
    """A KEK, a keyring and a passphrase take the place of a certificate, and a new KEK that of an old one without --drop."""
    for name in ("old.key", "new.key"):
        sealed.ok("keys", "new-kek", name)
    sealed.write("words", "correct horse battery")
    sealed.ok("rewrap", "sealed/a.sk", *OPENS, "--to", "old.key", "--drop", "one.pem")
    sealed.ok("rewrap", "sealed/a.sk", "--identity", "old.key", "--to", "new.key")
    store = ("--store", "file:keys/", "--wrap", "local:new.key")
    sealed.ok("keys", "create", "eu/acme/files", *store)
    sealed.ok("rewrap", "sealed/a.sk", "--identity", "new.key", "--to", "new.key", "--keyring", "eu/acme/files", *store)
    sealed.ok("rewrap", "sealed/a.sk", "--keyring", "eu/acme/files", "--to", "new.key", "--to", "passphrase:words", *store)
    for opens in (("--identity", "passphrase:words"), ("--identity", "new.key"), ("--keyring", "eu/acme/files", *store)):
        assert sealed.ok("decrypt", "sealed/a.sk", *opens).raw == sealed.read("data/a")
    assert sealed("decrypt", "sealed/a.sk", "--identity", "old.key").code == 1


def test_an_interrupted_rewrap_is_finished_by_another(sealed: Console) -> None:
    """A file with one new header and one old opens for both, is reported, and is put right by the same command."""
    before = sealed.read("sealed/a.sk")
    typed = ("rewrap", "sealed", *OPENS, "--to", "two.pem", "--to", "one.pem")
    sealed.ok(*typed)
    after = sealed.read("sealed/a.sk")
    sealed.write("sealed/a.sk", before[:4096] + after[4096:])
    assert "faults: the two headers differ" in sealed.ok("inspect", "sealed/a.sk").out
    assert sealed.ok("decrypt", "sealed/a.sk", "--identity", "two.key").raw == sealed.read("data/a")
    assert sealed.ok(*typed, "--dry-run").out == "sealed/a.sk\n"
    assert sealed.ok(*typed).out == "sealed/a.sk\n"
    assert sealed.read("sealed/a.sk") == after


def test_rewrap_goes_on_after_a_failure(sealed: Console) -> None:
    """A file that cannot be rewrapped in place is named with the reason, and the others are done."""
    piped = sealed.ok("encrypt", "data/b.txt", "--to", "one.pem").raw
    sealed.write("sealed/b.txt.sk", piped)
    done = sealed("rewrap", "sealed", *OPENS, "--to", "two.pem", "--to", "one.pem")
    assert done.code == 1
    assert done.err.splitlines()[0].startswith("securekit: error: sealed/b.txt.sk: this file has one header")
    assert len(done.out.splitlines()) == len(NAMES) - 1
    assert sealed.read("sealed/b.txt.sk") == piped


def test_an_interrupted_run_leaves_whole_files(host: Console) -> None:
    """Ctrl-C ends a run over a tree with 130, soon, and what is there is complete."""
    for number in range(200):
        (host.folder / f"data/{number}").write_bytes(bytes(2_000_000))
    command = [sys.executable, "-c", INTERRUPTED, "encrypt", "data", "--to", "one.pem", "-o", "sealed"]
    done = subprocess.run(command, cwd=host.folder, capture_output=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, b"securekit: error: stopped")
    made = tree(host.folder / "sealed")
    assert 0 < len(made) < 200
    for name in made:
        assert name.endswith(".sk")
        assert host.ok("decrypt", f"sealed/{name}", *OPENS).raw == host.read(f"data/{name.removesuffix('.sk')}")


def test_a_reader_that_leaves_is_no_failure(sealed: Console) -> None:
    """``securekit rewrap … | true`` says nothing of a broken pipe."""
    line = f"{sys.executable} -m securekit rewrap sealed --identity one.key --to one.pem --to two.pem | true"
    done = subprocess.run(["bash", "-c", line], cwd=sealed.folder, capture_output=True, text=True, check=False)
    assert "Broken pipe" not in done.stderr
    assert "Traceback" not in done.stderr
