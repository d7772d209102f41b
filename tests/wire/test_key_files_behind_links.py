# SPDX-License-Identifier: Apache-2.0
"""A key file behind symbolic links, as Kubernetes mounts its secrets, is read if nobody else can change the way to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from securekit._wire.key_files import read_key_file
from securekit.exceptions import KeyFileError


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A secret volume as the kubelet makes it: ``root.key -> ..data/root.key``, ``..data -> ..2026_11_23``, mode 1777."""
    mount = tmp_path / "secret"
    (mount / "..2026_11_23").mkdir(parents=True)
    (mount / "..2026_11_23/root.key").write_bytes(b"key")
    (mount / "..2026_11_23/root.key").chmod(0o400)
    (mount / "..data").symlink_to("..2026_11_23")
    (mount / "root.key").symlink_to("..data/root.key")
    mount.chmod(0o1777)
    return mount


def test_the_links_of_a_kubernetes_secret_are_followed(mount: Path) -> None:
    """The mount point is writable by all, but sticky: nobody else can replace the links in it."""
    assert read_key_file(mount / "root.key") == b"key"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_a_link_that_others_can_replace_is_not_followed(mount: Path, mode: int) -> None:
    """Without the sticky bit whoever may write the directory decides which file is the key."""
    mount.chmod(mode)

    with pytest.raises(KeyFileError, match="can be changed by others"):
        read_key_file(mount / "root.key")
