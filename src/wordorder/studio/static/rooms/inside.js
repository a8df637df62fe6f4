// Inside: a sentence on its way through a model, in five steps, and what the model writes.

import { asking, writing } from "../lib/asking.js";
import { barChart, heatMap, strips } from "../lib/charts.js";
import { onTheme, sure } from "../lib/colours.js";
import { choiceField, sliderField, textField } from "../lib/controls.js";
import { debounced, h, percent, refocused, short, visible } from "../lib/dom.js";
import { commandBox, drawn, figure, readoutLine } from "../lib/figure.js";
import { chosenRun, needsRun, numbered, runField } from "../lib/runs.js";

export const defaults = () => ({ run: "", text: "This module provides", token: "", layer: "0", head: "0", temperature: "0.8", top_k: "0", top_p: "1", seed: "0" });

const DOORS = {
  "query-key": "turns queries and keys (step 3)", score: "is added to the scores (step 4)", row: "changes the whole row of attention (step 4)", none: "adds nothing",
};

export async function render({ place, studio, state, signal }) {
  const run = chosenRun(studio, state.get("run"));
  if (!run) {
    place.append(needsRun("It follows a sentence through one: tokens, vectors, queries, keys, scores, weights and the predicted word."));
    return;
  }
  const trace = { answer: null }, steps = h("div", { "aria-live": "off" }), trouble = h("div", {});
  const input = textField({ label: "A sentence", value: state.get("text"), change: (text) => { state.set({ text, token: "" }); later(); } });
  const layerPlace = h("div", { class: "field half" }), headPlace = h("div", { class: "field half" });
  const ask = asking({ signal, trouble, show: (answer) => { trace.answer = answer; view.show(answer); } });
  const view = makeView({ trace, state, signal, choose: (token) => { state.set({ token }, { push: true }); refresh(); } });

  async function refresh() {
    steps.classList.add("stale");
    await ask("/api/inside/trace", {
      run: current().name, text: state.get("text"), layer: state.number("layer"), head: state.number("head"),
      token: state.get("token") === "" ? null : state.number("token"),
    });
    steps.classList.remove("stale");
  }
  const later = debounced(() => { refresh(); output.refresh(); }, 180);
  const current = () => chosenRun(studio, state.get("run"));
  function fields() {
    const { layers, heads } = current();
    if (state.number("layer") >= layers) state.set({ layer: 0 });
    if (state.number("head") >= heads) state.set({ head: 0 });
    const field = (key, label, count) => choiceField({ label, value: state.get(key), choices: numbered(label, count), half: true, change: (value) => { state.set({ [key]: value }, { push: true }); refresh(); } });
    layerPlace.replaceChildren(field("layer", "Layer", layers));
    headPlace.replaceChildren(field("head", "Head", heads));
  }
  const open = (text) => {
    state.set({ text, token: "" }, { push: true });
    input.querySelector("input").value = text;
    refresh();
    output.refresh();
    steps.scrollIntoView({ behavior: "smooth" });
  };
  const output = makeOutput({ state, signal, current, open });

  place.append(
    h("div", { class: "controls" }, input,
      runField({ studio, value: current().name, change: (name) => { state.set({ run: name, token: "" }, { push: true }); fields(); refresh(); output.refresh(); } }),
      layerPlace, headPlace),
    trouble, steps, output.element);
  steps.append(...view.sections);
  fields();
  await Promise.all([refresh(), output.refresh()]);
}

function step(number, title, ...content) {
  return h("section", { class: "step" }, h("h2", {}, h("span", { class: "number" }, number), title), ...content);
}

function makeView({ trace, state, signal, choose }) {
  const tokens = h("div", { class: "tokens", role: "group", "aria-label": "Tokens: choose one to follow" });
  const says = [1, 2, 3, 4].map(() => h("p", { "aria-live": "polite" }));
  const foot = h("div", {}), readout = readoutLine(), left = h("p", { class: "small soft" });
  const picture = (draw) => drawn((width) => (trace.answer ? draw(trace.answer, width) : h("p", { class: "waiting" }, "Reading …")), signal);
  const parts = [
    picture(inputStrips), picture(queryStrips), picture((answer, width) => keyMaps(answer, width)), picture(scoreRows),
    picture((answer, width) => weightMap(answer, width, readout, choose)),
  ];
  const part = (key) => () => trace.answer && (key ? { tokens: trace.answer.tokens, ...trace.answer[key] } : trace.answer);
  const sections = [
    step("1", "Tokens", says[0], tokens),
    step("2", "Input", says[1], figure({ title: "The chosen token's vector", name: "input", data: part("input"), caption: "One cell for each number of the vector: blue above 0, orange below." }, parts[0])),
    step("3", "Queries and keys", says[2], h("div", { class: "pair" },
      figure({ title: "Query of the chosen token", name: "query", data: part("attention") }, parts[1]),
      figure({ title: "Keys of all tokens", name: "keys", data: part("attention") }, parts[2]))),
    step("4", "Scores, then weights", says[3], h("div", { class: "pair" },
      figure({ title: "What the chosen token attends to", name: "scores", data: part("attention"), caption: "Bar: the weight with the embedding. Mark: without it. Score: without → with it. A score is the product of query and key; the softmax turns the scores of a row into weights that sum to 1." }, parts[3]),
      figure({ title: "All weights of this head", name: "weights", data: part("attention"), caption: "A row for each token, from top to bottom; a column for each token it may attend to. Choose a row to follow its token." }, parts[4], readout)), left, foot),
  ];
  return {
    sections,
    show(answer) {
      refocused(tokens, () => tokens.replaceChildren(...answer.tokens.map(({ text, id }, i) => h("button", { type: "button", "aria-pressed": String(i === answer.token), onclick: () => choose(i) }, visible(text), h("small", {}, `id ${id}`)))));
      explain(says, answer, state);
      left.textContent = leftOut(answer);
      foot.replaceChildren(commandBox(answer.command));
      for (const each of parts) each.redraw();
    },
  };
}

function explain([first, second, third, fourth], answer, state) {
  const name = visible(answer.tokens[answer.token].text), at = `layer ${state.number("layer") + 1}, head ${state.number("head") + 1}`;
  const here = answer.embeddings.filter(({ layers }) => layers.includes(state.number("layer")));
  const entering = answer.embeddings.filter(({ at_input }) => at_input), acting = answer.embeddings.filter(({ layers }) => layers.length);
  first.textContent = `The text is cut into ${answer.tokens.length - 1} tokens (␣: a space before one), after the token that begins every text. Choose the one to follow: now ${name}, at position ${answer.token}.${answer.tokens.some(({ text }) => text.includes("\ufffd")) ? " � is a token that is only part of a letter: letters that were rare in the training text take several tokens." : ""}`;
  second.textContent = entering.length
    ? `Word vector + position vector = input. ${entering.map((e) => e.name).join(" and ")} adds the same vector to any word at position ${answer.token}.`
    : `The input is the word vector alone: ${name} has the same input wherever it stands. ${acting.length ? acting.map((e) => `${e.name} acts later: it ${DOORS[e.door] ?? "acts in attention"}.`).join(" ") : "This model has no positional embedding."}`;
  const turning = here.find(({ door }) => door === "query-key");
  third.textContent = turning
    ? `In ${at}, ${turning.name} changes the query and every key by their positions. ${turning.summary}`
    : `In ${at}, nothing changes queries and keys: they are the same before and after. ${here.map((e) => `${e.name} ${DOORS[e.door]}.`).join(" ")}`;
  fourth.textContent = answer.attention.scores === null
    ? `${here.map((e) => e.name).join(" and ")} replaces the scores altogether, so only weights are shown.`
    : here.length ? `The bar of a token is its weight with ${here.map((e) => e.name).join(" and ")}; the mark, without it. Where the two differ, the position has moved attention.`
      : answer.causal ? "No embedding acts in this layer: bars and marks agree. Only the causal mask hides the tokens to the right." : "No embedding acts in this layer: bars and marks agree.";
}

const MOST_BARS = 20;

/** What the pictures of step 4 leave out of a long text. */
function leftOut({ tokens, token, causal, attention: { all_weights: { step } } }) {
  const read = causal ? token + 1 : tokens.length;
  return [
    read > MOST_BARS ? `Of ${read} tokens the ${MOST_BARS} that get the most attention have a bar.` : "",
    step > 1 ? `Each cell of the square is the mean of ${step} × ${step}.` : "",
  ].filter(Boolean).join(" ");
}

const largestOf = (...lists) => Math.max(1e-9, ...lists.flat(2).filter((v) => v !== null).map(Math.abs));

function inputStrips({ input, embeddings, normed }, width) {
  const added = embeddings.some(({ at_input }) => at_input);
  const rows = [{ text: "word vector", values: input.word }];
  if (added) rows.push({ text: "+ position", values: input.added });
  if (added || normed) rows.push({ text: normed ? "normalised" : "= input", values: input.input });
  return strips({ width, rows, most: largestOf(rows.map((row) => row.values)), label: "Vectors at the input" });
}

function queryStrips({ attention }, width) {
  const rows = [{ text: "before", values: attention.query }, { text: "after", values: attention.placed_query }];
  const changed = attention.placed_query.slice(0, attention.query.length).map((v, i) => v - attention.query[i]);
  rows.push({ text: "change", values: changed });
  return strips({ width, rows, most: largestOf(rows.map((row) => row.values)), label: "The query before and after the embedding" });
}

function keyMaps({ attention: { keys, placed_keys: placed } }, width) {
  const most = largestOf(keys.values, placed.values), half = Math.floor((width - 14) / 2);
  const map = (matrix, title) => h("div", {}, h("p", { class: "small soft" }, title),
    heatMap({ width: half, matrix, scale: { kind: "diverging", most, root: true }, height: Math.max(60, Math.min(220, 14 * matrix.values.length)), label: `Keys ${title}` }));
  const box = h("div", {}, map(keys, "before the position"), map(placed, "after it"));
  box.style.display = "flex";
  box.style.gap = "14px";
  return box;
}

function scoreRows({ tokens, token, attention }, width) {
  const { scores, scores_without: without, weights, weights_without: before } = attention;
  const order = tokens.map((_, i) => i).filter((i) => without[i] !== null);
  const shown = order.length > MOST_BARS ? order.sort((a, b) => weights[b] - weights[a]).slice(0, MOST_BARS).sort((a, b) => a - b) : order;
  const rows = shown.map((i) => ({
    name: `${i === token ? "▸ " : ""}${visible(tokens[i].text)}`, value: weights[i], mark: before[i],
    note: scores === null ? "" : `${short(without[i])} → ${short(scores[i])}`, text: percent(weights[i]),
  }));
  return barChart({ width, rows, noteTitle: scores === null ? "" : "score", label: `Weights: ${rows.map(({ name, text }) => `${name} ${text}`).join(", ")}` });
}

function weightMap({ tokens, token, attention: { all_weights: matrix } }, width, readout, choose) {
  return heatMap({
    width: Math.min(width, 460), square: true, matrix, scale: { kind: "one", most: 1, root: true }, marked: token, label: "Attention weights of all tokens", names: tokens.map(({ text }) => visible(text)), pick: (row) => choose(row),
    describe: (row, column, value) => { readout.textContent = value === null ? "" : `${visible(tokens[row].text)} → ${visible(tokens[column].text)}: ${percent(value)}`; },
  });
}

function makeOutput({ state, signal, current, open }) {
  const bars = drawn((width) => (last ? likeliest(last, width) : trouble.childElementCount ? null : h("p", { class: "waiting" }, "Reading …")), signal);
  const says = h("p", { "aria-live": "polite" }), trouble = h("div", {}), foot = h("div", {}), written = h("div", {});
  let last = null;
  const options = () => ({ run: current().name, text: state.get("text"), temperature: state.number("temperature"), top_k: state.number("top_k"), top_p: state.number("top_p"), seed: state.number("seed") });
  const ask = asking({
    signal, trouble, fail: () => { last = null; bars.redraw(); },
    show: (answer) => {
      last = answer;
      const all = answer.vocabulary.toLocaleString("en"), kept = answer.kept === answer.vocabulary ? `All ${all}` : `${answer.kept.toLocaleString("en")} of ${all}`;
      says.textContent = `The bar is the chance that the token is drawn with the settings below, the mark what the model itself gives it. ${kept} tokens can be drawn. (As in wordorder generate, the text is read as typed, without the space that step 1 puts before its first word.)`;
      bars.redraw();
      foot.replaceChildren(commandBox(answer.command));
      written.replaceChildren(commandBox(answer.writes, "The same text in a terminal"));
    },
  });
  const refresh = () => ask("/api/inside/predict", options());
  const { button, page } = writing({
    label: "Write", signal, question: options,
    draw: ({ text, probability }, before) => [
      h("button", { type: "button", "--sure": sure(probability), "aria-label": `${visible(text)}, ${percent(probability)}: see its attention`, title: `${percent(probability)}: see what the model attended to when it wrote this`, onclick: () => open(before) }, text.replace(/\n/g, "⏎")),
      "\n".repeat(text.split("\n").length - 1)],
  });
  const slider = (key, label, range) => sliderField({ label, value: state.number(key), ...range, change: debounced((value) => { state.set({ [key]: value }); refresh(); }, 80) });
  const predictions = figure({ title: "After the last token", name: "predictions", data: () => last }, bars);
  onTheme(() => page.querySelectorAll("button").forEach((each) => each.style.setProperty("--sure", sure(Number(each.title.split("%")[0]) / 100))), signal);
  return {
    refresh,
    element: h("div", {},
      step("5", "Output", says, trouble, h("div", { class: "controls" },
        slider("temperature", "Temperature", { least: 0, most: 2, step: 0.05, zero: "always the likeliest" }),
        slider("top_k", "Top k", { least: 0, most: 100, zero: "0: all tokens" }),
        slider("top_p", "Top p", { least: 0.05, most: 1, step: 0.05 }),
        slider("seed", "Seed", { least: 0, most: 20 })), predictions, foot),
      step("6", "Write", h("p", {}, "The model reads what it wrote, and goes on. The underline is stronger where it was surer. Choose a token to see what the model attended to when it wrote it."),
        h("div", { class: "controls" }, button), page, written)),
  };
}

function likeliest({ candidates }, width) {
  const rows = candidates.map(({ text, probability, drawn: chance }) => ({ name: visible(text), value: chance, mark: probability, text: percent(chance), faint: !chance }));
  const most = Math.max(0.05, ...rows.flatMap(({ value, mark }) => [value, mark]));
  return barChart({ width, rows, most, label: `Next tokens: ${rows.map(({ name, text }) => `${name} ${text}`).join(", ")}` });
}
