"""Networks with an external memory, and the tasks that need one: association and chains of implications."""
