# SPDX-License-Identifier: Apache-2.0
"""Every example of the README and the docs does what the page says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.conftest import Count
from tests.docs.pages import Block, Command, blocks, commands, run_page
from tests.openbao import started

VAULT = "docs/how-to/vault.md"
ROOT = Path(__file__).parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "_build" not in path.parts
]


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks((ROOT / page).read_text()))])
def test_the_examples_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count) -> None:
    """The blocks of a page work in the order in which a reader meets them."""
    directory = tmp_path / "page"
    directory.mkdir()
    monkeypatch.chdir(directory)

    with _vault(monkeypatch) if page == VAULT else nullcontext():
        count("example blocks run", run_page(ROOT / page, directory))

    for block in blocks((ROOT / page).read_text()):
        if block.not_run:
            count(f"example block not run: {page}:{block.line}: {block.not_run}", 1)


@contextmanager
def _vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an OpenBao that nobody has set up yet, and tell the page's programs where it is."""
    with started() as server:
        for name in ("VAULT", "BAO"):
            monkeypatch.setenv(f"{name}_ADDR", server.address)
            monkeypatch.setenv(f"{name}_TOKEN", server.root_token)
        yield


def test_the_blocks_of_a_page_are_found_with_their_reasons() -> None:
    """Python, console and file blocks are found, indented ones too; other languages are left alone."""
    page = (
        "# Title\n\n```python\na = 1\n```\n\n"
        "<!-- not-run: needs a server -->\n```console\n$ x\n```\n\n"
        "- item\n\n  ```python\n  b\n  ```\n\n"
        "```sh\nrm\n```\n\n"
        "<!-- file: a.yaml -->\n```yaml\na: 1\n```\n"
    )

    assert list(blocks(page)) == [
        Block("python", "a = 1\n", 3, None),
        Block("console", "$ x\n", 8, "needs a server"),
        Block("python", "b\n", 14, None),
        Block("yaml", "a: 1\n", 23, None, "a.yaml"),
    ]


def test_an_exemption_without_a_reason_is_refused() -> None:
    """Whoever exempts a block says why."""
    with pytest.raises(ValueError, match="reason"):
        list(blocks("<!-- not-run: -->\n```python\n```\n"))


def test_the_commands_of_a_block_have_codes_and_output() -> None:
    """A command may go on in the next line, and may be expected to fail."""
    text = "$ one \\\n    two\nshown\n\nmore\n$ false  # exit 1\n$ three\n"

    assert list(commands(text)) == [
        Command("one \\\n    two", 0, "shown\n\nmore\n"),
        Command("false", 1, ""),
        Command("three", 0, ""),
    ]


GOOD = """
```python
import subprocess
import sys
from pathlib import Path
Path("note").write_text("from python")
```

```console
$ export NAME=world
$ cat note; echo " $NAME"
from ... world
$ test -e missing  # exit 1
$ python -c "print('the environment has a python')"
```

<!-- not-run: it would fail -->
```python
1 / 0
```

<!-- file: app.py -->
```python
raise SystemExit(7)
```

```console
$ python app.py  # exit 7
```

```python
assert Path("note").read_text() == "from python"
```
"""


def test_a_page_is_run_in_one_directory_and_one_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later blocks see the names, files and variables of earlier ones."""
    assert _run(GOOD, tmp_path, monkeypatch) == 5


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("```python\n1 / 0\n```\n", ZeroDivisionError),
        ("```console\n$ false\n```\n", AssertionError),
        ("```console\n$ true  # exit 1\n```\n", AssertionError),
        ("```console\n$ echo one\ntwo\n```\n", AssertionError),
        ("```console\n$ echo one; echo two\none\n```\n", AssertionError),
    ],
)
def test_a_page_that_is_wrong_fails(page: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception, an unexpected exit code, and any other output are found."""
    with pytest.raises(error):
        _run(page, tmp_path, monkeypatch)


def _run(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    directory = tmp_path / "page"
    directory.mkdir()
    monkeypatch.chdir(directory)
    page = tmp_path / "page.md"
    page.write_text(text)
    return run_page(page, directory)


def test_the_tests_that_a_page_shows_pass(tmp_path: Path, count: Count) -> None:
    """The example of tests with securekit's fixtures runs as it would in a project of its own."""
    for name in ("conftest.py", "encrypted_rows.py", "test_encrypted_rows.py"):
        (tmp_path / name).write_bytes((ROOT / "docs/how-to/examples" / name).read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")

    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert " 4 passed in " in f" {done.stdout.splitlines()[-1]}"
    count("example tests run", 4)
