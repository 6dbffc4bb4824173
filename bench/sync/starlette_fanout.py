"""The peer: a fan-out over websockets as usually written in Python, on Starlette and uvicorn.

python -m bench.sync.starlette_fanout      # then {"changes": n} on stdin: send so many to each client
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.process import orders, run, say
from bench.sync.change import fax


async def main() -> None:
    """Serve, and send as ordered by the bench."""
    connected: set[WebSocket] = set()

    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        connected.add(websocket)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
        connected.discard(websocket)

    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        Starlette(routes=[WebSocketRoute("/", live)]),
        log_level="warning",
        lifespan="off",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async for order in orders():
        if order == "url":
            say(f"ws://127.0.0.1:{listening.getsockname()[1]}")
            continue
        began = time.perf_counter_ns()
        for number in range(order["changes"]):
            text = orjson.dumps(fax(number)).decode()
            await asyncio.gather(*(websocket.send_text(text) for websocket in connected))
        say({"began": began, "clients": len(connected)})
    server.should_exit = True
    await serving


if __name__ == "__main__":
    run(main)
