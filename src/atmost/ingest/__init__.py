"""The protocols that programs already speak, each read by a pure function: bytes in, values out.

StatsD and DogStatsD, syslog, and GELF. None of them carries numbers that prove a loss, so no loss is reported here,
but what a protocol does report of it is kept. No input raises an exception; every refusal has a reason.
The protocols do not know each other.
"""
