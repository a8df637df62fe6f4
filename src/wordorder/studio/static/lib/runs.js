// What rooms need of the open runs.

import { post } from "./api.js";
import { h } from "./dom.js";
import { problem } from "./figure.js";
import { follow, runsChanged } from "./jobs.js";
import { choiceField } from "./controls.js";

export const transformers = (studio) => studio.runs.filter((run) => run.kind === "transformer");

/** What a room says that needs a run, when there is none, with a button that trains one. */
export function needsRun(what) {
  const leaving = new AbortController(), words = h("p", {}), aloud = h("p", { class: "aloud", role: "status" }), trouble = h("div", {});
  const bar = h("progress", { max: 1, hidden: true, "aria-label": "Progress of the demo model" });
  const train = h("button", { type: "button", class: "main", onclick: begin }, "Train the demo model (about 40 s)");
  async function begin() {
    train.disabled = true;
    trouble.replaceChildren();
    try {
      const { name } = await post("/api/build/demo", {}, leaving.signal);
      follow(`/api/build/watch?${new URLSearchParams({ name })}`, { show, lost, signal: leaving.signal });
    } catch (error) {
      train.disabled = false;
      trouble.replaceChildren(problem(error.message));
    }
  }
  function lost(why, forGood) {
    if (!forGood) { words.textContent = why || words.textContent; return; }
    train.disabled = false;
    bar.hidden = true;
    trouble.replaceChildren(problem(why));
  }
  function show({ state, share, step, note, losses }) {
    if (!element.isConnected) { leaving.abort(); return; } // another room is open
    if (bar.hidden) aloud.textContent = "Training the demo model.";
    bar.hidden = false;
    bar.value = share;
    words.textContent = step ? `Training: step ${step.toLocaleString("en")}, loss ${losses.training.at(-1)?.[1].toFixed(2)}.` : "Preparing …";
    if (state === "finished") runsChanged(true);
    else if (state !== "running") {
      train.disabled = false;
      trouble.replaceChildren(problem(`It ended before it was done: ${note}`));
    }
  }
  const element = h("div", { class: "empty" },
    h("h2", {}, "This room needs a trained model"),
    h("p", {}, `${what} A button trains one on this machine, with the embedding rotary, on the documentation of Python; then every room works.`),
    h("p", {}, train), bar, words, aloud, trouble,
    h("details", { class: "command" }, h("summary", {}, "The same in a terminal"), h("pre", { tabindex: "0" }, "wordorder train --preset nano --time 40s --out runs/demo\nwordorder studio runs/demo")),
    h("p", { class: "soft" }, "The Build room trains a model of your own; Order and Embedding work without one."));
  return element;
}

/** A choice of run; the value of "" means none. */
export function runField({ studio, label = "Run", value, change, none = "", only = transformers }) {
  const choices = only(studio).map(({ name, position }) => ({ value: name, text: `${name} · ${position || "GRU"}` }));
  if (none) choices.unshift({ value: "", text: none });
  return choiceField({ label, value, choices, change });
}

/** The entry of a run in use: the named one, or the first. */
export function chosenRun(studio, name, only = transformers) {
  const runs = only(studio);
  return runs.find((run) => run.name === name) ?? runs[0];
}

/** Choices of layers and heads, counted from 1 as everywhere. */
export const numbered = (name, count) =>
  Array.from({ length: count }, (_, i) => ({ value: String(i), text: `${name} ${i + 1}` }));
