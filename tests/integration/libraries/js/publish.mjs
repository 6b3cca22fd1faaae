// Publishes with @fanoutio/grip what comes on standard input: [{url, channel, id, prevId, formats: [[name, ...arguments]]}].
// An argument {bytes: [...]} stands for a Uint8Array. Prints for each item "ok" or the error's status.
import { HttpResponseFormat, HttpStreamFormat, Publisher, WebSocketMessageFormat } from "@fanoutio/grip";
import { readFileSync } from "node:fs";

const FORMATS = { "http-response": HttpResponseFormat, "http-stream": HttpStreamFormat, "ws-message": WebSocketMessageFormat };
const revive = (key, value) => (value?.bytes ? Uint8Array.from(value.bytes) : value);

const results = [];
for (const { url, channel, id, prevId, formats } of JSON.parse(readFileSync(0, "utf8"), revive)) {
  const made = formats.map(([name, ...given]) => new FORMATS[name](...given));
  try {
    await new Publisher(url).publishFormats(channel, made, id, prevId);
    results.push("ok");
  } catch (error) {
    results.push(error.context?.statusCode ?? String(error));
  }
}
console.log(JSON.stringify(results));
