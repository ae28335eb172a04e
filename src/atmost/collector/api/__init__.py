"""The HTTP interface: typed JSON, the event stream, /metrics and the page."""
