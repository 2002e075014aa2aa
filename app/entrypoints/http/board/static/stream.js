// A shared worker: the open pages of a browser share one stream of events, because a browser opens only six connections
// to an origin. The pages learn which SKUs and orders have changed, and fetch what they show of them.
"use strict";

const SILENCE = 30000;
const MERGE = 200;
const RETRY = 3000;

const pages = new Set();
let isOpen = false;
let changed = new Set();
let flush = 0;
let silence = 0;

function publish(message) {
  for (const page of pages) {
    page.postMessage(message);
  }
}

function setOpen(value) {
  isOpen = value;
  publish({ isOpen });
}

function note(kind, data) {
  if (kind === "ping" || kind === "end") {
    return;
  }
  const event = JSON.parse(data);
  changed.add(event.subject);
  if (event.data.order_id !== undefined) {
    changed.add(event.data.order_id);
  }
  flush ||= setTimeout(() => {
    publish({ isOpen, changed: [...changed] });
    changed = new Set();
    flush = 0;
  }, MERGE);
}

// A message ends with an empty line. Returns what remains after the last one.
function parse(text) {
  const messages = text.split("\n\n");
  const rest = messages.pop();
  for (const message of messages) {
    const fields = new Map(message.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
    note(fields.get("event"), fields.get("data"));
  }
  return rest;
}

// Reads until the stream ends, fails or is silent. Returns the milliseconds to wait before the next attempt.
async function read() {
  const stop = new AbortController();
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => stop.abort(), SILENCE);
  };
  try {
    heard();
    const response = await fetch("/board/stream", { headers: { Accept: "text/event-stream" }, cache: "no-store", signal: stop.signal });
    if (!response.ok) {
      return 1000 * (Number(response.headers.get("Retry-After")) || RETRY / 1000);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return RETRY * Math.random();
      }
      heard();
      rest = parse(rest + value);
      if (!isOpen) {
        // Only now: what happens after the first ping is in the stream.
        setOpen(true);
      }
    }
  } catch {
    return RETRY;
  } finally {
    clearTimeout(silence);
    setOpen(false);
  }
}

async function follow() {
  for (;;) {
    const pause = await read();
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

self.addEventListener("connect", ({ ports: [page] }) => {
  pages.add(page);
  page.addEventListener("message", () => pages.delete(page));
  page.start();
  page.postMessage({ isOpen });
});

follow();
