// Lesson: positional embeddings in nine steps, each with one thing to do in another room.

import { get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { commandBox } from "../lib/figure.js";
import { STEPS, task } from "../lib/lesson.js";
import { link } from "../lib/state.js";

const MEANING = {
  holds: "measured, and true", "direction only": "true in direction, smaller than claimed", "does not hold": "measured, and false here",
  "not testable": "could not be decided at this size", undecided: "the measurement cannot tell",
};

export const defaults = () => ({ step: "1" });

export async function render({ place, studio, state, signal, reopen }) {
  const verdicts = await get("/api/lesson/verdicts", signal);
  const number = Math.max(1, Math.min(STEPS.length, Math.round(state.number("step")) || 1)), step = STEPS[number - 1];
  const go = (to) => () => { state.set({ step: to }, { push: true }); scrollTo(0, 0); reopen({ focus: true }); };
  const todo = task(studio, number);
  place.append(
    h("ol", { class: "ladder", "aria-label": "Steps" }, STEPS.map(({ title }, i) => h("li", {}, h("button", { type: "button", "aria-current": i + 1 === number ? "step" : null, onclick: go(i + 1) }, h("span", { class: "number" }, i + 1), h("span", { class: "name" }, title))))),
    h("div", { class: "lesson" },
      h("div", { class: "column" },
        h("h2", { class: "big" }, `${number}. ${step.title}`),
        step.text.map((paragraph) => h("p", {}, paragraph)),
        step.formula ? h("p", { class: "formula" }, step.formula) : null,
        h("div", { class: "do" }, h("h3", {}, "Do this"), h("p", {}, todo.text), h("a", { class: "button", href: todo.href }, todo.label), h("p", { class: "soft" }, h("b", {}, "You will see: "), todo.see)),
        step.questions ? h("div", {}, h("h3", {}, "Can you say it?"), step.questions.map(([question, answer]) => h("details", { class: "quiz" }, h("summary", {}, question), h("p", {}, answer)))) : null),
      h("aside", { class: "column", "aria-label": "The article and the measurements" },
        step.quote ? h("figure", { class: "quote" }, h("h3", {}, "The article says"), h("blockquote", {}, step.quote)) : null,
        step.claims.length ? h("h3", {}, step.claims.length > 3 ? "All that was measured" : "What was measured") : null,
        step.claims.map((name) => verdictCard(verdicts.find((each) => each.name === name), step.claims.length > 3)),
        h("p", { class: "soft small" }, "Measured with models of 1.3 million parameters: a verdict is about the claim at that size. The loss says how much the next token surprises a model, in nats: lower is better, and 0.7 nats more means half the probability."))),
    h("div", { class: "controls turn" },
      number > 1 ? h("button", { type: "button", onclick: go(number - 1) }, `← ${STEPS[number - 2].title}`) : h("span", {}),
      number < STEPS.length ? h("button", { type: "button", class: "main", onclick: go(number + 1) }, `${STEPS[number].title} →`) : h("a", { class: "button", href: link("order") }, "To the rooms →")));
}

function verdictCard(verdict, brief) {
  if (!verdict) return null;
  const kind = verdict.verdict.replaceAll(" ", "-");
  return h("div", { class: `verdict-card ${kind}` },
    h("p", {}, h("strong", {}, verdict.claim)),
    h("p", {}, h("span", { class: "mark" }, verdict.verdict), " ", h("span", { class: "soft small" }, MEANING[verdict.verdict] ?? "")),
    h("p", { class: "small" }, verdict.ours),
    brief ? null : commandBox(verdict.command));
}
