// Colours of the page, resolved for canvases and saved pictures, and the colour of each embedding.

let probe;

/** The current value of a colour variable of studio.css, as "rgb(r, g, b)". */
export function colour(name) {
  if (!probe) {
    probe = document.createElement("i");
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

export function channels(name) {
  return colour(name).match(/[\d.]+/g).slice(0, 3).map(Number);
}

export function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The colour of an embedding in every picture of the project; of a spec, that of its first part. */
export function embeddingColour(studio, position) {
  if (!position || position === "GRU") return colour("--ink"); // a GRU has no embedding
  const name = position.split(/[:+/]/, 1)[0];
  const entry = studio.embeddings.find((each) => each.name === name);
  if (!entry) return colour("--accent");
  return isDark() ? entry.dark_colour : entry.colour;
}

/** Black or white, whichever is readable on a colour "#rrggbb". */
export function readableOn(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  const linear = (c) => (c <= 0.04 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) > 0.19 ? "#111" : "#fff";
}

/** Call a function whenever the page turns light or dark. */
export function onTheme(action, signal) {
  document.addEventListener("themechange", action, { signal });
}

// A browser may block storage; then the choice lasts as long as the page.
function kept(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* blocked */ }
}

const THEMES = { auto: "Auto", light: "Light", dark: "Dark" };

/** Make a button switch between the system's theme, light and dark; the choice is kept. */
export function themeButton(button) {
  let current = kept("theme") ?? "auto";
  const apply = () => {
    if (current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = current;
    button.textContent = `◐ ${THEMES[current]}`;
    button.setAttribute("aria-label", `Theme: ${THEMES[current]}. Switch.`);
    document.dispatchEvent(new Event("themechange"));
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    current = names[(names.indexOf(current) + 1) % names.length];
    keep("theme", current);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

/** A colour between two of the page's, at a share of the way. */
export function between(from, to, share) {
  const [first, last] = [channels(from), channels(to)];
  return `rgb(${first.map((c, i) => Math.round(c + (last[i] - c) * share)).join(", ")})`;
}

/** A colour from faint to strong by probability. */
export const sure = (probability) => between("--line", "--accent", Math.sqrt(probability));
