// What moves: relative times stay right while a page is open. Every page works without this file.
const units = [["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function relative(seconds) {
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [unit, length] = units.find(([name, length]) => size >= (name === "day" ? 172800 : name === "month" ? 5184000 : length));
  const count = Math.floor(size / length);
  const text = `${count} ${unit}${count === 1 ? "" : "s"}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

// The server's clock counts, not the browser's.
const served = document.querySelector("time[data-now]");
const offset = served ? Date.parse(served.dateTime) - Date.now() : 0;

function refresh() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    time.textContent = relative((Date.now() + offset - Date.parse(time.dateTime)) / 1000);
  }
}

setInterval(refresh, 10000);
