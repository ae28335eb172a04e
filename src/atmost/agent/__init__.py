"""The host agent: what this machine can tell about itself, its readings and its log files."""
