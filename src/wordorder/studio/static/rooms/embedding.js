// Embedding: what one positional embedding computes, alone and in a trained model.

import { get } from "../lib/api.js";
import { asking } from "../lib/asking.js";
import { dials, heatMap, largest, lineChart } from "../lib/charts.js";
import { colour, embeddingColour } from "../lib/colours.js";
import { choiceField, segments, sliderField, switchField, textField } from "../lib/controls.js";
import { debounced, h, refocused, short } from "../lib/dom.js";
import { commandBox, drawn, figure, notice, readoutLine } from "../lib/figure.js";
import { numbered, runField, transformers } from "../lib/runs.js";

export const defaults = () => ({ position: "rotary", length: "128", causal: "1", factor: "4", at: "10", run: "", word: "the", layer: "0", head: "0" });

const MOST_SHOWN = 6; // options; the others are folded

const PICTURES = {
  table: ["What is added to the word vector at each position", "A row for each position, from the top; a column for each dimension of the vector: blue above 0, orange below. The row of a position is its fingerprint.", "position", "dimension"],
  rotation: ["The rotation of each pair at each position", "A row for each position, from the top; a column for each pair of dimensions: the cosine of the angle by which it is turned. On the left pairs turn fast and mark near positions apart; on the right slow ones mark far apart positions apart.", "position", "pair"],
  bias: ["What is added to the scores", "A row for each query, a column for each key: orange lowers the score, blue raises it. The value depends on the distance from the diagonal alone.", "query", "key"],
  weights: ["Attention to identical tokens", "A row for each query, a column for each key. All tokens are the same, so only their positions can make a difference.", "query", "key"],
  positions: ["The positions that training feeds", "Not 0, 1, 2, …: a row for each of a few sequences, a column for each token, darker for larger positions.", "sequence", "token"],
};

export async function render({ place, studio, state, signal }) {
  const catalogue = await get("/api/embedding/catalogue", signal);
  const kept = { answer: null };
  const about = h("div", { class: "about" }), options = h("div", { class: "controls" }), pictures = h("div", {}), trouble = h("div", {}), foot = h("div", {});
  const hint = h("div", { "aria-live": "polite" });
  const ask = asking({
    signal, trouble,
    show: (answer) => {
      kept.answer = answer;
      hint.replaceChildren(notice(whatToSee(answer, entry())));
      views.show(answer, pictures);
      foot.replaceChildren(commandBox(answer.command));
    },
  });
  const name = () => state.get("position").split(":", 1)[0];
  const entry = () => catalogue.find((each) => each.name === name()) ?? catalogue.find((each) => each.name === "rotary");
  const views = makeViews({ kept, studio, state, signal, name, refresh: () => refresh() });

  const chosen = () => transformers(studio).find((each) => each.name === state.get("run"));

  async function refresh() {
    pictures.classList.add("stale");
    await ask("/api/embedding/picture", {
      position: state.get("position"), length: state.number("length"), causal: state.get("causal") === "1", factor: state.number("factor"),
      run: chosen()?.name ?? null, word: state.get("word") || "the", head: state.number("head"), layer: state.number("layer"),
    });
    pictures.classList.remove("stale");
  }
  const later = debounced(refresh, 120);

  function describe() {
    const { summary, formula, source, traps, door } = entry();
    about.replaceChildren(
      h("p", {}, h("strong", {}, summary), " ", h("span", { class: "soft" }, DOORS[door])),
      h("div", { class: "formula" }, formula || "no formula"),
      h("p", { class: "soft small" }, source),
      traps.length ? h("details", {}, h("summary", {}, `${traps.length === 1 ? "One trap" : `${traps.length} traps`} that its users meet`), h("ul", {}, traps.map((trap) => h("li", {}, trap)))) : null);
    const fields = optionFields(entry(), state, later), rest = fields.slice(MOST_SHOWN);
    const set = entry().options.slice(MOST_SHOWN).some((each) => state.get("position").includes(`${each.name}=`));
    options.replaceChildren(...fields.slice(0, MOST_SHOWN), ...(rest.length ? [h("details", { class: "more", open: set }, h("summary", {}, `${rest.length} more options`), h("div", { class: "controls" }, rest))] : []));
    options.hidden = !options.children.length;
  }

  const sizes = h("div", { class: "controls" });
  function sizeFields() {
    const run = chosen();
    const heads = run ? run.heads : 4;
    if (state.number("head") >= heads) state.set({ head: 0 });
    if (run && state.number("layer") >= run.layers) state.set({ layer: 0 });
    const pickFrom = (key, label, count) => choiceField({ label, value: state.get(key), choices: numbered(label, count), half: true, change: (value) => { state.set({ [key]: value }, { push: true }); refresh(); } });
    refocused(sizes, () => sizes.replaceChildren(
      ...(studio.runs.length ? [runField({ studio, label: "Sizes and trained model of", value: run ? run.name : "", none: "no run: 4 heads of 64", change: (value) => { state.set({ run: value }, { push: true }); sizeFields(); refresh(); } })] : []),
      ...(run
        ? [textField({ label: "Word that the run reads many times", value: state.get("word"), most: 40, wide: false, change: (word) => { state.set({ word }); later(); } }), pickFrom("layer", "Layer", run.layers)]
        : [sliderField({ label: "Trained length", value: state.number("length"), least: 8, most: 512, change: (length) => { state.set({ length }); later(); } }),
          segments({ label: "Attention", chosen: [state.get("causal")], choices: [{ value: "1", text: "causal" }, { value: "0", text: "both ways" }], change: (causal) => { state.set({ causal }, { push: true }); refresh(); } })]),
      pickFrom("head", "Head", heads)));
  }

  place.append(
    h("div", { class: "controls" }, choiceField({
      label: "Embedding", value: entry().name, choices: catalogue.map((each) => ({ value: each.name, text: each.name })),
      change: (value) => { state.set({ position: value }, { push: true }); describe(); refresh(); },
    })),
    about, options, sizes, trouble, hint, pictures, foot);
  describe();
  sizeFields();
  await refresh();
}

const DOORS = {
  input: "It acts at the input, once.", "query-key": "It acts on queries and keys, in every layer.", score: "It acts on the scores, in every layer.",
  row: "It acts on a query's whole row of attention, in every layer.", none: "It acts on nothing in the model.",
};

function whatToSee({ picture, frequencies, length, max_position: most, parameters, causal }, { name }) {
  const wraps = frequencies.filter(({ wraps_at: at }) => at !== null && at <= length).length;
  if (frequencies.length) return `Within ${length} tokens ${wraps} of ${frequencies.length} pairs turn all the way round. A pair that does has met every angle in training; one that has not meets new angles in longer texts, which is where they go wrong.`;
  if (name === "none") return `There is nothing to see, and that is the point: all tokens get the same weight, and ${causal ? "only the causal mask marks a place" : "nothing marks a place"}.`;
  if (picture?.kind === "table" && most !== null) return `The table ends at position ${most}: a longer text has no row to add. Its ${parameters.toLocaleString("en")} numbers start at random and are learned.`;
  if (picture?.kind === "table") return "Near positions have similar rows, and there is a row for any position, however far.";
  if (picture?.kind === "bias") return "Every diagonal has one value: only the distance counts, so the same two words get the same push wherever they stand.";
  if (name === "randomized") return "The model meets large positions in training, although its texts are short. It should learn that only their order matters.";
  return "With all tokens the same, what is left is the effect of their positions.";
}

/** The spec with one option changed; options at their defaults are left out. */
function changed(entry, spec, key, value) {
  const [name, rest = ""] = [entry.name, spec.split(":").slice(1).join(":")];
  const values = new Map(rest.split(/,(?![^[]*\])/).filter(Boolean).map((each) => each.split("=", 2)));
  const option = entry.options.find((each) => each.name === key);
  if (value === "" || String(value) === String(option.default)) values.delete(key);
  else values.set(key, value);
  return values.size ? `${name}:${[...values].map((pair) => pair.join("=")).join(",")}` : name;
}

function valueOf(entry, spec, option) {
  const match = spec.match(new RegExp(`[:,]${option.name}=(\\[[^\\]]*\\]|[^,]*)`));
  return match ? match[1] : option.kind === "list" ? "" : String(option.default);
}

function optionFields(entry, state, refresh) {
  return entry.options.map((option) => {
    const label = option.name.replaceAll("_", " "), value = valueOf(entry, state.get("position"), option);
    const change = (now) => { state.set({ position: changed(entry, state.get("position"), option.name, now) }); refresh(); };
    if (option.kind === "switch") return switchField({ label, value: value === "true", change });
    if (option.kind === "choice") return choiceField({ label, value, choices: option.choices, change, half: true });
    // While a list is typed it is no list yet.
    if (option.kind === "list") return textField({ label, value, wide: false, placeholder: "[1,2,…]", change: (now) => { if (!now || /^\[[^[\]]*\]$/.test(now)) change(now); } });
    if (option.kind === "word") return textField({ label, value, wide: false, change });
    const whole = option.kind === "whole", step = whole ? 1 : option.most > 32 ? 1 : 0.01;
    return sliderField({
      label, value: Number(value), least: option.least, most: option.most, step, logarithmic: option.most > 64, change,
      zero: option.follows ? `0: ${option.follows}` : "",
    });
  });
}

function makeViews({ kept, studio, state, signal, name, refresh }) {
  const readout = readoutLine(), trainedReadout = readoutLine();
  const own = () => embeddingColour(studio, name());
  const box = (draw) => drawn((width) => draw(kept.answer, width), signal);
  const boxes = {
    picture: box((answer, width) => pictureMap(answer, width, readout)),
    trained: box((answer, width) => answer.trained_picture && pictureMap({ picture: answer.trained_picture }, width, trainedReadout)),
    similarity: box((answer, width) => similarityChart(answer, width, own())),
    dials: box((answer, width) => dialChart(answer, width, state.number("at"), own())),
    scalings: box((answer, width) => scalingChart(answer, width)),
  };
  const at = sliderField({ label: "Position of the token", value: state.number("at"), least: 0, most: 1024, change: (value) => { state.set({ at: value }); boxes.dials.redraw(); } });
  const factor = h("div", { class: "controls" });
  return {
    show(answer, target) {
      const kind = answer.picture?.kind, blocks = [];
      const [title, caption] = PICTURES[kind] ?? [];
      if (kind) blocks.push(figure({ level: "h2", title, caption, name: `${name()}-${kind}`, data: () => kept.answer.picture }, boxes.picture, readout));
      if (answer.similarity.untrained.length) blocks.push(figure({ level: "h2", title: "Attention against distance", caption: similarityCaption(answer), name: `${name()}-similarity`, data: () => kept.answer.similarity }, boxes.similarity));
      else if (kind !== "positions") blocks.push(h("p", { class: "soft" }, "Its output is not an average of values, so attention weights alone do not describe it."));
      if (answer.trained_picture) blocks.splice(1, 0, figure({ level: "h2", title: "The same in the trained run", caption: "The picture beside it shows the initial values: every difference comes from training.", name: `${name()}-trained`, data: () => kept.answer.trained_picture }, boxes.trained, trainedReadout));
      if (answer.shown < answer.length) blocks.push(h("p", { class: "small soft" }, `The pictures show the first ${answer.shown.toLocaleString("en")} of the trained ${answer.length.toLocaleString("en")} tokens.`));
      const rows = [h("div", { class: "pair" }, blocks)];
      if (answer.frequencies.length) {
        rows.push(figure({
          level: "h2", title: "Each pair as a dial", name: `${name()}-dials`, data: () => kept.answer.frequencies,
          caption: `The hand is the angle at that position. A filled dial turns all the way round within the trained ${answer.length} tokens; the mark is where it begins again, and below is the position at which it does. On the others the thick arc is what training has seen.`,
        }, at, boxes.dials));
      }
      if (Object.keys(answer.scalings).length) {
        if (!factor.children.length) factor.append(sliderField({ label: "Times longer", value: state.number("factor"), least: 1.5, most: 32, step: 0.5, change: debounced((value) => { state.set({ factor: value }); refresh(); }, 100) }));
        rows.push(figure({
          level: "h2", title: "What each method for longer texts does to each pair", name: "scalings", data: () => kept.answer.scalings, caption: scalingCaption(answer),
        }, factor, boxes.scalings));
      }
      rows.forEach((row, i) => { if (i) row.style.marginTop = "1rem"; });
      target.replaceChildren(...rows);
      for (const each of Object.values(boxes)) each.redraw();
    },
  };
}

function pictureMap({ picture: { kind, matrix } }, width, readout) {
  const [, , rows, columns] = PICTURES[kind], square = kind === "bias" || kind === "weights";
  const one = kind === "weights" || kind === "positions";
  return heatMap({
    width: square ? Math.min(width, 420) : width, matrix, square, height: square ? null : Math.max(48, Math.min(300, matrix.values.length * 20)), largestCell: 40,
    scale: { kind: one ? "one" : "diverging", most: largest(matrix), root: kind === "weights" || kind === "bias" },
    label: PICTURES[kind][0],
    describe: (row, column, value) => { readout.textContent = `${rows} ${row}, ${columns} ${column}: ${value === null ? "hidden by the mask" : short(value)}`; },
  });
}

const averages = (lines) => lines[0].map((_, d) => {
  const values = lines.map((line) => line[d]).filter((v) => v !== null);
  return [d, values.length ? values.reduce((a, b) => a + b, 0) / values.length : null];
});
const FLOOR = -12; // e^-12 of the attention to itself: nothing

function similarityChart({ similarity: { untrained, trained, trained_position: position } }, width, own) {
  const clip = (points) => points.map(([d, v]) => [d, v === null ? null : Math.max(FLOOR, v)]);
  const thin = (lines, stroke) => lines.map((line) => ({ name: "", points: clip(line.map((v, d) => [d, v])), colour: stroke, width: 1, faint: true }));
  const series = [...thin(untrained, own), { name: "untrained", points: clip(averages(untrained)), colour: own, width: 3 }];
  if (trained.length) series.push(...thin(trained, colour("--soft")), { name: `trained run (${position})`, points: clip(averages(trained)), colour: colour("--ink"), width: 2, dashed: true });
  return lineChart({
    width, height: 300, series, label: "Attention to identical tokens against their distance",
    x: { label: "distance", low: 0, high: Math.max(untrained[0].length, trained[0]?.length ?? 0) - 1 }, y: { label: "log of attention, own = 0" },
  });
}

function similarityCaption({ similarity: { trained, trained_note: note } }) {
  const first = "How much the last of many identical tokens attends to each, as a logarithm: 0 is as much as to itself, −1 about a third of it. Thin lines are heads, the thick one their mean; parameters have their initial values.";
  return trained.length ? `${first} Dashed: the same measured in the trained run. ${note}` : first;
}

function dialChart({ frequencies, length }, width, position, own) {
  const most = 32, every = Math.max(1, Math.ceil(frequencies.length / most));
  const shown = frequencies.map((each, index) => ({ ...each, index })).filter((_, i) => i % every === 0);
  return dials({ width, frequencies: shown, position, length, stroke: own, label: `${shown.length} dials at position ${position}` });
}

const SCALINGS = { none: ["--soft", false], linear: ["#E69F00", false], ntk: ["#009E73", false], dynamic: ["#009E73", true], yarn: ["#0072B2", false], llama3: ["#CC79A7", false], longrope: ["#D55E00", false] };

function scalingChart({ scalings, factor }, width) {
  const series = Object.entries(scalings).map(([name, ratios]) => {
    const [look, dashed] = SCALINGS[name] ?? ["--ink", false];
    return { name: name === "none" ? "unchanged" : name, points: ratios.map((v, i) => [i + 1, v]), colour: look.startsWith("--") ? colour(look) : look, width: 2.5, dashed };
  });
  return lineChart({
    width, height: 300, series, label: "Frequencies under each scaling, relative to the trained ones",
    x: { label: "pair, from fast to slow", low: 1, high: scalings.none.length }, y: { label: "frequency, trained = 1", low: 0, high: 1.1 },
    level: { value: 1 / factor, label: `1 / ${short(factor)}` },
  });
}

function scalingCaption({ factor, scalings }) {
  const first = `For texts ${short(factor)} times as long. linear slows every pair alike, and blurs near positions; ntk keeps the fastest and slows the slowest by the whole factor; yarn and llama3 leave fast pairs alone and slow the slow ones; dynamic is ntk for the current length.`;
  return scalings.longrope ? first : `${first} LongRoPE's divisors are found by a search on a trained model (wordorder extend), so they have no formula to draw.`;
}
