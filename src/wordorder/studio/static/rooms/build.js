// Build: train a model of one's own, watch it learn, stop it, go on, and use it.

import { get, latest, post } from "../lib/api.js";
import { writing } from "../lib/asking.js";
import { heatMap, largest, lineChart } from "../lib/charts.js";
import { between, colour, embeddingColour, onTheme } from "../lib/colours.js";
import { choiceField, textField } from "../lib/controls.js";
import { debounced, duration, h, percent } from "../lib/dom.js";
import { commandBox, drawn, figure, notice, problem, readoutLine } from "../lib/figure.js";
import { bytesOf, chosenText, follow, jobHead, jobList, nameField, order, orderDefaults, positionField, runsChanged, sizeFields, startButton, startedCommand, textFields } from "../lib/jobs.js";
import { link } from "../lib/state.js";

export const defaults = () => ({ ...orderDefaults, position: "rotary", prompt: "The" });

const SCALES = { table: "diverging", rotation: "diverging", bias: "diverging", weights: "one", positions: "one" };
const PICTURES = { table: "what is added to the word vector at each position", rotation: "the cosine of each pair's angle at each position", bias: "what is added to the scores, by query and key", weights: "attention to identical tokens", positions: "the positions that training feeds" };

export async function render({ place, studio, state, signal, reopen }) {
  const { jobs, folder } = await get("/api/build/jobs", signal);
  const runs = jobs.filter(({ kind }) => kind === "train");
  const chosen = runs.find(({ name }) => name === state.get("job"));
  const open = (job) => { state.set({ job, name: "" }, { push: true }); reopen(); }; // the name is taken now
  const list = jobList({ jobs: runs, chosen: chosen?.name ?? "", fresh: "New model", open });
  place.append(list.element);
  if (state.get("job") && !chosen) place.append(problem(`No run ${state.get("job")} was started in ${folder}: choose one above, or start a new one.`));
  if (chosen) await runView({ place, studio, state, signal, reopen, list, name: chosen.name });
  else newModel({ place, studio, state, signal, open });
}

function newModel({ place, studio, state, signal, open }) {
  const trouble = h("div", {}), facts = h("div", { "aria-live": "polite" }), foot = h("div", {}), about = h("p", { class: "small soft" });
  const kept = { estimate: null, picture: null };
  const ask = latest(), askMeasured = latest(), askPicture = latest();
  const question = () => {
    const text = chosenText(state);
    return { ...order(state), position: state.get("position"), text_bytes: text === null ? null : Math.max(1, bytesOf(text)) };
  };
  const picture = drawn((width) => {
    const own = kept.picture?.picture;
    if (!own) return h("p", { class: "small soft" }, "Its effect depends on the tokens, so there is no picture: the Embedding room has more.");
    return heatMap({ width: Math.min(width, 420), height: 130, matrix: own.matrix, scale: { kind: SCALES[own.kind], most: largest(own.matrix) }, label: `${state.get("position")}: ${PICTURES[own.kind]}` });
  }, signal);

  async function refreshPicture() {
    const entry = studio.embeddings.find(({ name }) => name === state.get("position"));
    try {
      const answer = await askPicture("/api/embedding/picture", { position: state.get("position"), length: 64 });
      if (!answer || signal.aborted) return;
      kept.picture = answer;
      about.textContent = `${entry?.summary ?? ""}${answer.picture ? ` In the picture: ${PICTURES[answer.picture.kind]}.` : ""}`;
      picture.redraw();
    } catch (error) {
      about.textContent = error.message;
    }
  }

  let newest = 0; // what is timed for a size that is no longer chosen is not shown
  async function refresh() {
    const own = ++newest;
    try {
      const answer = await ask("/api/build/estimate", question());
      if (!answer || signal.aborted) return;
      trouble.replaceChildren();
      start.disabled = false;
      show(answer, answer.tokens_per_second === null);
      if (answer.tokens_per_second !== null) return;
      const measured = await askMeasured("/api/build/estimate", { ...question(), measure: true });
      if (measured && !signal.aborted && own === newest) show(measured, false);
    } catch (error) {
      if (own !== newest) return;
      start.disabled = true;
      trouble.replaceChildren(problem(error.message));
    }
  }

  function show(answer, waiting) {
    kept.estimate = answer;
    const row = (name, value) => (value ? [h("dt", {}, name), h("dd", {}, value)] : []);
    const unknown = waiting ? "Timing a step on this machine …" : "Its speed is not known: no step is timed while something trains here, and one that takes too long is given up.";
    facts.replaceChildren(
      h("dl", { class: "facts" },
        row("Parameters", `${answer.parameters.toLocaleString("en")} with ${answer.vocabulary.toLocaleString("en")} tokens`),
        row("of them the embedding's", answer.position_parameters ? answer.position_parameters.toLocaleString("en") : "none"),
        row("Memory", `about ${answer.memory}`),
        row("Speed here", answer.tokens_per_second && `${Math.round(answer.tokens_per_second).toLocaleString("en")} tokens/s`),
        row("Time", answer.time),
        row("Steps", answer.steps && `about ${answer.steps.toLocaleString("en")} of ${answer.tokens_per_step.toLocaleString("en")} tokens`),
        row("Reads the text", answer.passes && `about ${answer.passes < 10 ? answer.passes.toFixed(1) : Math.round(answer.passes).toLocaleString("en")} times`)),
      ...answer.warnings.map((line) => h("p", { class: "notice" }, line)),
      h("p", { class: "small soft" }, answer.measured ? `Timed on this machine: ${answer.measured}.` : unknown));
    foot.replaceChildren(startedCommand(answer.command));
  }

  const start = startButton({
    path: "/api/build/start", open, trouble, signal,
    question: () => ({ ...question(), text: chosenText(state), checkpoint_every: kept.estimate?.checkpoint_every ?? 0 }),
  });
  const later = debounced(refresh, 350);
  place.append(
    notice("The run is an ordinary folder, as the command makes it. It trains in a process of its own: closing this page does not stop it."),
    h("div", { class: "pair" },
      h("div", { class: "card column" }, h("h2", {}, "What it reads, and how"),
        textFields({ state, change: later }),
        positionField({ state, catalogue: studio.embeddings, change: () => { refreshPicture(); later(); } }), about, h("div", {}, picture),
        sizeFields({ state, change: later, minutes: "Minutes" })),
      h("div", { class: "card column" }, h("h2", {}, "What it takes"), facts, nameField({ state, change: later, placeholder: "chosen for you" }), trouble, h("div", { class: "controls" }, start), foot)));
  refreshPicture();
  refresh();
}

async function runView({ place, studio, state, signal, reopen, list, name }) {
  const head = jobHead({ name, signal, changed: (what) => { if (what === "resume") reopen(); } });
  const kept = { progress: null, snapshot: null, step: null, steps: [] };
  const views = learningViews({ kept, studio, signal, name });
  const use = useIt({ state, signal, name, kept });
  place.append(h("div", { class: "stack" }, head.element, head.buttons, views.element, use.element, head.foot));
  let seen = null, running = false;
  function show(progress) {
    const opened = kept.progress?.run, before = kept.progress?.state;
    kept.progress = progress;
    head.update(progress, sentence(progress));
    list.tell(progress.state);
    views.redraw();
    use.update(progress);
    if (progress.run !== opened || (before === "running" && progress.state !== "running")) runsChanged();
    if (progress.weights !== null && progress.weights !== seen) {
      seen = progress.weights;
      if (!running) { running = true; views.snapshot(null).finally(() => { running = false; }); }
    }
    if (progress.state !== "running") views.snapshot(null);
  }
  follow(`/api/build/watch?${new URLSearchParams({ name })}`, { show, lost: head.lost, signal });
}

function sentence({ state, step, steps, seconds_left: left, tokens_per_second: speed, final, note, losses }) {
  const at = `step ${step.toLocaleString("en")} of ${steps.toLocaleString("en")}`;
  if (state === "finished") return `Finished after ${step.toLocaleString("en")} steps: loss ${final?.toFixed(3)} on text that it has not read.`;
  if (state === "stopped") return `Stopped at ${at}, and saved.`;
  if (state === "failed") return "Failed.";
  if (!step) return note.startsWith("$") ? "Starting …" : `Preparing: ${note} …`;
  const loss = losses.training.at(-1)?.[1].toFixed(3);
  return `Training: ${at}, loss ${loss}, ${Math.round(speed).toLocaleString("en")} tokens/s${left === null ? "" : `, ${duration(left)} left`}.`;
}

const FIRST = "Waiting for the first checkpoint …";

function learningViews({ kept, studio, signal, name }) {
  const own = () => embeddingColour(studio, kept.progress?.position || "rotary");
  const waiting = (text) => (kept.progress?.state === "failed" ? null : h("p", { class: "waiting" }, text));
  const loss = drawn((width) => (kept.progress?.losses.training.length ? lossChart(kept.progress, width, own()) : waiting("The curve begins with the first steps.")), signal);
  const sample = h("div", { class: "written" }, h("span", { class: "soft" }, "After the first checkpoint it writes here."));
  const says = h("p", { class: "small soft" }), title = h("p", { class: "small soft" }), scrub = h("div", { class: "controls scrub", hidden: true });
  const readout = readoutLine();
  const table = drawn((width) => (kept.snapshot ? embeddingPicture(kept.snapshot, width, readout) : waiting(FIRST)), signal);
  const attention = drawn((width) => (kept.snapshot ? attentionPicture(kept.snapshot, width, own()) : waiting(FIRST)), signal);
  const trouble = h("div", {});
  const draw = () => {
    if (!kept.snapshot) {
      if (kept.progress?.state === "failed") { sample.replaceChildren(); table.redraw(); attention.redraw(); }
      return;
    }
    sample.replaceChildren(...letters(kept.snapshot.sample));
    says.textContent = surety(kept.snapshot.sample);
    title.textContent = embeddingSentence(kept.snapshot);
    table.redraw();
    attention.redraw();
  };
  onTheme(draw, signal);
  /** Show the model at a step that was kept; null: at the newest checkpoint, unless someone looks back. */
  async function snapshot(step) {
    try {
      const answer = await post("/api/build/snapshot", { name, step }, signal);
      kept.steps = answer.steps;
      if (step !== null || kept.step === null) { kept.snapshot = answer; draw(); }
      arrange();
      trouble.replaceChildren();
    } catch (error) {
      // Before the first checkpoint there is nothing to show; the waiting texts say so.
      if (error.name !== "AbortError" && kept.snapshot) trouble.replaceChildren(problem(error.message));
    }
  }
  const at = h("output", { for: "snapshot-step" });
  const range = h("input", { type: "range", id: "snapshot-step", min: 0, step: 1, oninput: () => {
    const index = Number(range.value);
    kept.step = index === kept.steps.length - 1 ? null : kept.steps[index];
    tell();
    look(kept.steps[index]);
  } });
  const look = debounced(snapshot, 60);
  const tell = () => { at.textContent = `step ${kept.steps[Number(range.value)].toLocaleString("en")}`; range.setAttribute("aria-valuetext", at.textContent); };
  function arrange() {
    scrub.hidden = kept.steps.length < 2;
    range.max = kept.steps.length - 1;
    range.value = kept.step === null ? kept.steps.length - 1 : Math.max(0, kept.steps.indexOf(kept.step));
    tell();
  }
  scrub.append(h("div", { class: "field slider" }, h("label", { for: "snapshot-step" }, "Look back: how it was while it learned"), h("div", { class: "row" }, range, at)));
  return {
    redraw: () => { loss.redraw(); if (!kept.snapshot) draw(); },
    snapshot,
    element: h("div", { class: "stack" }, trouble,
      h("div", { class: "pair" },
        figure({ title: "Loss", name: `${name}-loss`, data: () => kept.progress, caption: "Nats per token; lower is better. The dashed line is the loss of guessing uniformly among all tokens. Held-out text is not trained on." }, loss),
        h("div", { class: "card column" }, h("h3", {}, "What it writes"), sample, says, legend(onTheme, signal))),
      scrub,
      h("div", { class: "pair" },
        figure({ title: "The embedding", name: `${name}-embedding`, data: () => kept.snapshot, foot: title }, table, readout),
        figure({ title: "What the model makes of it", name: `${name}-distance`, data: () => kept.snapshot, caption: "Attention of the last of many identical tokens, in layer 1: only positions can make a difference. Left is the token itself, right the farthest." }, attention))),
  };
}

function lossChart({ losses, guessing }, width, own) {
  const most = Math.max(losses.training.at(-1)[0], 2);
  return lineChart({
    width, height: 280, label: "Loss by step",
    series: [
      { name: "training text", points: losses.training, colour: colour("--soft"), width: 1.5 },
      { name: "held-out text", points: losses.validation, colour: own, width: 2.5, marks: losses.validation.length < 30 },
    ],
    x: { label: "step", low: 0, high: most }, y: { label: "nats per token", low: 0, high: 1.12 * Math.max(guessing ?? 0, ...losses.training.map(([, loss]) => loss)) }, level: guessing === null ? null : { value: guessing, label: `guessing: ${guessing.toFixed(2)}` },
  });
}

function embeddingPicture(snapshot, width, readout) {
  if (!snapshot.picture) return h("p", { class: "soft" }, "This embedding has no picture: its effect depends on the tokens.");
  return heatMap({
    width, height: 220, matrix: snapshot.picture, scale: { kind: SCALES[snapshot.kind], most: largest(snapshot.picture) }, label: `${snapshot.position}, step ${snapshot.step}: ${PICTURES[snapshot.kind]}`,
    describe: (row, column, value) => { readout.textContent = value === null ? "" : `row ${row}, column ${column}: ${value.toFixed(3)}`; },
  });
}

function attentionPicture(snapshot, width, own) {
  if (!snapshot.attention.length) return h("p", { class: "soft" }, "This model has no attention weights to show.");
  const even = 1 / snapshot.attention[0].length;
  return lineChart({
    width, height: 260, label: `Attention by head and distance at step ${snapshot.step}`,
    series: snapshot.attention.map((shares, i) => ({ name: i ? "" : "each head", points: shares.map((share, distance) => [distance, share]), colour: own, width: 2 })),
    x: { label: "distance in tokens", low: 0 }, y: { label: "share of attention", low: 0, high: 1.15 * Math.max(3 * even, ...snapshot.attention.flat()) }, level: { value: even, label: "even" },
  });
}

function embeddingSentence({ position, kind, learned, step }) {
  const at = `${position} at step ${step.toLocaleString("en")}`;
  if (!kind) return `${at}.`;
  return `${at}: ${PICTURES[kind]}. ${learned ? "It is learned: it changes with every step." : "It is fixed: only what the model makes of it changes."}`;
}

const LEVELS = [[0.5, "50% or more"], [0.2, "20% to 50%"], [0.05, "5% to 20%"], [0, "less than 5%"]];
const levelOf = (probability) => LEVELS.findIndex(([least]) => probability >= least);

/** Tokens shaded by how sure the model was; the underline says the same without colour. */
function letters(sample) {
  if (!sample.length) return [h("span", { class: "soft" }, "It writes nothing yet.")];
  return sample.map(({ text, probability }) => h("span", { class: `letter level-${levelOf(probability)}`, "--shade": shade(probability), title: percent(probability) }, text.replace(/\n+/g, (lines) => `${"⏎".repeat(lines.length)}\n`)));
}

function surety(sample) {
  if (!sample.length) return "";
  const sorted = sample.map(({ probability }) => probability).sort((a, b) => a - b);
  return `Half of its tokens had a probability of ${percent(sorted[Math.floor(sorted.length / 2)], 0)} or more, the most certain one ${percent(sorted.at(-1), 0)}. The text starts from an empty prompt and is sampled with the same seed every time.`;
}

const shade = (probability) => between("--sunk", "--cold-map", 0.5 * Math.sqrt(probability));

function legend(listen, signal) {
  const row = h("p", { class: "small legend" });
  const draw = () => row.replaceChildren("Probability: ", ...LEVELS.flatMap(([least, words], i) => [h("span", { class: `letter level-${i}`, "--shade": shade(least + 0.02) }, words), " "]));
  draw();
  listen(draw, signal);
  return row;
}

function useIt({ state, signal, name, kept }) {
  const links = h("p", {}), exported = h("div", { "aria-live": "polite" }), foot = h("div", {});
  let to = "hf";
  const { button, page } = writing({
    label: "Generate", signal, draw: (token) => letters([token]),
    question: () => ({ run: kept.progress.run, text: state.get("prompt") || "The", count: 80, seed: Math.floor(Math.random() * 1e6) }),
  });
  const send = h("button", { type: "button", onclick: async () => {
    send.disabled = true;
    exported.replaceChildren(h("p", { class: "waiting" }, "Exporting, and comparing with the original …"));
    try {
      const answer = await post("/api/build/export", { name, to }, signal);
      exported.replaceChildren(h("pre", { class: "formula", tabindex: "0" }, answer.lines.join("\n")), commandBox(answer.command));
    } catch (error) {
      exported.replaceChildren(...(error.name === "AbortError" ? [] : [problem(error.message)]));
    }
    send.disabled = false;
  } }, "Export");
  const element = h("div", { class: "pair", hidden: true },
    h("div", { class: "card column" }, h("h3", {}, "Generate"), h("div", { class: "controls" }, textField({ label: "Text to continue", value: state.get("prompt"), change: (prompt) => state.set({ prompt }) })), h("div", { class: "controls" }, button), page, links, foot),
    h("div", { class: "card column" }, h("h3", {}, "Export"), h("p", { class: "soft" }, "Writes the model for another program, and checks that it computes the same there."),
      h("div", { class: "controls" }, choiceField({ label: "Program", value: to, choices: [{ value: "hf", text: "transformers" }, { value: "gguf", text: "llama.cpp, Ollama (GGUF)" }, { value: "onnx", text: "onnxruntime (ONNX)" }], change: (value) => { to = value; } })),
      h("div", { class: "controls" }, send), exported));
  return {
    element,
    update({ run, generates, position }) {
      element.hidden = !run;
      if (!run || links.childElementCount) return;
      const to = (room, words) => h("a", { href: link(room, new URLSearchParams({ run })) }, words);
      links.replaceChildren("Look into it: ", to("inside", "Inside"), " · ", to("attention", "Attention"), " · ", h("a", { href: link("embedding", new URLSearchParams({ run, position })) }, "Embedding"));
      foot.replaceChildren(commandBox(generates, "Generate in a terminal"));
    },
  };
}
