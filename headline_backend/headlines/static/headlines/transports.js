// Four ways to hear a headline, and the one rule they share: subscribe first, then read the present state, so that
// nothing falls into the gap between the two. Each returns a function that ends it.
//
// A listener is { state(name, detail), update(data), snapshot(data) }: `update` is what was pushed, `snapshot` what was
// read. The state is one of: connecting, live, reconnecting, stopped.

const JSON_TYPE = "application/json";
const FIRST_DELAY = 500; // milliseconds; doubles up to the longest, half of it at random
const LONGEST_DELAY = 15000;
const WAIT = 55; // seconds a long-poll asks to be held

/** Runs `attempt(signal, live)` again and again until stopped; `live` tells that it works, a rejection that it does not. */
function keepTrying(listener, attempt) {
  const stopping = new AbortController();
  let delay = FIRST_DELAY;
  const live = () => {
    delay = FIRST_DELAY;
    listener.state("live");
  };
  (async () => {
    listener.state("connecting");
    while (!stopping.signal.aborted) {
      let reason = "closed";
      try {
        await attempt(stopping.signal, live);
      } catch (error) {
        reason = error.message;
      }
      if (stopping.signal.aborted) return;
      listener.state("reconnecting", reason);
      await pause(delay * (0.5 + Math.random() / 2), stopping.signal);
      delay = Math.min(delay * 2, LONGEST_DELAY);
    }
  })();
  return () => stopping.abort();
}

/** Waits, but no longer than until it is stopped or the network is back. */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Reads JSON; the answer's status and ETag come along. Raises an Error with the server's own words. */
export async function request(url, options = {}) {
  const response = await fetch(url, { cache: "no-store", ...options, headers: { Accept: JSON_TYPE, ...options.headers } });
  if (response.status === 304) return { status: 304, etag: response.headers.get("ETag"), data: null };
  const isJson = (response.headers.get("Content-Type") || "").startsWith(JSON_TYPE);
  const data = isJson ? await response.json() : null;
  if (!response.ok || !isJson) {
    const message = (data && data.error) || `${response.status} ${response.statusText}`.trim();
    throw Object.assign(new Error(message), { status: response.status });
  }
  return { status: response.status, etag: response.headers.get("ETag"), data };
}

/** Settles when the attempt is over: resolves when stopped, rejects when the connection is lost. */
function untilOver(signal, start) {
  return new Promise((resolve, reject) => {
    const end = start(reject);
    signal.addEventListener("abort", () => (end(), resolve()), { once: true });
  });
}

export function eventStream(url, listener) {
  return keepTrying(listener, (signal, live) =>
    untilOver(signal, (lost) => {
      const source = new EventSource(url);
      source.onopen = () => {
        live();
        request(url, { signal }).then(({ data }) => listener.snapshot(data), () => {});
      };
      source.addEventListener("update", (event) => listener.update(JSON.parse(event.data)));
      source.onerror = () => {
        source.close(); // the browser would try again by itself, at its own pace
        lost(new Error("connection lost"));
      };
      return () => source.close();
    }),
  );
}

export function webSocket(url, listener) {
  return keepTrying(listener, (signal, live) =>
    untilOver(signal, (lost) => {
      const address = new URL(url, location.href);
      address.protocol = address.protocol.replace("http", "ws");
      const socket = new WebSocket(address);
      socket.onopen = () => {
        live();
        request(url, { signal }).then(({ data }) => listener.snapshot(data), () => {});
      };
      socket.onmessage = (event) => listener.update(JSON.parse(event.data));
      socket.onclose = (event) => lost(new Error(`closed with ${event.code}`));
      return () => socket.close(1000);
    }),
  );
}

export function longPoll(url, listener) {
  let etag = null;
  return keepTrying(listener, async (signal, live) => {
    for (;;) {
      const held = etag !== null;
      const headers = held ? { "If-None-Match": etag, Wait: String(WAIT) } : {};
      const answer = await request(url, { headers, signal });
      if (answer.etag === null) throw new Error("no ETag");
      etag = answer.etag;
      live();
      if (answer.data) listener[held ? "update" : "snapshot"](answer.data);
    }
  });
}
