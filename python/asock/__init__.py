# SPDX-License-Identifier: LGPL-2.1-or-later
"""Network sockets through asockd, for programs that have no network. Pure Python.

asock.create_connection(), asock.Socket   blocking, as in the module socket; asock.DatagramSocket for UDP
asock.aio                                 asyncio: open_connection(), create_connection(), create_datagram_endpoint(), Session
asock.client                              the protocol's operations one by one
asock.AsockError                          what any of them raises; an OSError
"""

from .blocking import DatagramSocket, Socket, create_connection
from .errors import AsockError

__all__ = ["AsockError", "DatagramSocket", "Socket", "create_connection"]
__version__ = "0.1.0"
