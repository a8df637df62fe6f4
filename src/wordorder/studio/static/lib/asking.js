// Asking the server: the latest question counts, and what is wrong is shown in the page.

import { STOPPED, latest, refusal } from "./api.js";
import { h } from "./dom.js";
import { problem } from "./figure.js";

/** Return a function that posts a question, and shows its answer, or in `trouble` what is wrong with it. */
export function asking({ signal, trouble, show, fail = () => {} }) {
  const send = latest();
  const ask = async (path, question) => {
    try {
      const answer = await send(path, question);
      if (!answer || signal.aborted) return;
      trouble.replaceChildren();
      show(answer);
    } catch (error) {
      trouble.replaceChildren(problem(error.message));
      fail(error);
    }
  };
  ask.cancel = send.cancel;
  return ask;
}

/**
 * A button that lets a model write into a page, token by token, or stop. `question()` gives the text and the
 * sampling; `draw(token, before)` returns elements for a token and the text before it.
 */
export function writing({ label, question, draw, signal }) {
  const page = h("div", { class: "written", dir: "auto", "aria-live": "polite" }, h("span", { class: "soft" }, `Press ${label}.`));
  let source;
  const stop = () => { source?.close(); source = null; button.textContent = label; };
  signal.addEventListener("abort", stop);
  function write() {
    if (source) { stop(); return; }
    const asked = question();
    let text = asked.text;
    page.replaceChildren(h("span", { class: "soft" }, text));
    button.textContent = "Stop writing";
    const address = `/api/inside/write?${new URLSearchParams(asked)}`;
    source = new EventSource(address);
    source.onmessage = ({ data }) => {
      const token = JSON.parse(data);
      if (token.text) page.append(...draw(token, text));
      text += token.text;
      if (token.problem) page.append(problem(token.problem));
      if (token.end) stop();
    };
    source.onerror = async () => {
      stop();
      page.append(problem((await refusal(address)) ?? STOPPED));
    };
  }
  const button = h("button", { type: "button", class: "main", onclick: write }, label);
  return { button, page };
}
