"""The benchmarks: what a post costs, what a room gains over the recipe's loop, packing, and imports."""
