"""Faults that the comparison with the golden model must find: each breaks one thing in the hardware or in a packet."""
