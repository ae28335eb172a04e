# Tells Perl's clients from Debian: perl clients.pl CLIENT HOST PORT.
use strict; use warnings; no warnings 'once';
my ($client, $host, $port) = @ARGV;
if ($client eq "Net::Statsd") {
    require Net::Statsd;
    $Net::Statsd::HOST = $host; $Net::Statsd::PORT = $port;
    Net::Statsd::increment("views"); Net::Statsd::update_stats("views", 3); Net::Statsd::decrement("stock");
    Net::Statsd::timing("load", 320); Net::Statsd::gauge("depth", 70);
    Net::Statsd::increment("many") for 1 .. 100;
} elsif ($client eq "Sys::Syslog") {
    require Sys::Syslog; Sys::Syslog->import(qw(:standard :macros setlogsock));
    Sys::Syslog::setlogsock({ type => "udp", host => $host, port => $port });
    Sys::Syslog::openlog("perlapp", "ndelay,pid", "local0");
    Sys::Syslog::syslog("warning", "%s", $_) for "plain", "gr\xc3\xb6\xc3\x9fe: full", '{"user": "ann"}';
    Sys::Syslog::closelog();
}
