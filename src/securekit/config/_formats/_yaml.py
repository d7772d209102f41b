# SPDX-License-Identifier: Apache-2.0
"""YAML: edits that splice into the text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from securekit.config._tree import METADATA, Metadata, Path, Scalar

from ._spans import Node, SpanSource, Splice, name, white_before
from ._yaml_nodes import BLOCK, INDICATOR, PROPERTIES, end_of, first_of, scanned
from ._yaml_reader import Reader
from ._yaml_values import can_be_literal, form, quoted

__all__ = ["YamlSource"]

_STEP = 2  # spaces of indentation that new lines get
_TAGS: dict[str, type] = {
    "!!str": str, "!!int": int, "!!float": float, "!!bool": bool, "!!null": type(None), "!!binary": bytes,
}  # fmt: skip
_TAG = re.compile(r"!\S*")
_DOCUMENT_END = re.compile(r"^\.\.\.(?=\s|$)", re.MULTILINE)


class YamlSource(SpanSource):
    """A YAML text of one document, whose root is a mapping or nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree, self.metadata = Reader(text).document()

    def _scan(self) -> Node:
        return scanned(self.text)

    def _written(self, value: Scalar, *, brackets: bool) -> str:
        return form(value, brackets=brackets)

    # Replacing

    def _replaced(self, values: Mapping[Path, Scalar], nodes: Mapping[Path, Node], *, literal: bool) -> list[Splice]:
        return [splice for path, value in values.items() for splice in self._one_replaced(path, value, nodes[path], literal=literal)]

    def _one_replaced(self, path: Path, value: Scalar, node: Node, *, literal: bool) -> list[Splice]:
        header, body = self._value(path, value, node.brackets, literal=literal)
        splices: list[Splice] = []
        properties = PROPERTIES.match(self.text, node.start, node.content)
        tag = _TAG.search(self.text, node.start, properties.end()) if properties else None
        if tag:
            kept = _TAGS.get(tag[0])
            if header.startswith("!!binary ") and kept is bytes:
                header = header.removeprefix("!!binary ")
            elif kept is not type(value):
                splices.append((tag.start(), tag.end() + self.text.startswith(" ", tag.end()), ""))
        if node.style in BLOCK:
            indicator = INDICATOR.match(self.text, node.content)
            end = indicator.end() if indicator else node.content + 1
            splices.append((node.content, end, header))
            first = self._line_end(end)
            last = self._line_end(node.end - self.text.startswith("\n", node.end - 1))
            splices.append((first, max(first, last), self._body(body, path)))
            return splices
        if node.content == node.end:  # an empty value, which stands behind its colon or dash
            end = node.content - len(white_before(self.text, node.content)) if node.start == node.end else node.end
            colon = ":" if node.brackets and node.start == node.end and not self.text.endswith(":", 0, end) else ""
            splices.append((end, end, f"{colon} {header}"))
        else:
            splices.append((node.content, node.end, header))
            end = node.end
        if body:
            place = self._line_end(end)
            splices.append((place, place, self._body(body, path)))
        return splices

    def _value(self, path: Path, value: Scalar, brackets: bool, *, literal: bool) -> tuple[str, list[str]]:  # noqa: FBT001
        """Return what stands behind the key, and the lines below it if the value is a block literal."""
        if literal and isinstance(value, str) and not brackets and can_be_literal(value):
            chomping = "-" if not value.endswith("\n") else "+" if value.endswith("\n\n") else ""
            lines = value.removesuffix("\n").split("\n")
            indicator = str(_STEP) if next(filter(None, lines), "").startswith(" ") or not lines[0] else ""
            return f"|{indicator}{chomping}", lines
        return self._form(path, value, brackets=brackets), []

    def _body(self, lines: list[str], path: Path) -> str:
        """Return the lines of a literal, each with its line break in front, indented below the entry at ``path``."""
        indentation = " " * (self._column(path) + _STEP)
        return "".join(self._newline + (indentation + line if line else "") for line in lines)

    def _column(self, path: Path) -> int:
        """Return how far the block collection that holds ``path`` is indented."""
        holder = self._node(path[:-1])
        place = first_of(holder)
        return place - self._line_start(place)

    # Inserting

    def _inserted(self, node: Node, path: Path, depth: int, value: Scalar, *, literal: bool) -> list[Splice]:
        if node.brackets:
            return self._appended(node, self._chain(path, depth, value))
        entries = [entry for key, entry in node.entries.items() if not (node is self._nodes and key == METADATA)]
        if entries:
            place = first_of(node)
            indentation = place - self._line_start(place)
            end = self._line_end(end_of(self.text, entries[-1].value))
            return [(end, end, self._newline + self._newline.join(self._lines(path, depth, value, indentation, literal=literal)))]
        lines = self._newline.join(self._lines(path, depth, value, 0, literal=literal))
        if node.entries:  # nothing but a metadata block
            start = node.entries[METADATA].start
            return [(start, start, lines + self._newline * 2)]
        return [self._at_end(lines, "")]

    def _lines(self, path: Path, depth: int, value: Scalar, indentation: int, *, literal: bool) -> list[str]:
        """Return the lines of a new entry at ``path[depth]``, with all that is inside it."""
        segment = path[depth]
        start = " " * indentation + ("-" if isinstance(segment, int) else self._form((segment,), segment, brackets=True) + ":")
        if depth + 1 < len(path):
            below = self._lines(path, depth + 1, value, indentation + _STEP, literal=literal)
            return [f"{start} {below[0].lstrip()}", *below[1:]] if isinstance(segment, int) else [start, *below]
        header, body = self._value(path, value, brackets=False, literal=literal)
        return [f"{start} {header}", *(" " * (indentation + _STEP) + line if line else "" for line in body)]

    def _at_end(self, lines: str, gap: str) -> Splice:
        """Put lines behind everything else, and a last line break only if there was one."""
        marker = _DOCUMENT_END.search(self.text, end_of(self.text, self._nodes))
        end = marker.start() if marker else len(self.text)
        if not end:
            return (end, end, lines + self._newline)
        if self.text.endswith("\n", 0, end):
            return (end, end, gap + lines + self._newline)
        return (end, end, self._newline + gap + lines)

    # Removing

    def _removed(self, path: Path) -> list[Splice]:
        holder, key = self._node(path[:-1]), path[-1]
        if holder.brackets:
            return self._cut(holder, key)
        entries = list(holder.entries.values())
        entry = holder.entries[key]
        if len(entries) == 1 and len(path) > 1:
            return self._emptied(holder, path)
        start = self._dash(holder, key) if isinstance(key, int) else entry.start
        if not self.text[self._line_start(start) : start].strip(" "):
            return [self._whole_lines(start, entry.value)]
        if entry is entries[0] and len(entries) > 1:  # compact: on the line of a dash, so the next one moves up
            following = self._dash(holder, 1) if isinstance(key, int) else entries[1].start
            if "#" not in self.text[entry.value.end : following]:
                return [(start, following, "")]
        raise self._refusal(entry.value, f"{name(path)} shares its line with others: remove it by hand")

    def _emptied(self, holder: Node, path: Path) -> list[Splice]:
        """Write an empty collection in brackets where the last entry of a block goes."""
        empty = "{}" if holder.kind == "mapping" else "[]"
        first = first_of(holder)
        end = end_of(self.text, holder)
        if self.text[self._line_start(first) : first].strip(" "):  # on the line of a dash
            return [(first, end, empty)]
        if holder.start < holder.content:
            properties = PROPERTIES.match(self.text, holder.start)
            place = properties.end() if properties else holder.start
        else:
            above, key = self._node(path[:-2]), path[-2]
            sign = self._dash(above, key) if isinstance(key, int) else self.text.index(":", above.entries[key].key_end)
            place = sign + 1
        return [(place, place, " " + empty), self._whole_lines(first, next(iter(holder.entries.values())).value)]

    def _dash(self, holder: Node, place: int) -> int:
        """Return where the dash of a block list's item is; comments may stand between the two."""
        first = first_of(holder)
        if place == 0:
            return first
        above = end_of(self.text, holder.entries[place - 1].value)
        column = first - self._line_start(first)
        return self.text.index("\n" + " " * column + "-", above) + 1 + column

    def _whole_lines(self, start: int, value: Node) -> Splice:
        """Return the cut of the lines from the one of ``start`` to the last of ``value``."""
        start, end = self._line_start(start), self._line_end(end_of(self.text, value))
        if end < len(self.text):
            end = self.text.index("\n", end) + 1
        elif start:  # the last line without a line break: the one before it goes instead
            start -= 2 if self.text.endswith("\r\n", 0, start) else 1
        return (start, end, "")

    # The metadata block

    def _with_block(self, metadata: Metadata, *, gap: bool) -> list[Splice]:
        if self._nodes.brackets:
            return super()._with_block(metadata, gap=gap)
        lines = [f"{METADATA}:" if metadata else f"{METADATA}: {{}}"]
        for key, value in metadata.items():
            written = form(key, brackets=True)
            if isinstance(value, str):
                lines.append(f"  {written}: {quoted(value)}")
            else:
                lines += [f"  {written}:" if value else f"  {written}: []", *(f"    - {quoted(item)}" for item in value)]
        margin = " " * self._column((METADATA,))
        block = (self._newline + margin).join(lines)
        entry = self._nodes.entries.get(METADATA)
        if entry is not None:
            return [(entry.start, self._line_end(end_of(self.text, entry.value)), block)]
        return [self._at_end(margin + block, self._newline * gap)]

    def _without_block(self, *, gap: bool) -> list[Splice]:
        if self._nodes.brackets:
            return super()._without_block(gap=gap)
        entry = self._nodes.entries[METADATA]
        start, end, _ = self._whole_lines(entry.start, entry.value)
        line_break = self._newline
        cut_before = end == len(self.text) and not self.text.endswith("\n")  # the break before the block went with it
        if gap and self.text.endswith(line_break if cut_before else line_break * 2, 0, start):
            start -= len(line_break)
        elif not start and self.text.startswith(line_break, end):
            end += len(line_break)
        return [(start, end, "")]

    # Lines

    def _line_start(self, place: int) -> int:
        return self.text.rfind("\n", 0, place) + 1

    def _line_end(self, place: int) -> int:
        """Return where the line break of the line of ``place`` is, or the end of the text."""
        end = self.text.find("\n", place)
        end = len(self.text) if end < 0 else end
        return end - self.text.startswith("\r", end - 1)
