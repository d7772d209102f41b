# SPDX-License-Identifier: Apache-2.0
"""Bytes as they stand on the wire and on disk: strict encodings, bounded framing, guarded files."""
