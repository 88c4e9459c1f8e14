"""Choose, register, judge and promote a challenger."""
