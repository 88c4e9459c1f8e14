"""Processes of this program: interrupts, children, memory, standard streams and background services."""
