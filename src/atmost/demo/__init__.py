"""The whole thing on one machine: this host's signals, a link that loses, a collector, and an account that must balance."""
