"""Define the commands of `reviewlm`, one module per group of commands."""
