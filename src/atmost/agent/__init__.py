"""The host agent: this machine's readings and its log files, sent to a collector."""
