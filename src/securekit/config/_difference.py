# SPDX-License-Identifier: Apache-2.0
"""What differs between two versions of a document: clear values, and that secrets, recipients and patterns have changed.

What is a secret in one version is not shown where the other has it in clear text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from securekit.wrappers._recipients import describe

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from ._document import Document

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs.

    Attributes:
        change: ``"added"``, ``"removed"`` or ``"changed"``.
        what: ``"value"`` (in clear text), ``"secret"``, ``"recipient"``, ``"pattern"`` or ``"environment"``.
        name: The path, the recipient, or the pattern.
        before: Of a clear value, as text; empty if there was none, or if it is a secret.
        after: The same.
    """

    change: str
    what: str
    name: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        """Return one line."""
        values = f": {self.before} -> {self.after}" if self.before and self.after else f": {self.before or self.after}"
        return f"{self.change} {self.what} {self.name}{values if self.before or self.after else ''}"


def differences(old: Document | None, new: Document) -> list[Difference]:
    """Return what ``new`` has that ``old`` has not, and the other way round. Secrets are compared as ciphertexts."""
    before, after = _things(old), _things(new)
    hidden = _secrets(old) | _secrets(new)
    found: list[Difference] = []
    for key in dict.fromkeys((*before, *after)):
        if key in before and key in after and before[key] == after[key]:
            continue
        (what, name), change = key, "changed" if key in before and key in after else "added" if key in after else "removed"
        clear = what == "value" and name not in hidden
        shown = [repr(things[key]) if clear and key in things else "" for things in (before, after)]
        found.append(Difference(change, what, name, *shown))
    return found


def _secrets(document: Document | None) -> set[str]:
    """Return the paths of what is encrypted, or must be."""
    if document is None or document.block is None:
        return set()
    patterns = document.required.patterns
    return {leaf.name for leaf in document.leaves() if leaf.token is not None or patterns.matches(leaf.path)}


def _things(document: Document | None) -> Mapping[tuple[str, str], Hashable]:
    return dict(_each(document)) if document is not None else {}


def _each(document: Document) -> Iterator[tuple[tuple[str, str], Hashable]]:
    block = document.block
    if block is not None:
        yield ("environment", block.environment), None
        for recipient in block.recipients:
            yield ("recipient", f"{recipient.subject} ({describe(*recipient.name)})"), None
        for pattern in block.encrypt:
            yield ("pattern", pattern), None
    for leaf in document.leaves():
        token = leaf.token
        yield ("value" if token is None else "secret", leaf.name), leaf.value if token is None else token
