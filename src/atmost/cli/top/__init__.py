"""`atmost top`: the collector's state in a terminal, live or once."""
