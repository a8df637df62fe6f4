// Words: neighbours and analogies of a model's word vectors, and a projection that turns.

import { post } from "../lib/api.js";
import { asking } from "../lib/asking.js";
import { barChart } from "../lib/charts.js";
import { colour } from "../lib/colours.js";
import { textField } from "../lib/controls.js";
import { debounced, h, percent, s, unique } from "../lib/dom.js";
import { commandBox, drawn, figure, notice } from "../lib/figure.js";
import { chosenRun, needsRun, runField } from "../lib/runs.js";

const any = (studio) => studio.runs;
const LIKED = "one two three four is are was were has had list lists string strings function functions class classes object objects file files name names new old true false not and or in on with from".split(" ");

export const defaults = () => ({ run: "", word: "", a: "", b: "", c: "", expected: "", words: "", turn: "1" });

export async function render({ place, studio, state, signal, reopen }) {
  const run = chosenRun(studio, state.get("run"), any);
  if (!run) {
    place.append(needsRun("It shows which words have similar vectors in one."));
    return;
  }
  const waiting = h("p", { class: "waiting" }, "Reading the vectors …");
  place.append(waiting);
  const table = await post("/api/words/table", { run: run.name }, signal);
  waiting.remove();
  const has = (...words) => words.every((word) => table.names.includes(word));
  for (const key of ["word", "a", "b", "c", "expected", "words"]) state.defaults[key] = usual(key, table.names, has);
  const value = (key) => state.get(key);
  const names = h("datalist", { id: unique("names") }, table.names.slice(0, 1500).map((name) => h("option", { value: name })));
  const field = (key, label, change, most = 60) => {
    const element = textField({ label, value: value(key), most, wide: most > 60, change: (text) => { state.set({ [key]: text }); change(); } });
    if (most === 60) element.querySelector("input").setAttribute("list", names.id);
    return element;
  };
  const near = makeNeighbours({ run, value, signal }), analogy = makeAnalogy({ run, value, signal });
  const cloud = makeCloud({ run, state, value, signal });
  const later = (part) => debounced(() => part.refresh(), 250);
  const nearLater = later(near), analogyLater = later(analogy), cloudLater = later(cloud);

  place.append(names,
    h("div", { class: "controls" }, runField({ studio, value: run.name, only: any, change: (name) => { for (const key of ["word", "a", "b", "c", "expected", "words"]) state.values.delete(key); state.set({ run: name }, { push: true }); reopen(); } })),
    h("p", { class: "soft" }, `${run.name} has ${table.words.toLocaleString("en")} words that are one token, with a vector of ${table.dimensions} numbers each. Longer words are several tokens and have none.`),
    notice("Vectors are near each other if their words occur in similar contexts: that is all a model learns them from. A small model knows little of meaning; expect “is” near “are”, and be surprised by more."),
    h("div", { class: "pair" },
      h("div", { class: "column" }, h("h2", {}, "Neighbours"), h("div", { class: "controls" }, field("word", "A word", nearLater)), near.element),
      h("div", { class: "column" }, h("h2", {}, "An analogy"),
        h("div", { class: "controls sum" }, field("a", "word", analogyLater), h("span", {}, "−"), field("b", "minus", analogyLater), h("span", {}, "+"), field("c", "plus", analogyLater), h("span", {}, "≈"), field("expected", "expected", analogyLater)), analogy.element)),
    h("h2", { class: "apart" }, "A picture of many words"),
    h("div", { class: "controls" }, field("words", "Words to draw, separated by spaces", cloudLater, 1500)), cloud.element);
  await Promise.all([near.refresh(), analogy.refresh(), cloud.refresh()]);
}

/** What a field holds at first: words that this table has. */
function usual(key, names, has) {
  const quartets = [["lists", "list", "string", "strings"], ["functions", "function", "class", "classes"], ["files", "file", "name", "names"], ["are", "is", "was", "were"], ["his", "he", "she", "her"]];
  const quartet = quartets.find((words) => has(...words));
  if (key === "words") {
    const liked = LIKED.filter((word) => has(word));
    return (liked.length >= 6 ? liked : names.filter((name) => name.length > 2).slice(0, 24)).join(" ");
  }
  if (key === "word") return ["list", "string", "two", "is", "the"].find((word) => has(word)) ?? names.find((name) => name.length > 2) ?? names[0] ?? "";
  return quartet ? quartet[["a", "b", "c", "expected"].indexOf(key)] : "";
}

function makePart({ ask, show, signal, empty }) {
  const trouble = h("div", {}), foot = h("div", {});
  const post = asking({ signal, trouble, show: (answer) => { foot.replaceChildren(commandBox(answer.command)); show(answer); } });
  return {
    trouble, foot,
    async refresh() {
      const question = ask();
      if (question) await post(...question);
      else trouble.replaceChildren(h("p", { class: "soft" }, empty));
    },
  };
}

const bars = (nearest, width, label, marked = "") => barChart({ width, label, rows: nearest.map(({ word, score }) => ({ name: word === marked ? `▸ ${word}` : word, value: Math.max(0, score), text: score.toFixed(3) })), most: Math.max(0.05, ...nearest.map(({ score }) => score)) });

function makeNeighbours({ run, value, signal }) {
  let answer = null;
  const chart = drawn((width) => answer && bars(answer.nearest, width, `Words nearest to ${answer.word}: ${answer.nearest.map(({ word, score }) => `${word} ${score.toFixed(2)}`).join(", ")}`), signal);
  const part = makePart({
    signal, empty: "Type a word.", ask: () => value("word").trim() && ["/api/words/neighbours", { run: run.name, word: value("word"), count: 10 }],
    show: (next) => { answer = next; chart.redraw(); },
  });
  return { refresh: part.refresh, element: h("div", {}, part.trouble, figure({ title: "Nearest words", name: "neighbours", data: () => answer, caption: "The cosine of the two vectors: 1 for the same direction, 0 for unrelated ones.", foot: part.foot }, chart)) };
}

function makeAnalogy({ run, value, signal }) {
  let answer = null;
  const says = h("p", { "aria-live": "polite" });
  const chart = drawn((width) => answer && bars(answer.methods[0].nearest, width, `Words nearest to ${answer.words[0]} − ${answer.words[1]} + ${answer.words[2]}`, answer.expected), signal);
  const part = makePart({
    signal, empty: "Type three words: king − man + woman asks which word is to woman as king is to man. Add the word that you expect, and see its rank.",
    ask: () => ["a", "b", "c"].every((key) => value(key).trim()) && ["/api/words/analogy", { run: run.name, a: value("a"), b: value("b"), c: value("c"), expected: value("expected").trim(), count: 8 }],
    show: (next) => { answer = next; says.textContent = verdict(next); chart.redraw(); },
  });
  return { refresh: part.refresh, element: h("div", {}, part.trouble, says, figure({ title: "Nearest to the sum", name: "analogy", data: () => answer, caption: "By 3CosAdd. The three words themselves are left out, as in published figures.", foot: part.foot }, chart)) };
}

function verdict({ words: [a, b, c], expected, methods: [add, mul], table }) {
  const question = `${a} − ${b} + ${c}`;
  if (!add.nearest.length) return "The table has no word beside these three.";
  if (!expected) return `${question} lands nearest to “${add.nearest[0].word}”.`;
  const { left_out: rank, included } = add.ranks;
  const hit = rank === 1 ? `${question} lands at “${expected}”.` : `${question} lands nearest to “${add.nearest[0].word}”; “${expected}” is number ${rank.toLocaleString("en")} of ${(table - new Set([a, b, c]).size).toLocaleString("en")}.`;
  return `${hit} With the three words among the answers it is number ${included.toLocaleString("en")}; by the product rule (3CosMul) number ${mul.ranks.left_out.toLocaleString("en")}.`;
}

function makeCloud({ run, state, value, signal }) {
  let answer = null, yaw = 0.5, pitch = 0.35, frame = 0;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const says = h("p", { class: "soft small" });
  const box = drawn((width) => answer && cloudOf(answer, yaw, pitch, width), signal);
  const turning = () => state.get("turn") === "1" && !calm;
  const label = () => { button.textContent = turning() ? "Stop turning" : "Turn"; };
  const button = h("button", { type: "button", onclick: () => { state.set({ turn: turning() ? "0" : "1" }); label(); step(); } });
  const turnBy = (x, y) => { yaw += x; pitch = Math.max(-1.5, Math.min(1.5, pitch + y)); box.redraw(); };
  let held = false;
  function step() {
    cancelAnimationFrame(frame);
    if (!turning() || signal.aborted) return;
    frame = requestAnimationFrame(() => { if (!held && !document.hidden) turnBy(0.004, 0); step(); });
  }
  signal.addEventListener("abort", () => cancelAnimationFrame(frame));
  box.setAttribute("tabindex", "0");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Words in space: the arrow keys turn it");
  box.classList.add("cloud");
  box.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (by) { event.preventDefault(); turnBy(...by); }
  });
  box.addEventListener("pointerdown", (event) => { held = true; box.setPointerCapture(event.pointerId); });
  box.addEventListener("pointermove", (event) => { if (held) turnBy(event.movementX * 0.008, event.movementY * 0.008); });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { held = false; });
  const part = makePart({
    signal, empty: "Type at least two words.",
    ask: () => { const words = value("words").split(/[\s,]+/).filter(Boolean).slice(0, 80); return words.length > 1 && ["/api/words/projection", { run: run.name, words }]; },
    show: (next) => {
      answer = next;
      const seen = next.shares.reduce((sum, share) => sum + share, 0);
      says.textContent = `Three directions of ${next.words.length > 3 ? "the many" : "all"} show ${percent(seen, 0)} of how these words differ: near in the picture can be far in truth.${next.missing.length ? ` Without a vector: ${next.missing.join(", ")}.` : ""}`;
      box.redraw();
      step();
    },
  });
  label();
  return { refresh: part.refresh, element: h("div", {}, part.trouble, figure({ title: "Words on their first three principal components", name: "words", data: () => answer, caption: "Drag it, or turn it with the arrow keys.", foot: h("div", {}, calm ? null : button, says, part.foot) }, box)) };
}

function cloudOf({ words, places }, yaw, pitch, width) {
  const height = Math.max(320, Math.min(500, width * 0.62));
  const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
  const far = Math.max(1e-6, ...places.map((place) => Math.hypot(...place)));
  const scale = Math.min(width / 2 - 28, height / 2 - 12);
  const at = places.map(([x, y, z]) => {
    const [a, b, c] = [x / far, y / far, z / far], right = a * cy + c * sy, back = c * cy - a * sy;
    return { right, up: b * cp - back * sp, near: -(back * cp + b * sp) };
  });
  const chart = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Words in space: ${words.join(", ")}` });
  const axis = (vector) => { const [a, , c] = vector, b = vector[1], right = a * cy + c * sy, back = c * cy - a * sy; return [width / 2 + right * scale, height / 2 - (b * cp - back * sp) * scale]; };
  for (const end of [[1, 0, 0], [0, 1, 0], [0, 0, 1]]) {
    const [x1, y1] = axis(end.map((v) => -v)), [x2, y2] = axis(end);
    chart.append(s("line", { x1, y1, x2, y2, stroke: colour("--line"), "stroke-width": 1 }));
  }
  const ink = colour("--ink"), dot = colour("--accent");
  at.map((point, i) => ({ ...point, word: words[i] })).sort((a, b) => a.near - b.near).forEach(({ right, up, near, word }) => {
    const x = width / 2 + right * scale, y = height / 2 - up * scale, close = (near + 1) / 2;
    chart.append(s("circle", { cx: x, cy: y, r: 2 + 3 * close, fill: dot, opacity: 0.35 + 0.65 * close }),
      s("text", { x: x + 7, y: y + 4, "font-size": 11 + 3 * close, "font-family": "system-ui, sans-serif", fill: ink, opacity: 0.45 + 0.55 * close }, word));
  });
  return chart;
}
