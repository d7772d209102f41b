# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files beside it: ``uv run python -m tests.vectors.golden.generate``.

One scenario per file; the pages under ``docs/spec/`` describe the members. Golden files are never changed: every later
release must open them. This makes them anew only so that a test can see that the description and the bytes still agree.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.vectors.golden.configs import configs
from tests.vectors.golden.documents import documents
from tests.vectors.golden.envelopes import envelopes, refused_envelopes
from tests.vectors.golden.journals import journals
from tests.vectors.golden.malformed_documents import malformed_documents
from tests.vectors.golden.passwords import passwords
from tests.vectors.golden.records import records
from tests.vectors.golden.refused_configs import refused_configs
from tests.vectors.golden.refused_documents import refused_documents
from tests.vectors.golden.refused_wrapped_keys import refused_wrapped_keys
from tests.vectors.golden.scenario import Scenarios
from tests.vectors.golden.wrapped_keys import wrapped_keys

HERE = Path(__file__).parent


def main() -> None:
    """Write every file."""
    for folder, scenarios in everything().items():
        (HERE / folder).mkdir(exist_ok=True)
        for name, scenario in scenarios.items():
            text = json.dumps(scenario, indent=1, ensure_ascii=False) + "\n"
            # A lone surrogate becomes \udXXX, which is how JSON writes it, too.
            (HERE / folder / f"{name}.json").write_bytes(text.encode(errors="backslashreplace"))


def everything() -> dict[str, Scenarios]:
    """Return the scenarios of each format."""
    return {
        "record": records(),
        "wrapped-key": wrapped_keys() | refused_wrapped_keys(),
        "envelope": envelopes() | refused_envelopes(),
        "password-hash": passwords(),
        "config": configs() | refused_configs(),
        "rotation-journal": journals(),
        "keyring": documents() | malformed_documents() | refused_documents(),
    }


if __name__ == "__main__":
    main()
