// The state of the page is in its URL, #/room?key=value, so that a link shows what one sees.
// After the #, because what follows it is never sent to a server.

export function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  return { room: path, values: new URLSearchParams(query) };
}

export function link(room, values = new URLSearchParams()) {
  const query = values.toString();
  return `#/${room}${query ? `?${query}` : ""}`;
}

/** The state of one room: strings by key, with defaults that are left out of the URL. */
export class RoomState {
  constructor(room, defaults) {
    this.room = room;
    this.defaults = defaults;
    this.values = read().values;
  }

  get(key) {
    return this.values.get(key) ?? this.defaults[key] ?? "";
  }

  number(key) {
    const value = Number(this.get(key));
    return Number.isFinite(value) ? value : Number(this.defaults[key]);
  }

  /** A list, written with commas. */
  list(key) {
    return this.get(key).split(",").filter((item) => item !== "");
  }

  /** Change values; `push` adds a step for the back button, for choices rather than typing. */
  set(changes, { push = false } = {}) {
    for (const [key, value] of Object.entries(changes)) {
      const text = String(value ?? "");
      if (text === String(this.defaults[key] ?? "")) this.values.delete(key);
      else this.values.set(key, text);
    }
    history[push ? "pushState" : "replaceState"](null, "", link(this.room, this.values));
  }
}
