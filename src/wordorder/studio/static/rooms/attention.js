// Attention: all heads of a run in small, one in large, and how far back each attends; two runs side by side.

import { post } from "../lib/api.js";
import { asking } from "../lib/asking.js";
import { heatMap, lineChart, paint } from "../lib/charts.js";
import { colour, embeddingColour, onTheme } from "../lib/colours.js";
import { textField } from "../lib/controls.js";
import { debounced, h, percent, refocused, visible } from "../lib/dom.js";
import { commandBox, drawn, figure, notice, readoutLine } from "../lib/figure.js";
import { chosenRun, needsRun, runField } from "../lib/runs.js";

const TEXT = "The function returns a list of the names in the module. If the name is not found, the function raises an error, and the module is not changed.";

export const defaults = () => ({ run: "", other: "", text: TEXT, layer: "0", head: "0", otherlayer: "0", otherhead: "0" });

export async function render({ place, studio, state, signal }) {
  if (!chosenRun(studio, "")) {
    place.append(needsRun("It shows where each head of one attends, token by token."));
    return;
  }
  const columns = h("div", { class: "pair" });
  const runs = () => [chosenRun(studio, state.get("run")), state.get("other") ? chosenRun(studio, state.get("other")) : null].filter(Boolean);
  let shown = [];
  async function rebuild() {
    shown = runs().map((run, i) => makeColumn({ run, studio, state, signal, prefix: i ? "other" : "" }));
    columns.replaceChildren(...shown.map(({ element }) => element));
    const own = shown;
    await Promise.all(own.map((column) => column.refresh()));
    for (const column of own) if (own === shown) await column.measure(); // slow, so last
  }
  const later = debounced(() => Promise.all(shown.map((column) => column.refresh())), 250);
  place.append(
    h("div", { class: "controls" },
      textField({ label: "A text, up to 512 tokens", value: state.get("text"), rows: 2, change: (text) => { state.set({ text }); later(); } })),
    h("div", { class: "controls" },
      runField({ studio, value: runs()[0].name, change: (run) => { state.set({ run }, { push: true }); rebuild(); } }),
      runField({ studio, label: "Beside it", value: state.get("other"), none: "nothing", change: (other) => { state.set({ other }, { push: true }); rebuild(); } })),
    notice("A strong diagonal means that each token attends to itself or to the one before it; a column, that all attend to one token; an even triangle, that attention is spread over everything. The first token often gets the attention that a head has no use for."),
    columns);
  await rebuild();
}

function makeColumn({ run, studio, state, signal, prefix }) {
  const kept = { maps: null, mass: null };
  const key = (name) => `${prefix}${name}`;
  const trouble = h("div", {}), foot = h("div", {}), massFoot = h("div", {}), readout = readoutLine();
  const grid = h("div", { class: "scroll" });
  const whole = drawn((width) => (kept.maps ? wholeMap(kept.maps, width, readout) : h("p", { class: "waiting" }, "Reading …")), signal);
  const massNote = h("p", { class: "waiting", role: "status" });
  const mass = drawn((width) => (kept.mass ? massChart(kept.mass, width, chosenHead(), embeddingColour(studio, run.position)) : massNote), signal);
  const title = h("h2", {}, `${run.name} · ${run.position}`);
  const chosen = h("p", { class: "soft", "aria-live": "polite" });

  const choose = (layer, head) => { state.set({ [key("layer")]: layer, [key("head")]: head }, { push: true }); refresh(); };
  const overview = () => kept.maps && refocused(grid, () => grid.replaceChildren(smallMaps(kept.maps, chosenHead(), choose)));
  onTheme(overview, signal);

  const chosenHead = () => ({ layer: Math.min(state.number(key("layer")), run.layers - 1), head: Math.min(state.number(key("head")), run.heads - 1) });
  const refresh = () => ask("/api/attention/maps", { run: run.name, text: state.get("text"), ...chosenHead() });
  const ask = asking({
    signal, trouble,
    show: (answer) => {
      const { layer, head } = chosenHead();
      kept.maps = answer;
      chosen.textContent = `Layer ${layer + 1}, head ${head + 1}, ${answer.tokens.length} tokens.${answer.chosen.step > 1 ? ` Each cell is the mean of ${answer.chosen.step} × ${answer.chosen.step}.` : ""}`;
      overview();
      whole.redraw();
      mass.redraw();
      foot.replaceChildren(commandBox(answer.command));
    },
  });

  async function measure() {
    massNote.textContent = "Measuring on the validation text of the run, a few seconds the first time …";
    try {
      kept.mass = await post("/api/attention/mass", { run: run.name }, signal);
      mass.redraw();
      massFoot.replaceChildren(commandBox(kept.mass.command));
    } catch (error) {
      if (error.name !== "AbortError") massNote.textContent = `It cannot be measured: ${error.message}`;
    }
  }

  return {
    refresh,
    measure,
    element: h("div", { class: "column" }, title, chosen, trouble, h("div", { class: "pair" }, h("div", { class: "column" },
      figure({ title: "Every head, in small", name: `${run.name}-heads`, data: () => kept.maps, caption: "A row for each layer, a map for each head. Choose one." }, grid),
      figure({ title: "How far back it attends", name: `${run.name}-mass`, data: () => kept.mass, caption: "The share of attention at each distance, on the run's validation text: the chosen head, all others thin, and what even attention to everything would give.", foot: massFoot }, mass)),
      figure({ title: "The chosen head", name: `${run.name}-attention`, data: () => kept.maps, caption: "A row for each token, from the top; a column for each token that it attends to. The stronger the colour, the more it attends.", foot }, whole, readout))),
  };
}

function smallMaps({ small, heads }, { layer, head }, choose) {
  const grid = h("div", { class: "mini", role: "group", "aria-label": "Heads: choose one" });
  grid.style.gridTemplateColumns = `3.6rem repeat(${heads}, minmax(2.4rem, 5.5rem))`;
  small.forEach((row, l) => grid.append(h("span", { class: "rowname" }, `layer ${l + 1}`), ...row.map((matrix, k) => {
    const picture = paint(matrix, { kind: "one", most: 1, root: true });
    return h("button", { type: "button", "aria-pressed": String(l === layer && k === head), "aria-label": `Layer ${l + 1}, head ${k + 1}`, title: `layer ${l + 1}, head ${k + 1}`, onclick: () => choose(l, k) }, picture);
  })));
  return grid;
}

function wholeMap({ chosen, tokens }, width, readout) {
  return heatMap({
    width, square: true, matrix: chosen, scale: { kind: "one", most: 1, root: true }, label: "Attention of the chosen head", names: tokens.map(visible), largestCell: 22,
    describe: (row, column, value) => { readout.textContent = value === null ? "" : `${row} ${visible(tokens[row])} → ${column} ${visible(tokens[column])}: ${percent(value)}`; },
  });
}

function massChart({ heads, buckets, even }, width, { layer, head }, own) {
  const points = (shares) => shares.map((share, i) => [i, share]);
  const isChosen = (each) => each.layer === layer + 1 && each.head === head + 1;
  const series = heads.filter((each) => !isChosen(each)).map((each, i) => ({ name: i ? "" : "other heads", points: points(each.by_distance), colour: colour("--soft"), width: 1, faint: true }));
  series.push({ name: "even attention", points: points(even), colour: colour("--soft"), width: 2, dashed: true });
  const one = heads.find(isChosen);
  if (one) series.push({ name: `layer ${layer + 1}, head ${head + 1}: mean distance ${one.mean_distance.toFixed(1)}`, points: points(one.by_distance), colour: own, width: 3, marks: true });
  return lineChart({
    width, height: 280, series, label: "Share of attention at each distance",
    x: { label: "distance in tokens", low: 0, high: buckets.length - 1, ticks: buckets.map(([a, b], i) => [i, a === b ? a : `${a}–${b}`]) }, y: { label: "share of attention", low: 0 },
  });
}
