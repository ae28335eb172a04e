# Tells Ruby's clients from Debian: ruby clients.rb CLIENT HOST PORT.
client, host, port = ARGV
case client
when "statsd"
  require "statsd"
  one = Statsd.new(host, port.to_i)
  one.increment("views")
  one.count("views", 3)
  one.decrement("stock")
  one.gauge("depth", -7)
  one.timing("load", 320)
  one.set("users", "fe80::1")
  100.times { one.increment("many") }
when "gelf"
  require "gelf"
  one = GELF::Notifier.new(host, port.to_i, "LAN", "facility" => "rubyapp")
  one.warn("plain")
  one.error("short_message" => "größe: full", "_user" => "ann", "full_message" => "größe: full\n" + "x" * 5000)
  begin
    raise "failed"
  rescue StandardError => e
    one.notify!(e)
  end
end
