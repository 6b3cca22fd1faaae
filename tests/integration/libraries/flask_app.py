"""The app of test_apps.py on Flask: holds by plain header fields, WebSockets and publishing by gripcontrol.

Command line: the port. GRIP_URL and GRIP_VERIFY_KEY are in the environment.
"""

import os
import sys

from flask import Flask, Response, jsonify, request
from gripcontrol import (
    GripPubControl,
    HttpResponseFormat,
    HttpStreamFormat,
    WebSocketContext,
    WebSocketMessageFormat,
    decode_websocket_events,
    encode_websocket_events,
    parse_grip_uri,
    validate_sig,
)
from gripcontrol.websocketevent import WebSocketEvent
from pubcontrol import Item

app = Flask(__name__)
config = parse_grip_uri(os.environ["GRIP_URL"])
publisher = GripPubControl(config)


@app.get("/stream")
def stream() -> Response:
    fields = {"Grip-Hold": "stream", "Grip-Channel": "stream", "Grip-Keep-Alive": r"|; format=cstring; timeout=20"}
    return Response("begin|", headers=fields, mimetype="text/plain")


@app.get("/poll/<channel>")
def poll(channel: str) -> Response:
    fields = {"Grip-Hold": "response", "Grip-Channel": channel, "Grip-Timeout": "5", "Grip-Status": "304"}
    return Response("", headers={**fields, "ETag": '"1"'})


@app.post("/socket")
def socket() -> Response:
    meta = {name[5:].lower(): value for name, value in request.headers if name.lower().startswith("meta-")}
    context = WebSocketContext(request.headers["Connection-Id"], meta, decode_websocket_events(request.get_data()))
    fields = {}
    if context.is_opening():
        context.accept()
        context.subscribe("socket")
        context.send("welcome")
        context.out_events.insert(0, WebSocketEvent("OPEN"))
        fields = {"Sec-WebSocket-Extensions": "grip", "Set-Meta-Opened": "yes"}
    while context.can_recv():
        message = context.recv()
        if message is None:
            code = context.close_code or 0
            context.out_events.append(WebSocketEvent("CLOSE", code.to_bytes(2, "big")))
            break
        context.send(f"{context.meta['opened']} {message}")
    body = encode_websocket_events(context.out_events)
    return Response(body, headers=fields, mimetype="application/websocket-events")


@app.get("/signature")
def signature() -> Response:
    token = request.headers.get("Grip-Sig", "")
    key = os.environ.get("GRIP_VERIFY_KEY") or config.get("key")
    return jsonify([bool(token), bool(key) and validate_sig(token, key, "named")])


@app.get("/say/<channel>")
def say(channel: str) -> str:
    text = request.args["text"]
    formats = [HttpStreamFormat(text), HttpResponseFormat(headers={"ETag": '"2"'}, body=text)]
    publisher.publish(channel, Item([*formats, WebSocketMessageFormat(text)]), blocking=True)
    return "said"


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]))
