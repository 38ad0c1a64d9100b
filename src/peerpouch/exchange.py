"""The port *Exchange*: send a request, get a streamed response.

It is the HTTP library's own asynchronous transport, so it has a name and a shape that users know. The network,
an in-process ASGI app and a WebRTC channel implement it; ``remote`` speaks CouchDB's API over any of them.

This module is the one place, besides the users of this port, that imports the HTTP library.
"""

from __future__ import annotations

from httpx2 import AsyncBaseTransport as Exchange
from httpx2 import AsyncByteStream, ByteStream, Headers, Request, Response

__all__ = ["AsyncByteStream", "ByteStream", "Exchange", "Headers", "Request", "Response"]
