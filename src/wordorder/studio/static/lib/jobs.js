// What Build and Compare share: the text and sizes of a new run, the list of runs, and what is followed as it goes on.

import { post, refusal } from "./api.js";
import { choiceField, segments, sliderField, textField } from "./controls.js";
import { h, unique } from "./dom.js";
import { problem } from "./figure.js";

const MOST_BYTES = 5_000_000;
const kept = { text: "", file: "" }; // stays while rooms are changed; never in the URL

const PRESETS = [
  { value: "nano", text: "nano", title: "width 128, 4 layers" }, { value: "tiny", text: "tiny", title: "width 192, 4 layers" }, { value: "mini", text: "mini", title: "width 256, 6 layers" },
  { value: "small", text: "small", title: "width 384, 6 layers" }, { value: "medium", text: "medium", title: "width 768, 12 layers" },
];
const SIZES = [["width", "Width"], ["layers", "Layers"], ["heads", "Heads"], ["trained_length", "Context"], ["batch_size", "Batch"], ["steps", "Steps, not minutes"]];

export const orderDefaults = { job: "", source: "docs", preset: "nano", minutes: "3", width: "", layers: "", heads: "", trained_length: "", batch_size: "", steps: "", name: "" };

/** The settings of a new run that both rooms have; `text` is null for the documentation of Python. */
export function order(state) {
  const sizes = Object.fromEntries(SIZES.map(([key]) => [key, state.get(key) ? Number(state.get(key)) : null]));
  return { name: state.get("name"), preset: state.get("preset"), minutes: state.number("minutes"), ...sizes };
}

/** The text that is chosen: null for the documentation of Python. */
export const chosenText = (state) => (state.get("source") === "docs" ? null : kept.text);

export const bytesOf = (text) => new TextEncoder().encode(text).length;

/** Fields for the text: Python's documentation, pasted, or a file, which stays in the browser until Start. */
export function textFields({ state, change }) {
  const place = h("div", {}), said = h("p", { class: "small soft", role: "status" }), trouble = h("div", {});
  const describe = () => {
    const size = bytesOf(kept.text);
    said.textContent = state.get("source") === "docs" ? "The built-in text: about 1.6 MB of English, the documentation of Python." : `${kept.file ? `${kept.file}: ` : ""}${size.toLocaleString("en")} bytes of at most ${MOST_BYTES.toLocaleString("en")}. A model needs some 100,000 to learn words.`;
    trouble.replaceChildren(...(size > MOST_BYTES ? [problem(`The text is longer than ${MOST_BYTES.toLocaleString("en")} bytes: train on it with wordorder train --data FILE.`)] : []));
  };
  async function read(file) {
    if (!file) return;
    trouble.replaceChildren();
    if (file.size > MOST_BYTES) {
      trouble.replaceChildren(problem(`${file.name} has ${file.size.toLocaleString("en")} bytes, and this page takes at most ${MOST_BYTES.toLocaleString("en")}: train on it with wordorder train --data FILE.`));
      return;
    }
    try {
      kept.text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      kept.file = file.name;
      describe();
      change();
    } catch {
      trouble.replaceChildren(problem(`${file.name} is not text in UTF-8: choose a plain text file.`));
    }
  }
  function show() {
    const source = state.get("source"), id = unique("file");
    place.replaceChildren(...{
      docs: () => [],
      paste: () => [textField({ label: "Text", value: kept.text, rows: 6, placeholder: "Paste a long text", change: (text) => { kept.text = text; kept.file = ""; describe(); change(); } })],
      file: () => [h("div", { class: "field" }, h("label", { for: id }, "A text file in UTF-8"), h("input", { type: "file", id, accept: ".txt,.md,.text,text/*", onchange: (e) => read(e.target.files[0]) }))],
    }[source]?.() ?? []);
    describe();
  }
  show();
  return h("div", { class: "column" },
    segments({ label: "Text", chosen: [state.get("source")], choices: [{ value: "docs", text: "Python's documentation" }, { value: "paste", text: "paste" }, { value: "file", text: "file" }], change: (source) => { state.set({ source }, { push: true }); show(); change(); } }),
    place, trouble, said);
}

/** Fields for the size: a preset, and single sizes that differ from it. */
export function sizeFields({ state, change, minutes }) {
  const number = ([key, label]) => {
    const id = unique("size");
    return h("div", { class: "field half narrow" }, h("label", { for: id }, label), h("input", { type: "number", id, min: 1, value: state.get(key), placeholder: "preset", oninput: (e) => { state.set({ [key]: e.target.value }); change(); } }));
  };
  return h("div", { class: "column" },
    segments({ label: "Size", chosen: [state.get("preset")], choices: PRESETS, change: (preset) => { state.set({ preset }, { push: true }); change(); } }),
    sliderField({ label: minutes, value: state.number("minutes"), least: 0.25, most: 240, step: 0.01, logarithmic: true, change: (value) => { if (value > 0) { state.set({ minutes: value }); change(); } } }),
    h("details", { class: "more", open: SIZES.some(([key]) => state.get(key)) }, h("summary", {}, "Single sizes"), h("div", { class: "controls sizes" }, SIZES.map(number))));
}

export function nameField({ state, change, placeholder }) {
  return textField({ label: "Name (of the folder)", value: state.get("name"), most: 48, wide: false, placeholder, change: (name) => { state.set({ name }); change(); } });
}

/** The button that starts a job, which is then opened. */
export function startButton({ path, question, open, trouble, signal }) {
  const button = h("button", { type: "button", class: "main", onclick: async () => {
    button.disabled = true;
    trouble.replaceChildren();
    try {
      const { name } = await post(path, question(), signal);
      open(name);
    } catch (error) {
      button.disabled = false;
      if (error.name !== "AbortError") trouble.replaceChildren(problem(error.message));
    }
  } }, "Start");
  return button;
}

export const startedCommand = (command) => h("details", { class: "command", open: true }, h("summary", {}, "The command that Start runs"), h("pre", { tabindex: "0", "aria-label": "The command" }, command));

/** Buttons that lead to what was started before, and to a new one; `tell(state)` is that of the chosen one. */
export function jobList({ jobs, chosen, fresh, open }) {
  const states = new Map(jobs.map(({ name, state }) => [name, h("small", { class: "soft" }, state)]));
  const entry = ({ name }) => h("button", { type: "button", "aria-pressed": String(name === chosen), onclick: () => open(name) }, name, " ", states.get(name));
  const element = h("div", { class: "jobs", role: "group", "aria-label": "Started here" },
    h("button", { type: "button", "aria-pressed": String(!chosen), onclick: () => open("") }, `+ ${fresh}`), jobs.map(entry));
  return { element, tell: (state) => { states.get(chosen).textContent = state; } };
}

const AGAIN = 2000; // milliseconds before a lost connection is tried again

const LOST = "The studio does not answer; the run goes on. As soon as `wordorder studio` runs again, this page shows it.";

/**
 * Call `show` with every event of an address until its state is not "running"; a lost connection is opened again.
 * `lost` is called with why there is none, or "", and with true if it is not tried again.
 */
export function follow(address, { show, lost, signal }) {
  let source, timer;
  const close = () => { source?.close(); clearTimeout(timer); };
  signal.addEventListener("abort", close);
  const open = () => {
    if (signal.aborted) return;
    source = new EventSource(address);
    source.onmessage = ({ data }) => {
      const progress = JSON.parse(data);
      if (progress.state !== "running") close();
      lost("");
      show(progress);
    };
    source.onerror = async () => { // the stream ended before the run: the studio was stopped
      close();
      const refused = await refusal(address); // or knows this job no longer
      if (signal.aborted) return;
      lost(refused ?? LOST, Boolean(refused));
      if (!refused) timer = setTimeout(open, AGAIN);
    };
  };
  open();
}

/** State, progress and buttons of a job; `update(progress)` after every event. */
export function jobHead({ name, changed, signal }) {
  const title = h("h2", {}, name), words = h("p", {}), trouble = h("div", {}), gone = h("div", {});
  const bar = h("progress", { max: 1, "aria-label": `Progress of ${name}` });
  const aloud = h("p", { class: "aloud", role: "status" }); // for screen readers: not every step
  let told = "";
  const act = async (path) => {
    trouble.replaceChildren();
    try {
      await post(`/api/build/${path}`, { name }, signal);
      changed(path);
    } catch (error) {
      stop.disabled = false;
      if (error.name !== "AbortError") trouble.replaceChildren(problem(error.message));
    }
  };
  const stop = h("button", { type: "button", onclick: () => { stop.disabled = true; words.textContent = aloud.textContent = "Stopping: it finishes its step and saves."; act("stop"); } }, "Stop");
  const resume = h("button", { type: "button", class: "main", onclick: () => act("resume") }, "Resume");
  const log = h("pre", { tabindex: "0", "aria-label": "Output of the command" }), shown = h("pre", { tabindex: "0", "aria-label": "The command" });
  return {
    update(progress, sentence) {
      if (!(stop.disabled && progress.state === "running")) words.textContent = sentence;
      if (progress.state !== told) { told = progress.state; aloud.textContent = sentence; }
      bar.value = progress.share;
      bar.hidden = progress.state !== "running";
      stop.hidden = progress.state !== "running";
      if (progress.state !== "running") stop.disabled = false;
      resume.hidden = progress.state !== "stopped" || !progress.command;
      shown.textContent = progress.command;
      log.textContent = progress.log.join("\n");
      trouble.replaceChildren(...(progress.state === "failed" ? [problem(`It has no model: it failed, or its folder was deleted. ${progress.note ? `Its last line: ${progress.note}` : "It printed nothing."}`)] : []));
    },
    lost(why) { gone.replaceChildren(...(why ? [problem(why)] : [])); },
    buttons: h("div", { class: "controls" }, stop, resume),
    element: h("div", { class: "column" }, title, words, aloud, bar, trouble, gone),
    foot: h("div", {},
      h("details", { class: "command", open: true }, h("summary", {}, "The command that trains it"), shown),
      h("details", { class: "command" }, h("summary", {}, "What it prints"), log)),
  };
}

export function positionField({ state, catalogue, change }) {
  return choiceField({ label: "Positional embedding", value: state.get("position"), choices: catalogue.map((each) => ({ value: each.name, text: each.name })), change: (position) => { state.set({ position }, { push: true }); change(); } });
}

/** Tell the page that there are other runs now; `reopen` draws the room again with them. */
export const runsChanged = (reopen = false) => document.dispatchEvent(new CustomEvent("runschange", { detail: { reopen } }));
