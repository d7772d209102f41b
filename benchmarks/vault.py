# SPDX-License-Identifier: Apache-2.0
"""Vault: unwrapping and rewrapping through Transit, beside hvac's own calls to the same OpenBao."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterator
from typing import Any

from hvac import Client

from benchmarks.ratio import Ratio, compare, show
from securekit.vault import TransitWrapper, VaultConnection, VaultEvent
from tests.openbao import running

KEYS = 10_000
BINDING = ("keyring", "eu/acme/invoices", "0")


def measure() -> Iterator[Ratio]:
    """Yield one ratio per line of the table."""
    with running() as server:
        events: list[VaultEvent] = []
        wrapper = TransitWrapper(VaultConnection(server.address, token=server.root_token, on_event=events.append), "app")
        bare: Any = Client(url=server.address, token=server.root_token)
        key = os.urandom(32)
        wrapped = wrapper.wrap(key, BINDING)
        text = wrapped.ciphertext.decode()

        def unwrap_bare() -> bytes:
            answer = bare.secrets.transit.decrypt_data(name="app", ciphertext=text)
            return base64.b64decode(answer["data"]["plaintext"])

        assert wrapper.unwrap(wrapped, BINDING) == unwrap_bare()[1:33] == key
        yield compare(
            lambda: wrapper.unwrap(wrapped, BINDING),
            unwrap_bare,
            name="`TransitWrapper.unwrap`, what the first use of a keyring waits for; hvac's `decrypt_data`",
            goal=None,
            rounds=41,
            number=20,
        )

        many = wrapper.wrap_many([(key, BINDING)] * KEYS)
        batch = wrapper._batch  # noqa: SLF001 - both sides send as many at once
        texts = [{"ciphertext": one.ciphertext.decode()} for one in many]

        def rewrap_bare() -> list[str]:
            results: list[str] = []
            for begin in range(0, KEYS, batch):
                answer = bare.secrets.transit.rewrap_data(name="app", ciphertext=None, batch_input=texts[begin : begin + batch])
                results += [result["ciphertext"] for result in answer["data"]["batch_results"]]
            return results

        events.clear()
        assert len(wrapper.rewrap_many(many)) == len(rewrap_bare()) == KEYS
        calls = sum(event.tries for event in events)
        assert calls <= math.ceil(KEYS / batch) + 10
        yield compare(
            lambda: wrapper.rewrap_many(many),
            rewrap_bare,
            name=f"`TransitWrapper.rewrap_many` of {KEYS:,} keys in {calls} calls; hvac's `rewrap_data` in as many",
            goal=1.3,
            rounds=15,
            number=1,
        )


if __name__ == "__main__":
    show(*measure())
