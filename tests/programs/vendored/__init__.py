"""A package as a registered model has it: kernels beside a copy of the module that compiles them."""
