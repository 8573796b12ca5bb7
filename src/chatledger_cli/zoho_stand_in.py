"""A stand-in for Zoho CRM over real HTTP: products, sales orders, accounts and access tokens, as version 8 of its API.

For tests and trials; it also runs by itself: `python -m chatledger_cli.zoho_stand_in --port 8081`, with both addresses
of Zoho pointed at it. A script of answers makes it fail: each operation takes its next one while there are any.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from aiohttp import web

from chatledger_cli.provider_stand_in import HOST, Answer

Operation = Literal["token", "products", "orders", "accounts", "search"]
Record = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]


class ZohoStandIn:
    """The server: `start()`, `url`, `stop()`. It has `products`, `orders` and `accounts`, and notes all `calls`."""

    def __init__(self, products: Sequence[Mapping[str, Any]] = (), *, page_size: int = 200) -> None:
        """Products are records with `Product_Code`, `Unit_Price` (a text is sent as a number) and `Qty_in_Stock`."""
        self.products: list[Record] = []
        self.orders: list[Record] = []
        self.accounts: list[Record] = []
        self.calls: list[tuple[Operation, Any]] = []
        self.url = ""
        self._page_size = page_size
        self._scripts: dict[Operation, deque[Answer]] = {}
        self._tokens: set[str] = set()
        self._tokens_given = 0
        self._ids = iter(range(4_150_868_000_000_001, 10**18))
        self._runner: web.AppRunner | None = None
        self.set_products(products)

    def set_products(self, products: Sequence[Mapping[str, Any]]) -> None:
        """Have these products instead; each keeps its id as long as its code is there."""
        known = {product["Product_Code"]: product["id"] for product in self.products}
        self.products = [
            {"id": known.get(product["Product_Code"]) or self._new_id(), **product} for product in products
        ]

    def script(self, operation: Operation, *answers: Answer) -> None:
        """Answer the operation's next calls so, one each. Status 200 without a body only delays what would be done."""
        self._scripts.setdefault(operation, deque()).extend(answers)

    def expire_tokens(self) -> None:
        """Forget every access token, as after an hour."""
        self._tokens.clear()

    def made(self, operation: Operation) -> list[Any]:
        """What came with the calls of one operation: parameters, or the body."""
        return [content for made, content in self.calls if made == operation]

    async def start(self, port: int = 0) -> ZohoStandIn:
        """Listen on a loopback port, 0 for a free one, and return itself."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/oauth/v2/token", self._scripted("token", self._give_token)),
                web.get("/crm/v8/Products", self._scripted("products", self._authorized(self._list_products))),
                web.get("/crm/v8/Sales_Orders/search", self._scripted("search", self._authorized(self._search))),
                web.post("/crm/v8/Sales_Orders/upsert", self._scripted("orders", self._authorized(self._save_order))),
                web.post("/crm/v8/Accounts/upsert", self._scripted("accounts", self._authorized(self._save_account))),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        await site.start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _scripted(self, operation: Operation, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            content: Any = dict(request.query)
            if request.method == "POST":
                text = await request.text()
                content = dict(await request.post()) if operation == "token" else json.loads(text)
            self.calls.append((operation, content))
            script = self._scripts.get(operation)
            answer = script.popleft() if script else Answer()
            if answer.delay_s:
                await asyncio.sleep(answer.delay_s)
            if answer.instead == "hang":
                await asyncio.sleep(3_600)
            if answer.instead == "reset":
                assert request.transport is not None
                request.transport.abort()
            if answer.instead is None and answer.status == 200 and answer.body is None:
                return await handler(request)
            if answer.body == COMES_THROUGH:
                await handler(request)
            return _json({"code": "SCRIPTED", "status": "error"}, answer)

        return handle

    def _authorized(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind != "Zoho-oauthtoken" or token not in self._tokens:
                refusal = {"code": "INVALID_TOKEN", "details": {}, "message": "invalid oauth token", "status": "error"}
                return web.json_response(refusal, status=401)
            return await handler(request)

        return handle

    async def _give_token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("grant_type") != "refresh_token" or form.get("refresh_token") == "revoked":
            return web.json_response({"error": "invalid_code"})
        self._tokens_given += 1
        token = f"1000.token-{self._tokens_given}"
        self._tokens.add(token)
        return web.json_response({"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    async def _list_products(self, request: web.Request) -> web.Response:
        if "fields" not in request.query:
            return web.json_response({"code": "REQUIRED_PARAM_MISSING", "status": "error"}, status=400)
        first = int(request.query.get("page_token", "token-0").removeprefix("token-"))
        page = self.products[first : first + self._page_size]
        if not page:
            return web.Response(status=204)
        behind = first + len(page)
        is_more = behind < len(self.products)
        token = f"token-{behind}" if is_more else None
        info = {"per_page": self._page_size, "count": len(page), "more_records": is_more, "next_page_token": token}
        return web.Response(text=_document({"data": page, "info": info}), content_type="application/json")

    async def _search(self, request: web.Request) -> web.Response:
        wanted = request.query.get("criteria", "").removeprefix("(Subject:equals:").removesuffix(")")
        found = [order for order in self.orders if order["Subject"] == wanted]
        return web.json_response({"data": found}) if found else web.Response(status=204)

    async def _save_order(self, request: web.Request) -> web.Response:
        record = (await request.json())["data"][0]
        known = _find(self.orders, "Subject", record) or _find(self.orders, "id", record)
        items = record.get("Ordered_Items")
        if known is None and not items:
            return _refusal("MANDATORY_NOT_FOUND", "Ordered_Items")
        codes = {product["id"] for product in self.products}
        if items and any(item["Product_Name"]["id"] not in codes for item in items):
            return _refusal("INVALID_DATA", "Product_Name")
        if known is not None and items:
            record = {**record, "Ordered_Items": [*known["Ordered_Items"], *items]}  # as Zoho does with a subform
        return self._saved(self.orders, known, record)

    async def _save_account(self, request: web.Request) -> web.Response:
        record = (await request.json())["data"][0]
        return self._saved(self.accounts, _find(self.accounts, "Account_Name", record), record)

    def _saved(self, records: list[Record], known: Record | None, record: Record) -> web.Response:
        action = "insert" if known is None else "update"
        if known is None:
            known = {"id": self._new_id()}
            records.append(known)
        known.update({**record, "id": known["id"]})
        saved = {"code": "SUCCESS", "action": action, "details": {"id": known["id"]}, "status": "success"}
        return web.json_response({"data": [saved]})

    def _new_id(self) -> str:
        return str(next(self._ids))


COMES_THROUGH = b"done, and then an error"
"""As a scripted answer's body: the operation is done, and its caller is told of an error all the same."""


def _find(records: Sequence[Record], field: str, record: Record) -> Record | None:
    return next((each for each in records if field in record and each.get(field) == record[field]), None)


def _refusal(code: str, field: str) -> web.Response:
    refused = {"code": code, "details": {"api_name": field, "json_path": f"$.data[0].{field}"}, "status": "error"}
    return web.json_response({"data": [refused]}, status=400)


def _json(content: Mapping[str, Any], answer: Answer) -> web.Response:
    body = answer.body if answer.body not in (None, COMES_THROUGH) else json.dumps(content).encode()
    return web.Response(status=answer.status, body=body, headers=dict(answer.headers), content_type="application/json")


def _document(content: Mapping[str, Any]) -> str:
    """JSON in which a price that was given as a text is a number, digit by digit as it was written."""
    prices: dict[str, str] = {}

    def marked(record: Record) -> Record:
        price = record.get("Unit_Price")
        if not isinstance(price, str):
            return record
        mark = f"price {len(prices)}"
        prices[json.dumps(mark)] = price
        return {**record, "Unit_Price": mark}

    text = json.dumps({**content, "data": [marked(record) for record in content["data"]]})
    for mark, price in prices.items():
        text = text.replace(mark, price)
    return text


async def _serve(port: int) -> None:
    product = {"Product_Code": "CEM-50", "Unit_Price": "50.00", "Qty_in_Stock": 50_000}
    stand_in = await ZohoStandIn([product]).start(port)
    print(stand_in.url, flush=True)  # noqa: T201  # it is a program's output
    await asyncio.Event().wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="A stand-in for Zoho CRM.")
    arguments.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(arguments.parse_args().port))
