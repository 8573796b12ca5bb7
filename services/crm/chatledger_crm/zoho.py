"""One project's account with Zoho CRM, over HTTP: access tokens, the breaker, and what can go wrong.

Raised are Refused where trying again is of no use, and OutsideUnavailable where it may be: Zoho is away, or busy, or
does not accept the credentials, which somebody may mend. Only a Zoho that is away counts for the breaker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from chatledger.adapters.breakers import Breaker
from chatledger.errors import OutsideUnavailable
from chatledger.events.orders import OrderCreated
from chatledger_crm.zoho_records import (
    Refused,
    ZohoProduct,
    account_body,
    order_body,
    read_found,
    read_products,
    read_reference,
    read_refusal,
    read_token,
    status_body,
)

API = "/crm/v8"
FIELDS = "Product_Code,Unit_Price,Qty_in_Stock"
PAGE_PRODUCTS = 200
"""As many as Zoho gives at once."""
PAGES_MAX = 500
"""Zoho lists 100,000 records in all."""
ACCOUNTS_REMEMBERED_MAX = 10_000
RETRY_AFTER_MAX_S = 3_600.0
"""Who asks for more is tried again after an hour all the same."""


LATER = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY, httpx.codes.TOO_MANY_REQUESTS})
"""Refusals that are about the moment, not about the request."""


class Away(OutsideUnavailable):
    """Zoho did not answer, or had an error of its own."""


class Busy(OutsideUnavailable):
    """Zoho takes no more requests for a while."""

    def __init__(self, message: str, *, retry_after_s: float | None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Denied(OutsideUnavailable):
    """Zoho does not accept the credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """As whom to speak: a registered client, and the refresh token that a user of Zoho gave it."""

    client_id: str
    client_secret: str
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where Zoho is, without a slash at the end."""

    api: str
    accounts: str


class Zoho:
    """The calls that are needed of it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        addresses: Addresses,
        credentials: Credentials,
        breaker: Breaker,
        timeout_s: float,
    ) -> None:
        """`timeout_s` bounds one request as a whole."""
        self._client, self._breaker, self._timeout_s = client, breaker, timeout_s
        self._addresses, self._credentials = addresses, credentials
        self._token = ""
        self._renewing = asyncio.Lock()
        self._accounts: dict[str, str] = {}

    async def products(self, currency: str) -> list[ZohoProduct]:
        """Return every product that has a code, with its price in minor units of `currency`."""
        products: list[ZohoProduct] = []
        parameters: dict[str, str] = {"fields": FIELDS, "per_page": str(PAGE_PRODUCTS)}
        for _ in range(PAGES_MAX):
            answer = await self._call("GET", "/Products", parameters)
            if answer.status_code == httpx.codes.NO_CONTENT:
                break
            page = read_products(answer.content, currency)
            products += page.products
            if page.next_token is None:
                break
            parameters["page_token"] = page.next_token
        return products

    async def create_order(
        self, order: OrderCreated, status: str, *, products: Mapping[str, str], may_be_there: bool
    ) -> str:
        """Save a sales order under our number; return Zoho's id for it. `products` maps each sku to Zoho's id.

        With `may_be_there` it first looks whether an earlier try came through after all: its items must not double.
        """
        if may_be_there and (found := await self._find_order(order.order_number)):
            return await self.move_order(order.order_number, status, reference=found)
        # What this service can tell by itself is told before anything is written there.
        order_body(order, status, account="", products=products)
        account = await self._account(order.client_id)
        return await self._save("/Sales_Orders", order_body(order, status, account=account, products=products))

    async def move_order(self, order_number: str, status: str, *, reference: str) -> str:
        """Give a sales order that Zoho has another status; return Zoho's id for it."""
        return await self._save("/Sales_Orders", status_body(order_number, status, reference=reference))

    async def _find_order(self, order_number: str) -> str | None:
        answer = await self._call("GET", "/Sales_Orders/search", {"criteria": f"(Subject:equals:{order_number})"})
        return None if answer.status_code == httpx.codes.NO_CONTENT else read_found(answer.content)

    async def _account(self, client_id: str) -> str:
        known = self._accounts.get(client_id)
        if known is None:
            known = await self._save("/Accounts", account_body(client_id))
            if len(self._accounts) >= ACCOUNTS_REMEMBERED_MAX:
                del self._accounts[next(iter(self._accounts))]
            self._accounts[client_id] = known
        return known

    async def _save(self, module: str, body: bytes) -> str:
        return read_reference((await self._call("POST", f"{module}/upsert", {}, body)).content)

    async def _call(self, method: str, path: str, parameters: Mapping[str, str], body: bytes = b"") -> httpx.Response:
        """Send with a token, which is renewed once where Zoho does not know it any more; return a 2xx."""
        token = self._token or await self._renewed("")
        answer = await self._with_token(token, method, path, parameters, body)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            answer = await self._with_token(await self._renewed(token), method, path, parameters, body)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Denied(f"Zoho does not let us {method} {path}: {read_refusal(answer.content)}")
        if answer.status_code in LATER:
            raise Busy("Zoho takes no more requests for now", retry_after_s=retry_after_s(answer.headers))
        if answer.is_success:
            return answer
        raise Refused(read_refusal(answer.content))

    async def _with_token(
        self, token: str, method: str, path: str, parameters: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        headers = {"authorization": f"Zoho-oauthtoken {token}", "content-type": "application/json"}
        return await self._send(
            self._client.build_request(
                method,
                f"{self._addresses.api}{API}{path}",
                params=dict(parameters),
                headers=headers,
                content=body or None,
            )
        )

    async def _renewed(self, refused: str) -> str:
        """Return a token other than the refused one; of several who want one, one asks."""
        async with self._renewing:
            if self._token and self._token != refused:
                return self._token
            form = {
                "grant_type": "refresh_token",
                "client_id": self._credentials.client_id,
                "client_secret": self._credentials.client_secret,
                "refresh_token": self._credentials.refresh_token,
            }
            url = f"{self._addresses.accounts}/oauth/v2/token"
            answer = await self._send(self._client.build_request("POST", url, data=form))
            # Zoho says with 200 too that a refresh token is of no use.
            token = read_token(answer.content) if answer.is_success else None
            if token is None:
                self._token = ""
                raise Denied("Zoho gives no access token: see the client's id and secret, and the refresh token")
            self._token = token
            return token

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send once, through the breaker. Raises Away, BreakerOpen."""
        return await self._breaker.call(lambda: self._exchange(request))

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.send(request)
        except (httpx.TransportError, TimeoutError) as wrong:
            raise Away(f"Zoho does not answer: {type(wrong).__name__}") from wrong
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Away(f"Zoho answers HTTP {answer.status_code}")
        return answer


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After as seconds; Zoho sends no dates."""
    text = headers.get("retry-after", "").strip()
    return min(float(text), RETRY_AFTER_MAX_S) if text.isascii() and text.isdigit() else None
