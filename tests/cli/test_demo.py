# SPDX-License-Identifier: Apache-2.0
"""The demo does what it says, in a fresh process, as the README tells people to start it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_runs(tmp_path: Path) -> None:
    """``securekit demo`` succeeds, leaves its folder, and refuses one that is not empty."""
    command = [sys.executable, "-m", "securekit", "demo", "--dir", str(tmp_path / "demo")]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "NOT SO" not in first.stdout
    assert (tmp_path / "demo" / "root.key").stat().st_mode & 0o777 == 0o600
    assert "SE45" not in (tmp_path / "demo" / "customers.sealed.csv").read_text()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
