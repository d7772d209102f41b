# SPDX-License-Identifier: Apache-2.0
"""Where the values of a YAML text stand, asked only when it is edited."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from yaml.cyaml import CParser  # type: ignore[attr-defined]  # which the stubs leave out
from yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, StreamEndEvent

from securekit.config._tree import MERGE, MergeKey

from ._spans import Entry, Node

__all__ = ["BLOCK", "INDICATOR", "PROPERTIES", "end_of", "first_of", "scanned"]

_Event = Any  # the stubs call every mark of an event optional
BLOCK = ("|", ">")
PROPERTIES = re.compile(r"[&!]\S*?(?=[\s,\]}]|$)(?:[ \t]+[&!]\S*?(?=[\s,\]}]|$))?")
_SPACE = re.compile(r"(?:[ \t\r\n]|(?<=[ \t\r\n])#[^\n]*)*")
INDICATOR = re.compile(r"[|>][-+0-9]*")


def scanned(text: str) -> Node:
    """Return the nodes of a text that was read and found good."""
    step: Callable[[], _Event] = CParser(text).get_event
    step()
    if isinstance(step(), StreamEndEvent) or isinstance(event := step(), ScalarEvent):
        return Node("mapping", 0, 0)
    return _node(text, step, event, brackets=False)


def _node(text: str, step: Callable[[], _Event], event: _Event, *, brackets: bool) -> Node:
    start, end = event.start_mark.index, event.end_mark.index
    node = Node("alias", start, end, None, brackets, start)
    if isinstance(event, AliasEvent):
        return node
    if event.anchor or event.tag:
        node.content = _behind_properties(text, start)
    if isinstance(event, ScalarEvent):
        node.kind, node.style, node.content = "scalar", event.style, min(node.content, end)
        if event.style in BLOCK:
            node.end = _block_end(text, node)
        return node
    node.kind = "mapping" if isinstance(event, MappingStartEvent) else "list"
    node.brackets = brackets or bool(event.flow_style)
    while not isinstance(event := step(), MappingEndEvent | SequenceEndEvent):
        key: str | MergeKey | int = len(node.entries)
        key_event: _Event = event
        if node.kind == "mapping":
            key = MERGE if event.value == "<<" and event.implicit[0] else event.value
            event = step()
        node.entries[key] = Entry(key_event.start_mark.index, key_event.end_mark.index, _node(text, step, event, brackets=node.brackets))
    closing: _Event = event
    node.end = closing.end_mark.index if node.brackets else end_of(text, node)
    return node


def _behind_properties(text: str, start: int) -> int:
    properties = PROPERTIES.match(text, start)
    space = _SPACE.match(text, properties.end()) if properties else None
    return space.end() if space else start


def _block_end(text: str, node: Node) -> int:
    """Return where a block scalar ends without the blank lines below it, unless they are part of it."""
    indicator = INDICATOR.match(text, node.content)
    if indicator and "+" in indicator[0]:
        return node.end
    lines = text[node.content : node.end]
    kept = len(lines.rstrip(" \t\r\n"))
    line_break = lines.find("\n", kept)
    return node.content + (len(lines) if line_break < 0 else line_break + 1)


def end_of(text: str, node: Node) -> int:
    """Return where a value ends: the last character of the last thing inside it."""
    while not node.brackets and node.kind in ("mapping", "list") and node.entries:
        node = next(reversed(node.entries.values())).value
    return node.end - 1 if node.style in BLOCK and text.endswith("\n", 0, node.end) else node.end


def first_of(node: Node) -> int:
    """Return where the first key, or the first dash, of a block collection is."""
    return node.content
