"""Split reviews into training, validation and test, and certify that nothing leaks."""
