"""Each op once more in plain torch: readable, the truth for tests, the baseline for benchmarks."""
