"""Measures this machine: what sending and receiving cost here, beside the peers that are installed.

Peers carry a bare payload at their best settings; `atmost` runs with every rule on. Figures move from machine to machine:
what counts are ratios within one run, so the systems take turns, and every figure is a median with its spread.
"""
