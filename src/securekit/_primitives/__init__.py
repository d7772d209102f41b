# SPDX-License-Identifier: Apache-2.0
"""The only place that calls ``cryptography``, ``argon2`` and ``bcrypt``. Bytes in, bytes out."""
