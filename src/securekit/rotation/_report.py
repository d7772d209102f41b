# SPDX-License-Identifier: Apache-2.0
"""What was done, by whom and when, and what it proves: for machines, for people, and signed for auditors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from securekit._wire import base64url, canonical_json
from securekit._wire.pae import pae
from securekit.exceptions import FormatError

from ._job import Failure

if TYPE_CHECKING:
    from securekit._primitives.signatures import SigningCertificate, SigningKey

    from ._journal import Journal
    from ._plan import Plan

__all__ = ["FORMAT", "Report", "SignedReport"]

FORMAT = "securekit/rotation-report/1"
MAX_SIZE = 64 * 1024 * 1024  # bytes of a signed report
_LABEL = "securekit/rotation/1 report"


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has done, over all its attempts.

    Attributes:
        plan: 16 hexadecimal digits: the plan's identity.
        kind: ``"rewrap"`` or ``"re-encrypt"``.
        source: Names the source.
        settings: What else the work depended on, such as recipients.
        targets: Per keyring, what its records moved to.
        state: ``"finished"``, or ``"stopped"``: call `run` again.
        attempts: Who began each attempt, when, and with which version.
        ended: When the last attempt ended.
        rounds: How often the source was gone through.
        examined: Items that were looked at.
        changed: Items that were written, and read back.
        current: Items that needed nothing when they were looked at.
        busy: Items that others wrote to all the time in the last round.
        size: Bytes of ciphertext that were looked at.
        failed: Items that failed in the last round, and are as they were.
        failures: The first 1,000 of them; the journal has all.
    """

    plan: str
    kind: str
    source: str
    settings: Mapping[str, Any]
    targets: Mapping[str, str]
    state: str
    attempts: Sequence[Mapping[str, str]]
    ended: str
    rounds: int
    examined: int
    changed: int
    current: int
    busy: int
    size: int
    failed: int
    failures: Sequence[Failure]

    @classmethod
    def of_run(cls, plan: Plan, journal: Journal, *, state: str) -> Report:
        """Return the report of a run, from its journal."""
        progress = journal.progress
        return cls(
            plan=plan.id,
            kind=plan.kind,
            source=plan.source,
            settings=plan.settings,
            targets=journal.plan["targets"],
            state=state,
            attempts=tuple(progress.attempts),
            ended=datetime.now(UTC).isoformat(timespec="seconds"),
            rounds=progress.round,
            failures=tuple(progress.failures),
            **asdict(progress.totals),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report for machines: no secrets."""
        return {"format": FORMAT, **asdict(self)}

    def page(self) -> str:
        """Return the report as a page for people, in Markdown."""
        lines = [
            f"# Rotation report: {self.kind}, {self.state}",
            "",
            f"- Source: {_plain(self.source)}",
            f"- Plan: {self.plan}",
            *(
                f"- Attempt {number}: {_plain(one['at'])} by {_plain(one['by'])}, securekit {_plain(one['securekit'])}"
                for number, one in enumerate(self.attempts, 1)
            ),
            f"- Ended: {self.ended}",
            "",
            "| items | |",
            "| --- | ---: |",
            *(f"| {name} | {getattr(self, name):,} |" for name in ("examined", "changed", "current", "busy", "failed")),
            "",
            f"{self.size:,} bytes of ciphertext were looked at, in {self.rounds} round{'s' if self.rounds != 1 else ''}.",
        ]
        if self.targets:
            lines += ["", "## Keyrings", "", "| keyring | moved to |", "| --- | --- |"]
            lines += [f"| {_plain(path)} | {_plain(target.rpartition('@')[2])} |" for path, target in sorted(self.targets.items())]
        if self.failures:
            lines += ["", "## What failed, and is as it was", "", "| item | error | reason |", "| --- | --- | --- |"]
            lines += [f"| {_plain(one.item)} | {_plain(one.error)} | {_plain(one.reason)} |" for one in self.failures]
            if self.failed > len(self.failures):
                lines.append(f"\nand {self.failed - len(self.failures):,} more, which are in the journal.")
        return "\n".join(lines) + "\n"

    def sign(self, key: SigningKey) -> bytes:
        """Return the report with a signature, as canonical JSON. `SignedReport.verify` reads it.

        Args:
            key: The signer's private key.
        """
        return SignedReport.make(self.to_json(), key)


class SignedReport:
    """A report with the signature of the holder of a certificate."""

    @staticmethod
    def make(report: Mapping[str, Any], key: SigningKey) -> bytes:
        """Return canonical JSON: ``{"report": text, "signature": base64url, "signer": reference}``.

        The text is the report as JSON. The signature is over ``pae(["securekit/rotation/1 report", text])``.
        """
        text = json.dumps(report, separators=(",", ":"))
        signature = key.sign(pae([_LABEL, text]))
        return canonical_json.encode({"report": text, "signature": base64url.encode(signature), "signer": key.reference})

    @staticmethod
    def verify(data: bytes, certificate: SigningCertificate) -> dict[str, Any]:
        """Return the report, if the holder of ``certificate`` has signed it.

        Raises:
            securekit.exceptions.FormatError: ``data`` is no signed report.
            securekit.exceptions.CertificateError: Somebody else has signed it, or it was changed since.
        """
        top = canonical_json.decode(data, max_size=MAX_SIZE)
        text, signature = top.get("report"), top.get("signature")
        if set(top) != {"report", "signature", "signer"} or not isinstance(text, str) or not isinstance(signature, str):
            message = "not a signed report"
            raise FormatError(message)
        certificate.verify(base64url.decode(signature), pae([_LABEL, text]))
        return cast("dict[str, Any]", json.loads(text))


def _plain(text: str) -> str:
    """Return ``text`` as one line of a table: names come from anybody."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text).replace("|", "\\|")
