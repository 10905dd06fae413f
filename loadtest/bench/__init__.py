"""The benchmarks: what a post costs, what a room gains over the recipe's loop, growth, packing, isolation, the limiter,
and imports."""
