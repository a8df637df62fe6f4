// What rooms need of the open runs.

import { h } from "./dom.js";
import { choiceField } from "./controls.js";

export const transformers = (studio) => studio.runs.filter((run) => run.kind === "transformer");

/** What a room says that needs a run, when there is none. */
export function needsRun(what) {
  return h("div", { class: "empty" },
    h("h2", {}, "This room needs a trained model"),
    h("p", {}, `${what} Train one in less than a minute, then open the studio with it:`),
    h("pre", { class: "formula" }, "wordorder train --preset nano --time 40s --out runs/demo\nwordorder studio runs/demo"),
    h("p", { class: "soft" }, "The rooms Order and Embedding work without a run."));
}

/** A choice of run; the value of "" means none. */
export function runField({ studio, label = "Run", value, change, none = "", only = transformers }) {
  const choices = only(studio).map(({ name, position }) => ({ value: name, text: `${name} · ${position || "GRU"}` }));
  if (none) choices.unshift({ value: "", text: none });
  return choiceField({ label, value, choices, change, half: true });
}

/** The entry of a run in use: the named one, or the first. */
export function chosenRun(studio, name, only = transformers) {
  const runs = only(studio);
  return runs.find((run) => run.name === name) ?? runs[0];
}

/** Choices of layers and heads, counted from 1 as everywhere. */
export const numbered = (name, count) =>
  Array.from({ length: count }, (_, i) => ({ value: String(i), text: `${name} ${i + 1}` }));
