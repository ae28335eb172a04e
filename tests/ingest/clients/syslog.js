// Logs by syslog clients of npm: node syslog.js CLIENT HOST PORT.
const [client, host, port] = process.argv.slice(2);
const TEXTS = ["plain", "größe: full", '{"user": "ann", "ip": "1"}', "key=value other: x"];

const clients = {
  ain2() {
    const Syslog = require("ain2");
    const one = new Syslog({ tag: "ainapp", facility: "local0", hostname: "ainhost", address: host, port: Number(port) });
    TEXTS.forEach((text) => one.warn(text));
    setTimeout(() => process.exit(0), 300);
  },
  "syslog-client"() {
    const syslog = require("syslog-client");
    const one = syslog.createClient(host, { port: Number(port), syslogHostname: "schost", appName: "scapp", transport: syslog.Transport.Udp });
    let left = TEXTS.length;
    TEXTS.forEach((text) => one.log(text, { facility: syslog.Facility.Local0, severity: syslog.Severity.Warning }, () => --left || one.close()));
  },
  "syslog-client-5424"() {
    const syslog = require("syslog-client");
    const one = syslog.createClient(host, { port: Number(port), syslogHostname: "schost", appName: "scapp", rfc3164: false });
    let left = TEXTS.length;
    TEXTS.forEach((text) => one.log(text, { facility: syslog.Facility.Local0, severity: syslog.Severity.Warning, msgid: "ID7" }, () => --left || one.close()));
  },
  "winston-syslog"(type = "BSD") {
    const winston = require("winston");
    const { Syslog } = require("winston-syslog");
    const transport = new Syslog({ host, port: Number(port), protocol: "udp4", app_name: "winapp", localhost: "winhost", facility: "local0", type });
    const logger = winston.createLogger({ levels: winston.config.syslog.levels, format: winston.format.printf(({ message }) => message), transports: [transport] });
    TEXTS.forEach((text) => logger.warning(text));
    setTimeout(() => process.exit(0), 300);
  },
  "winston-syslog-5424"() {
    clients["winston-syslog"]("5424");
  },
};
clients[client]();
