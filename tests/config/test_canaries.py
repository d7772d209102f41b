# SPDX-License-Identifier: Apache-2.0
"""Canary secrets through every error path of configuration: none in messages, attributes, causes, frames, pickles or logs."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from securekit import Secret
from securekit.config import Document, Edit, load
from securekit.config._merge import merge_into
from securekit.config._value import parse_text
from securekit.config._view import apply_view, view
from securekit.exceptions import SecureKitError
from tests.canaries import walk
from tests.config.parts import ENVIRONMENT, FORMATS, encrypt, host, path, reader, sealed, trust_in, write_only
from tests.conftest import Count

CANARY = "canary-7f3a9b-secret"
TEXTS = {
    "yaml": "a: {p: X, q: 2}\nb: [X, Y]\nc: 3\n",
    "json": '{"a": {"p": "X", "q": 2}, "b": ["X", "Y"], "c": 3}\n',
    "toml": 'c = 3\nb = ["X", "Y"]\n[a]\np = "X"\nq = 2\n',
    "env": "a=X\nc=3\n",
    "ini": "[s]\na = X\nc = 3\n",
}
BROKEN = dict.fromkeys(TEXTS, '\n[[["\n') | {"env": "\na=1\n", "ini": "\n[s]\n"}


def document(form: str) -> Document:
    """Return a document whose secrets are canaries."""
    text = TEXTS[form].replace("X", CANARY).replace("Y", f"{CANARY}2")
    patterns = {"env": ["a"], "ini": ["s.a"]}.get(form, ["a.p", "b"])
    return encrypt(Document.parse(text.encode(), format=form), patterns=patterns)


def secret(form: str) -> str:
    return {"env": "a", "ini": "s.a"}.get(form, "a.p")


def _edits(form: str) -> dict[str, Callable[[], object]]:
    """Return what fails in editing sessions."""
    base, where = document(form), path(secret(form))
    other = path("nothing" if form != "ini" else "s.nothing")

    def session(work: Callable[[Edit], object], *, reads: bool = True) -> Callable[[], object]:
        return lambda: work(reader(base) if reads else write_only(base))

    return {
        "misspelt": session(lambda edit: edit.set(other, CANARY)),
        "uncovered": session(lambda edit: edit.set(other, CANARY, create=True)),
        "in clear": session(lambda edit: edit.set(where, CANARY, clear=True)),
        "ciphertext": session(lambda edit: edit.set(where, f"ENC[sk1,{CANARY}")),
        "surrogate": session(lambda edit: edit.set(where, f"{CANARY}\ud800")),
        "too large": session(lambda edit: edit.set(where, CANARY * 100_000)),
        "other type": session(lambda edit: edit.set(where, [CANARY])),  # type: ignore[arg-type]
        "unset": session(lambda edit: edit.unset(other), reads=False),
        "rotate": session(lambda edit: edit.rotate(), reads=False),
        "pattern": session(lambda edit: edit.protect(["nothing"])),
        "removed": session(lambda edit: edit.remove_recipient(host().name)),
        "moved": session(lambda edit: edit.take_text(_swapped(base)), reads=False),
        "finish": lambda: base.with_text(_swapped(base)).edit(wrappers=[host().private], adopt=True, confirmed=[host().name[1]]).finish(),
        "view, broken": session(lambda edit: apply_view(edit, base, edit.opened, view(base, edit.opened) + BROKEN[form])),
        "view, block": session(lambda edit: apply_view(edit, base, edit.opened, base.source.text)),
        "merge": session(lambda edit: merge_into(edit, base=None, ours=base, theirs=sealed("yaml"))),
    }


def _swapped(base: Document) -> str:
    """Return the text with a secret where another value stood."""
    tokens = [str(leaf.value) for leaf in base.leaves() if leaf.token is not None]
    return base.source.text.replace("3", tokens[0], 1) if base.format != "yaml" else base.source.text.replace("c: 3", f"c: {tokens[0]}")


def _reads(form: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Return what fails in reading."""
    base = document(form)
    file = folder / f"doc.{form}"
    base.write(file, expected=None)
    options: dict[str, Any] = {"environment": ENVIRONMENT, "environ": {}, "identity": host().private}
    changed = folder / f"changed.{form}"
    base.with_text(_changed(base)).write(changed, expected=None)
    opened = base.open([host().private])
    return {
        "environment": lambda: load(file, **{**options, "environment": "staging"}),
        "key": lambda: load(file, **{**options, "identity": host(1).private}),
        "trust": lambda: load(file, **options, trust=trust_in(base, _author())),
        "changed": lambda: load(changed, **options),
        "into": lambda: load(file, **options, into=_Settings),
        "missing": lambda: opened.at(path("nothing")),
        "no value": lambda: opened.at(()),
        "pickle": lambda: pickle.dumps(opened),
        "pickled edit": lambda: pickle.dumps(reader(base)),
        "pickled secret": lambda: pickle.dumps(Secret(CANARY)),
    }


def _changed(base: Document) -> str:
    return base.source.text.replace("c: 3", "c: 4").replace('"c": 3', '"c": 4').replace("c = 3", "c = 4").replace("c=3", "c=4")


def _author() -> Any:
    from tests.config.parts import author

    return author()


@dataclass
class _Settings:
    """What nothing here validates into."""

    missing: int


@pytest.mark.filterwarnings("ignore:nothing says who may sign:securekit.exceptions.SecurityWarning")
@pytest.mark.parametrize("form", FORMATS)
def test_no_error_shows_a_secret(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: Count) -> None:
    """Message, arguments, attributes, notes, causes, the traceback as Python prints it, and a pickle of each error."""
    caplog.set_level(logging.DEBUG)
    failed = 0
    never = type("Never", (Exception,), {})  # an editing session has in its variables what is edited
    for works, frames_of in ((_edits(form), never), (_reads(form, tmp_path), SecureKitError)):
        for name, work in works.items():
            with pytest.raises((SecureKitError, ValueError, TypeError)) as caught:
                work()
            failed += 1
            shown = [*map(repr, walk(caught.value, frames_of=frames_of)), str(caught.value), *traceback.format_exception(caught.value)]
            assert CANARY not in "".join(shown), name
    assert CANARY not in caplog.text
    assert not [file for file in tmp_path.iterdir() if CANARY.encode() in file.read_bytes()]
    count("error paths of configuration without a canary", failed)


@pytest.mark.parametrize("text", ["12x", "yess", "2026-13-01", "nan?"])
@pytest.mark.parametrize("kind", ["int", "float", "bool", "date"])
def test_a_value_of_another_type(text: str, kind: str) -> None:
    """Python's own errors would repeat what was given."""
    with pytest.raises(ValueError, match=f"not of type {kind}") as caught:
        parse_text(f"{text}{CANARY}", kind)

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


@pytest.mark.parametrize("form", FORMATS)
def test_no_repr_shows_a_secret(form: str) -> None:
    """Of anything that holds secrets or keys."""
    base = document(form)
    opened = base.open([host().private])
    edit = reader(base)
    edit.set(path(secret(form)), CANARY + "new")
    values = opened.reveal()

    for one in (opened, edit, values, base, base.required, [*opened._keys.values()]):
        assert CANARY not in repr(one)
        assert CANARY not in str(one)
        assert CANARY not in f"{one}"
