# SPDX-License-Identifier: Apache-2.0
"""The metadata block of formats that have nothing but comments to put it in, .env and INI.

It is a run of comment lines: one that explains, then ``# securekit NAME TEXT`` per text, and one per item of a list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from securekit.config._formats._edits import above, appended, newline, refused, splice
from securekit.config._tree import METADATA, METADATA_LISTS, Metadata

__all__ = ["Block", "claims", "complete", "find", "rewrite"]

EXPLANATION = f"# {METADATA}: the lines below belong to this encrypted document; change it with: {METADATA} config"
_LINE = re.compile(rf"# {METADATA} ([a-z][a-z0-9_-]*) (\S(?:.*\S)?)")


class Block:
    """Where the block stands in the text, and what it says."""

    __slots__ = ("end", "metadata", "start")

    def __init__(self, start: int, end: int, metadata: Metadata | None) -> None:
        self.start, self.end, self.metadata = start, end, metadata


def claims(line: str) -> bool:
    """Tell whether a line means to be of the block."""
    return line.startswith((f"# {METADATA} ", EXPLANATION))


def find(text: str, comments: Iterable[tuple[int, int, int]]) -> Block | None:
    """Return the block among the comments, which are (start, end with the line's end, line number) in their order."""
    start = end = -1
    metadata: dict[str, str | list[str]] = {}
    for first, last, number in comments:
        line = text[first:last].rstrip("\r\n")
        if line == EXPLANATION and not metadata:
            start, end = first, last
        elif line == EXPLANATION or line.startswith(f"# {METADATA} "):
            match = _LINE.fullmatch(line)
            if match is None or not line.isprintable():
                raise refused(number, f"a line of metadata is '# {METADATA} NAME TEXT', with printable text")
            if metadata and first != end:
                raise refused(number, "the lines of the metadata must stand together")
            start, end = (start if first == end else first), last
            _add(metadata, match[1], match[2], number)
    if not metadata:
        return None
    return Block(start, end, complete(metadata))


def _add(metadata: dict[str, str | list[str]], name: str, text: str, number: int) -> None:
    if name in METADATA_LISTS:
        metadata[name] = [*metadata.get(name, []), text]
    elif name in metadata:
        raise refused(number, f"the metadata names {name} twice")
    else:
        metadata[name] = text


def complete(metadata: Metadata | None) -> Metadata | None:
    """Return the metadata as it is read back: with every list, if only an empty one."""
    if metadata is None:
        return None
    written = {name: value if isinstance(value, str) else [*value] for name, value in metadata.items()}
    return written | {name: [] for name in sorted(METADATA_LISTS - written.keys())}


def rewrite(text: str, block: Block | None, metadata: Metadata | None) -> str:
    """Return the text with the block put in the place of the present one, added at the end, or taken away."""
    if metadata is None:
        return text if block is None else splice(text, [(above(text, block.start, block.end), block.end, "")])
    end = newline(text)
    lines = end.join([EXPLANATION, *_lines(metadata)])
    if block is not None:
        return splice(text, [(block.start, block.end, lines + (end if text[: block.end].endswith("\n") else ""))])
    return appended(text, lines, end)


def _lines(metadata: Metadata) -> Iterable[str]:
    for name, value in metadata.items():
        if isinstance(value, str) == (name in METADATA_LISTS):
            raise refused(0, f"the metadata's {name} is {'a list' if name in METADATA_LISTS else 'one text'}")
        for text in [value] if isinstance(value, str) else value:
            line = f"# {METADATA} {name} {text}"
            if _LINE.fullmatch(line) is None or not line.isprintable():
                reason = "it is empty, not printable, or has white space at its ends"
                raise refused(0, f"the metadata's {name} does not fit into a comment line: {reason}")
            yield line
