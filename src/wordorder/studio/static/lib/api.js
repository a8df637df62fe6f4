// Requests. A problem that the server names is an Error with its message.

export const STOPPED = "the studio stopped answering: look at its terminal";
export const GONE = "the studio does not answer: is `wordorder studio` still running in its terminal?";

async function answer(response) {
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Error(`the studio answered ${response.status} without a message: its terminal has more`);
  }
  if (!response.ok) throw new Error(body.message ?? `the studio answered ${response.status}`);
  return body;
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  return answer(response);
}

export const get = (path, signal) => request(path, { signal });

export const post = (path, body, signal) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal });

/** Return a `post` that aborts its previous request, and then returns null for that one. */
export function latest() {
  let controller;
  const send = async (path, body) => {
    controller?.abort();
    const own = (controller = new AbortController());
    try {
      const result = await post(path, body, own.signal);
      return own.signal.aborted ? null : result;
    } catch (error) {
      if (error.name === "AbortError" || own.signal.aborted) return null;
      throw error;
    }
  };
  send.cancel = () => controller?.abort();
  return send;
}

/** Return why an event stream ended: the server's message if it refuses the address, otherwise null. */
export async function refusal(address) {
  const controller = new AbortController();
  try {
    const response = await fetch(address, { signal: controller.signal });
    return response.ok ? null : ((await response.json()).message ?? null);
  } catch {
    return null;
  } finally {
    controller.abort();
  }
}
