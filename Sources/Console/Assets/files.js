// The pages of files. All of them work without this file: the calendar and the steps do what the slider does.

// Where there is room the tree is open, and shows where one is.
const folded = document.querySelector("details.where");
if (folded && matchMedia("(min-width: 64.01rem)").matches) {
  folded.open = true;
  const tree = folded.querySelector(".tree"), here = tree.querySelector("[aria-current]");
  if (here && here.offsetTop > tree.clientHeight - 40) tree.scrollTop = here.offsetTop - tree.clientHeight / 2;
}

// A slider over the points: each stop is one of them, and the time of the stop is told as it moves.
const form = document.querySelector("form[data-stops]");

function slide() {
  const range = form.querySelector("input[type=range]"), said = form.querySelector("output"), field = form.elements.moment;
  const bars = [...document.querySelectorAll(".bars > *")];
  let time = 0;
  const stops = form.dataset.stops.split(",").map(each => time += Number(each));
  // From when on clocks were how many seconds ahead, where the server is.
  const clocks = form.dataset.clocks.split(",").map(each => each.split(":").map(Number));
  const first = stops[0], width = (stops.at(-1) - first) / bars.length;
  const begun = Number(range.value);

  function text(index) {
    const ahead = clocks.findLast(([from]) => from <= index)[1];
    return new Date(stops[index] + ahead * 1000).toISOString().slice(0, 19).replace("T", " ");
  }

  function show() {
    const index = Number(range.value);
    said.textContent = text(index);
    range.setAttribute("aria-valuetext", text(index));
    field.value = stops[index];
    const bar = width > 0 ? Math.min(Math.floor((stops[index] - first) / width), bars.length - 1) : 0;
    bars.forEach((each, place) => each.classList.toggle("here", place === bar));
  }

  range.addEventListener("input", show);
  // Let go with the pointer, it goes there; by the keys it moves on until Enter or the button, also after a press that moved nothing.
  let isHeld = false;
  range.addEventListener("pointerdown", () => { isHeld = true; });
  range.addEventListener("change", () => { if (isHeld && Number(range.value) !== begun) form.requestSubmit(); isHeld = false; });
  range.addEventListener("keydown", event => { isHeld = false; if (event.key === "Enter") { event.preventDefault(); form.requestSubmit(); } });
  // Back from another page, a browser may put the slider where it was left.
  addEventListener("pageshow", show);
  form.hidden = false;
  show();
}

if (form) slide();
