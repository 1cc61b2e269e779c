"""Power cuts: the writes of a real run are logged, and every state that the disk could be in is mounted and checked."""
