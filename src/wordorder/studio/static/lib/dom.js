// Elements. Text becomes text nodes only: nothing from a model or a user is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Create an element: h("p", {class: "soft", onclick}, "text", child, null). */
export function h(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Change what is in a box, and leave the keyboard's focus on the same one of its controls. */
export function refocused(box, change) {
  const controls = () => [...box.querySelectorAll("button, select, input, [tabindex]")];
  const at = controls().indexOf(document.activeElement);
  change();
  if (at >= 0) controls()[at]?.focus({ preventScroll: true });
}

/** Create an SVG element; attributes are presentation attributes, which a saved picture keeps. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let number = 0;
export const unique = (prefix) => `${prefix}-${++number}`;

/** A token with visible white space and without control characters. */
export function visible(token) {
  return token
    .replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥")
    .replace(/[\p{Cc}\p{Cf}]/gu, "\ufffd");
}

export function percent(share, digits = 1) {
  return `${(100 * share).toFixed(digits)}%`;
}

/** A number in about three digits. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

/** Seconds in words. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Call a function once things have been quiet for some milliseconds. */
export function debounced(action, wait = 120) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), wait);
  };
}
