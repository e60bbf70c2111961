"""Benchmarks side by side with what people use today. Each prints ratios measured in one run."""
