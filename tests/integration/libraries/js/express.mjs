// The app of test_apps.py on Express with @fanoutio/serve-grip and @fanoutio/grip.
import express from "express";
import { ServeGrip } from "@fanoutio/serve-grip";
import { HttpResponseFormat, HttpStreamFormat, WebSocketMessageFormat } from "@fanoutio/grip";

const serveGrip = new ServeGrip({ grip: process.env.GRIP_URL, gripVerifyKey: process.env.GRIP_VERIFY_KEY });
const publisher = serveGrip.getPublisher();
const app = express();
app.use(serveGrip);

app.get("/stream", (request, response) => {
  const instruct = response.grip.startInstruct();
  instruct.addChannel("stream");
  instruct.setHoldStream();
  instruct.setKeepAlive("|", 20);
  response.type("text/plain").send("begin|");
});

app.get("/poll/:channel", (request, response) => {
  const instruct = response.grip.startInstruct();
  instruct.addChannel(request.params.channel);
  instruct.setHoldLongPoll(5);
  instruct.setStatus(304);
  response.set("ETag", '"1"').end();
});

app.post("/socket", (request, response) => {
  const socket = request.grip.wsContext;
  if (socket.isOpening()) {
    socket.accept();
    socket.subscribe("socket");
    socket.meta.opened = "yes";
    socket.send("welcome");
  }
  while (socket.canRecv()) {
    const message = socket.recv();
    if (message === null) {
      socket.close(socket.closeCode);
      break;
    }
    socket.send(`${socket.meta.opened} ${message}`);
  }
  response.end();
});

app.get("/signature", async (request, response) => {
  const { isProxied, isSigned } = await publisher.validateGripSig(request.get("Grip-Sig") ?? null);
  response.json([isProxied, isSigned]);
});

app.get("/say/:channel", async (request, response) => {
  const text = request.query.text;
  await publisher.publishFormats(request.params.channel, [
    new HttpStreamFormat(text),
    new HttpResponseFormat({ headers: { ETag: '"2"' }, body: text }),
    new WebSocketMessageFormat(text),
  ]);
  response.end("said");
});

app.listen(Number(process.argv[2]), "127.0.0.1");
