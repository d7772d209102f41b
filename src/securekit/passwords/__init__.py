# SPDX-License-Identifier: Apache-2.0
"""Passwords as salted hashes that grow stronger."""
