"""The protocols that programs already speak, each read by a pure function: bytes in, values out.

StatsD and DogStatsD, syslog, and GELF. None of them carries numbers that prove a loss, so nothing read here claims one,
but where a protocol tells something of it, that is kept. Nothing raises for what arrives; what is refused has a reason.
The protocols do not know each other.
"""
