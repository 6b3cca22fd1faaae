"""The app of test_apps.py on Starlette and uvicorn: everything by plain header fields, publishing by pubcontrol.

Command line: the port. GRIP_URL and GRIP_VERIFY_KEY are in the environment.
"""

import os
import sys

import uvicorn
from gripcontrol import (
    GripPubControl,
    HttpResponseFormat,
    HttpStreamFormat,
    WebSocketMessageFormat,
    parse_grip_uri,
    validate_sig,
)
from pubcontrol import Item
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

config = parse_grip_uri(os.environ["GRIP_URL"])
publisher = GripPubControl(config)


async def stream(request: Request) -> Response:
    fields = {"Grip-Hold": "stream", "Grip-Channel": "stream", "Grip-Keep-Alive": "|; timeout=20; mode=interval"}
    return PlainTextResponse("begin|", headers=fields)


async def poll(request: Request) -> Response:
    channel = request.path_params["channel"]
    fields = {"Grip-Hold": "response", "Grip-Channel": channel, "Grip-Timeout": "5", "Grip-Status": "304"}
    return PlainTextResponse("", headers={**fields, "ETag": '"1"'})


def event(kind: str, content: bytes) -> bytes:
    return b"%s %x\r\n%s\r\n" % (kind.encode(), len(content), content)


async def socket(request: Request) -> Response:
    body = await request.body()
    fields: dict[str, str] = {}
    answer = b""
    while body:
        line, _, body = body.partition(b"\r\n")
        kind, _, size = line.decode().partition(" ")
        content, body = (body[: int(size, 16)], body[int(size, 16) + 2 :]) if size else (b"", body)
        if kind == "OPEN":
            fields = {"Sec-WebSocket-Extensions": 'grip; message-prefix=""', "Set-Meta-Opened": "yes"}
            answer += b"OPEN\r\n" + event("TEXT", b'c:{"type": "subscribe", "channel": "socket"}')
            answer += event("TEXT", b"welcome")
        elif kind == "TEXT":
            answer += event("TEXT", request.headers["Meta-Opened"].encode() + b" " + content)
        elif kind == "CLOSE":
            answer += event("CLOSE", content[:2])
    return Response(answer, headers=fields, media_type="application/websocket-events")


async def signature(request: Request) -> Response:
    token = request.headers.get("Grip-Sig", "")
    key = os.environ.get("GRIP_VERIFY_KEY") or config.get("key")
    return JSONResponse([bool(token), bool(key) and validate_sig(token, key, "named")])


async def say(request: Request) -> Response:
    text = request.query_params["text"]
    formats = [HttpStreamFormat(text), HttpResponseFormat(headers={"ETag": '"2"'}, body=text)]
    item = Item([*formats, WebSocketMessageFormat(text)])
    await run_in_threadpool(publisher.publish, request.path_params["channel"], item, blocking=True)
    return PlainTextResponse("said")


routes = [
    Route("/stream", stream),
    Route("/poll/{channel}", poll),
    Route("/socket", socket, methods=["POST"]),
    Route("/signature", signature),
    Route("/say/{channel}", say),
]

if __name__ == "__main__":
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
