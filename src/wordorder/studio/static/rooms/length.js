// Length: the loss past the trained length, for every run and for methods of context extension.

import { post } from "../lib/api.js";
import { asking } from "../lib/asking.js";
import { DASHES, lineChart } from "../lib/charts.js";
import { embeddingColour, onTheme, sure } from "../lib/colours.js";
import { segments } from "../lib/controls.js";
import { h, percent, visible } from "../lib/dom.js";
import { commandBox, drawn, figure, notice } from "../lib/figure.js";
import { measured, progressBar } from "../lib/measure.js";
import { chosenRun, needsRun, runField } from "../lib/runs.js";

const writers = (studio) => studio.runs.filter((run) => run.causal && run.predicts_next);
const stretchable = (studio) => writers(studio).filter((run) => run.kind === "transformer");

export const defaults = (studio) => ({
  factor: "4", hidden: "", of: (stretchable(studio).find((run) => run.position.includes("rotary")) ?? stretchable(studio)[0])?.name ?? "", methods: "yarn", at: "", window: "0",
});

export async function render({ place, studio, state, signal }) {
  if (!writers(studio).length) {
    place.append(needsRun("It measures how well one reads texts longer than those it was trained on."));
    return;
  }
  const curves = new Map(), troubles = new Map(); // by "run|method"
  const bar = progressBar(), cannot = h("div", {}), unlike = h("div", {}), foot = h("div", {}), methodPlace = h("div", {});
  const reader = makeReader({ state, signal });
  let measuring = new AbortController();
  signal.addEventListener("abort", () => measuring.abort());
  const factor = () => (["2", "4", "8"].includes(state.get("factor")) ? state.get("factor") : "4");
  const longer = () => chosenRun(studio, state.get("of"), stretchable);
  let usable = [];

  const wanted = () => [
    ...writers(studio).filter((run) => !isHidden(state, run.name)).map((run) => ({ run, method: "" })),
    ...usable.filter(({ name }) => state.list("methods").includes(name)).map(({ name }) => ({ run: longer(), method: name })),
  ].map((each) => ({ ...each, key: `${each.run.name}|${each.method}` }));

  const chart = drawn((width) => picture({ wanted: wanted(), curves, studio, width, chosen: state.get("at"), pick: open }), signal);

  function open(key, length) {
    state.set({ at: `${key}|${length}` }, { push: true });
    chart.redraw();
    reader.refresh(factor());
  }

  function report() {
    chart.redraw();
    const lines = wanted().flatMap(({ key, run, method }) => {
      const first = curves.get(key)?.points.find((point) => point.cannot);
      const name = method ? `${run.name} with ${method}` : run.name;
      if (troubles.has(key)) return [`${name}: ${troubles.get(key)}`];
      return first ? [`${name} has no loss at ${first.context_length.toLocaleString("en")} tokens: ${first.cannot}`] : [];
    });
    const notes = new Set([...curves.values()].flatMap((curve) => curve.notes));
    cannot.replaceChildren(...lines.map((line) => h("p", { class: "small" }, line)), ...[...notes].map((note) => h("p", { class: "soft small" }, note)));
    unlike.replaceChildren(...unlikeness(wanted().map(({ key }) => curves.get(key)).filter(Boolean)));
    const last = wanted().map(({ key }) => curves.get(key)).filter(Boolean).at(-1);
    if (last) {
      foot.replaceChildren(commandBox([...new Set(wanted().map(({ key }) => curves.get(key)?.command).filter(Boolean))].join("\n\n")));
    }
  }

  async function measure() {
    measuring.abort();
    measuring = new AbortController();
    const own = measuring;
    report();
    for (const { key, run, method } of wanted()) {
      if (curves.has(key)) continue;
      const name = method ? `${run.name} with ${method}` : run.name;
      bar.show(`Measuring ${name}`);
      try {
        curves.set(key, await measured("/api/length/losses", { run: run.name, factor: factor(), method }, (share) => bar.show(`Measuring ${name}`, share), own.signal));
        troubles.delete(key);
      } catch (error) {
        if (own.signal.aborted) return;
        troubles.set(key, error.message);
      }
      report();
    }
    bar.hide();
    if (state.get("at")) reader.refresh(factor());
  }

  async function methodFields() {
    usable = longer() ? await post("/api/length/methods", { run: longer().name }, signal) : [];
    methodPlace.replaceChildren(usable.length ? segments({
      label: "Extended without training by", several: true, chosen: state.list("methods"),
      choices: usable.map(({ name, does, source }) => ({ value: name, text: name, title: `${does} (${source})` })),
      change: (names) => { state.set({ methods: names.join(",") }, { push: true }); measure(); },
    }) : h("p", { class: "soft small" }, "No method applies to this run without training."));
  }

  place.append(
    h("div", { class: "controls" },
      segments({ label: "Up to", chosen: [factor()], choices: ["2", "4", "8"].map((value) => ({ value, text: `${value} × the trained length` })), change: (value) => { state.set({ factor: value, at: "" }, { push: true }); curves.clear(); troubles.clear(); reader.clear(); measure(); } }),
      writers(studio).length > 1 ? segments({
        label: "Runs", several: true, colourOf: (name) => runColour(studio, name), chosen: writers(studio).map(({ name }) => name).filter((name) => !isHidden(state, name)),
        choices: writers(studio).map(({ name, about }) => ({ value: name, text: name, title: about })),
        change: (names) => { state.set({ hidden: writers(studio).map(({ name }) => name).filter((name) => !names.includes(name)).map(encodeURIComponent).join(",") }, { push: true }); measure(); },
      }) : null),
    stretchable(studio).length ? h("div", { class: "controls" },
      runField({ studio, label: "Run to make longer", value: longer().name, only: stretchable, change: async (of) => { state.set({ of }, { push: true }); await methodFields(); measure(); } }), methodPlace) : null,
    notice("Every point is the loss on the same words; only the number of tokens before them differs. Where a line falls, more context helps. Right of the dashed line are positions that training never showed: a line that rises there is a model that gets worse by reading more, and a line that ends is one that cannot read on."),
    unlike,
    figure({ title: "Loss of the same tokens by length of context", name: "length", data: () => [...curves.values()], foot, caption: "Lower is better. Choose a point to read a text there." }, chart),
    bar.element, cannot, reader.element);
  await methodFields();
  await measure();
}

// A list is written with commas, and a name may have one.
const isHidden = (state, name) => state.list("hidden").includes(encodeURIComponent(name));

const runColour = (studio, name) => embeddingColour(studio, studio.runs.find((run) => run.name === name).position);

const differ = (curves, key) => new Set(curves.map((curve) => curve[key])).size > 1;
// Tokens of different tokenizers are of different size: their losses are comparable per byte of text.
const inBits = (curves) => differ(curves, "tokenizer") && curves.every(({ points }) => points.every((point) => point.loss_nats === null || point.bits_per_byte !== null));

/** What makes curves incomparable, in words. */
function unlikeness(curves) {
  const lines = [];
  if (inBits(curves)) lines.push("These runs have different tokenizers. A token of one is not a token of the other, so the picture shows bits per byte of text instead of nats per token. The texts also begin at other places: compare the shapes of the curves, and only large differences of height.");
  else if (differ(curves, "tokenizer")) lines.push("These runs have different tokenizers, and one of them does not restore its text: losses per token of different tokenizers cannot be compared. Compare the shapes of the curves, not their heights.");
  if (differ(curves, "text")) lines.push("These runs are measured on different texts, each on its own: compare the shapes of the curves, not their heights.");
  return lines.map((line) => h("p", { class: "notice" }, line));
}

function picture({ wanted, curves, studio, width, chosen, pick }) {
  const shown = wanted.filter(({ key }) => curves.has(key));
  if (!shown.length) return h("p", { class: "waiting" }, "The first curve takes a few seconds.");
  const bits = inBits(shown.map(({ key }) => curves.get(key))), names = [...new Set(shown.map(({ run }) => run.name))];
  // Runs with the same embedding have the same colour: their marks tell them apart.
  const markOf = ({ name }) => names.filter((other) => runColour(studio, other) === runColour(studio, name)).indexOf(name);
  const trained = new Set(shown.map(({ key }) => curves.get(key).trained_length));
  const [length] = trained, same = trained.size === 1;
  const series = shown.map(({ key, run, method }) => {
    const curve = curves.get(key), dash = method ? DASHES[[...new Set(shown.filter((each) => each.method).map((each) => each.method))].indexOf(method) % DASHES.length] : null;
    return {
      name: method ? `${run.name} · ${method}` : run.name, colour: runColour(studio, run.name), dashed: dash, marks: true, shape: markOf(run),
      points: curve.points.map((point) => [point.context_length / curve.trained_length, bits ? point.bits_per_byte : point.loss_nats]),
      picks: curve.points.map((point) => ({
        label: `${run.name}${method ? ` with ${method}` : ""}, ${point.context_length.toLocaleString("en")} tokens: ${point.loss_nats?.toFixed(3)} nats${point.bits_per_byte === null ? "" : `, ${point.bits_per_byte.toFixed(3)} bits per byte`}. Read a text`,
        chosen: chosen === `${key}|${point.context_length}`, act: () => pick(key, point.context_length),
      })),
    };
  });
  const all = series.flatMap(({ points }) => points), losses = all.map(([, loss]) => loss).filter((loss) => loss !== null);
  const [low, high] = [Math.min(...losses), Math.max(...losses)], air = Math.max(0.02, (high - low) * 0.12);
  const at = [...new Set(all.map(([x]) => x))].sort((a, b) => a - b);
  return lineChart({
    width, height: 340, series, label: "Loss by length of context",
    x: { label: same ? "tokens of context" : "context, in trained lengths", log: true, ticks: at.map((x) => [x, same ? Math.round(x * length).toLocaleString("en") : `${Number(x.toPrecision(2))} ×`]), mark: { value: 1, label: "trained length" } },
    y: { label: bits ? "loss, bits per byte" : "loss, nats per token", low: low - air, high: high + air },
  });
}

function makeReader({ state, signal }) {
  const head = h("h2"), about = h("p", { "aria-live": "polite" }), page = h("div", { class: "written" }), foot = h("div", {}), trouble = h("div", {});
  const element = h("section", { class: "reader", hidden: true }, head, about, trouble, page);
  const ask = asking({ signal, trouble, show: (next) => { answer = next; show(next); } });
  let answer = null, factor = "4";
  const turn = (step) => { state.set({ window: Math.max(0, Math.min((answer?.window ?? state.number("window")) + step, (answer?.windows ?? 1) - 1)) }); refresh(factor); };
  const earlier = h("button", { type: "button", onclick: () => turn(-1) }, "Earlier text"), later = h("button", { type: "button", onclick: () => turn(1) }, "Later text");
  element.append(h("div", { class: "controls" }, earlier, later), foot);

  async function refresh(times) {
    factor = times;
    const parts = state.get("at").split("|");
    if (parts.length !== 3) { element.hidden = true; return; }
    const [run, method, length] = parts;
    element.hidden = false;
    head.textContent = `${run}${method ? ` with ${method}` : ""} reads with ${Number(length).toLocaleString("en")} tokens of context`;
    await ask("/api/length/text", { run, method, factor, context_length: Number(length), window: state.number("window") });
  }

  function show({ before, tokens, windows, window, loss_nats: loss, at_trained_length: then, command }) {
    const change = then === null ? "" : ` With the trained length it is ${then.toFixed(3)}: here the model is ${Math.abs(loss - then) < 0.0005 ? "as good" : loss > then ? `worse by ${(loss - then).toFixed(3)}` : `better by ${(then - loss).toFixed(3)}`}.`;
    about.textContent = `Text ${window + 1} of ${windows}. The loss of its underlined words is ${loss.toFixed(3)} nats.${change} The underline is stronger where the model was surer of the word.${then === null ? "" : " Orange marks words to which it gave twice the probability with the trained length."}`;
    page.replaceChildren(h("span", { class: "soft" }, `… ${before}`), ...tokens.map(({ text, probability, at_trained_length: there }) => h("span", {
      class: there !== null && there > 2 * probability ? "token lost" : "token", "--sure": sure(probability), title: `${visible(text)}: ${percent(probability)}${there === null ? "" : `, with the trained length ${percent(there)}`}`,
    }, text)));
    earlier.disabled = window === 0;
    later.disabled = window >= windows - 1;
    foot.replaceChildren(commandBox(command));
  }
  onTheme(() => answer && show(answer), signal);
  return { element, refresh, clear() { answer = null; element.hidden = true; } };
}
