"""Carriers of datagrams; they know nothing of sessions, numbers or loss."""
