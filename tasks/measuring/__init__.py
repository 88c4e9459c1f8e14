"""Do the work that needs an opened model: in processes of its own while many models are evaluated, else in this one."""
