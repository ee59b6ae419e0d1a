"""What all benchmarks share: data, times, tables, and the machine they were measured on."""
