// Compare: the same model with several embeddings and seeds, its table while it grows, and its report.

import { get } from "../lib/api.js";
import { asking } from "../lib/asking.js";
import { lineChart } from "../lib/charts.js";
import { colour, embeddingColour, isDark } from "../lib/colours.js";
import { USUAL, embeddingChoices, segments, sliderField } from "../lib/controls.js";
import { debounced, duration, h, percent } from "../lib/dom.js";
import { drawn, figure, notice, problem } from "../lib/figure.js";
import { chosenText, follow, jobHead, jobList, nameField, order, orderDefaults, runsChanged, sizeFields, startButton, startedCommand, textFields } from "../lib/jobs.js";

export const defaults = () => ({ ...orderDefaults, minutes: "1", positions: "none,rotary,alibi", seeds: "3" });

const LEAST = 2, MOST = 5;
const COLUMNS = "loss: nats per token on held-out text, lower is better. against: the difference from the baseline. at 2x, 4x, …: the change of its loss at that multiple of the trained length. step: the time of a training step relative to the baseline's. adds: parameters of the embedding.";

export async function render({ place, studio, state, signal, reopen }) {
  const { jobs, folder } = await get("/api/build/jobs", signal);
  const comparisons = jobs.filter(({ kind }) => kind === "compare");
  const chosen = comparisons.find(({ name }) => name === state.get("job"));
  const open = (job) => { state.set({ job, name: "" }, { push: true }); reopen(); }; // the name is taken now
  const list = jobList({ jobs: comparisons, chosen: chosen?.name ?? "", fresh: "New comparison", open });
  place.append(list.element);
  if (state.get("job") && !chosen) place.append(problem(`No comparison ${state.get("job")} is in ${folder}: choose one above, or start a new one.`));
  if (chosen) comparisonView({ place, studio, signal, reopen, list, name: chosen.name });
  else newComparison({ place, studio, state, signal, open });
}

function newComparison({ place, studio, state, signal, open }) {
  const trouble = h("div", {}), foot = h("div", {}), length = h("p", { "aria-live": "polite" });
  const question = () => ({ ...order(state), positions: state.list("positions"), seeds: state.number("seeds") });

  async function refresh() {
    ask.cancel();
    const { positions, seeds, minutes, steps } = question(), runs = positions.length * seeds;
    start.disabled = true;
    foot.replaceChildren();
    length.textContent = "";
    if (positions.length < LEAST || positions.length > MOST) {
      trouble.replaceChildren(problem(`Choose ${LEAST} to ${MOST} embeddings: ${positions.length} ${positions.length === 1 ? "is" : "are"} chosen.`));
      return;
    }
    const whole = steps ? `${steps.toLocaleString("en")} steps each` : `${minutes} min each: ${duration(60 * runs * minutes)} in all, and some for measuring`;
    length.textContent = `${runs} runs, ${whole}.${seeds === 1 ? " One seed gives no intervals: what differs may be chance." : ""}`;
    await ask("/api/compare/command", { ...question(), text: chosenText(state) === null ? null : "text" });
  }
  const ask = asking({ signal, trouble, show: ({ command }) => { start.disabled = false; foot.replaceChildren(startedCommand(command)); } });
  const start = startButton({ path: "/api/compare/start", question: () => ({ ...question(), text: chosenText(state) }), open, trouble, signal });
  const later = debounced(refresh, 250);
  place.append(
    notice("With one seed all embeddings get the same text in the same order, and the same initial weights. What is left is the embedding, and chance: several seeds tell the two apart."),
    h("div", { class: "pair" },
      h("div", { class: "card column" }, h("h2", {}, "What is compared"),
        segments({ label: `Embeddings, ${LEAST} to ${MOST}`, several: true, folded: USUAL.length, colourOf: (name) => embeddingColour(studio, name), chosen: state.list("positions"), choices: embeddingChoices(studio), change: (positions) => { state.set({ positions: positions.join(",") }, { push: true }); later(); } }),
        sliderField({ label: "Seeds", value: state.number("seeds"), least: 1, most: 10, change: (seeds) => { state.set({ seeds }); later(); } }),
        textFields({ state, change: later })),
      h("div", { class: "card column" }, h("h2", {}, "What it takes"), sizeFields({ state, change: later, minutes: "Minutes for each run" }), length, nameField({ state, change: later, placeholder: "compare" }), trouble, h("div", { class: "controls" }, start), foot)));
  refresh();
}

function comparisonView({ place, studio, signal, reopen, list, name }) {
  const head = jobHead({ name, signal, changed: (what) => { if (what === "resume") reopen(); } });
  const kept = { progress: null };
  const says = h("div", {}), grid = h("div", {}), table = h("div", {}), report = h("div", {});
  const curves = drawn((width) => (kept.progress?.cells.some(({ losses }) => losses.validation.length) ? curveChart(kept.progress, width) : h("p", { class: "waiting" }, "The curves begin with the first validation of the first run.")), signal);
  const results = figure({ title: "Results", name: `${name}-results`, data: () => kept.progress?.table, png: false }, table);
  results.hidden = true;
  place.append(h("div", { class: "stack" }, head.element, head.buttons, says,
    h("div", { class: "pair" }, h("div", { class: "card column" }, h("h3", {}, "Runs"), grid), results),
    figure({ title: "Loss on held-out text", name: `${name}-curves`, data: () => kept.progress?.cells, caption: "Thick: the mean over seeds, where all have a value. Thin: single seeds." }, curves),
    report, head.foot));
  function show(progress) {
    const before = kept.progress;
    kept.progress = progress;
    head.update(progress, sentence(progress));
    list.tell(progress.state);
    says.replaceChildren(...(progress.headline ? [notice(progress.headline)] : []));
    grid.replaceChildren(runGrid(progress));
    curves.redraw();
    if (progress.table) { results.hidden = false; table.replaceChildren(resultTable(progress.table)); }
    if (progress.report && !before?.report) report.replaceChildren(reportFrame(name));
    if (before?.state === "running" && progress.state !== "running") runsChanged();
  }
  follow(`/api/compare/watch?${new URLSearchParams({ name })}`, { show, lost: head.lost, signal });
}

function sentence({ state, cells, share, note, seeds, steps }) {
  const done = cells.filter((cell) => cell.state === "done").length, of = `${done} of ${cells.length} runs`;
  if (state === "finished") return `Finished: ${cells.length} runs of ${steps.toLocaleString("en")} steps, ${seeds} ${seeds === 1 ? "seed" : "seeds"} for each embedding.`;
  if (state === "stopped") return `Stopped after ${of}. Resume continues from there.`;
  if (state === "failed") return "Failed.";
  return cells.length ? `${of} are done, ${percent(share, 0)} of the work.` : `Preparing: ${note.startsWith("$") ? "starting" : note} …`;
}

function runGrid({ cells, colours }) {
  if (!cells.length) return h("p", { class: "waiting" }, "First it measures how several models run fastest on this machine.");
  const seeds = [...new Set(cells.map(({ seed }) => seed))], positions = [...new Set(cells.map(({ position }) => position))];
  const cellOf = (position, seed) => {
    const cell = cells.find((each) => each.position === position && each.seed === seed);
    return h("td", {}, h("progress", { max: 1, value: String(cell.share), "aria-label": `${position}, seed ${seed}` }), h("small", { class: "soft" }, cell.state === "training" ? percent(cell.share, 0) : cell.state));
  };
  return h("div", { class: "scroll" }, h("table", { class: "runs" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "embedding"), seeds.map((seed) => h("th", { scope: "col" }, `seed ${seed}`)))),
    h("tbody", {}, positions.map((position) => h("tr", {}, h("th", { scope: "row" }, h("i", { class: "dot", "--colour": own(colours, position) }), position), seeds.map((seed) => cellOf(position, seed)))))));
}

const own = (colours, position) => (isDark() ? colours[position]?.dark_colour : colours[position]?.colour) ?? colour("--accent");

function resultTable({ columns, rows, note }) {
  return h("div", {}, h("div", { class: "scroll" }, h("table", { class: "results" },
    h("thead", {}, h("tr", {}, columns.map((each) => h("th", { scope: "col" }, each)))),
    h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((each) => h("td", {}, each))))))), h("p", { class: "small soft" }, `${COLUMNS} ${note}`));
}

/** One line for each embedding, the mean where every seed has a value, and thin ones for single seeds. */
function curveChart({ cells, colours, steps }, width) {
  const series = [];
  const positions = [...new Set(cells.map(({ position }) => position))];
  for (const position of positions) {
    const runs = cells.filter((cell) => cell.position === position && cell.losses.validation.length).map(({ losses }) => losses.validation);
    if (!runs.length) continue;
    const stroke = own(colours, position);
    const common = runs[0].filter(([step]) => runs.every((run) => run.some(([other]) => other === step)));
    const mean = common.map(([step]) => [step, runs.reduce((sum, run) => sum + run.find(([other]) => other === step)[1], 0) / runs.length]);
    if (runs.length > 1) for (const points of runs) series.push({ name: "", points, colour: stroke, width: 1, faint: true });
    series.push({ name: position, points: mean, colour: stroke, width: 2.5 });
  }
  const values = series.flatMap(({ points }) => points.map(([, loss]) => loss));
  const low = Math.min(...values), high = Math.max(...values), room = Math.max(0.05, (high - low) * 0.06);
  return lineChart({ width, height: 300, series, label: "Loss on held-out text by step", x: { label: "step", low: 0, high: steps }, y: { label: "nats per token", low: low - room, high: high + room } });
}

function reportFrame(name) {
  const address = `/api/compare/report?${new URLSearchParams({ name })}`;
  return h("div", {},
    h("p", {}, h("a", { href: address, target: "_blank", rel: "noopener" }, "The whole report, on a page of its own"), " (report.html in its folder)"),
    h("iframe", { class: "report", src: address, sandbox: "", title: `Report of ${name}` }));
}
