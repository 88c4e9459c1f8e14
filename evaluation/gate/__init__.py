"""Decide whether a challenger becomes champion: policy and evidence in, decision out."""
