# SPDX-License-Identifier: Apache-2.0
"""The shape of the package: modules stand alone, the public face is small, and importing it is cheap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import securekit

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in (SOURCE / "securekit").rglob("*.py")
)
HEAVY = {
    "_cffi_backend",
    "argon2",
    "asyncio",
    "bcrypt",
    "click",
    "cryptography",
    "http",
    "hvac",
    "jwt",
    "rich",
    "sqlalchemy",
    "ssl",
    "yaml",
}

# One process forks for each module: every import sees an interpreter that has loaded nothing of the package, at the
# price of a fork and not of a start.
IMPORT_EACH_ALONE = """
import importlib, json, os, sys, traceback
outcomes = {}
for name in json.load(sys.stdin):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            importlib.import_module(name)
            outcome = ""
        except BaseException:
            outcome = traceback.format_exc()
        os.write(writing, outcome.encode()[-4000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        outcomes[name] = file.read()
    os.waitpid(child, 0)
json.dump(outcomes, sys.stdout)
"""

# Assembled here, so that this file does not name what it looks for.
REGISTRY_HOSTS = [
    "pypi." + "org",
    "python" + "hosted.org",
    "npmjs." + "org",
    "registry." + "npmjs",
    "deb." + "debian.org",
    "crates." + "io",
]
MACHINE_PATHS = ["/" + "work/", "/root/" + ".", "/home/" + "runner", "/opt/" + "wheels", "/Users" + "/"]
FORBIDDEN = re.compile("|".join(map(re.escape, REGISTRY_HOSTS + MACHINE_PATHS)))


@pytest.fixture(scope="module")
def imports() -> dict[str, str]:
    """The traceback of importing each module alone, or nothing."""
    return dict(json.loads(_python("-c", IMPORT_EACH_ALONE, given=json.dumps(MODULES))))


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported_alone(module: str, imports: dict[str, str]) -> None:
    """No module needs another one to have been imported before it."""
    assert imports[module] == ""


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in sorted(SOURCE.rglob("*.py"))])
def test_every_source_file_starts_with_its_licence_and_says_what_it_holds(path: str) -> None:
    """Line one is the SPDX line, and line two opens the docstring."""
    first, second = [*(ROOT / path).read_text().splitlines(), "", ""][:2]

    assert first == "# SPDX-License-Identifier: Apache-2.0"
    assert second.startswith(('"""', 'r"""'))


def test_the_public_face_is_literal_sorted_and_small() -> None:
    """At most 20 names, in order, and each of them exists."""
    promised = _promised()

    assert promised == sorted(promised)
    assert len(promised) <= 20
    assert [name for name in promised if not hasattr(securekit, name)] == []


def test_the_public_names_are_the_ones_in_all() -> None:
    """What `dir` shows a user is what is promised: any other name is private, or a module of the package."""
    promised = {name for name in _promised() if hasattr(securekit, name) and not name.startswith("_")}
    modules = {module.split(".")[1] for module in MODULES if "." in module}
    syntax = {"TYPE_CHECKING", "annotations"}

    public = {name for name in {*vars(securekit), *dir(securekit)} if not name.startswith("_")}

    assert public - modules - syntax == promised - modules


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy table answers like any module does."""
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(securekit, "no_such_name")  # noqa: B009  # The type checker knows that it does not exist.


def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import securekit` costs a table of names; what is heavy is loaded on first use."""
    loaded = json.loads(_python("-c", "import json, sys; import securekit; print(json.dumps(sorted(sys.modules)))"))
    before = json.loads(_python("-c", "import json, sys; print(json.dumps(sorted(sys.modules)))"))

    assert not {name.split(".")[0] for name in set(loaded) - set(before)} & HEAVY


def test_what_encrypts_loads_nothing_that_few_need() -> None:
    """A store and a wrapper are imported without asyncio, logging, Argon2 or the command line."""
    shown = "import json, sys; {}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(_python("-c", shown.format("from securekit import FileKeyStore, LocalWrapper")))
    before = json.loads(_python("-c", shown.format("pass")))  # where coverage is measured, that has loaded some already

    added = {name.split(".")[0] for name in set(loaded) - set(before)}
    assert added & {"argon2", "asyncio", "bcrypt", "click", "logging", "pathlib", "rich", "ssl"} == set()


def test_no_tracked_file_names_a_registry_or_a_path_of_a_machine() -> None:
    """The repository works wherever it is cloned, with whatever index it is installed from."""
    found = []
    for path in _tracked():
        try:
            text = path.read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in FORBIDDEN.finditer(text)]

    assert found == []


@pytest.mark.parametrize("page", ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"])
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    """A relative link in a page that Sphinx does not check names a file of the repository."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text())

    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_no_lock_file_is_tracked() -> None:
    """Lock files name the registry they were resolved against; floors live in pyproject.toml."""
    assert [path.name for path in _tracked() if re.fullmatch(r"uv\.lock|pylock.*\.toml", path.name)] == []


def _promised() -> list[str]:
    return list(vars(securekit)["__all__"])


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so nothing is tracked")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def _python(*arguments: str, given: str = "") -> str:
    return subprocess.run([sys.executable, *arguments], input=given, capture_output=True, text=True, check=True).stdout
