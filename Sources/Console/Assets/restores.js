// The page of a restore: what changes is fetched again while it is open. Without this file a link does the same.
const place = document.querySelector("[data-fragment]");

function isOpen() { return place.querySelector("[data-open='1']") !== null; }

function tidy(part) { for (const link of part.querySelectorAll("[data-plain]")) link.hidden = true; }

// What is pressed or opened is never made into something else under somebody's hand.
const whole = ["A", "BUTTON", "FORM", "SUMMARY"];

function isSame(old, fresh) {
  if (old.nodeName !== fresh.nodeName) return false;
  if (whole.includes(old.nodeName)) return old.isEqualNode(fresh);
  return old.nodeName !== "DETAILS" || isSame(old.firstElementChild, fresh.firstElementChild);
}

// Only what differs is changed: text that is selected stays so, and what is read out is read out once.
function patch(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (fresh.nodeValue.startsWith(old.nodeValue)) old.appendData(fresh.nodeValue.slice(old.nodeValue.length));
    else old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  patchChildren(old, fresh);
}

function patchChildren(old, fresh) {
  const [a, b] = [[...old.childNodes], [...fresh.childNodes]];
  const least = Math.min(a.length, b.length);
  let first = 0, last = 0;
  while (first < least && isSame(a[first], b[first])) first++;
  while (last < least - first && isSame(a.at(-1 - last), b.at(-1 - last))) last++;
  for (let index = 0; index < first; index++) patch(a[index], b[index]);
  for (let index = 1; index <= last; index++) patch(a.at(-index), b.at(-index));
  for (const each of a.slice(first, a.length - last)) each.remove();
  for (const each of b.slice(first, b.length - last)) old.insertBefore(each, last ? a.at(-last) : null);
}

function show(fresh) {
  tidy(fresh);
  // What somebody has opened stays open, and where they type or are about to press stays theirs, also where it had to be made anew.
  const title = details => details.querySelector("summary")?.textContent;
  const opened = new Set([...place.querySelectorAll("details")].filter(each => each.open).map(title));
  const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
  patchChildren(place, fresh);
  for (const each of place.querySelectorAll("details")) if (!each.open && opened.has(title(each))) each.open = true;
  if (focused && !place.contains(document.activeElement))
    [...place.querySelectorAll("button, a, summary")].find(each => each.textContent === focused)?.focus();
}

async function look() {
  if (!isOpen()) return;
  if (!document.hidden) {
    try {
      const answer = await fetch(place.dataset.fragment, { headers: { Accept: "text/html" } });
      // Signed out, or not there any more: the whole page says what to do.
      if (answer.redirected || !answer.ok) return location.reload();
      show(new DOMParser().parseFromString(await answer.text(), "text/html").body);
    } catch { /* The server is away for a moment: the next look tells. */ }
  }
  setTimeout(look, 1500);
}

if (place) { tidy(place); setTimeout(look, 1000); }
