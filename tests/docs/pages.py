# SPDX-License-Identifier: Apache-2.0
"""Runs the examples of a Markdown page, so that what the page shows is what happens.

All blocks of one page run in order, in one temporary directory:

- ```` ```python ````: executed in one namespace per page.
- ```` ```console ````: each line after ``$ `` is run by bash with the virtual environment's programs on PATH; a line that
  ends in a backslash goes on in the next one. It must exit with 0, or with N where ``# exit N`` closes the line. Lines
  without ``$ `` are what it must print (``...`` stands for anything, as in doctest); without such lines, anything goes.
  Variables live on in the page's later commands.
- ``<!-- not-run: reason -->`` on the line above a block exempts it. The reason is not optional.
- ``<!-- file: name -->`` on the line above a block of any language saves it under that name, as the reader does.
- Other blocks in other languages are not run.

Nothing is read from or written to the home of whoever runs this: programs are told of another one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any

__all__ = ["Block", "Command", "blocks", "commands", "run_page"]

_FENCE = re.compile(
    r"(?:^<!-- *(?:not-run:(?P<reason>[^\n]*?)|file: *(?P<file>\S+) *)-->\n+)?"
    r"^(?P<indent> *)```(?P<language>[\w-]+) *\n(?P<text>.*?)^(?P=indent)``` *$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (?P<line>(?:[^\n]*\\\n)*[^\n]*)\n?(?P<output>(?:(?!\$ )[^\n]*\n?)*)", re.MULTILINE)
_RUN = {"python", "console"}
_AUTHOR = {f"GIT_{role}_{what}": text for role in ("AUTHOR", "COMMITTER") for what, text in (("NAME", "Anna"), ("EMAIL", "anna@example"))}
_EXIT = re.compile(r" +# exit (?P<code>\d+) *$")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``not_run`` is the reason why it is exempt, ``file`` what it is saved as."""

    language: str
    text: str
    line: int
    not_run: str | None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """One line of a console block, the exit code it must have, and the output it must print, if any is shown."""

    line: str
    code: int
    output: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of ``page`` that are run, or that say why they are not."""
    for match in _FENCE.finditer(page):
        reason = match["reason"]
        if match["file"] is None and match["language"] not in _RUN:
            continue
        if reason is not None and not reason.strip():
            message = "not-run needs a reason"
            raise ValueError(message)
        text = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        yield Block(match["language"], text, page.count("\n", 0, match.start("text")), reason and reason.strip(), match["file"])


def commands(text: str) -> Iterator[Command]:
    """Yield the commands of a console block."""
    for match in _COMMAND.finditer(text):
        code = _EXIT.search(match["line"])
        yield Command(_EXIT.sub("", match["line"]), int(code["code"]) if code else 0, match["output"])


def run_page(page: Path, directory: Path) -> int:
    """Run the blocks of ``page`` with ``directory`` as the current directory; return how many were run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    state = directory.with_name(directory.name + ".env")
    state.touch()
    count = 0
    for block in blocks(page.read_text()):
        if block.not_run:
            continue
        count += 1
        if block.file is not None:
            (directory / block.file).write_text(block.text)
        elif block.language == "python":
            # Empty lines before the code make a traceback name the line of the page.
            exec(compile("\n" * block.line + block.text, page, "exec", dont_inherit=True), namespace)  # noqa: S102  # It is our own page.
        else:
            for command in commands(block.text):
                _run(command, directory, state, f"{page}:{block.line}")
    return count


def _run(command: Command, directory: Path, state: Path, where: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f'. "$STATE"\nset -a\n{command.line}\nstatus=$?\nexport -p > "$STATE"\nexit $status'],
        cwd=directory,
        env=os.environ | _AUTHOR | {"PATH": path, "STATE": str(state), "HOME": str(state) + ".home", "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    told = f"{where}: $ {command.line}\n{done.stdout}"
    if done.returncode != command.code:
        message = f"exit code {done.returncode}, not {command.code}\n{told}"
        raise AssertionError(message)
    if command.output.strip() and not OutputChecker().check_output(command.output.rstrip() + "\n", done.stdout.rstrip() + "\n", ELLIPSIS):
        message = f"the page shows\n{command.output}\nand not what was printed:\n{told}"
        raise AssertionError(message)
