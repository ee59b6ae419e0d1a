"""What every room stands on: arrays, arguments, errors, files, tables, and the compiled core."""
