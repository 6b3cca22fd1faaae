// Publishes as publish.mjs does, with the old library `grip`, which many apps still have.
const grip = require("grip");
const pubcontrol = require("pubcontrol");
const { readFileSync } = require("node:fs");

const FORMATS = {
  "http-response": grip.HttpResponseFormat,
  "http-stream": grip.HttpStreamFormat,
  "ws-message": grip.WebSocketMessageFormat,
};
const revive = (key, value) => (value && value.bytes ? Buffer.from(value.bytes) : value);

async function main() {
  const results = [];
  for (const { url, channel, id, prevId, formats } of JSON.parse(readFileSync(0, "utf8"), revive)) {
    const made = formats.map(([name, ...given]) => new FORMATS[name](...given));
    const publisher = new grip.GripPubControl(grip.parseGripUri(url));
    const item = new pubcontrol.Item(made, id, prevId);
    results.push(
      await new Promise((resolve) =>
        publisher.publish(channel, item, (success, message, context) =>
          resolve(success ? "ok" : (context && context.statusCode) || message),
        ),
      ),
    );
  }
  console.log(JSON.stringify(results));
  process.exit(0); // it keeps its connections alive
}

main();
