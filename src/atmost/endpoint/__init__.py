"""Joins the core, a transport, clocks and threads into what users hold."""
