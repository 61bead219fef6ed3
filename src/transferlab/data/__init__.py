"""From files to batches: readers, what may be seen of a target, preprocessing, batches by domain."""
