# SPDX-License-Identifier: Apache-2.0
"""HashiCorp Vault and OpenBao: KEKs that never leave the server, and keyrings that many hosts share.

>>> from securekit.vault import KvKeyStore, TransitWrapper, VaultConnection
>>> vault = VaultConnection("https://vault.example:8200", role_id="app", secret_id_file="/etc/app/secret-id")
>>> store = KvKeyStore(vault, mount="kv", prefix="keyrings", wrapper=TransitWrapper(vault, "app"))
"""

from __future__ import annotations

from ._connection import VaultConnection, VaultEvent, VaultHealth
from ._kv import KvKeyStore
from ._references import VaultReferences
from ._transit import TransitWrapper

__all__ = ["KvKeyStore", "TransitWrapper", "VaultConnection", "VaultEvent", "VaultHealth", "VaultReferences"]
