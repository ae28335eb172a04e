"""/metrics: the senders' series and the collector's own account as Prometheus families."""
