# SPDX-License-Identifier: Apache-2.0
"""The AES-GCM that everything stands on agrees with Wycheproof."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.conftest import Count

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "wycheproof" / "aes_gcm_test.json").read_text())

# What we have no way to ask for, with the number of vectors: the reason is that there is one algorithm, and no choice.
NOT_OURS = {
    "AES-128: keys have 32 bytes": 108,
    "AES-192: keys have 32 bytes": 103,
    "AES-256 with a nonce that has not 12 bytes": 39,
}


def _why_not_ours(group: dict[str, Any]) -> str | None:
    if group["keySize"] != 256:
        return f"AES-{group['keySize']}: keys have 32 bytes"
    return None if group["ivSize"] == 96 else "AES-256 with a nonce that has not 12 bytes"


def test_every_wycheproof_vector_of_our_sizes(count: Count) -> None:
    """Valid vectors encrypt and decrypt as published, invalid ones do not decrypt, and the rest is what we cannot ask for."""
    outcomes: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for group in VECTORS["testGroups"]:
        reason = _why_not_ours(group)
        if reason:
            left_out[reason] += len(group["tests"])
            continue
        assert group["tagSize"] == 128
        for case in group["tests"]:
            key, nonce, associated_data, message = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg"))
            sealed = bytes.fromhex(case["ct"] + case["tag"])
            outcomes[case["result"]] += 1
            if case["result"] == "valid":
                assert AESGCM(key).encrypt(nonce, message, associated_data) == sealed
                assert AESGCM(key).decrypt(nonce, sealed, associated_data) == message
            else:
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(nonce, sealed, associated_data)

    assert left_out == NOT_OURS
    assert outcomes == {"valid": 39, "invalid": 27}
    assert outcomes.total() + left_out.total() == VECTORS["numberOfTests"]
    count("Wycheproof AES-GCM vectors", outcomes.total())
