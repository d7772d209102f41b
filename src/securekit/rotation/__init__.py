# SPDX-License-Identifier: Apache-2.0
"""Rotation: what would change, the run that can be killed, and the proof that the old key is not needed any more.

Three kinds, told apart everywhere:

- **rewrap**: another KEK, or other recipients; the data keys and the data stay as they are;
- **rotate**: a new primary data key for a keyring (`securekit.Keyring.rotate`); old ones go on to decrypt;
- **re-encrypt**: stored records move to the primary, so that an old data key can be destroyed.
"""

from __future__ import annotations

from securekit.keyring._stored import ClaimingSource, CountingSource, Group, RereadingSource, Source, StoredItem

from ._compromise import Blast, Chain, blast_radius, run_chain
from ._documents import ConfigDocuments
from ._due import Due, do_what_is_due, find_due
from ._engine import RunProgress, run
from ._files import SealedFiles
from ._job import Failure, Tally
from ._keyrings import Keyrings
from ._plan import Plan, plan
from ._report import Report, SignedReport
from ._retire import Retirement, retire
from ._settings import Estate, Policy
from ._verify import Verification, verify

__all__ = [
    "Blast",
    "Chain",
    "ClaimingSource",
    "ConfigDocuments",
    "CountingSource",
    "Due",
    "Estate",
    "Failure",
    "Group",
    "Keyrings",
    "Plan",
    "Policy",
    "Report",
    "RereadingSource",
    "Retirement",
    "RunProgress",
    "SealedFiles",
    "SignedReport",
    "Source",
    "StoredItem",
    "Tally",
    "Verification",
    "blast_radius",
    "do_what_is_due",
    "find_due",
    "plan",
    "retire",
    "run",
    "run_chain",
    "verify",
]
