// Pictures: lines and dials as SVG, heat maps on a canvas.

import { h, s, short } from "./dom.js";
import { channels, colour } from "./colours.js";

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
const LETTER = 6.3; // width of a letter at 12 px, about

/** Patterns of dashed lines that can be told apart. */
export const DASHES = ["6 4", "2 3", "10 3 2 3", "14 4", "2 2 6 2"];
const dashes = (dashed) => (typeof dashed === "string" ? dashed : dashed ? "5 4" : null);

/** Round steps between two numbers. */
export function ticks(low, high, count = 5) {
  const span = high - low || 1, rough = span / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.999);
  const all = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) all.push(Number(at.toPrecision(12)));
  return all;
}

function text(x, y, content, attributes = {}) {
  return s("text", { x, y, "font-size": 12, "font-family": FONT, fill: colour("--soft"), ...attributes }, content);
}

/**
 * Lines over a numeric axis.
 *
 * series: [{name, points: [[x, y|null]], colour, width, dashed, faint, marks, shape, picks}]; a name of "" is
 * left out of the legend; picks: of each point {label, chosen, act}, which make it a button.
 * x, y: {label, low, high, ticks: [[value, label]], log, mark: {value, label}}. level: {value, label}.
 */
export function lineChart({ width, height = 260, series, x, y, level = null, label }) {
  const legend = [...new Map(series.filter((each) => each.name).map((each) => [each.name, each])).values()];
  const rows = legendRows(legend, width);
  const margin = { top: 10 + 20 * rows.length, right: 14, bottom: 42, left: 52 };
  const values = series.flatMap((each) => each.points.map(([, value]) => value)).filter((v) => v !== null);
  if (level) values.push(level.value);
  const at = series.flatMap((each) => each.points.map(([value]) => value));
  let low = y.low ?? Math.min(...values, 0), high = y.high ?? Math.max(...values, 0);
  if (!(high > low)) high = low + 1;
  const left = x.low ?? Math.min(...at), right = x.high ?? Math.max(...at);
  const inner = { width: Math.max(20, width - margin.left - margin.right), height: height - margin.top - margin.bottom };
  const along = x.log ? (v) => Math.log(v / left) / Math.log(right / left || 2) : (v) => (v - left) / (right - left || 1);
  const px = (v) => margin.left + inner.width * along(v);
  const py = (v) => margin.top + inner.height * (1 - (v - low) / (high - low));

  const chart = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: series.some(({ picks }) => picks) ? "group" : "img", "aria-label": label });
  for (const value of ticks(low, high, Math.max(2, Math.floor(inner.height / 42)))) {
    chart.append(s("line", { x1: margin.left, x2: width - margin.right, y1: py(value), y2: py(value), stroke: colour("--line"), "stroke-width": value === 0 ? 1.5 : 1 }),
      text(margin.left - 7, py(value) + 4, short(value), { "text-anchor": "end" }));
  }
  let end = -Infinity;
  for (const [value, name] of x.ticks ?? ticks(left, right, Math.max(3, Math.floor(inner.width / 70))).map((v) => [v, v.toLocaleString("en")])) {
    const name_ = String(name), half = name_.length * LETTER / 2;
    if (px(value) - half < end + 12) continue;
    end = px(value) + half;
    const anchor = px(value) + half > width ? "end" : "middle";
    chart.append(text(px(value), height - margin.bottom + 17, name_, { "text-anchor": anchor }));
  }
  chart.append(text(margin.left + inner.width / 2, height - 6, x.label, { "text-anchor": "middle" }));
  chart.append(text(0, 0, y.label, { "text-anchor": "middle", transform: `translate(12 ${margin.top + inner.height / 2}) rotate(-90)` }));
  if (level) {
    chart.append(s("line", { x1: margin.left, x2: width - margin.right, y1: py(level.value), y2: py(level.value), stroke: colour("--soft"), "stroke-dasharray": "4 3" }));
  }
  if (x.mark) {
    const at = px(x.mark.value), after = at + x.mark.label.length * LETTER + 10 < width;
    chart.append(s("line", { x1: at, x2: at, y1: margin.top, y2: margin.top + inner.height, stroke: colour("--soft"), "stroke-dasharray": "4 3" }),
      text(after ? at + 6 : at - 6, margin.top + 13, x.mark.label, { "text-anchor": after ? "start" : "end" }));
  }
  for (const each of series) chart.append(...drawnLine(each, px, py));
  if (level) chart.append(text(margin.left + 6, py(level.value) - 5, level.label, { fill: colour("--ink"), stroke: colour("--card"), "stroke-width": 4, "paint-order": "stroke" }));
  rows.forEach((row, number) => row.forEach(({ each, from }) => {
    const line = 14 + 20 * number;
    chart.append(s("line", { x1: from, x2: from + 22, y1: line - 4, y2: line - 4, stroke: each.colour, "stroke-width": each.width ?? 2.5, "stroke-dasharray": dashes(each.dashed) }), ...(each.shape ? [mark(each.shape, from + 11, line - 4, 4, { fill: each.colour })] : []),
      text(from + 28, line, each.name, { fill: colour("--ink") }));
  }));
  return chart;
}

function legendRows(legend, width) {
  const rows = [];
  let from = Infinity;
  for (const each of legend) {
    const size = 28 + each.name.length * LETTER + 18;
    if (from + size > width) { rows.push([]); from = 4; }
    rows.at(-1).push({ each, from });
    from += size;
  }
  return rows;
}

function drawnLine({ points, colour: stroke, width = 2.5, dashed = false, faint = false, marks = false, shape = 0, picks = null }, px, py) {
  let path = "", pen = "M";
  for (const [x, y] of points) {
    if (y === null) { pen = "M"; continue; }
    path += `${pen}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
    pen = "L";
  }
  const line = s("path", { d: path, fill: "none", stroke, "stroke-width": width, "stroke-dasharray": dashes(dashed), "stroke-linejoin": "round", opacity: faint ? 0.45 : null });
  const dots = marks ? points.flatMap(([x, y], i) => (y === null ? [] : [dot(px(x), py(y), stroke, shape, picks?.[i])])) : [];
  return [line, ...dots];
}

/** A circle, square, diamond or triangle. */
function mark(shape, x, y, r, attributes) {
  const a = r * 1.3;
  const path = [null, `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`, `M${x} ${y - a}L${x + a} ${y}L${x} ${y + a}L${x - a} ${y}z`, `M${x} ${y - a}L${x + a} ${y + r}L${x - a} ${y + r}z`][shape % 4];
  return path ? s("path", { d: path, ...attributes }) : s("circle", { cx: x, cy: y, r, ...attributes });
}

function dot(x, y, fill, shape, pick) {
  if (!pick) return mark(shape, x, y, 3.5, { fill });
  const { label, chosen, act } = pick;
  const onkeydown = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } };
  return s("g", { class: "pick", role: "button", tabindex: "0", "aria-label": label, "aria-pressed": String(Boolean(chosen)), onclick: act, onkeydown },
    s("title", {}, label), s("circle", { cx: x, cy: y, r: 12, fill: "transparent" }),
    mark(shape, x, y, chosen ? 7 : 5, { fill: chosen ? colour("--card") : fill, stroke: fill, "stroke-width": chosen ? 4 : 0 }));
}

/** The colours of a map: `share` goes from -1 to 1 ("diverging") or 0 to 1 ("one"). */
function shades(kind) {
  const paper = channels("--card"), warm = channels("--warm-map"), cold = channels("--cold-map"), ink = channels("--ink");
  const mix = (a, b, share) => a.map((c, i) => c + (b[i] - c) * share);
  if (kind === "diverging") return (share) => mix(paper, share < 0 ? warm : cold, Math.min(1, Math.abs(share)));
  // To the accent, then towards ink, so that lightness falls all the way.
  return (share) => (share < 0.65 ? mix(paper, cold, share / 0.65) : mix(cold, ink, (share - 0.65) * 1.3));
}

/**
 * A heat map on a canvas. matrix: the server's {rows, columns, step, values}. scale: {kind, most,
 * root}. pick(row, column) and describe(row, column, value) get indices of the whole matrix, from
 * the pointer or the arrow keys. marked: a row with a frame. names: of the rows, shown if they fit.
 */
export function heatMap({ width, matrix, scale, label, height = null, square = false, largestCell = 26, pick = null, describe = null, marked = null, names = null }) {
  const rows = matrix.values.length, columns = matrix.values[0]?.length ?? 1;
  const gutter = names && matrix.step === 1 && (width * 0.72) / columns >= 13 ? Math.min(120, width * 0.28) : 0;
  const side = Math.min((width - gutter) / columns, largestCell);
  const map = { width: Math.max(1, Math.round(square ? side * columns : width - gutter)), height: Math.max(1, Math.round(height ?? (square ? side * rows : width * 0.55))) };
  const canvas = sized(map.width + gutter, map.height);
  canvas.className = pick ? "map picks" : "map";
  for (const [name, value] of Object.entries({ role: "img", "aria-label": label, ...(describe ? { tabindex: "0" } : {}) })) canvas.setAttribute(name, value);
  const context = canvas.getContext("2d"), cell = { width: map.width / columns, height: map.height / rows };
  context.imageSmoothingEnabled = columns > map.width;
  context.drawImage(paint(matrix, scale), gutter, 0, map.width, map.height);
  if (gutter) {
    context.fillStyle = colour("--soft");
    context.font = `12px ${FONT}`;
    context.textAlign = "right";
    names.forEach((name, row) => context.fillText(name, gutter - 6, (row + 0.5) * cell.height + 4, gutter - 6));
  }
  if (marked !== null) {
    context.strokeStyle = colour("--warm");
    context.lineWidth = 2;
    context.strokeRect(gutter + 1, Math.floor(marked / matrix.step) * cell.height + 1, map.width - 2, Math.max(cell.height, 3) - 2);
  }
  if (describe) interact({ canvas, gutter, rows, columns, matrix, pick, describe, start: marked === null ? 0 : Math.floor(marked / matrix.step) });
  return canvas;
}

/** A canvas of a size in pixels of the page, sharp on screens that have more. */
function sized(width, height) {
  const sharp = Math.min(2, window.devicePixelRatio || 1);
  const canvas = h("canvas", { width: Math.round(width * sharp), height: Math.round(height * sharp) });
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.getContext("2d").scale(sharp, sharp);
  return canvas;
}

function interact({ canvas, gutter, rows, columns, matrix, pick, describe, start }) {
  let at = [start, 0];
  const within = (value, count) => Math.min(count - 1, Math.max(0, value));
  const tell = () => describe(at[0] * matrix.step, at[1] * matrix.step, matrix.values[at[0]][at[1]]);
  const choose = () => pick?.(at[0] * matrix.step, at[1] * matrix.step);
  const locate = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    at = [within(Math.floor((clientY - box.top) / box.height * rows), rows), within(Math.floor((clientX - box.left - gutter) / (box.width - gutter) * columns), columns)];
  };
  canvas.addEventListener("pointermove", (event) => { locate(event); tell(); });
  canvas.addEventListener("focus", tell);
  canvas.addEventListener("click", (event) => { locate(event); tell(); choose(); });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter") choose();
    if (!step) return;
    at = [within(at[0] + step[0], rows), within(at[1] + step[1], columns)];
    event.preventDefault();
    tell();
  });
}

/** One pixel for each cell. */
export function paint(matrix, scale) {
  const rows = matrix.values.length, columns = matrix.values[0]?.length ?? 1;
  const raster = h("canvas", { width: columns, height: rows });
  const context = raster.getContext("2d"), image = context.createImageData(columns, rows);
  const shade = shades(scale.kind), nothing = channels("--sunk");
  matrix.values.forEach((row, r) => row.forEach((value, c) => {
    let share = value === null ? 0 : value / (scale.most || 1);
    if (scale.root) share = Math.sign(share) * Math.sqrt(Math.abs(share));
    const [red, green, blue] = value === null ? nothing : shade(share);
    image.data.set([red, green, blue, 255], 4 * (r * columns + c));
  }));
  context.putImageData(image, 0, 0);
  return raster;
}

/** The largest size of any number in a matrix. */
export function largest(matrix) {
  let most = 0;
  for (const row of matrix.values) for (const value of row) if (value !== null) most = Math.max(most, Math.abs(value));
  return most;
}

/** Vectors as strips of cells, one below the other. rows: [{text, values}]. */
export function strips({ width, rows, most, label }) {
  const name = Math.min(120, width * 0.3), high = 20, gap = 5;
  const canvas = sized(width, rows.length * (high + gap)), context = canvas.getContext("2d");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  context.imageSmoothingEnabled = false;
  context.font = `13px ${FONT}`;
  context.strokeStyle = colour("--line");
  context.fillStyle = colour("--ink");
  rows.forEach(({ text: title, values }, i) => {
    const y = i * (high + gap);
    context.fillText(title, 0, y + 14, name - 6);
    context.drawImage(paint({ values: [values] }, { kind: "diverging", most, root: true }), name, y, width - name, high);
    context.strokeRect(name + 0.5, y + 0.5, width - name - 1, high - 1);
  });
  return canvas;
}

/** Shares as bars from 0 to `most`. rows: [{name, value, mark, text, note, faint}]; mark: a second value. */
export function barChart({ width, rows, label, noteTitle = "", most = 1 }) {
  // Notes stand beside the bars, or below them where there is no room.
  const noted = rows.some(({ note }) => note), notes = noted && width > 380 ? 118 : 0, below = noted && !notes;
  const high = below ? 40 : 24, top = notes && noteTitle ? 18 : 0;
  const left = Math.min(150, width * 0.32), right = 52 + notes, inner = width - left - right;
  const height = top + rows.length * high;
  const chart = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const letters = Math.floor(left / 7.2);
  if (notes) chart.append(text(width - 4, 12, noteTitle, { "text-anchor": "end" }));
  rows.forEach(({ name, value, mark, text: said, note, faint }, i) => {
    const y = top + i * high, cut = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
    const row = s("g", { opacity: faint ? 0.5 : null },
      text(0, y + 15, cut, { fill: colour("--ink"), "font-size": 13 }),
      s("rect", { x: left, y: y + 3, width: inner, height: 16, rx: 4, fill: colour("--sunk") }),
      s("rect", { x: left, y: y + 3, width: inner * value / most, height: 16, rx: 4, fill: colour("--accent") }),
      mark === undefined ? null : s("line", { x1: left + inner * mark / most, x2: left + inner * mark / most, y1: y + 1, y2: y + 21, stroke: colour("--ink"), "stroke-width": 2 }),
      text(left + inner + 48, y + 15, said, { "text-anchor": "end", fill: colour("--ink"), "font-size": 13 }),
      notes && note ? text(width - 4, y + 15, note, { "text-anchor": "end" }) : null,
      below && note ? text(left, y + 33, `${noteTitle} ${note}`) : null);
    chart.append(row);
  });
  return chart;
}

/** Dials of rotating pairs at one position; a frame marks those that wrap within the length. */
export function dials({ width, frequencies, position, length, stroke, label }) {
  const size = 58, gap = 8, each = Math.max(1, Math.floor((width + gap) / (size + gap)));
  const rows = Math.ceil(frequencies.length / each), height = rows * (size + 26);
  const chart = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  frequencies.forEach(({ index, angle, wraps_at: wraps }, i) => {
    const x = (i % each) * (size + gap) + size / 2, y = Math.floor(i / each) * (size + 26) + size / 2, r = size / 2 - 4;
    const turned = angle * position, turns = turned / (2 * Math.PI), full = wraps !== null && wraps <= length;
    const point = (a, radius) => [x + radius * Math.cos(a), y - radius * Math.sin(a)];
    chart.append(s("circle", { cx: x, cy: y, r, fill: full ? colour("--sunk") : "none", stroke: colour("--line"), "stroke-width": 1.5 }));
    if (!full) { // the part of the circle that training covers
      const end = Math.min(2 * Math.PI - 1e-6, angle * length), [ex, ey] = point(end, r);
      chart.append(s("path", { d: `M${x + r} ${y}A${r} ${r} 0 ${end > Math.PI ? 1 : 0} 0 ${ex} ${ey}`, fill: "none", stroke, "stroke-width": 4, opacity: 0.45 }));
    } else {
      // Where the position is at which a full turn is complete, as a share of the trained length.
      chart.append(s("path", { d: `M${x + r - 5} ${y}h10`, stroke: colour("--warm"), "stroke-width": 3 }));
    }
    const [hx, hy] = point(turned, r - 2);
    chart.append(s("line", { x1: x, y1: y, x2: hx, y2: hy, stroke, "stroke-width": 2.5, "stroke-linecap": "round" }),
      s("circle", { cx: hx, cy: hy, r: 3, fill: stroke }),
      text(x, y + size / 2 + 10, `pair ${index + 1}`, { "text-anchor": "middle", "font-size": 11, fill: colour("--ink") }),
      text(x, y + size / 2 + 22, full ? `wraps ${wraps < 100 ? wraps.toFixed(1) : Math.round(wraps).toLocaleString("en")}` : `${turns && turns < 0.001 ? "< 0.001" : Number(turns.toPrecision(turns < 0.1 ? 1 : 2))} turns`, { "text-anchor": "middle", "font-size": 10 }));
  });
  return chart;
}
