"""Flows that fit one model many times: sweep, scaling, range test of the learning rate, comparison of optimisers."""
