# SPDX-License-Identifier: Apache-2.0
"""What an editor shows: the document in clear for who can read it, and with placeholders for who can only write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securekit.exceptions import ConfigError

from ._path import format_path
from ._tree import Path, Scalar
from ._walk import Leaf

if TYPE_CHECKING:
    from ._document import Document, OpenDocument
    from ._edit import Edit

__all__ = ["apply_view", "view"]

_PLACEHOLDER = "<<secret {}: leave this to keep it, or put a new value here>>"
_MIN_LEAK = 4  # characters: shorter values stand in clear text by chance


def view(document: Document, opened: OpenDocument | None) -> str:
    """Return the text that is edited: without metadata, and with values or placeholders in the place of tokens."""
    values = {leaf.path: _shown(leaf, opened) for leaf in document.leaves() if leaf.token is not None}
    return document.with_text(document.source.replace(values)).source.with_metadata(None)


def apply_view(edit: Edit, document: Document, opened: OpenDocument | None, text: str) -> None:
    """Take over an edited `view`: what was left as it is keeps its token, everything else is encrypted anew where it must be.

    Raises:
        securekit.exceptions.ConfigError: A secret was moved by who cannot read it, or would stand in clear text.
        securekit.exceptions.FormatError: The text is not in the document's format; with line and reason.
    """
    edited = document.with_text(text)
    if edited.block is not None:
        message = "the edited text has a securekit block of its own: leave it out"
        raise ConfigError(message)
    secrets = {leaf.path: leaf for leaf in document.leaves() if leaf.token is not None}
    shown = {path: _shown(leaf, opened) for path, leaf in secrets.items()}
    kept: dict[Path, Scalar] = {}
    changed: dict[Path, Scalar] = {}
    for leaf in edited.leaves():
        if leaf.path in shown:
            same = type(leaf.value) is type(shown[leaf.path]) and leaf.value == shown[leaf.path]
            (kept if same else changed)[leaf.path] = secrets[leaf.path].value if same else leaf.value
        if leaf.path not in kept and opened is None:
            _check_placeholder(leaf, secrets)
    restored = edited.with_text(edited.source.replace(kept | dict.fromkeys(changed, _NO_VALUE)))
    block = document.required
    edit.take_text(restored.source.with_metadata(block.encode()))
    for path, value in changed.items():
        edit.set(path, value, protect=True)
    if opened is not None:
        _check_leaks(document, edit.document, shown)


_NO_VALUE = ""  # stands in the text for a moment, in the place of a new secret


def _shown(leaf: Leaf, opened: OpenDocument | None) -> Scalar:
    return _PLACEHOLDER.format(leaf.name) if opened is None else opened.value(leaf)


def _check_placeholder(leaf: Leaf, secrets: dict[Path, Leaf]) -> None:
    for secret in secrets.values():
        if leaf.value == _PLACEHOLDER.format(secret.name):
            message = (
                f"the secret of {secret.name} was moved to {leaf.name}, where it does not decrypt: set its value anew there, or let"
                " somebody who can read it make this change (an item put into a list moves those below it)"
            )
            raise ConfigError(message)


def _check_leaks(before: Document, after: Document, shown: dict[Path, Scalar]) -> None:
    """Check that no secret of before stands in clear text where it did not, such as after its key was renamed."""
    known = {text: path for path, value in shown.items() if len(text := _as_text(value)) >= _MIN_LEAK}
    clear = {leaf.path: leaf.value for leaf in before.leaves() if leaf.token is None}
    for leaf in after.leaves():
        text = _as_text(leaf.value)
        if leaf.token is None and text in known and (leaf.path not in clear or _as_text(clear[leaf.path]) != text):
            message = (
                f"the secret of {format_path(known[text])} would stand in clear text at {leaf.name}: first add a pattern for that"
                " path, with: securekit config encrypt --encrypt"
            )
            raise ConfigError(message)


def _as_text(value: Scalar) -> str:
    """Return a value so that equal ones of different types are alike; true, false and nothing are no secrets."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None or isinstance(value, bool) else str(value)
