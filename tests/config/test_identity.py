# SPDX-License-Identifier: Apache-2.0
"""Where a host's identity is found, and the trust that stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from securekit.config import load
from securekit.exceptions import ConfigError
from tests.config.parts import FORMATS, host, sealed
from tests.identities import pem


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with a host's key, a trust of other documents beside it, and a document."""
    for name, data in (("host.key", pem(host().issued.key)), ("password", b"fake"), ("trust.toml", b"# of no document\n")):
        file = tmp_path / name
        file.touch(mode=0o600)
        file.write_bytes(data)
    (tmp_path / "production.yaml").write_bytes(sealed(FORMATS[0]).to_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["{}/host.key", "cert:?key={}/host.key", "cert:?key={0}/host.key&password_file={0}/password"])
def test_the_trust_beside_the_identity_counts_however_it_is_named(machine: Path, name: str) -> None:
    """Nobody leaves the trust out by naming the private key's file in another way, or after a key that is in no file."""
    identity = name.format(machine)
    for identities in (identity, [identity], [host(1).private, identity]):
        with pytest.raises(ConfigError, match="does not name document"):
            load(machine / "production.yaml", environment="production", identity=identities)
