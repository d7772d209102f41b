# SPDX-License-Identifier: Apache-2.0
"""The command line: ``securekit …`` or ``python -m securekit …``."""

from __future__ import annotations

from securekit._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
