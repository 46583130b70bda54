// The page of a restore: what changes is fetched again while it is open. Without this file a link does the same.
const place = document.querySelector("[data-fragment]");

function isOpen() { return place.querySelector("[data-open='1']") !== null; }

function tidy() { for (const link of place.querySelectorAll("[data-plain]")) link.hidden = true; }

async function look() {
  if (!isOpen()) return;
  if (!document.hidden) {
    try {
      const answer = await fetch(place.dataset.fragment, { headers: { Accept: "text/html" } });
      // Signed out, or not there any more: the whole page says what to do.
      if (answer.redirected || !answer.ok) return location.reload();
      const text = await answer.text();
      const next = new DOMParser().parseFromString(text, "text/html").body;
      // What somebody has opened stays open, and where they type or are about to press stays theirs.
      const opened = [...place.querySelectorAll("details")].map(each => each.open);
      const focused = place.contains(document.activeElement) ? document.activeElement.textContent : null;
      if (next.innerHTML !== place.innerHTML) {
        place.replaceChildren(...next.childNodes);
        const details = place.querySelectorAll("details");
        if (details.length === opened.length) details.forEach((each, index) => { each.open = opened[index]; });
        if (focused) [...place.querySelectorAll("button, a, summary")].find(each => each.textContent === focused)?.focus();
        tidy();
      }
    } catch { /* The server is away for a moment: the next look tells. */ }
  }
  setTimeout(look, 1500);
}

if (place) { tidy(); setTimeout(look, 1000); }
