"""The peer of the ingress: the endpoint that one writes first. It parses JSON and awaits Kafka's acknowledgement."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request

TOPIC = "peer.inbound"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["CHATLEDGER_BROKER"], acks="all")
    await producer.start()
    app.state.producer = producer
    yield
    await producer.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/webhook")
async def webhook(request: Request) -> dict[str, Any]:
    body = await request.json()
    await app.state.producer.send_and_wait(TOPIC, await request.body(), key=str(body["client_id"]).encode())
    return {"success": True}
