// Asks the collector, always the one that served this page. The token travels in a header, never in an address.

const KEY = "atmost.token";
const PATIENCE = 10_000;

/** An answer that is no success; `status` 0 when there was none. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  #token = takeToken();

  /** Keeps a token for this tab. */
  set token(text) {
    this.#token = text;
    sessionStorage.setItem(KEY, text);
  }

  /** One object of the interface; null, undefined and empty parameters are left out. */
  async get(path, parameters = {}) {
    const answer = await this.#fetch(path, parameters, {}, AbortSignal.timeout(PATIENCE));
    return answer.json();
  }

  /** Has something forgotten. */
  async delete(path, parameters = {}) {
    const answer = await this.#fetch(path, parameters, {}, AbortSignal.timeout(PATIENCE), "DELETE");
    return answer.json();
  }

  /** The event stream's body, from after `cursor`. */
  async stream(cursor, signal) {
    const headers = { Accept: "text/event-stream" };
    if (cursor !== null) headers["Last-Event-ID"] = String(cursor);
    return (await this.#fetch("stream", {}, headers, signal)).body;
  }

  async #fetch(path, parameters, headers, signal, method = "GET") {
    const url = new URL(`api/v1/${path}`, document.baseURI);
    for (const [name, value] of Object.entries(parameters)) {
      for (const one of Array.isArray(value) ? value : [value]) {
        if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
      }
    }
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    let answer;
    try {
      answer = await fetch(url, { method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
    } catch (error) {
      if (signal.aborted && error.name !== "TimeoutError") throw error;
      throw new ApiError(0, "no_answer", "The collector does not answer.");
    }
    if (!answer.ok) throw await refusal(answer);
    return answer;
  }
}

async function refusal(answer) {
  const said = await answer.json().catch(() => null);
  const { code = "refused", message = `The collector answered with status ${answer.status}.` } = said?.error ?? {};
  return new ApiError(answer.status, code, message);
}

/** The token given in the page's address moves to this tab's storage, so that no copied address or history holds it. */
function takeToken() {
  const here = new URL(location.href);
  const given = here.searchParams.get("token");
  if (given === null) return sessionStorage.getItem(KEY);
  here.searchParams.delete("token");
  history.replaceState(null, "", here);
  sessionStorage.setItem(KEY, given);
  return given;
}
