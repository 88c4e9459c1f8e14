"""The cache model: a static model mixed with counts of the recent stream."""
