// Puts the page together: the live connection feeds the panels, and what the stream does not carry is asked for now and then.

import { Api } from "./api.js";
import { showAccount } from "./account.js";
import { Charts } from "./charts.js";
import { byId } from "./dom.js";
import { showHeartbeats, showHeartbeatsOf } from "./heartbeats.js";
import { showIntake, showRejected } from "./intake.js";
import { askToken, heard, showLink } from "./link.js";
import { Logs } from "./logs.js";
import { showOverview } from "./overview.js";
import { Picker } from "./picker.js";
import { Senders } from "./senders.js";
import { Connection } from "./stream.js";
import { showSubjects } from "./subjects.js";
import { startTheme } from "./theme.js";

const ASK_EVERY = 2_000;
const SERIES_EVERY = 5;
const SERIES = 100;

startTheme();
const api = new Api();
let overview = null;
let isLive = false;
let asks = 0;
const charts = new Charts(api);
const logs = new Logs(api, () => overview);
const picker = new Picker(api, charts);
const senders = new Senders(api, {
  logs: (name) => logs.only(name),
  series: (name) => picker.search(name),
  heartbeats: (name) => showHeartbeatsOf(name),
});

const shows = {
  overview(said) {
    overview = said;
    heard(said.now);
    showOverview(said);
    showIntake(said);
  },
  senders(said) {
    senders.take(said, overview);
    logs.learn(said.senders.map((sender) => sender.name));
  },
  heartbeats: (said) => showHeartbeats(said, overview, api),
  logs: (said) => logs.take(said),
};

const connection = new Connection(api, {
  state(name, details) {
    const wasLive = isLive;
    isLive = name === "live";
    showLink(name, details);
    if (isLive && !wasLive) {
      askForMore();
      charts.refresh();
    }
  },
  event(name, said) {
    try {
      shows[name]?.(said);
    } catch (error) {
      console.error(error); // a defect in one panel must not look like a broken connection, nor stop the others
    }
  },
  restarted: (said) => logs.restarted(said),
  history: () => logs.history(),
  async token(message) {
    api.token = await askToken(message);
  },
});
byId("link-retry").addEventListener("click", () => connection.retry());
setInterval(askForMore, ASK_EVERY);
connection.run();

/** The account, what was rejected, and which series there are; a failure shows as the broken connection that it is. */
async function askForMore() {
  if (!isLive || document.hidden) return;
  const wantsSeries = charts.isEmpty || asks++ % SERIES_EVERY === 0;
  const [ledger, rejected, subjects, series] = await Promise.all([ask("ledger"), ask("rejected"), ask("subjects"), wantsSeries ? ask("series") : null]);
  if (ledger) showAccount(ledger);
  if (rejected) showRejected(rejected, overview);
  if (subjects) showSubjects(subjects, overview);
  if (series) charts.offer(series.series, overview);
}

async function ask(path) {
  try {
    return await api.get(path, path === "series" ? { limit: SERIES } : {});
  } catch {
    return null;
  }
}
