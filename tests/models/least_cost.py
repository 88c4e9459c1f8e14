"""The cost of the best code of words, computed without a tree."""

import heapq
from collections.abc import Iterable


def least_cost(counts: Iterable[int]) -> int:
    """Return the sum of counts times code lengths of Huffman's code: every join costs its sum."""
    heap, cost = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    return cost
