// Measurements of many seconds: progress while they run, then their result.

import { STOPPED, refusal } from "./api.js";
import { h, percent } from "./dom.js";

/** Follow a measurement of the server; `progress(share)` is called meanwhile. Leaving ends it. */
export function measured(path, question, progress, signal) {
  return new Promise((resolve, reject) => {
    const address = `${path}?${new URLSearchParams(question)}`, source = new EventSource(address);
    const end = (settle, value) => { source.close(); settle(value); };
    signal.addEventListener("abort", () => end(reject, new DOMException("left", "AbortError")), { once: true });
    source.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.problem) end(reject, new Error(event.problem));
      else if (event.result) end(resolve, event.result);
      else progress(event.share);
    };
    source.onerror = async () => {
      source.close();
      end(reject, new Error((await refusal(address)) ?? STOPPED));
    };
  });
}

/** A bar with a text, for a measurement under way; hidden otherwise. */
export function progressBar() {
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress of the measurement" }), text = h("span", {});
  const element = h("div", { class: "progress", hidden: true, role: "status" }, bar, text);
  return {
    element,
    show(what, share = 0) { element.hidden = false; bar.value = share; text.textContent = `${what} … ${share ? percent(share, 0) : ""}`; },
    hide() { element.hidden = true; },
  };
}
