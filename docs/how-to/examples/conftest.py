# SPDX-License-Identifier: Apache-2.0
"""Makes the fixtures of securekit known to pytest: a line for the conftest.py at the top of your project."""

from __future__ import annotations

pytest_plugins = ["securekit.testing.fixtures"]
