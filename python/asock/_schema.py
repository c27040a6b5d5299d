# SPDX-License-Identifier: LGPL-2.1-or-later
"""proto/asock.proto in Python: in this package where it is installed, beside it in a build of asockd."""

try:
    from . import asock_pb2 as pb  # type: ignore[attr-defined]
except ImportError:
    import asock_pb2 as pb  # type: ignore[import-not-found,no-redef]

__all__ = ["pb"]
