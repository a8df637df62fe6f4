// A picture with its title, its caption, and buttons that save it as PNG and its data as JSON.

import { h, refocused } from "./dom.js";
import { colour, onTheme } from "./colours.js";

/** `parts`: elements that hold <svg> or <canvas>; `data()` returns what JSON saves; `foot` is not saved. `png`: whether they can be saved as one. */
export function figure({ title, caption = "", name, data, foot = null, level = "h3", png = true }, ...parts) {
  const body = h("div", { class: "picture" }, ...parts);
  const element = h("figure", {},
    h("div", { class: "head" }, h(level, {}, title),
      h("div", { class: "save" },
        png ? h("button", { type: "button", class: "tiny", "aria-label": `Save as PNG: ${title}`, onclick: () => savePng(body, title, name) }, "PNG") : null,
        h("button", { type: "button", class: "tiny", "aria-label": `Save data as JSON: ${title}`, onclick: () => saveJson(data(), name) }, "JSON"))),
    body, caption ? h("figcaption", {}, caption) : null, foot);
  return element;
}

/** A box that draws itself at its width, and again when that or the theme changes. */
export function drawn(draw, signal) {
  const box = h("div", { class: "drawn" });
  let width = 0;
  // A box that has left the page keeps its width until the observer hears of it.
  const redraw = () => { if (width > 0 && box.isConnected) refocused(box, () => box.replaceChildren(...[draw(width)].filter(Boolean))); };
  const observer = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (Math.abs(now - width) > 1) { width = now; redraw(); }
  });
  observer.observe(box);
  signal.addEventListener("abort", () => observer.disconnect());
  onTheme(redraw, signal);
  box.redraw = redraw;
  return box;
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const anchor = h("a", { href: url, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function saveJson(data, name) {
  save(new Blob([JSON.stringify(data)], { type: "application/json" }), `${name}.json`);
}

const SHARPNESS = 2, MARGIN = 16, TITLE = 30;

async function savePng(body, title, name) {
  const box = body.getBoundingClientRect();
  const canvas = document.createElement("canvas");
  canvas.width = SHARPNESS * (box.width + 2 * MARGIN);
  canvas.height = SHARPNESS * (box.height + 2 * MARGIN + TITLE);
  const context = canvas.getContext("2d");
  context.scale(SHARPNESS, SHARPNESS);
  context.fillStyle = colour("--card");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = colour("--ink");
  context.font = "600 16px system-ui, sans-serif";
  context.fillText(title, MARGIN, MARGIN + 14, box.width);
  for (const part of body.querySelectorAll("svg, canvas")) {
    const own = part.getBoundingClientRect();
    const at = [own.left - box.left + MARGIN, own.top - box.top + MARGIN + TITLE, own.width, own.height];
    context.drawImage(part.tagName === "CANVAS" ? part : await image(part, own), ...at);
  }
  canvas.toBlob((blob) => save(blob, `${name}.png`));
}

async function image(svg, { width, height }) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width * SHARPNESS);
  copy.setAttribute("height", height * SHARPNESS);
  const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  URL.revokeObjectURL(url);
  return picture;
}

/** The command line or the Python that gives the same numbers, with a button that copies it. */
export function commandBox(text, title = "The same numbers in a terminal") {
  const said = h("span", { class: "label soft small", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch { // pages that are not on this machine may not write to the clipboard
      getSelection().selectAllChildren(code);
      said.textContent = "selected: press Ctrl-C";
    }
  };
  const code = h("pre", { tabindex: "0", "aria-label": "Commands" }, text);
  return h("details", { class: "command" }, h("summary", {}, title),
    code, h("button", { type: "button", class: "tiny", onclick: copy }, "Copy"), " ", said);
}

/** A line that tells the value under the pointer, for `describe` of a heat map. */
export const readoutLine = () => h("p", { class: "readout", "aria-live": "polite" }, "Move over the picture, or use the arrow keys, to read a value.");

export const notice = (...content) => h("p", { class: "notice" }, h("b", {}, "Notice."), " ", ...content);
export const problem = (message) => h("p", { class: "problem", role: "alert" }, message);
