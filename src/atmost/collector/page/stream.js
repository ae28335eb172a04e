// The live connection: Server-Sent Events read with fetch(), for EventSource can send no token; resumed where it broke off.

const FIRST_WAIT = 0.5;
const LONGEST_WAIT = 15;
const SILENCE = 10;
const LARGEST_EVENT = 8 << 20;

/** Turns text as it comes into events {event, data, id}; each is at most LARGEST_EVENT characters. */
export class EventParser {
  #buffer = "";
  #event = "";
  #data = [];
  #size = 0;
  #id = null;

  *push(text) {
    this.#buffer += text;
    let end;
    while ((end = this.#buffer.search(/\r\n|\n|\r(?!$)/)) >= 0) {
      const line = this.#buffer.slice(0, end);
      this.#buffer = this.#buffer.slice(end + (this.#buffer.startsWith("\r\n", end) ? 2 : 1));
      if (line === "") {
        if (this.#data.length) yield { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
        this.#event = "";
        this.#data = [];
        this.#size = 0;
      } else this.#field(line);
    }
    if (this.#buffer.length + this.#size > LARGEST_EVENT) throw new Error("an event larger than this page accepts");
  }

  #field(line) {
    const [, name, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
    if (name === "event") this.#event = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    } else if (name === "id" && !value.includes("\0")) this.#id = value;
  }
}

/** Seconds until the next try: doubled each time, up to 15, and spread so that many pages do not come at once. */
export function backoff(failures, random = Math.random()) {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures) * (0.5 + random / 2);
}

/**
 * Keeps the page connected. `told` is called as told.state(name, details), told.event(name, data), told.restarted(),
 * `await told.history()` for the log's cursor when there is none, and `await told.token(message)` where one is wanted.
 */
export class Connection {
  #api;
  #told;
  #started = null;
  #cursor = null;
  #failures = 0;
  #wake = () => {};

  constructor(api, told) {
    this.#api = api;
    this.#told = told;
  }

  /** Never returns: connects, listens, and connects again. */
  async run() {
    for (;;) {
      try {
        this.#told.state("connecting", {});
        await this.#snapshot();
        await this.#listen();
        throw new Error("The collector ended the stream.");
      } catch (error) {
        if (error.status === 401) await this.#told.token(error.message);
        else await this.#wait(error);
      }
    }
  }

  /** Ends the wait for the next try. */
  retry() {
    this.#wake();
  }

  /** The state as it is now; another start of the collector means that its cursors begin anew. */
  async #snapshot() {
    const overview = await this.#api.get("overview");
    if (this.#started !== null && overview.started !== this.#started) {
      this.#cursor = null;
      this.#told.restarted(overview);
    }
    this.#started = overview.started;
    this.#told.event("overview", overview);
    const [senders, heartbeats] = await Promise.all([this.#api.get("senders"), this.#api.get("heartbeats")]);
    this.#told.event("senders", senders);
    this.#told.event("heartbeats", heartbeats);
    if (this.#cursor === null) this.#cursor = await this.#told.history();
  }

  async #listen() {
    const abort = new AbortController();
    let heard = performance.now();
    const watchdog = setInterval(() => {
      if (performance.now() - heard > SILENCE * 1000) abort.abort();
    }, 1000);
    try {
      const body = await this.#api.stream(this.#cursor, abort.signal);
      this.#told.state("live", {});
      const parser = new EventParser();
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        heard = performance.now();
        for (const event of parser.push(part.value)) this.#take(event);
      }
    } finally {
      clearInterval(watchdog);
      abort.abort();
    }
  }

  #take({ event, data, id }) {
    this.#failures = 0;
    const said = JSON.parse(data);
    if (event === "logs") this.#cursor = said.cursor ?? Number(id);
    this.#told.event(event, said);
  }

  async #wait(error) {
    const seconds = backoff(this.#failures++);
    this.#told.state("waiting", { seconds, message: error.status ? error.message : "The collector does not answer." });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
