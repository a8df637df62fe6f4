// Labelled inputs. Each calls `change(value)`.

import { h, unique } from "./dom.js";

export function textField({ label, value, change, placeholder, most, wide = true, rows = 0 }) {
  const id = unique("text");
  const properties = { id, value, maxlength: most, placeholder, spellcheck: "false", autocomplete: "off", dir: "auto", oninput: (e) => change(e.target.value) };
  const input = rows ? h("textarea", { ...properties, rows }) : h("input", { type: "text", ...properties });
  return h("div", { class: wide ? "field wide" : "field" }, h("label", { for: id }, label), input);
}

/** `choices`: [{value, text}] or strings. */
export function choiceField({ label, value, choices, change, half = false }) {
  const id = unique("choice");
  const select = h("select", { id, onchange: (e) => change(e.target.value) });
  for (const each of choices) {
    const { value: own, text } = typeof each === "string" ? { value: each, text: each } : each;
    select.append(h("option", { value: own }, text));
  }
  select.value = value;
  return h("div", { class: half ? "field half" : "field" }, h("label", { for: id }, label), select);
}

/** A slider with a number beside it. `logarithmic`: equal steps multiply; `zero`: text for 0. */
export function sliderField({ label, value, least, most, step = 1, change, logarithmic = false, zero = "", hint = "" }) {
  const id = unique("slider");
  // Position 0 of a logarithmic slider is the value 0, the next one `first`.
  const steps = 100, first = least > 0 ? least : Math.min(1, most / 256);
  const toValue = (position) => {
    if (!logarithmic) return position;
    if (position === 0 && least <= 0) return 0;
    const number = first * (most / first) ** ((position - 1) / (steps - 1));
    return step >= 1 ? Math.round(number) : Number(number.toPrecision(3));
  };
  const toPosition = (number) => {
    if (!logarithmic) return number;
    return number <= 0 ? 0 : 1 + (steps - 1) * Math.log(number / first) / Math.log(most / first);
  };
  const range = h("input", {
    type: "range", id, min: logarithmic ? Number(least > 0) : least, max: logarithmic ? steps : most, step: logarithmic ? 1 : step,
    oninput: (e) => { number.value = toValue(Number(e.target.value)); announce(); change(Number(number.value)); },
  });
  range.value = toPosition(value);
  const number = h("input", {
    type: "number", value, step: step >= 1 ? 1 : "any", "aria-label": `${label}, as a number`,
    oninput: (e) => { if (e.target.value === "") return; range.value = toPosition(Number(e.target.value)); announce(); change(Number(e.target.value)); },
  });
  const meaning = h("small", { class: "soft" });
  const announce = () => {
    meaning.textContent = Number(number.value) === 0 ? zero : hint;
    range.setAttribute("aria-valuetext", Number(number.value) === 0 && zero ? zero : number.value);
  };
  announce();
  return h("div", { class: "field slider" }, h("label", { for: id }, label), h("div", { class: "row" }, range, number), zero || hint ? meaning : null);
}

/** The embeddings that most pages begin with. */
export const USUAL = ["none", "sinusoidal", "learned", "rotary", "alibi", "t5"];

/** Choices of all embeddings, the usual ones first. */
export function embeddingChoices({ embeddings }) {
  const rank = ({ name }) => (USUAL.includes(name) ? USUAL.indexOf(name) : USUAL.length);
  return [...embeddings].sort((a, b) => rank(a) - rank(b)).map(({ name, summary }) => ({ value: name, text: name, title: summary }));
}

export function switchField({ label, value, change }) {
  const id = unique("switch");
  const box = h("input", { type: "checkbox", id, onchange: (e) => change(e.target.checked) });
  box.checked = value;
  return h("div", { class: "field switch" }, box, h("label", { for: id }, label));
}

/** Buttons that are on or off. `several`: any number may be on, else exactly one. `folded`: how many are shown at first. */
export function segments({ label, choices, chosen, change, several = false, colourOf = null, folded = Infinity }) {
  const on = new Set(chosen), buttons = [];
  const row = () => h("div", { class: colourOf ? "segments coloured" : "segments" });
  const first = row(), rest = row();
  for (const { value, text, title } of choices) {
    const button = h("button", {
      type: "button", "aria-pressed": String(on.has(value)), title, "--colour": colourOf?.(value),
      onclick: () => {
        if (several) on.has(value) ? on.delete(value) : on.add(value);
        else { on.clear(); on.add(value); }
        buttons.forEach((each, i) => each.setAttribute("aria-pressed", String(on.has(choices[i].value))));
        change(several ? choices.map((c) => c.value).filter((v) => on.has(v)) : value);
      },
    }, text);
    buttons.push(button);
    (buttons.length <= folded ? first : rest).append(button);
  }
  const more = choices.length - folded;
  return h("fieldset", { class: "field" }, h("legend", {}, label), first,
    more > 0 ? h("details", { class: "more", open: choices.slice(folded).some(({ value }) => on.has(value)) }, h("summary", {}, `${more} more`), rest) : null);
}
