"""What every route of the HTTP APIs does with a request that cannot be meant, and how it is described."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import AfterValidator, BaseModel

from chatledger.http_api import BODY_BYTES_MAX, ProblemRoute

JSON = {"content-type": "application/json"}


def _refused(text: str) -> str:
    raise ValueError(f"{text} is taken")


class Body(BaseModel):
    names: list[str]
    nick: Annotated[str, AfterValidator(_refused)] = ""


def application() -> FastAPI:
    routes = APIRouter(route_class=ProblemRoute)

    @routes.post("/things/{id}")
    async def add(id: str, body: Body, project: str | None = None) -> int:
        return len(body.names)

    @routes.get("/things")
    async def things(limit: int = 5, project: str | None = None) -> int:
        return limit

    app = FastAPI()
    app.include_router(routes)
    return app


async def request(method: str, path: str, **given: Any) -> httpx.Response:
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **given)


@pytest.mark.parametrize(
    ("content", "status", "detail"),
    [
        (b"{", 422, "body: is no JSON: Expecting property name enclosed in double quotes"),
        (b"\xff", 422, "body: is no JSON"),
        (b"[" * 100_000, 422, "body: is no JSON that can be read"),
        (b'{"names": [' + b"9" * 5_000 + b"]}", 422, "body: is no JSON that can be read"),
        (b'{"names": ["a", 5]}', 422, "names.1: Input should be a valid string"),
        (b'{"names": [], "nick": "Al"}', 422, "nick: Al is taken"),
        (b'{"names": ["' + b"x" * BODY_BYTES_MAX + b'"]}', 413, f"the limit is {BODY_BYTES_MAX} bytes"),
    ],
    ids=["half", "bytes", "deep", "number", "item", "rule", "large"],
)
async def test_a_body_that_is_wrong_is_a_problem_that_says_how(content: bytes, status: int, detail: str) -> None:
    answer = await request("POST", "/things/a", content=content, headers=JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_json_that_is_not_declared_is_415(media_type: str) -> None:
    answer = await request("POST", "/things/a", content=b'{"names": []}', headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["detail"]) == (415, "Content-Type: send application/json")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/merge-patch+json"])
async def test_json_of_any_kind_is_read(media_type: str) -> None:
    answer = await request("POST", "/things/a", content=b'{"names": ["a"]}', headers={"content-type": media_type})
    assert answer.json() == 1


async def test_a_body_of_the_largest_size_is_read() -> None:
    frame = b'{"names": [""]}'
    content = frame[:-3] + b"x" * (BODY_BYTES_MAX - len(frame)) + frame[-3:]
    assert (await request("POST", "/things/a", content=content, headers=JSON)).json() == 1


async def test_a_parameter_that_is_not_there_is_refused_and_those_that_are_there_are_named() -> None:
    answer = await request("GET", "/things?limt=1&project=a")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "limt", "detail": "no such parameter; there are: limit, project"}]
    assert (await request("GET", "/things?limit=1&project=a")).json() == 1


def test_the_problems_of_a_route_are_described() -> None:
    paths = application().openapi()["paths"]
    assert sorted(paths["/things"]["get"]["responses"]) == ["200", "401", "403", "422", "503"]
    command = paths["/things/{id}"]["post"]["responses"]
    assert sorted(command) == ["200", "401", "403", "404", "409", "413", "415", "422", "503"]
    assert {media for status, each in command.items() if status != "200" for media in each["content"]} == {
        "application/problem+json"
    }
