// The page: a list, an editor, and four panes that listen to the headline being edited.
//
// Browsers open six HTTP/1.1 connections to a host, for all of its windows together. A window keeps two busy (event
// stream and long-poll; WebSockets are counted apart, so the list uses one), and none while nobody looks at it.
// All text from outside goes into the document as textContent or value, never as markup.

import { eventStream, longPoll, request, webSocket } from "./transports.js";

const LIST_LENGTH = 50;
const GATHER = 150; // milliseconds for which keystrokes are gathered into one save
const RETRY = 2000; // milliseconds until a save that got no answer is tried again
const HIDDEN_GRACE = 5000; // milliseconds a window may be out of sight before it lets go of its connections
const FIELDS = ["type", "title", "text"];

const byId = (id) => document.getElementById(id);
const sameContent = (a, b) => FIELDS.every((name) => (a[name] || "") === (b[name] || ""));
const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const isToday = (date) => date.toDateString() === new Date().toDateString();
/** The time of today, the day before that. */
const moment = (date) => (isToday(date) ? clock(date) : date.toLocaleDateString([], { dateStyle: "medium" }));

/** When this window sent what, so that its way back can be measured. */
const sent = [];

function latency(data) {
  const now = performance.now();
  const own = sent.findLast((own) => own.id === data.id && now - own.at < 10000 && sameContent(own, data));
  return own ? now - own.at : null;
}

function showState(element, state, detail = "") {
  if (element.dataset.state === state && element.title === detail) return;
  element.dataset.state = state;
  element.title = detail;
  element.querySelector(".label").textContent = state;
}

class Pane {
  constructor({ title, lines }) {
    this.root = byId("pane").content.firstElementChild.cloneNode(true);
    this.lines = lines;
    this.title = title;
    this.root.querySelector("h3").textContent = title;
    this.root.setAttribute("aria-label", title);
    this.request = this.root.querySelector(".request");
    this.request.setAttribute("aria-label", `Request of ${title}`);
    this.stateElement = this.root.querySelector(".state");
    this.card = this.root.querySelector(".card");
    byId("panes").append(this.root);
    this.clear();
  }

  clear() {
    this.date = "";
    this.updates = 0;
    this.field("updates", "0");
    this.field("last", "–");
    this.field("extra", "–");
    for (const name of FIELDS) this.card.querySelector(`.${name}`).textContent = "";
    showState(this.stateElement, "idle");
  }

  open(url) {
    this.clear();
    this.request.textContent = this.lines(url);
  }

  field(name, text) {
    this.root.querySelector(`[data-field="${name}"]`).textContent = text;
  }

  state(name, detail) {
    showState(this.stateElement, name, detail);
  }

  snapshot(data) {
    if (data.id !== selected || data.date <= this.date) return; // of the last headline, or a push came first
    this.date = data.date;
    for (const name of FIELDS) this.card.querySelector(`.${name}`).textContent = data[name] || "";
  }

  update(data) {
    if (data.id !== selected) return;
    this.updates += 1;
    this.field("updates", String(this.updates));
    this.field("last", clock(new Date()));
    const milliseconds = latency(data);
    this.field("extra", milliseconds === null ? "–" : `${Math.max(1, Math.round(milliseconds))} ms`);
    this.snapshot(data);
    this.flash();
    if (plain.date && plain.date < data.date) outdate();
    list(data);
    adopt(data);
  }

  flash() {
    this.card.classList.remove("flash");
    void this.card.offsetWidth; // restarts the animation
    this.card.classList.add("flash");
  }
}

const LIVE = [
  [eventStream, new Pane({ title: "Server-Sent Events", lines: (url) => `GET ${url}\nAccept: text/event-stream` })],
  [webSocket, new Pane({ title: "WebSocket", lines: (url) => `GET ${url}\nUpgrade: websocket` })],
  [longPoll, new Pane({ title: "Long-poll", lines: (url) => `GET ${url}\nIf-None-Match: "…"  Wait: 55` })],
];

/** The fourth way: no push at all. It asks again a moment after the others have heard something, or when told to. */
const plain = new Pane({ title: "Plain request", lines: (url) => `GET ${url}\nIf-None-Match: "…"` });
plain.button = plain.root.querySelector(".fetch");
plain.button.hidden = false;
plain.field("extra-name", "Status");
plain.root.querySelector("dt").textContent = "Requests";
plain.button.addEventListener("click", () => fetchPlain());

const PLAIN_PAUSE = 1500; // milliseconds: long enough to see that it is behind

function outdate() {
  plain.state("out of date");
  plain.timer ??= setTimeout(() => {
    plain.timer = null;
    fetchPlain();
  }, PLAIN_PAUSE);
}

async function fetchPlain() {
  const id = selected;
  if (id === null) return;
  const started = performance.now();
  plain.button.disabled = true;
  try {
    const answer = await request(`/${id}/`, { headers: plain.etag ? { "If-None-Match": plain.etag } : {} });
    if (id !== selected) return;
    plain.etag = answer.etag;
    plain.request.textContent = `GET /${id}/\nIf-None-Match: ${answer.etag}`;
    plain.field("extra", `${answer.status} · ${Math.max(1, Math.round(performance.now() - started))} ms`);
    plain.state("fetched");
    if (answer.data) {
      plain.snapshot(answer.data);
      plain.flash();
    }
  } catch (error) {
    if (id !== selected) return;
    plain.field("extra", "failed");
    plain.state("failed", error.message);
  } finally {
    plain.button.disabled = false;
  }
  plain.updates += 1;
  plain.field("updates", String(plain.updates));
  plain.field("last", clock(new Date()));
}

// --- the list ---------------------------------------------------------------------------------------------------

const headlines = new Map(); // id -> data
const entries = new Map(); // id -> button

function list(data) {
  const known = headlines.get(data.id);
  if (known && known.date >= data.date) return;
  headlines.set(data.id, data);
  let button = entries.get(data.id);
  if (!button) {
    button = entry(data.id);
    entries.set(data.id, button);
    const after = [...entries.keys()].filter((id) => Number(id) < Number(data.id)).sort((a, b) => b - a)[0];
    byId("list").insertBefore(button.parentElement, after ? entries.get(after).parentElement : null);
    const oldest = byId("list").children.length > LIST_LENGTH && byId("list").lastElementChild;
    if (oldest && oldest !== entries.get(selected)?.parentElement) {
      const id = oldest.firstElementChild.dataset.id;
      oldest.remove();
      entries.delete(id);
      headlines.delete(id);
    }
  }
  button.querySelector(".name").textContent = data.title || data.text.slice(0, 80) || "Untitled";
  button.querySelector(".name").classList.toggle("untitled", !data.title && !data.text);
  button.querySelector(".meta").textContent = `#${data.id} · ${data.type} · ${moment(new Date(data.date))}`;
  byId("list-empty").hidden = true;
}

function entry(id) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = id;
  for (const name of ["name", "meta"]) {
    const span = document.createElement("span");
    span.className = name;
    button.append(span);
  }
  button.addEventListener("click", () => select(id));
  const item = document.createElement("li");
  item.append(button);
  return button;
}

const listListener = {
  state: (name, detail) => showState(byId("list-state"), name, detail),
  update: list,
  snapshot(newest) {
    newest.forEach(list);
    byId("list-empty").hidden = entries.size > 0;
    if (selected === null) {
      const wanted = location.hash.slice(1);
      if (/^[0-9]+$/.test(wanted)) select(wanted);
      else if (newest.length) select(newest[0].id);
    }
  },
};

byId("create").addEventListener("click", async () => {
  try {
    const { data } = await request("/", { method: "POST" });
    list(data);
    await select(data.id);
    form.elements.title.focus();
  } catch (error) {
    say(`Could not create: ${error.message}`, true);
  }
});

// --- the editor -------------------------------------------------------------------------------------------------

const form = byId("form");
let selected = null; // id
let edited = null; // the data that the form shows, or null while it is being read
const drafts = new Map(); // id -> fields that are not saved yet
let timer = 0; // of the next save
let saving = null; // the id that is being saved
let running = null; // the promise of the saves under way
let refused = null; // the id whose form shows what the server does not want

function say(text, failed = false) {
  byId("saved").textContent = text;
  byId("saved").classList.toggle("failed", failed);
}

/** Takes over what somebody else wrote, unless something of ours is on its way. */
function adopt(data) {
  if (data.id !== selected || drafts.has(data.id) || [saving, refused].includes(data.id)) return;
  if (edited && data.date <= edited.date) return;
  edited = data;
  fill(data);
}

function fill(fields) {
  for (const name of FIELDS) {
    const input = form.elements[name];
    const value = fields[name] || "";
    if (input.value === value) continue;
    const [start, end] = [input.selectionStart, input.selectionEnd];
    input.value = value;
    if (input === document.activeElement) input.setSelectionRange(start, end);
  }
}

form.addEventListener("input", () => {
  drafts.set(selected, Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value])));
  refused = null;
  timer ||= setTimeout(save, GATHER);
  say("Saving …");
});
form.addEventListener("submit", (event) => event.preventDefault());

/** Saves the drafts, one request at a time; what is typed meanwhile replaces the draft that waits. */
function save() {
  clearTimeout(timer);
  timer = 0;
  running ??= saveAll().finally(() => (running = null));
  return running;
}

async function saveAll() {
  while (drafts.size) {
    const [id, fields] = drafts.entries().next().value;
    drafts.delete(id);
    saving = id;
    try {
      await put(id, fields);
    } catch (error) {
      const isRefused = error.status >= 400 && error.status < 500;
      if (id === selected) say(`Not saved: ${error.message}${isRefused ? "" : "; trying again"}`, true);
      if (isRefused) {
        if (id === selected && !drafts.has(id)) refused = id;
      } else {
        if (!drafts.has(id)) drafts.set(id, fields);
        timer = setTimeout(save, RETRY);
        return;
      }
    } finally {
      saving = null;
    }
    if (headlines.has(id)) adopt(headlines.get(id)); // what came while ours was on its way
  }
}

async function put(id, fields) {
  sent.push({ id, ...fields, at: performance.now() });
  if (sent.length > 100) sent.shift();
  const { data, etag } = await request(`/${id}/`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
    keepalive: true, // the last words before the window closes count as well
  });
  list(data);
  if (id !== selected) return;
  edited = data;
  say(`Saved ${clock(new Date())}`);
  byId("saved").title = `ETag ${etag}`;
}

async function select(id) {
  const saved = save();
  stopPanes();
  selected = id;
  edited = null;
  refused = null;
  history.replaceState(null, "", `#${id}`);
  for (const [key, button] of entries) {
    if (key === id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  byId("address").textContent = new URL(`/${id}/`, location.href).href;
  form.reset();
  byId("fields").disabled = true;
  say("");
  plain.etag = null;
  for (const [, pane] of LIVE) pane.open(`/${id}/`);
  plain.open(`/${id}/`);
  try {
    await saved;
    const { data } = await request(`/${id}/`);
    if (id !== selected) return;
    list(data);
    edited = data;
    fill(drafts.get(id) || data);
    byId("fields").disabled = false;
  } catch (error) {
    if (id !== selected) return;
    say(error.message, true);
    return;
  }
  fetchPlain();
  startPanes();
}

// --- connections ------------------------------------------------------------------------------------------------

let stopList = null;
let stops = [];

function startPanes() {
  stopPanes();
  if (selected === null || stopList === null) return;
  stops = LIVE.map(([listen, pane]) => listen(`/${selected}/`, pane));
}

function stopPanes() {
  stops.forEach((stop) => stop());
  stops = [];
}

function connect() {
  if (stopList) return;
  stopList = webSocket("/", listListener);
  startPanes();
}

function pauseAll() {
  if (!stopList) return;
  stopList();
  stopList = null;
  stopPanes();
  listListener.state("paused");
  for (const [, pane] of LIVE) pane.state("paused", "The window is out of sight");
}

let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(pauseAll, HIDDEN_GRACE);
  else connect();
});
addEventListener("hashchange", () => {
  const wanted = location.hash.slice(1);
  if (/^[0-9]+$/.test(wanted) && wanted !== selected) select(wanted);
});
addEventListener("pagehide", save);

connect();
// A list that cannot be pushed can still be read: without a proxy, the rest of the page works.
request("/").then(({ data }) => listListener.snapshot(data), (error) => say(error.message, true));
