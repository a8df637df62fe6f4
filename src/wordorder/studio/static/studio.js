// The frame of the page: menu, theme, and the room that the URL names.

import { GONE, get } from "./lib/api.js";
import { themeButton } from "./lib/colours.js";
import { h } from "./lib/dom.js";
import { problem } from "./lib/figure.js";
import { STEPS, task } from "./lib/lesson.js";
import { RoomState, link, read } from "./lib/state.js";

const main = document.getElementById("room"), nav = document.getElementById("rooms");
let studio, leaving;
const bar = h("div", {});

async function open({ focus = false } = {}) {
  leaving?.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const entry = studio.rooms.find(({ name }) => name === read().room) ?? studio.rooms[0];
  for (const anchor of nav.children) {
    if (anchor.dataset.room === entry.name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  // Not scrollIntoView, after which the Tab key goes on from the link instead of from the top.
  const chosen = nav.querySelector("[aria-current]").getBoundingClientRect(), row = nav.getBoundingClientRect();
  nav.scrollLeft += chosen.left + chosen.width / 2 - row.left - row.width / 2;
  document.title = `${entry.title} · wordorder studio`;
  let room;
  try {
    room = await import(`./rooms/${entry.name}.js`);
  } catch {
    if (!signal.aborted) main.replaceChildren(h("h1", {}, entry.title), problem(GONE));
    return;
  }
  if (signal.aborted) return;
  try {
    const state = new RoomState(entry.name, room.defaults(studio));
    const place = h("div", {});
    main.replaceChildren(h("h1", {}, entry.title), h("p", { class: "lead" }, `${entry.purpose[0].toUpperCase()}${entry.purpose.slice(1)}`), bar, place);
    bar.replaceChildren(...lessonBar(entry.name));
    await room.render({ place, studio, state, signal, reopen: open });
  } catch (error) {
    if (!signal.aborted) main.append(problem(error.message));
  }
  if (focus) main.focus({ preventScroll: true });
}

function footer() {
  const runs = studio.runs.length
    ? h("details", {}, h("summary", {}, `Open runs: ${studio.runs.length}`), h("ul", {}, studio.runs.map(({ name, about }) => h("li", {}, `${name} (${about})`))))
    : h("p", {}, "No run is open. Train one in the Build room, or open some with: wordorder studio RUN …");
  document.getElementById("footer").replaceChildren(h("p", {}, `wordorder ${studio.version}`), runs);
}

/** What the lesson asks for, above the room that it led to. */
function lessonBar(room) {
  const number = Number(read().values.get("lesson"));
  const at = (step) => link("lesson", new URLSearchParams({ step }));
  if (!(number >= 1 && number <= STEPS.length) || room === "lesson") {
    return room === studio.rooms[0].name ? [h("p", {}, "New here? ", h("a", { href: link("lesson") }, "Nine short steps"), " lead through the rooms.")] : [];
  }
  const { text, see, label, href, room: own } = task(studio, number);
  return [h("aside", { class: "bar", "aria-label": "Lesson" },
    h("p", {}, h("b", {}, `Lesson, step ${number} of ${STEPS.length}: ${STEPS[number - 1].title}. `), text, " ", h("span", { class: "soft" }, see)),
    h("p", {}, own === room ? null : h("a", { href }, `${label} →`), h("a", { href: at(number) }, "← Back to the lesson"), number < STEPS.length ? h("a", { href: at(number + 1) }, "Next step →") : null))];
}

async function start() {
  themeButton(document.getElementById("theme"));
  try {
    studio = await get("/api/studio");
  } catch (error) {
    main.replaceChildren(problem(error.message));
    return;
  }
  nav.append(...studio.rooms.map(({ name, title, purpose }) => h("a", { href: link(name), "data-room": name, title: purpose }, title)));
  footer();
  document.addEventListener("runschange", async ({ detail }) => {
    try {
      studio = await get("/api/studio");
    } catch {
      return; // the room that follows the run says so
    }
    footer();
    bar.replaceChildren(...lessonBar(document.querySelector("[aria-current]").dataset.room));
    if (detail.reopen) await open();
  });
  addEventListener("popstate", () => open());
  document.querySelector("a.skip").addEventListener("click", (event) => { // a room's name follows the #
    event.preventDefault();
    main.focus();
  });
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest('a[href^="#/"]');
    if (!anchor || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", anchor.getAttribute("href"));
    scrollTo(0, 0);
    open({ focus: true });
  });
  await open();
}

start();
