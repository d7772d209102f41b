# SPDX-License-Identifier: Apache-2.0
"""``securekit config exec``: a command with a document's values, in its environment or in files, as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securekit._cli._config_exec import variable_name
from securekit.config import parse_path
from securekit.wrappers import CertificateWrapper
from tests.cli.config_desk import SECRETS, Desk
from tests.config.parts import FORMATS

UNTRUSTED = "securekit: warning: nothing says who may sign "
SHOW = "import os, json; print(json.dumps({k: v for k, v in os.environ.items()}))"


@contextmanager
def running(desk: Desk, *arguments: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """Run ``securekit config exec`` as a process of its own, whose first line has been printed."""
    command = [sys.executable, "-m", "securekit", "config", "exec", *arguments]
    environment = {**os.environ, **desk.console.env, "SECUREKIT_IDENTITY": "host.key"}
    with subprocess.Popen(command, cwd=desk.folder, env=environment, stdin=stdin, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.wait(30)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def run(desk: Desk, *arguments: str) -> tuple[int, str, str]:
    """Run it; what is said of this host, which has no trust, is left out."""
    done = desk.console.process("config", "exec", *arguments, env={"SECUREKIT_IDENTITY": "host.key"})
    lines = [line for line in done.err.splitlines(keepends=True) if not line.startswith(UNTRUSTED)]
    return done.code, done.out, "".join(lines)


def left_over(desk: Desk) -> set[Path]:
    return set(desk.memory.iterdir())


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("db.password", "DB__PASSWORD"),
        ("servers[0].token", "SERVERS__0__TOKEN"),
        ('"a.b".c-d', "A_B__C_D"),
        ("DB_PASSWORD", "DB_PASSWORD"),
        ('"ä"', "_"),
    ],
)
def test_names_of_variables(path: str, name: str) -> None:
    """Keys in capitals, joined by two underscores; whatever no name can hold is one underscore."""
    assert variable_name(parse_path(path)) == name
    assert variable_name(parse_path(path), "APP_") == f"APP_{name}"


@pytest.mark.parametrize("form", FORMATS)
def test_secrets_are_variables(form: str, desk: Desk) -> None:
    """Every secret, and nothing that is in clear text unless --all asks for it; the environment is kept."""
    import json

    file = desk.encrypted(form)

    code, out, err = run(desk, file, "--", sys.executable, "-c", SHOW)
    assert (code, err) == (0, "")
    variables = json.loads(out)
    secrets = {variable_name(leaf.path): desk.value(file, leaf.name) for leaf in desk.document(file).leaves() if leaf.token}
    assert len(secrets) == 11
    assert secrets.keys() <= variables.keys()
    assert all(variables[name] == value for name, value in secrets.items() if isinstance(value, str))
    assert variables["SECUREKIT_IDENTITY"] == "host.key"
    assert not [name for name in variables if name.endswith("PORT")]
    everything = json.loads(run(desk, file, "--all", "--prefix", "APP_", "--", sys.executable, "-c", SHOW)[1])
    assert everything.keys() >= {variable_name(leaf.path, "APP_") for leaf in desk.document(file).leaves()}


def test_what_aliases_and_merges_repeat(desk: Desk) -> None:
    """A secret is a variable at each path at which an application that reads the document finds it."""
    file = desk.short("a: &a {p: fake-1}\nb: *a\nc: {<<: *a, q: 1}\n", "a.p")

    assert run(desk, file, "--", "sh", "-c", 'echo "$A__P|$B__P|$C__P|$C__Q"')[1] == "fake-1|fake-1|fake-1|\n"


@pytest.mark.parametrize("value", ["ENC[AES256_GCM,data:x]", "encrypted:" + "B" * 80, "vault:kv/app#password"])
def test_no_program_gets_a_ciphertext_or_a_reference(value: str, desk: Desk) -> None:
    """A clear value that is another tool's ciphertext, or a reference that nobody resolves, is refused, as the loader does."""
    file = desk.short(f"a: fake-1\nb: '{value}'\n", "a")

    desk.refused("b ", "exec", file, "--all", "--identity", "host.key", "--", "true")


def test_no_program_starts_with_a_secret_in_clear_text(desk: Desk) -> None:
    """What a pattern covers and stands in clear text is refused, and not left out."""
    file = desk.short("a: fake-1\nb: 2\n", "a")
    edit = desk.document(file).edit(
        wrappers=[CertificateWrapper.from_files(key=desk.folder / "host.key")], adopt=True, confirmed=_references(desk, file)
    )
    edit.expect(["b"])
    desk.console.write(file, edit.finish().to_bytes())

    desk.refused("b is in clear text, and a pattern says that it must be encrypted", "exec", file, "--identity", "host.key", "--", "true")


def test_whom_to_believe_is_said_by_the_host(desk: Desk) -> None:
    """Without a trust of this host's own there is a warning: one beside the document came with it, though it is checked as well."""
    file = desk.short("a: fake-1\n", "a")
    command = ("exec", file, "--identity", "host.key", "--", "true")
    assert UNTRUSTED in desk.console.process("config", *command).err
    trust = desk.console.write("trust.toml", desk.ok("trust", file, "--signer", "alice.pem").out)
    (desk.folder / ".git").mkdir()
    (desk.folder / "etc").mkdir()
    desk.console.write("etc/host.key", desk.console.read("host.key"))
    done = desk.console.process("config", "exec", file, "--identity", "etc/host.key", "--", "true")
    assert UNTRUSTED in done.err
    assert "is not signed" in done.err

    desk.ok("sign", file, "--sign", "alice.key")
    done = desk.console.process("config", "exec", file, "--identity", "etc/host.key", "--trust", trust, "--", "true")
    assert (done.code, done.err) == (0, "")


@pytest.mark.measured
def test_types_are_texts(desk: Desk) -> None:
    """True and false, dates in ISO 8601, nothing as the empty text, bytes as they are."""
    file = desk.short("a: fake\n", "*")
    for name, kind, text in (("b", "bool", "true"), ("c", "null", ""), ("d", "date", "2026-03-01"), ("e", "int", "7"), ("f", "bytes", "x")):
        desk.ok("set", file, name, "--create", "--type", kind, "--stdin", stdin=text)

    code, out, _ = run(desk, file, "--", "sh", "-c", 'echo "$A|$B|$C|$D|$E|$F"')

    assert (code, out) == (0, "fake|true||2026-03-01|7|x\n")


def test_names_that_collide(desk: Desk) -> None:
    """Two values that would be one variable are refused, and both are named."""
    file = desk.short("a: {b: fake-1}\na__b: fake-2\n", "**")

    desk.refused("a__b and a.b would both be the variable A__B: rename one of them", "exec", file, "--identity", "host.key", "--", "true")


DANGEROUS = (
    *("PATH", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "NODE_PATH", "GIT_SSH_COMMAND"),
    *("BASH_ENV", "ENV", "IFS", "PS4", "PROMPT_COMMAND", "SHELLOPTS", "HOME", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "OPENSSL_CONF"),
    *("GLIBC_TUNABLES", "GCONV_PATH", "EDITOR", "PAGER", "SECUREKIT_TRUST", "PHPRC", "'1x'"),
)


@pytest.mark.parametrize("name", DANGEROUS)
def test_dangerous_names(name: str, desk: Desk) -> None:
    """Whoever writes a document does not run code of their own in the command."""
    file = desk.short(f"{name}: fake-1\n", "*")

    desk.refused("which changes how programs run, or is none: use --prefix", "exec", file, "--identity", "host.key", "--", "true")


def test_a_prefix_makes_every_dangerous_name_harmless(desk: Desk) -> None:
    """With --prefix each of them is a variable as any other."""
    file = desk.short("".join(f"{name}: fake-1\n" for name in DANGEROUS), "*")

    code, out, err = run(desk, file, "--prefix", "APP_", "--", "env")

    assert (code, err) == (0, "")
    assert {f"APP_{name.upper()}=fake-1" for name in (*DANGEROUS[:-1], "1x")} <= set(out.splitlines())


def test_a_prefix_makes_no_dangerous_name(desk: Desk) -> None:
    """The whole name is looked at."""
    file = desk.short("preload: fake-1\n", "*")

    desk.refused("LD_PRELOAD", "exec", file, "--prefix", "LD_", "--identity", "host.key", "--", "true")
    desk.refused("use --prefix", "exec", file, "--prefix", "a b", "--identity", "host.key", "--", "true")


@pytest.mark.measured
def test_zero_bytes(desk: Desk) -> None:
    """No variable can hold one; a file can."""
    file = desk.short("a: fake\n", "*")
    for kind in ("str", "bytes"):
        desk.ok("set", file, "a", "--type", kind, "--stdin", stdin=b"fake-\0x")

        desk.refused(
            "a has a zero byte, which no environment variable can hold: use --files", "exec", file, "--identity", "host.key", "--", "true"
        )
        assert run(desk, file, "--files", "--", "sh", "-c", "wc -c < $A_FILE")[1] == "7\n"


def test_another_environment(desk: Desk) -> None:
    """--environment refuses a document that belongs elsewhere, before anything runs."""
    file = desk.short("a: fake-1\n", "*")

    desk.refused(
        "belongs to the environment 'production'", "exec", file, "--environment", "staging", "--identity", "host.key", "--", "touch", "ran"
    )
    assert run(desk, file, "--environment", "production", "--", "touch", "ran")[0] == 0
    assert (desk.folder / "ran").exists()


# ------------------------------------------------------------------------------------------------ the process


@pytest.mark.measured
@pytest.mark.parametrize("files", [[], ["--files"]], ids=["environment", "files"])
def test_the_exit_code_is_passed_on(files: list[str], desk: Desk) -> None:
    """The command's own; 127 if it is not there, 126 if it cannot be run, as shells have it."""
    file = desk.short("a: fake-1\n", "*")
    desk.console.write("script", "#!/bin/sh\n")

    assert run(desk, file, *files, "--", "sh", "-c", "exit 7")[0] == 7
    assert run(desk, file, *files, "--", "true")[0] == 0
    code, _, err = run(desk, file, *files, "--", "no-such-command")
    assert (code, err) == (127, "securekit: error: cannot run no-such-command: No such file or directory\n")
    assert run(desk, file, *files, "--", "./script")[0] == 126
    assert left_over(desk) == set()


def test_the_command_takes_securekits_place(desk: Desk) -> None:
    """It has the same process, so that a supervisor's signals reach it; and its arguments are untouched."""
    file = desk.short("a: fake-1\n", "*")

    with running(
        desk, file, "--", sys.executable, "-c", "import os; print(os.getpid(), flush=True); input()", "-n", "--help", stdin=subprocess.PIPE
    ) as process:
        assert first_line(process) == str(process.pid)
        process.terminate()
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("files", [[], ["--files"]], ids=["environment", "files"])
def test_the_command_has_no_signals_ignored(files: list[str], desk: Desk) -> None:
    """Python ignores SIGPIPE for itself; a command that is started does not inherit that."""
    file = desk.short("a: fake-1\n", "*")

    code, out, _ = run(desk, file, *files, "--", "sh", "-c", "grep SigIgn /proc/self/status; yes | head -1")

    assert code == 0
    assert int(out.split()[1], 16) & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) == 0


def test_nothing_secret_is_in_an_argument(desk: Desk) -> None:
    """The command line of the process has paths and names alone."""
    file = desk.encrypted()

    with running(desk, file, "--", "sh", "-c", "echo ready; read x", stdin=subprocess.PIPE) as process:
        first_line(process)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        process.terminate()

    assert not any(secret in arguments for secret in SECRETS)


# ------------------------------------------------------------------------------------------------ files


def test_files_are_private_and_in_memory(desk: Desk) -> None:
    """Each of mode 0600 in a folder of mode 0700 on tmpfs, with its value to the byte, and gone afterwards."""
    file = desk.encrypted()

    with running(
        desk, file, "--files", "--", "sh", "-c", "echo $DB__PASSWORD_FILE $SECUREKIT_SECRETS; read x", stdin=subprocess.PIPE
    ) as process:
        secret, folder = map(Path, first_line(process).split())
        assert secret.parent == folder
        assert secret.read_text() == "fake-Pa55: not # real"
        assert (folder.stat().st_mode & 0o777, secret.stat().st_mode & 0o777) == (0o700, 0o600)
        assert len(list(folder.iterdir())) == 11
        assert subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True).stdout == "tmpfs\n"
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.close()

    assert process.returncode == 0
    assert not folder.exists()


@pytest.mark.measured
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_signals_are_forwarded(number: signal.Signals, desk: Desk) -> None:
    """To the command, whose exit code counts; and the files are wiped."""
    file = desk.short("a: fake-1\n", "*")
    script = f"trap 'echo caught; exit 9' {number}; echo $SECUREKIT_SECRETS; while :; do sleep 0.02; done"

    with running(desk, file, "--files", "--", "sh", "-c", script) as process:
        folder = Path(first_line(process))
        process.send_signal(number)
        assert first_line(process) == "caught"

    assert process.returncode == 9
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_a_command_that_a_signal_ends(number: signal.Signals, desk: Desk) -> None:
    """Ends with 128 plus the signal's number, as shells have it; and the files are wiped."""
    file = desk.short("a: fake-1\n", "*")

    code, out, _ = run(desk, file, "--files", "--", "sh", "-c", f"echo $SECUREKIT_SECRETS; kill -{number} $$")

    assert code == 128 + number
    assert not Path(out.strip()).exists()


def test_a_signal_at_any_moment_leaves_no_secret(desk: Desk) -> None:
    """SIGTERM at many moments between start and end: the command ends, and nothing is left."""
    file = desk.encrypted()
    ended = 0
    for turn in range(12):
        with running(desk, file, "--files", "--", "sleep", "0.2") as process:
            time.sleep(0.03 * turn)
            process.terminate()
        ended += process.returncode != 0
    assert ended >= 6
    assert left_over(desk) == set()


@pytest.mark.measured
def test_a_killed_run_is_cleaned_up_by_the_next(desk: Desk) -> None:
    """After SIGKILL the files stay, which nothing can prevent; whoever runs next as this user wipes them, once nobody uses them."""
    file = desk.encrypted()
    with running(desk, file, "--files", "--", "sh", "-c", "echo $SECUREKIT_SECRETS; exec sleep 60") as process:
        orphan = Path(first_line(process))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    # The command lives on, and has its files.
    assert run(desk, file, "--files", "--", "true")[0] == 0
    assert len(list(orphan.iterdir())) == 11
    os.kill(int(children[0]), signal.SIGKILL)
    assert orphan.exists()

    with running(desk, file, "--files", "--", "sh", "-c", "echo $SECUREKIT_SECRETS; read x", stdin=subprocess.PIPE) as first:
        used = Path(first_line(first))
        assert not orphan.exists()
        assert run(desk, file, "--files", "--", "true")[0] == 0
        assert len(list(used.iterdir())) == 11
        assert first.stdin
        first.stdin.close()
    assert left_over(desk) == set()


def test_folders_of_others_are_left(desk: Desk) -> None:
    """What somebody else has put there under such a name is not ours to wipe; nor is what a link leads to."""
    victim = desk.folder / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    link = desk.memory / "securekit-private-link"
    foreign = desk.memory / "securekit-private-foreign"
    link.symlink_to(victim)
    foreign.mkdir()
    (foreign / "file").write_text("theirs")
    file = desk.short("a: fake-1\n", "*")
    try:
        if os.geteuid() == 0:
            os.chown(foreign, 65534, 65534)
        assert run(desk, file, "--files", "--", "true")[0] == 0
        assert (victim / "file").read_text() == "mine"
        assert (foreign / "file").exists() == (os.geteuid() == 0)
    finally:
        link.unlink()
        for path in (foreign / "file", foreign):
            if path.exists():
                path.rmdir() if path.is_dir() else path.unlink()


def test_where_there_is_no_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are in the system's folder for such, and it is said."""
    from securekit._cli import _config_private

    file = desk.short("a: fake-1\n", "*")
    monkeypatch.setattr(_config_private, "_MOUNTS", desk.folder / "none")
    monkeypatch.setenv("TMPDIR", str(desk.folder))
    monkeypatch.setattr("tempfile.tempdir", None)

    done = desk.ok("exec", file, "--identity", "host.key", "--files", "--", "sh", "-c", "echo $SECUREKIT_SECRETS > where")

    assert "there is no file system in memory here" in done.err
    assert desk.console.read("where").decode().startswith(f"{desk.folder}/securekit-private-")
    assert not list(desk.folder.glob("securekit-private-*"))


def _references(desk: Desk, file: str) -> list[str]:
    return [recipient.key_ref for recipient in desk.document(file).required.recipients]
