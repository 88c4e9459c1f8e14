"""Train small networks on tasks that need memory, with and without an external memory."""
