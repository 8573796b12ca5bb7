"""Who may use the HTTP API: keys, the order of scopes, and what a caller without the right key is told."""

from __future__ import annotations

import itertools

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI

from chatledger.access import CHANCE_BYTES, Principal, Scope, key_hash, new_key, shown_prefix
from chatledger.errors import OutsideUnavailable
from chatledger.http_api import Guard, ProblemRoute, project_for

KEYS = {
    scope: new_key(bytes([scope] * CHANCE_BYTES))
    for scope in Scope  # any 32 bytes are as good as any other here
}
UNKNOWN = new_key(bytes(CHANCE_BYTES))
STORE_KEY = new_key(b"s" * CHANCE_BYTES)


class Ring:
    """Knows one key of each scope, and one for the project store; `away` stands for a database that is."""

    away = False

    async def principal(self, key: str) -> Principal | None:
        if self.away:
            raise OutsideUnavailable("connection to server at 10.0.0.7 failed")
        if key == STORE_KEY:
            return Principal(name="store", scope=Scope.READ, project="store")
        return next((Principal(name=each.name, scope=each) for each in Scope if KEYS[each] == key), None)


def application(ring: Ring) -> FastAPI:
    guard = Guard(ring)
    routes = APIRouter(route_class=ProblemRoute)
    for scope in Scope:
        allowed = guard(scope)

        async def name(caller: Principal = Depends(allowed), project: str | None = None) -> object:
            return {"name": caller.name, "project": project_for(caller, project)}

        routes.get(f"/{scope.name.lower()}")(name)
    app = FastAPI()
    app.include_router(routes)
    return app


async def get(path: str, authorization: str | None = None, ring: Ring | None = None) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    transport = httpx.ASGITransport(application(ring or Ring()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


def test_a_key_is_known_by_its_beginning_and_kept_as_its_hash() -> None:
    key = new_key(bytes(range(CHANCE_BYTES)))
    assert (key[:4], len(key)) == ("clk_", 47)
    assert key.startswith(shown_prefix(key))
    assert len(shown_prefix(key)) == 12
    assert len(key_hash(key)) == 64
    assert len({key_hash(each) for each in (key, key.lower(), f"{key} ", shown_prefix(key))}) == 4
    with pytest.raises(ValueError, match="32 bytes"):
        new_key(b"short")


@pytest.mark.parametrize(("held", "needed"), list(itertools.product(Scope, Scope)), ids=lambda scope: scope.name)
async def test_each_scope_has_those_before_it(held: Scope, needed: Scope) -> None:
    answer = await get(f"/{needed.name.lower()}", f"Bearer {KEYS[held]}")
    if held.value >= needed.value:
        assert (answer.status_code, answer.json()["name"]) == (200, held.name)
    else:
        assert answer.status_code == 403
        assert answer.json()["detail"] == (
            f"this key has the scope {held.name.lower()}; this needs {needed.name.lower()}"
        )


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", f"Basic {KEYS[Scope.ADMIN]}", KEYS[Scope.ADMIN], "Bearer guess"]
)
async def test_without_a_key_it_is_401_and_says_what_to_send(authorization: str | None) -> None:
    answer = await get("/read", authorization)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Authorization: Bearer clk_" in answer.json()["detail"]


async def test_an_unknown_key_is_401() -> None:
    answer = await get("/read", f"Bearer {UNKNOWN}")
    assert (answer.status_code, answer.json()["detail"]) == (401, "this key is unknown or was revoked")


async def test_the_word_bearer_is_not_case_sensitive() -> None:
    assert (await get("/read", f"bearer {KEYS[Scope.READ]}")).status_code == 200


async def test_while_keys_cannot_be_read_nobody_gets_through() -> None:
    ring = Ring()
    ring.away = True
    answer = await get("/read", f"Bearer {KEYS[Scope.ADMIN]}", ring)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "10.0.0.7" not in answer.text


async def test_a_projects_key_is_for_that_project_alone() -> None:
    assert (await get("/read", f"Bearer {STORE_KEY}")).json()["project"] == "store"
    assert (await get("/read?project=store", f"Bearer {STORE_KEY}")).json()["project"] == "store"
    refused = await get("/read?project=order-form", f"Bearer {STORE_KEY}")
    assert (refused.status_code, refused.json()["detail"]) == (403, "this key is for the project store alone")


async def test_a_key_without_a_project_is_for_all_of_them() -> None:
    assert (await get("/read", f"Bearer {KEYS[Scope.READ]}")).json()["project"] is None
    assert (await get("/read?project=store", f"Bearer {KEYS[Scope.READ]}")).json()["project"] == "store"


@pytest.mark.parametrize(
    ("its", "of", "sees"), [(None, "a", True), ("a", "a", True), ("a", "b", False), ("a", None, False)]
)
def test_what_a_key_sees(its: str | None, of: str | None, sees: bool) -> None:
    assert Principal(name="x", scope=Scope.ADMIN, project=its).sees(of) is sees
