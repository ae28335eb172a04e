<?php // Logs by PHP's Monolog from Debian: php clients.php CLIENT HOST PORT.
require "Monolog/autoload.php";
[, $client, $host, $port] = $argv;
$rfc = $client == "monolog-5424" ? Monolog\Handler\SyslogUdpHandler::RFC5424 : Monolog\Handler\SyslogUdpHandler::RFC3164;
$handler = new Monolog\Handler\SyslogUdpHandler($host, (int) $port, LOG_LOCAL0, Monolog\Logger::DEBUG, true, "phpapp", $rfc);
$handler->setFormatter(new Monolog\Formatter\LineFormatter("%message%"));
$logger = new Monolog\Logger("shop", [$handler]);
foreach (["plain", "größe: full", '{"user": "ann"}', "two\nlines"] as $text) $logger->warning($text);
