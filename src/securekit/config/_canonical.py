# SPDX-License-Identifier: Apache-2.0
"""The canonical document: one byte string for everything that an application could see, and for the metadata.

It is a list of parts in `pae` (``docs/spec/config.md``, section "Canonical document"), in the order in which they stand:
a mapping is ``{n``, then each key and its value; a list is ``[n``, then its items; a scalar is its type and value; an alias is
``*n`` and the segments of its anchor's path. The counts make the list unambiguous. Comments and layout are no part of it.
"""

from __future__ import annotations

from securekit._wire.pae import pae

from ._block import MetadataBlock
from ._tree import MERGE, Alias, MergeKey, Tree
from ._value import encode_value

__all__ = ["canonical"]


def canonical(tree: dict[str | MergeKey, Tree], block: MetadataBlock) -> bytes:
    """Return the canonical document, which the integrity tag covers."""
    parts: list[bytes] = [b"securekit/config/1 document", *block.tagged()]
    _add(tree, parts)
    return pae(parts)


def _add(node: Tree, parts: list[bytes]) -> None:
    if isinstance(node, str):  # the commonest first
        parts.append(b"s" + node.encode())
    elif isinstance(node, dict):
        parts.append(b"{%d" % len(node))
        for key, value in node.items():
            parts.append(b"<" if key is MERGE else b"k" + key.encode())
            _add(value, parts)
    elif isinstance(node, list):
        parts.append(b"[%d" % len(node))
        for item in node:
            _add(item, parts)
    elif isinstance(node, Alias):
        parts.append(b"*%d" % len(node.anchor))
        parts += [b"i%d" % segment if isinstance(segment, int) else b"k" + segment.encode() for segment in node.anchor]
    else:
        parts.append(encode_value(node))
