// Order: two orders of the same words, side by side in several models.

import { latest } from "../lib/api.js";
import { lineChart } from "../lib/charts.js";
import { colour, embeddingColour, readableOn, onTheme } from "../lib/colours.js";
import { USUAL, embeddingChoices, segments, textField } from "../lib/controls.js";
import { debounced, h, percent, short, visible } from "../lib/dom.js";
import { commandBox, drawn, figure, notice, problem } from "../lib/figure.js";

export const defaults = () => ({ text: "I love AI", other: "", causal: "1", show: USUAL.join(","), off: "", runs: "1" });

export async function render({ place, studio, state, signal }) {
  const results = new Map(); // by card, for one scale in all pictures
  const cards = new Map();
  const grid = h("div", { class: "cards" });
  const hint = h("div", { "aria-live": "polite" });
  const layers = Math.max(4, ...studio.runs.map((run) => run.layers));

  const trained = () => (state.get("runs") === "1" ? studio.runs : []);
  const models = () => [
    ...trained().map((run) => ({ key: `run ${run.name}`, title: run.name, position: run.position || "GRU", question: { run: run.name } })),
    ...state.list("show").map((name) => ({ key: name, title: name, position: name, question: { position: name, causal: state.get("causal") === "1" } })),
  ];
  const off = () => state.list("off").map(Number).filter(Number.isInteger);

  async function ask(model, card) {
    card.element.classList.add("stale");
    try {
      const answer = await card.send("/api/order/compare", { ...model.question, text: state.get("text"), other: state.get("other"), without: off() });
      if (!answer || signal.aborted || cards.get(model.key) !== card) return;
      results.set(model.key, answer);
      card.show(answer);
    } catch (error) {
      if (signal.aborted || cards.get(model.key) !== card) return;
      results.delete(model.key);
      card.fail(error.message);
    }
    card.element.classList.remove("stale");
    for (const each of cards.values()) each.redraw();
  }

  function refresh() {
    const shown = models();
    for (const key of [...cards.keys()]) {
      if (!shown.some((model) => model.key === key)) { cards.get(key).element.remove(); cards.delete(key); results.delete(key); }
    }
    for (const model of shown) {
      if (!cards.has(model.key)) cards.set(model.key, makeCard(model, studio, results, signal));
      grid.append(cards.get(model.key).element); // in the order of the choice
    }
    hint.replaceChildren(notice(whatToSee(state.get("causal") === "1", off().length), trained().length ? " (Trained runs keep the attention they were trained with.)" : ""));
    return Promise.all(shown.map((model) => ask(model, cards.get(model.key))));
  }
  const later = debounced(refresh, 150);
  const change = (key, push = true) => (value) => { state.set({ [key]: value }, { push }); push ? refresh() : later(); };

  place.append(
    h("div", { class: "controls" },
      textField({ label: "A sentence", value: state.get("text"), change: change("text", false) }),
      textField({ label: "The same words in another order", value: state.get("other"), placeholder: "reversed", change: change("other", false) })),
    h("div", { class: "controls" },
      segments({
        label: "Embeddings, with random weights", several: true, folded: USUAL.length, chosen: state.list("show"), colourOf: (name) => embeddingColour(studio, name),
        choices: embeddingChoices(studio),
        change: (names) => change("show")(names.join(",")),
      })),
    h("div", { class: "controls" },
      segments({
        label: "Random models attend", chosen: [state.get("causal")], change: change("causal"),
        choices: [{ value: "1", text: "backwards only (causal)" }, { value: "0", text: "both ways (bidirectional)" }],
      }),
      segments({
        label: "Embedding switched off in", several: true, chosen: state.list("off"), change: (which) => change("off")(which.join(",")),
        choices: Array.from({ length: layers }, (_, i) => ({ value: String(i), text: `layer ${i + 1}` })),
      }),
      studio.runs.length ? segments({
        label: "Trained runs", chosen: [state.get("runs")], change: change("runs"),
        choices: [{ value: "1", text: "shown" }, { value: "0", text: "hidden" }],
      }) : null),
    hint,
    h("p", { class: "small soft" }, "How to read the pictures: each model reads both orders. Thick line: a token that follows both, such as “.”: how far apart its two vectors are after each layer. Thin line: the largest distance of any word from itself in the other order; 0 means that both orders are the same set of vectors."),
    grid);
  await refresh();
}

function whatToSee(causal, off) {
  if (off) return "The dashed line is the model with its embedding switched off in every layer, the solid one as chosen above. Switch layers off one by one: the first layer that still has its embedding is where the order of the words comes back.";
  if (causal) return "Without an embedding (none) the token after the words is blind to their order in layer 1, at exactly 0. From layer 2 on it is not: the causal mask lets each word read only the words before it, and that leaks order. With most embeddings it is seen from layer 1 on.";
  return "Without an embedding (none) every line stays at exactly 0, in every layer: both sentences are the same set of vectors, a bag of words, and no training changes that. Most embeddings end this in layer 1.";
}

function makeCard(model, studio, results, signal) {
  const send = latest();
  const own = () => embeddingColour(studio, model.position);
  const badge = h("span", { class: "badge" }), verdict = h("p", { class: "verdict", "aria-live": "polite" });
  const facts = h("dl", { class: "facts" }), foot = h("div", {}), trouble = h("div", {});
  const plot = drawn((width) => {
    const answer = results.get(model.key);
    return answer ? picture(answer, results, own(), width) : trouble.childElementCount ? null : h("p", { class: "waiting" }, "Reading …");
  }, signal);
  const kind = model.question.run ? `trained · ${model.position}` : "random weights";
  const element = h("article", { class: "card named" },
    h("header", {}, h("h2", {}, model.title), h("span", { class: "soft small" }, kind), badge),
    verdict, trouble, figure({ title: "Distance between orders", name: `order-${model.title}`, data: () => results.get(model.key) ?? null }, plot), facts, foot);
  const paintCard = () => {
    const value = own();
    element.style.setProperty("--colour", value);
    element.style.setProperty("--badge-ink", value.startsWith("#") ? readableOn(value) : "");
  };
  paintCard();
  onTheme(paintCard, signal);

  return {
    element, send, redraw: () => plot.redraw(),
    fail(message) {
      trouble.replaceChildren(problem(message));
      badge.textContent = verdict.textContent = "";
      facts.replaceChildren();
    },
    show(answer) {
      const seen = answer.same_tokens && answer.sees_from !== null;
      badge.textContent = !answer.same_tokens ? "different tokens" : seen ? `sees order from layer ${answer.sees_from}` : "sees no order";
      badge.classList.toggle("yes", seen);
      verdict.textContent = answer.verdict.replaceAll(answer.after, visible(answer.after));
      trouble.replaceChildren(...(answer.note ? [h("p", { class: "soft small" }, answer.note)] : []));
      facts.replaceChildren(...rows(answer).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
      foot.replaceChildren(commandBox(answer.command));
    },
  };
}

function rows(answer) {
  const until = answer.set_until;
  const set = !answer.same_tokens ? "no: different tokens"
    : until === null ? "no, not even at the input"
    : until === answer.layers ? "yes, after every layer" : until === 0 ? "at the input only" : `until layer ${until}`;
  const all = [["Same set of word vectors", set], ["Predictions overlap", percent(answer.overlap)]];
  if (answer.difference_nats !== null) {
    const nats = answer.difference_nats, better = answer.texts[nats >= 0 ? 0 : 1];
    all.push(["Prefers", ["“", h("bdi", {}, better), `”, ${factor(Math.abs(nats))} as likely`]]);
  }
  return all;
}

const factor = (nats) => (nats > Math.log(1000) ? "over 1,000 times" : `${short(Math.exp(nats))} times`);

function picture(answer, results, own, width) {
  const all = [...results.values()].flatMap((each) => each.by_layer.flatMap((at) => [at.after, at.words ?? 0, at.after_off ?? 0]));
  const line = (key) => answer.by_layer.map((at, i) => [i, at[key]]);
  const series = [{ name: "token after them", points: line("after"), colour: own, width: 3, marks: true }];
  if (answer.same_tokens) series.unshift({ name: "words, as a set", points: line("words"), colour: colour("--soft"), width: 1.5 });
  if (answer.by_layer.every((at) => at.after_off !== null)) series.push({ name: "… embedding off", points: line("after_off"), colour: own, width: 2, dashed: true });
  const label = `Relative distance between the two orders after each layer: ${answer.by_layer.map((at, i) => `${i ? `layer ${i}` : "input"} ${short(at.after)}`).join(", ")}`;
  return lineChart({
    width, height: 230, series, label,
    x: { label: "after layer", low: 0, high: answer.layers, ticks: answer.by_layer.map((_, i) => [i, i ? i : "input"]) },
    y: { label: "relative distance", low: 0, high: Math.max(0.1, ...all) * 1.05 },
  });
}
