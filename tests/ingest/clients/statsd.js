// Tells StatsD clients of npm one of each kind: node statsd.js CLIENT HOST PORT.
const [client, host, port] = process.argv.slice(2);

const clients = {
  "hot-shots"() {
    const StatsD = require("hot-shots");
    const one = new StatsD({ host, port: Number(port), globalTags: { env: "prod" }, maxBufferSize: 1000, bufferFlushInterval: 50 });
    one.increment("views", 3, ["route:home"]);
    one.decrement("stock");
    one.gauge("depth", -7, ["queue:a"]);
    one.timing("load", 320);
    one.histogram("size", 12.5, 1, ["k:v"]);
    one.distribution("latency", 0.25);
    one.set("users", "fe80::1");
    one.event("deploy", "first\nsecond|third", { alert_type: "error", aggregation_key: "web", priority: "low" }, ["k:v"]);
    one.check("db", one.CHECKS.CRITICAL, { message: "gone" }, ["k:v"]);
    for (let number = 0; number < 100; number++) one.increment("many");
    one.close();
  },
  "statsd-client"() {
    const Client = require("statsd-client");
    const one = new Client({ host, port: Number(port), prefix: "shop" });
    one.counter("views", 3);
    one.increment("views");
    one.decrement("stock");
    one.gauge("depth", 70);
    one.gaugeDelta("depth", -6);
    one.gaugeDelta("depth", 4);
    one.timing("load", 320);
    one.histogram("size", 12.5, { k: "v" });
    one.set("users", "http://x:80/");
    for (let number = 0; number < 100; number++) one.increment("many");
    setTimeout(() => one.close(), 300);
  },
};
clients[client]();
