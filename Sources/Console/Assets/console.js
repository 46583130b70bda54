// What moves. Every page works without this file.

// Relative times stay right while a page is open. The server's clock counts, not the browser's.
const units = [["month", 2592000, 5184000], ["day", 86400, 172800], ["hour", 3600, 3600], ["minute", 60, 60], ["second", 1, 1]];
const served = Date.parse(document.querySelector("time[data-now]")?.dateTime ?? "");
const offset = Number.isNaN(served) ? 0 : served - Date.now();

function relative(seconds) {
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [unit, length] = units.find(([, , least]) => size >= least) ?? units.at(-1);
  const count = Math.floor(size / length);
  const text = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

function refreshTimes() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = relative((Date.now() + offset - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(refreshTimes, 10000);

// Selected rows stay selected when somebody sorts, filters or goes to another page: the address keeps them.
function keepSelection() {
  const form = document.querySelector("form[data-selection]");
  if (!form) return;
  const boxes = [...form.querySelectorAll("input[name=pick]")];
  const here = new Set(boxes.map(box => box.value));
  const address = new URL(location.href);
  const picked = address.searchParams.getAll("pick").filter(each => !here.has(each));
  address.searchParams.delete("pick");
  address.searchParams.delete("all");
  for (const each of [...picked, ...boxes.filter(box => box.checked).map(box => box.value)]) address.searchParams.append("pick", each);
  history.replaceState(null, "", address);
  for (const link of document.querySelectorAll("a[data-keeps]")) {
    const target = new URL(link.href);
    target.searchParams.delete("pick");
    for (const each of address.searchParams.getAll("pick")) target.searchParams.append("pick", each);
    link.href = target;
  }
}
document.addEventListener("change", event => { if (event.target.matches("form[data-selection] input[name=pick]")) keepSelection(); });
document.addEventListener("click", event => {
  const all = event.target.closest("a[data-all]");
  if (!all) return;
  event.preventDefault();
  const boxes = [...document.querySelectorAll("form[data-selection] input[name=pick]")];
  const isOn = boxes.some(box => !box.checked);
  for (const box of boxes) box.checked = isOn;
  all.textContent = isOn ? "Select none" : "Select all on this page";
  keepSelection();
});

// What is to be pasted elsewhere can be copied with one press.
for (const text of navigator.clipboard ? document.querySelectorAll("pre[data-copy]") : []) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent.trim());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Your browser does not let it be copied: select it";
    }
  });
  text.after(button);
}

// Parts that are marked are kept fresh: when the server says that something has changed, the page is asked for anew and the
// parts that differ are put in place.
const feed = document.body.dataset.feed;
let source, again, retry, isAsking = false, isMissed = false;

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML && old.className === fresh.className) return;
  const open = [...old.querySelectorAll("details")].map(each => each.open);
  const checked = new Set([...old.querySelectorAll("input:checked")].map(each => each.value));
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const mark = focused && (focused.getAttribute("href") ?? focused.value);
  old.innerHTML = fresh.innerHTML;
  old.className = fresh.className;
  old.querySelectorAll("details").forEach((each, index) => { each.open = open[index] ?? each.open; });
  old.querySelectorAll("input[type=checkbox]").forEach(each => { each.checked = checked.has(each.value); });
  if (mark) [...old.querySelectorAll("a, button, input")].find(each => (each.getAttribute("href") ?? each.value) === mark)?.focus();
}

async function refreshParts() {
  if (isAsking) { isMissed = true; return; }
  isAsking = true;
  clearTimeout(retry);
  try {
    const answer = await fetch(location.href, { headers: { "Holdfast-Refresh": "1" }, redirect: "error" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live][id]")) {
      const fresh = page.getElementById(part.id);
      if (fresh) replace(part, fresh);
    }
    refreshTimes();
    note("page", "");
    if (!page.body.dataset.feed) stop();
  } catch {
    // The feed may go on while the page itself fails, and may have nothing to say for long: nobody takes what is shown for new.
    note("page", "This page cannot be fetched anew just now. What is shown here may be old.");
    if (source) retry = setTimeout(refreshParts, 10000);
  } finally {
    isAsking = false;
    if (isMissed) { isMissed = false; setTimeout(refreshParts, 500); }
  }
}

// What is wrong with the feed and with the page itself; of both the feed is told.
const troubles = { feed: "", page: "" };

function note(of, trouble) {
  troubles[of] = trouble;
  const text = troubles.feed || troubles.page;
  const place = document.getElementById("live-note");
  if (!place || (place.textContent === text && place.hidden === !text)) return;
  place.textContent = text;
  place.hidden = !text;
}

function stop() {
  source?.close();
  source = undefined;
  clearTimeout(again);
  clearTimeout(retry);
}

function listen() {
  stop();
  if (document.hidden) return;
  source = new EventSource(feed);
  let isLost = false;
  source.addEventListener("open", () => { note("feed", ""); if (isLost) refreshParts(); isLost = false; });
  source.addEventListener("change", refreshParts);
  source.addEventListener("end", () => { stop(); note("feed", "You are signed out, or your session has ended. What is shown here does not change any more."); });
  source.addEventListener("error", () => {
    isLost = true;
    if (source.readyState === EventSource.CLOSED) { stop(); again = setTimeout(listen, 30000); }
    note("feed", "The server is not heard. What is shown here may be old.");
  });
}

if (feed) {
  listen();
  // Nobody looks: nothing is asked.
  document.addEventListener("visibilitychange", () => { if (document.hidden) stop(); else { listen(); refreshParts(); } });
  addEventListener("pagehide", stop);
}
