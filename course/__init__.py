"""Teach one idea a program, by topic: words, networks, context, optimization, memory, uses; no stage imports them."""
