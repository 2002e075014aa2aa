// Keeps a page current: when the stream names something that the page shows, fetches the page again, at most once a
// second, and replaces the parts that have changed. Without a stream it fetches each second. Without this script the
// page is complete, and current when it is loaded.
"use strict";

const INTERVAL = 1000;
const STALE_AFTER = 30000;
// Ages and days change without an event.
const SLOW_INTERVAL = 15000;

const status = document.getElementById("status");
const parts = [...document.querySelectorAll("[data-live]")];
const shown = new Map(parts.map((part) => [part.id, [part.innerHTML, content(part)]]));
const waiting = new Map();
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });

// The SKUs and orders that the page shows; empty: any. The time zone of the service.
const { about: names, zone } = document.getElementById("main").dataset;
const about = new Set(names.split(" ").filter(Boolean));
const clock = inZone({ timeStyle: "short" });
const moment = inZone({ dateStyle: "short", timeStyle: "medium" });

let lastSuccess = Date.now();
let lastFetch = Date.now();
let isPaused = false;
let isBusy = false;
let isBehind = false;
let hasStream = false;

const message = document.createElement("span");
const show = document.createElement("button");
const pause = document.createElement("button");
show.hidden = true;
pause.textContent = "Pause";
pause.setAttribute("aria-pressed", "false");

function write(text) {
  if (message.textContent !== text) {
    message.textContent = text;
  }
}

// Formats times as the clocks of the service show them, and names its zone if it is not that of the browser.
function inZone(style) {
  const own = new Intl.DateTimeFormat(undefined, style);
  try {
    const there = new Intl.DateTimeFormat(undefined, { ...style, timeZone: zone });
    const isOwn = there.resolvedOptions().timeZone === own.resolvedOptions().timeZone;
    return (time) => there.format(time) + (isOwn ? "" : ` ${zone}`);
  } catch {
    // The browser does not know the zone.
    return (time) => `${own.format(time)} ${own.resolvedOptions().timeZone}`;
  }
}

// Dates and times in the form of the browser.
function localise(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const value = element.dateTime;
    element.textContent = value.includes("T") ? moment(new Date(value)) : day.format(new Date(`${value}T00:00Z`));
  }
}

function isInUse(part) {
  return part.matches(":hover") || part.contains(document.activeElement);
}

function newRows(part, fresh) {
  const keys = new Set([...part.querySelectorAll("[data-key]")].map((row) => row.dataset.key));
  return [...fresh.querySelectorAll("[data-key]")].filter((row) => !keys.has(row.dataset.key)).length;
}

// Ages change without an event, so a change of them is neither announced nor offered.
function content(part) {
  const copy = part.cloneNode(true);
  for (const age of copy.querySelectorAll(".age")) {
    age.remove();
  }
  return copy.innerHTML;
}

function replace(part, fresh) {
  shown.set(part.id, [fresh.innerHTML, content(fresh)]);
  const open = [...part.querySelectorAll("details[open]")].map((each) => each.id);
  part.replaceChildren(...fresh.cloneNode(true).childNodes);
  for (const id of open) {
    part.querySelector(`#${id}`)?.setAttribute("open", "");
  }
  localise(part);
  waiting.delete(part.id);
}

function merge(page) {
  const changed = [];
  for (const part of parts) {
    const fresh = page.getElementById(part.id);
    const [markup, facts] = shown.get(part.id);
    if (fresh === null || fresh.innerHTML === markup) {
      waiting.delete(part.id);
    } else if (content(fresh) === facts) {
      if (!isInUse(part)) {
        replace(part, fresh);
      }
    } else if (isInUse(part) && part.querySelector("[data-key]")) {
      // Rows do not move under the pointer or the focus.
      waiting.set(part.id, fresh);
    } else {
      replace(part, fresh);
      changed.push(part.getAttribute("aria-label"));
    }
  }
  if (changed.length > 0) {
    write(`Changed: ${changed.join(", ")}`);
  }
  offer();
}

function offer() {
  let rows = 0;
  for (const [id, fresh] of waiting) {
    rows += newRows(document.getElementById(id), fresh);
  }
  show.hidden = waiting.size === 0;
  show.textContent = rows > 0 ? `${rows} new: show` : "Changed: show";
}

async function refresh() {
  // A change that waits is shown when the pointer and the focus have left it.
  const interval = hasStream && !isBehind && waiting.size === 0 ? SLOW_INTERVAL : INTERVAL;
  if (isPaused || isBusy || document.hidden || Date.now() - lastFetch < interval) {
    return;
  }
  isBusy = true;
  isBehind = false;
  lastFetch = Date.now();
  let isCurrent = false;
  try {
    const response = await fetch(location.href, { headers: { Accept: "*/*" }, cache: "no-store", signal: AbortSignal.timeout(10000) });
    if (response.status === 401) {
      location.assign(`/board/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
      return;
    }
    if (response.ok) {
      merge(new DOMParser().parseFromString(await response.text(), "text/html"));
      if (Date.now() - lastSuccess > STALE_AFTER) {
        write("Current again");
      }
      lastSuccess = Date.now();
      isCurrent = true;
    }
  } catch {
    // The next attempt follows, and the page says when it is stale.
  } finally {
    isBusy = false;
    isBehind ||= !isCurrent;
    if (Date.now() - lastSuccess > STALE_AFTER) {
      write(`Stale since ${clock(lastSuccess)}`);
    }
  }
}

function heard({ data: { isOpen, changed = [] } }) {
  // What changed while there was no stream was not in it.
  isBehind ||= isOpen !== hasStream || changed.some((subject) => about.size === 0 || about.has(subject));
  hasStream = isOpen;
  status.parentElement.dataset.updates = isOpen ? "stream" : "polling";
  refresh();
}

function listen() {
  if (window.SharedWorker) {
    const { port } = new SharedWorker("/board/static/stream.js");
    port.addEventListener("message", heard);
    port.start();
    window.addEventListener("pagehide", () => port.postMessage("leaves"), { once: true });
  }
}

show.addEventListener("click", () => {
  for (const [id, fresh] of [...waiting]) {
    replace(document.getElementById(id), fresh);
  }
  offer();
  pause.focus();
});

pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
  write(isPaused ? `Paused at ${clock(Date.now())}` : "");
  lastSuccess = isPaused ? lastSuccess : Date.now();
  isBehind = true;
});

document.addEventListener("visibilitychange", refresh);
window.addEventListener("pageshow", ({ persisted }) => {
  // The page was kept while another one was shown.
  if (persisted) {
    location.reload();
  }
});
localise(document);
if (parts.length > 0) {
  status.after(show, pause);
  status.append(message);
  setInterval(refresh, INTERVAL / 4);
  listen();
}
