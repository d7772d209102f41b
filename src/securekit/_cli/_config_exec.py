# SPDX-License-Identifier: Apache-2.0
"""``securekit config exec``: a command with the values of a document in its environment, or in files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from securekit.exceptions import ConfigError

from ._config_private import private_folder
from ._config_session import Session, document_file, with_reader
from ._ui import handled

if TYPE_CHECKING:
    from securekit.config._document import OpenDocument
    from securekit.config._tree import Path as ValuePath
    from securekit.config._tree import Scalar

__all__ = ["exec_command", "variable_name"]

# Variables by which whoever writes a document could run code of their own in the command.
_DANGEROUS = re.compile(
    r"(LD|DYLD|GIT|MALLOC|OPENSSL|SECUREKIT|BASH)_.*|(PYTHON|PERL|RUBY|PHP).*|NODE_(OPTIONS|PATH)|CLASSPATH|(JAVA_TOOL|JDK_JAVA|_JAVA)_OPTIONS"
    r"|GLIBC_TUNABLES|GCONV_PATH|PATH|CDPATH|IFS|ENV|PS[0-4]|PROMPT_COMMAND|(BASH|SHELL)OPTS|SHELL|HOME|TMPDIR|EDITOR|VISUAL|PAGER|BROWSER"
)
_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_NOT_FOUND, _NOT_EXECUTABLE, _BY_SIGNAL = 127, 126, 128  # as shells have them


@click.command("exec", context_settings={"ignore_unknown_options": False})
@document_file
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARG]...")
@click.option("--environment", metavar="NAME", help="Refuse a document of another environment.")
@click.option("--all", "everything", is_flag=True, help="Values in clear text as well, and not only secrets.")
@click.option("--prefix", default="", help="What the names of variables begin with, such as APP_.")
@click.option("--files", is_flag=True, help="Secrets as files in a folder in memory, whose paths are in DB__PASSWORD_FILE.")
@handled
@with_reader
def exec_command(
    session: Session, command: tuple[str, ...], *, environment: str | None, everything: bool, prefix: str, files: bool
) -> None:
    """Run COMMAND with the secrets of FILE as environment variables: db.password is DB__PASSWORD, servers[0].token SERVERS__0__TOKEN.

    The command takes securekit's place, so that signals and its exit code are its own. With --files, securekit stays: it forwards
    signals, wipes the files when the command ends, and ends with its exit code. Environment variables can be read by
    everything that the same user runs, and are passed on to children; files in memory are seen by those who look for them.

    \b
    securekit config exec production.yaml --identity host.key -- python app.py
    """
    opened = session.open(starting=True)
    if environment is not None:
        opened.document.check_environment(environment)
    values = _variables(opened, prefix=prefix, everything=everything)
    if files:
        sys.exit(_run_with_files(command, values))
    variables = os.environ | {name: _as_text(path, value) for name, (path, value) in values.items()}
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the command would so as well
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606 - no shell
    except OSError as error:
        _cannot_run(command[0], error)


def variable_name(path: ValuePath, prefix: str = "") -> str:
    """Return the environment variable of a path: its keys in capitals, other signs than letters and digits as ``_``, joined by ``__``."""
    return prefix + "__".join(re.sub(r"[^A-Z0-9]", "_", str(segment).upper()) for segment in path)


def _variables(opened: OpenDocument, *, prefix: str, everything: bool) -> dict[str, tuple[str, Scalar]]:
    """Return each variable's name, with the path and value that it stands for."""
    from securekit.config import format_path
    from securekit.config._walk import places

    found: dict[str, tuple[str, Scalar]] = {}
    for path, leaf in places(opened.document.source.tree):
        if leaf.token is None and not everything:
            continue
        where, name = format_path(path), variable_name(path, prefix)
        if name in found:
            message = f"{where} and {found[name][0]} would both be the variable {name}: rename one of them"
            raise ConfigError(message)
        if _DANGEROUS.fullmatch(name) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name.upper()):
            message = f"{where} would be the variable {name}, which changes how programs run, or is none: use --prefix"
            raise ConfigError(message)
        value = opened.value(leaf)
        if leaf.token is None and isinstance(value, str) and value.startswith("vault:"):
            message = f"{where} refers to Vault, which is not asked here, and no program may take a reference for a password"
            raise ConfigError(message)
        found[name] = (where, value)
    return found


def _as_text(path: str, value: Scalar) -> str | bytes:
    """Return a value as a variable holds it."""
    from ._config_values import text_of

    text = value if isinstance(value, bytes) else "" if value is None else text_of(value)
    if (b"\0" if isinstance(text, bytes) else "\0") in text:  # type: ignore[operator]
        del value, text
        message = f"{path} has a zero byte, which no environment variable can hold: use --files"
        raise ConfigError(message)
    return text


def _run_with_files(command: Sequence[str], values: dict[str, tuple[str, Scalar]]) -> int:
    from ._config_values import text_of

    with _forwarding() as running, private_folder() as (folder, lock):
        environment = dict(os.environ)
        for name, (_, value) in values.items():
            file = folder / name
            file.touch(mode=0o600)
            file.write_bytes(value if isinstance(value, bytes) else text_of(value).encode() if value is not None else b"")
            environment[f"{name}_FILE"] = str(file)
        try:
            environment |= {"SECUREKIT_SECRETS": str(folder)}
            child = subprocess.Popen(command, env=environment, pass_fds=[lock])  # noqa: S603 - the user's own command
        except OSError as error:
            _cannot_run(command[0], error)
        code = running(child)
    return code if code >= 0 else _BY_SIGNAL - code


@contextmanager
def _forwarding() -> Iterator[Callable[[subprocess.Popen[bytes]], int]]:
    """Give what waits for a process, and passes signals on to it, those of before as well; from the terminal it gets them itself."""
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's shape
        if not children:
            early.append(number)
        elif not (number in {signal.SIGINT, signal.SIGQUIT} and sys.stdin.isatty()):
            children[0].send_signal(number)  # does nothing once it has ended

    def wait(child: subprocess.Popen[bytes]) -> int:
        children.append(child)
        for number in early:
            child.send_signal(number)
        return child.wait()

    before = {one: signal.signal(one, forward) for one in _FORWARDED}
    try:
        yield wait
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _cannot_run(name: str, error: OSError) -> NoReturn:
    from ._ui import fail

    fail(f"cannot run {name}: {error.strerror}", code=_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE)
