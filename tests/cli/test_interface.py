# SPDX-License-Identifier: Apache-2.0
"""How the command line speaks: help, exit codes, errors with hints, warnings, completion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import click
import pytest

from securekit._cli import cli
from securekit.wrappers._local import _FILE_PREFIX
from tests.cli.conftest import Console
from tests.conftest import Count
from tests.identities import NOW, issue, private_key
from tests.vectors.golden import documents, reference, scenario, wrapped_keys


def commands(group: click.Group = cli, *, names: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return every command, as it is typed."""
    context, found = click.Context(group), [names]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += commands(command, names=(*names, name)) if isinstance(command, click.Group) else [(*names, name)]
    return found


@pytest.mark.parametrize("names", commands(), ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(names: tuple[str, ...], option: str, empty: Console, count: Count) -> None:
    """Help needs neither store nor KEK, and has nothing that steers a terminal."""
    done = empty.ok(*names, option, env={"SECUREKIT_STORE": None, "SECUREKIT_WRAP": None})
    assert done.out.startswith(f"Usage: {' '.join(('securekit', *names))} ")
    assert done.err == ""
    assert all(character.isprintable() or character == "\n" for character in done.out)
    assert "\\b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 160
    count("help pages read", 1)


def test_the_help_lists_every_command(empty: Console) -> None:
    """The short texts of the first page are those of the commands themselves."""
    page = empty.ok("--help").out
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert f"  {name}" in page


def test_the_version(empty: Console) -> None:
    """The version is that of the installed distribution."""
    from importlib.metadata import version

    assert empty.ok("--version").out == f"securekit, version {version('securekit-platform')}\n"


def test_python_m_securekit(console: Console) -> None:
    """``python -m securekit`` is the same program: results on stdout, the rest on stderr, the exit code of the command."""
    assert console.process("keys", "list").raw == b"eu/acme/invoices\n"
    failed = console.process("keys", "show", "eu/nobody/invoices")
    assert (failed.code, failed.raw) == (1, b"")
    assert failed.err.startswith("securekit: error: ")
    assert console.process("--help").out.startswith("Usage: securekit ")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["kyes"], "there is no command 'kyes'; did you mean 'keys'?"),
        (["xyzzy"], "there is no command 'xyzzy'"),
        (["keys", "rotat"], "there is no command 'rotat'; did you mean 'rotate'?"),
        (["identity", "nwe"], "there is no command 'nwe'; did you mean 'new'?"),
        (["keys", "list", "--jsno"], "--json"),
        (["--vresion"], "--version"),
        (["encrypt"], "name one keyring with --keyring"),
        (["completion"], "Missing argument"),
        (
            ["identity", "new", "--key", "k", "--name", "n", "--cert", "c", "--type", "rsa1024"],
            "'p256', 'p384', 'rsa3072', 'rsa4096', 'ed25519'",
        ),
        (["keys", "create", "eu/ACME"], "'ACME' is no segment of a keyring path"),
        (["keys", "disable", "eu/acme/invoices"], "a key is named PATH@ID, not 'eu/acme/invoices'"),
        (["keys", "list", "eu//x"], "'' is no segment"),
        (["encrypt", "missing.txt", "--keyring", "a"], "'missing.txt' does not exist"),
        (["encrypt", "--keyring", "a", "--context", "id"], "a context is given as key=value, not 'id'"),
        (["encrypt", "--keyring", "a", "--context", "=1"], "a context is given as key=value, not '=1'"),
        (["encrypt", "--keyring", "a", "--context", "id=1", "--context", "id=2"], "the context key 'id' is given twice"),
        (["encrypt", "--keyring", "a", "--column", "iban"], "columns are those of a FILE: name it"),
        (["keys", "list", "--store", "nonsense:x"], "'nonsense:x' names no keystore: file:DIRECTORY, sqlite:///FILE, "),
        (["keys", "list", "--store", "file:"], "'file:' names no keystore"),
        (["keys", "list", "--wrap", "nonsense"], "'nonsense' names no wrapper: local:FILE, passphrase:"),
        (["keys", "list", "--wrap", "local:root.key?labl=x"], "has the unknown option 'labl'; allowed are label"),
        (["keys", "list", "--wrap", "local:root.key?label=a&label=b"], "each name once"),
        (["keys", "list", "--wrap", "local:root.key?label"], "each name once"),
        (["keys", "rewrap"], "Missing option '--to'"),
    ],
)
def test_wrong_usage_is_2_with_a_hint(typed: list[str], said: str, console: Console) -> None:
    """One error line that says what is wrong, one hint that says where the help is, nothing on stdout, exit code 2."""
    done = console(*typed)
    assert (done.code, done.raw) == (2, b"")
    error, hint = done.err.splitlines()
    assert error.startswith("securekit: error: ")
    assert said in error
    assert "\ufffd" not in error
    assert hint.startswith("securekit: hint: securekit")
    assert hint.endswith(" --help")


@pytest.mark.parametrize(("variable", "said"), [("SECUREKIT_STORE", "which keystore?"), ("SECUREKIT_WRAP", "which KEK?")])
def test_what_is_missing_in_the_environment_is_named(variable: str, said: str, console: Console) -> None:
    """Without a store or a KEK, the message gives an example and the variable."""
    done = console("keys", "list", env={variable: None})
    assert done.code == 2
    assert said in done.err
    assert f"or set {variable}" in done.err


def test_the_hint_names_the_command(console: Console) -> None:
    """The help that the hint leads to is that of the very command."""
    assert console("keys", "create", "A").err.splitlines()[1] == "securekit: hint: securekit keys create --help"
    assert console("nothing").err.splitlines()[1] == "securekit: hint: securekit --help"


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["keys", "show", "eu/globex/invoices"], 1, "eu/globex/invoices"),
        (["keys", "list", "--wrap", "local:missing.key"], 1, "cannot read the key file missing.key: No such file"),
        (["keys", "new-kek", "root.key"], 1, "root.key"),
        (["keys", "show", "eu/acme/invoices", "--wrap", "local:other.key"], 1, "eu/acme/invoices"),
        (["decrypt", "--keyring", "eu/acme/invoices"], 1, "record"),
        (["encrypt", "--keyring", "eu/acme/invoices", "-o", "no/where"], 1, "No such file or directory"),
        (["inspect"], 1, "neither a securekit record"),
        (["keys", "disable", "eu/acme/invoices@00000000"], 1, "00000000"),
    ],
)
def test_failures_are_1(typed: list[str], code: int, said: str, console: Console) -> None:
    """What is used rightly and cannot be done is one error line, and exit code 1."""
    console.ok("keys", "new-kek", "other.key")
    done = console(*typed, stdin=b"hello")
    assert (done.code, done.raw) == (code, b"")
    assert done.err.startswith("securekit: error: ")
    assert done.err.count("\n") == 1
    assert said in done.err


def test_what_does_not_verify_is_3(console: Console) -> None:
    """Wrong context and changed bytes are exit code 3, for values and for keyring documents."""
    token = console.ok("encrypt", "--keyring", "eu/acme/invoices", "--context", "id=1", stdin=b"x").raw
    wrong = console("decrypt", "--keyring", "eu/acme/invoices", "--context", "id=2", stdin=token)
    assert (wrong.code, wrong.raw) == (3, b"")
    assert wrong.err == "securekit: error: decryption failed: wrong key, wrong context, or the message was changed\n"
    document = console.document("eu/acme/invoices")
    document.write_bytes(document.read_bytes().replace(b'"refresh":60', b'"refresh":61'))
    assert console("keys", "show", "eu/acme/invoices").code == 3


def test_a_warning_is_one_line(console: Console) -> None:
    """What works and should not be so is shown as a line of this program, without Python's file and line number."""
    console.write("cert.pem", issue("\u202eevil", private_key("rsa2048"), end=NOW.replace(year=2090)).pem)
    done = console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:cert.pem")
    lines = done.err.splitlines()
    assert [line for line in lines if "warning" in line.lower()] == [
        "securekit: warning: the certificate of CN=?evil has an RSA key of 2048 bits; 3072 or more, or P-256, are better"
    ]
    assert done.out == "eu/acme/invoices\n"


def test_output_into_a_closed_pipe_ends_quietly(console: Console) -> None:
    """``securekit keys list | true`` says nothing of a broken pipe."""
    for number in range(30):
        console.ok("keys", "create", f"eu/t{number}/x")
    environment = {**os.environ, **console.env}
    line = f"{sys.executable} -m securekit keys list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=console.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in {0, 1}


# A shell that starts the tests in the background makes its children ignore interrupts.
INTERRUPTIBLE = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_module('securekit', run_name='__main__')"
)


def test_ctrl_c_is_130(console: Console) -> None:
    """A command that is interrupted at its question says that it was stopped, without a traceback."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "keys", "destroy", "eu/acme/invoices@00000000"],
        cwd=console.folder,
        env={**os.environ, **console.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr
        assert process.stdout
        said = b""
        while not said.endswith(b"[y/N]: "):
            said += process.stderr.read(1)
        time.sleep(0.5)  # between the prompt and the system's read, a signal would wait for the read to return
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stdout.read()) == (130, b"")
        assert process.stderr.read().strip() == b"securekit: error: stopped"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, empty: Console) -> None:
    """Each shell's script is printed, and names our program and variable."""
    script = empty.ok("completion", shell).out
    assert "_SECUREKIT_COMPLETE" in script
    assert "securekit" in script
    assert empty("completion", "tcsh").code == 2


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("securekit ke", ["keys"]),
        ("securekit keys ro", ["rotate"]),
        ("securekit keys re", ["restore", "rewrap"]),
        ("securekit keys rewrap --dr", ["--drop", "--dry-run"]),
        ("securekit completion b", ["bash"]),
        ("securekit identity new --type rsa", ["rsa3072", "rsa4096"]),
        ("securekit nothing ", sorted(cli.list_commands(click.Context(cli)))),
    ],
)
def test_bash_completes(words: str, completed: list[str], empty: Console) -> None:
    """A real bash with the printed script completes commands, options and choices, and an unknown command makes no noise."""
    program = empty.folder / "bin" / "securekit"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m securekit "$@"\n')
    program.chmod(0o755)
    typed = words.split(" ")
    script = f"""
        eval "$(securekit completion bash)"
        COMP_WORDS=({" ".join(repr(word) for word in typed)}); COMP_CWORD={len(typed) - 1}
        _securekit_completion securekit "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == completed


def test_completion_uses_the_variable_of_the_program(empty: Console) -> None:
    """With ``_SECUREKIT_COMPLETE=bash_complete`` in the environment, the program prints what could be typed."""
    done = empty.process(env={"_SECUREKIT_COMPLETE": "bash_complete", "COMP_WORDS": "securekit ke", "COMP_CWORD": "1"})
    assert done.raw == b"plain,keys\n"


def test_a_forged_document_cannot_steer_the_terminal(console: Console) -> None:
    """Control characters in a document's recipient never reach the terminal, whatever the command."""
    console.write("cert.pem", issue("host", private_key("p256"), end=NOW.replace(year=2090)).pem)
    console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:cert.pem")
    document = console.document("eu/acme/invoices")
    forged = document.read_bytes().replace(b'"subject":"CN=host"', '"subject":"CN=\\u001b]0;gone\\u0007\u202e\u009b2J"'.encode())
    assert forged != document.read_bytes()
    console.write("forged.json", forged)
    console.write("document", document.read_bytes())
    document.write_bytes(forged)
    for typed in (
        ["inspect", "forged.json"],
        ["inspect", "--json", "forged.json"],
        ["keys", "show", "eu/acme/invoices"],
        ["keys", "restore", "forged.json"],
    ):
        done = console(*typed)
        assert "gone" in done.out + done.err or done.code != 0
        for character in "\x1b\x07\u202e\u009b":
            assert character not in done.out + done.err


def test_an_authentic_document_cannot_steer_the_terminal(empty: Console) -> None:
    """Nor can control characters that the holder of the KEK wrote: another program may have made the document."""
    empty.write("root.key", f"{_FILE_PREFIX}{reference.base64url(wrapped_keys.LOCAL_KEY)}\n")
    empty.ok("keys", "create", scenario.PATH)
    about = {"subject": "CN=\x1b[2Jgone\u202e", "not_after": "2036-01-01T00:00:00Z\x07"}
    recipients = [documents.recipient(wrapped_keys.local()), documents.recipient(wrapped_keys.hpke("p256"), **about)]
    members = documents.document(recipients, [documents.version(scenario.KEY_ID, "primary")])
    empty.document(scenario.PATH).write_bytes(reference.keyring_document(members, wrapped_keys.SECRET))
    done = empty.ok("keys", "show", scenario.PATH)
    assert done.err.splitlines()[1].endswith(" (CN=\ufffd[2Jgone\ufffd, until 2036-01-01T00:00:00Z\ufffd)")
    for character in "\x1b\x07\u202e":
        assert character not in done.out + done.err


def test_an_error_cannot_steer_the_terminal(console: Console) -> None:
    """What an error repeats of a file, such as the names of its columns, is without control characters."""
    console.write("t.csv", "id,i\x1b[2Jban\n")
    done = console("encrypt", "t.csv", "--keyring", "eu/acme/invoices", "--column", "iban")
    assert done.code == 2
    assert "it has id, i\ufffd[2Jban" in done.err


def test_no_secret_is_printed(console: Console) -> None:
    """The plaintext stands in the output of ``decrypt`` alone, and the KEK and passwords nowhere."""
    secret, password = "canary-0c1d", "canary-77aa"
    console.write("password", password + "\n")
    said = []
    token = console.ok("encrypt", "--keyring", "eu/acme/invoices", "--context", "id=1", stdin=secret.encode())
    said += [token, console("decrypt", "--keyring", "eu/acme/invoices", "--context", "id=2", stdin=token.raw)]
    said.append(console.ok("identity", "new", "--key", "k", "--cert", "c", "--name", "n", "--password-file", "password"))
    said.append(console.ok("keys", "rewrap", "--to", "local:root.key", "--to", "cert:c?key=k&password_file=password"))
    said.append(console("keys", "show", "eu/acme/invoices", "--wrap", "cert:?key=k&password_file=root.key"))
    said.append(console("keys", "show", "eu/acme/invoices", "--json"))
    console.write("t.jsonl", '{"a": {"b": "' + secret + '"}}\n{"a": "\\ud800' + secret + '"}\n')
    said.append(console("encrypt", "t.jsonl", "--column", "a", "--keyring", "eu/acme/invoices"))
    said.append(console("decrypt", "--keyring", "eu/acme/invoices", stdin=secret.encode()))
    kek = console.read("root.key")
    for done in said:
        text = done.raw + done.err.encode()
        assert secret.encode() not in text
        assert password.encode() not in text
        assert kek.strip()[-20:] not in text
