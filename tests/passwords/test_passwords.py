# SPDX-License-Identifier: Apache-2.0
"""The public face of `securekit.passwords`: a few names, each loaded at its first use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from securekit import passwords

LOADED = "import json, sys; import securekit.passwords as it; {}; print(json.dumps(sorted(sys.modules)))"


def test_every_name_is_there() -> None:
    """What `__all__` promises can be imported, and is sorted."""
    assert [name for name in passwords.__all__ if not hasattr(passwords, name)] == []
    assert sorted(passwords.__all__) == sorted(set(passwords.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy table answers like any module does."""
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(passwords, "no_such_name")  # noqa: B009 - the type checker knows that it does not exist


@pytest.mark.parametrize(
    ("use", "absent"),
    [
        ("pass", {"argon2", "bcrypt", "cryptography", "asyncio"}),
        ("it.PasswordHasher", {"argon2", "bcrypt", "cryptography", "asyncio", "securekit.passwords._foreign"}),
        ("it.PasswordHasher('fips').hash('correct horse battery staple')", {"argon2", "bcrypt", "asyncio", "securekit.passwords._foreign"}),
    ],
)
def test_only_what_is_used_is_loaded(use: str, absent: set[str]) -> None:
    """Libraries and foreign formats are imported when the first hash needs them."""
    run = subprocess.run([sys.executable, "-c", LOADED.format(use)], capture_output=True, text=True, check=True)

    assert not absent & set(json.loads(run.stdout))
