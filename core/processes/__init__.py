"""Processes of this program: interrupts, children, memory, standard streams."""
