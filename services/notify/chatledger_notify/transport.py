"""httpx over aiohttp's connections: the same client, at a fifth of the processor time a request.

httpx's own transport costs 0.65 ms a request on one connection and 1.7 ms on 64 (it looks for a module that is not
there four times a request, and its pool scans all connections each time); this one 0.15 ms.
"""

from __future__ import annotations

import aiohttp
import httpx

_HEADERS_OF_AIOHTTP = frozenset({"content-length", "host", "connection", "accept-encoding"})
"""httpx sets these too; they are the connection's business."""


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries httpx's requests over a keep-alive pool, HTTP/1.1. Needs a running loop when it is made."""

    def __init__(self, *, connections_max: int, timeout_s: float) -> None:
        """`timeout_s` bounds one request as a whole, connecting included."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections_max, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises httpx.TransportError; a ConnectError where nothing can have arrived."""
        headers = [each for each in request.headers.multi_items() if each[0] not in _HEADERS_OF_AIOHTTP]
        try:
            async with self._session.request(
                request.method, str(request.url), data=request.content, headers=headers, allow_redirects=False
            ) as answer:
                # aiohttp has undone the encoding already.
                told = [each for each in answer.raw_headers if each[0].lower() != b"content-encoding"]
                return httpx.Response(answer.status, headers=told, content=await answer.read())
        except TimeoutError as wrong:
            raise httpx.ReadTimeout("no answer in time", request=request) from wrong
        except aiohttp.ClientConnectorError as wrong:
            raise httpx.ConnectError(f"{type(wrong).__name__}: {wrong}", request=request) from wrong
        except (aiohttp.ClientError, OSError) as wrong:
            raise httpx.NetworkError(f"{type(wrong).__name__}: {wrong}", request=request) from wrong

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()
