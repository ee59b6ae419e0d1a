#!/usr/bin/env bash
# h5py 3.16.0, netCDF4 1.7.5.1.post1, zarr 3.1.6, numpy 2.4.6: an array of int64 with values that uint8 doesn't hold,
# written to an array of uint8 in a file, or read as uint8 from one.
# Guess: the cast is numpy's, 300 becomes 44 and -5 becomes 251, as in array[:] = values, in all three; what one library
# does is at least the same in all its ways to write and read.
# Seen: zarr and netCDF4 cast as numpy does. h5py has HDF5 cast, which cuts to the range: 255 and 0. netCDF4's files are
# HDF5 as well, so the same values make two different files. h5py itself does both: dataset.astype("u1")[:] is not
# dataset[:].astype("u1"), and an attribute written by attrs.create(dtype="u1") holds 44 and 251, but after attrs.modify
# with the very same values 255 and 0. Nothing warns.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check h5py==3.16.0 netCDF4==1.7.5.1.post1 zarr==3.1.6 \
    numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W error - <<'PYTHON'
import h5py
import netCDF4
import numpy as np
import zarr

values = np.array([300, -5, 1, 254], np.int64)
by_numpy, cut = [44, 251, 1, 254], [255, 0, 1, 254]
assigned = np.empty(4, "u1")
assigned[:] = values
seen = {"numpy": assigned, "numpy, astype": values.astype("u1")}

array = zarr.create_array("values.zarr", shape=4, chunks=(4,), dtype="u1")
array[:] = values
seen["zarr, array[:] ="] = array[:]
with netCDF4.Dataset("values.nc", "w", format="NETCDF4") as file:
    file.createDimension("n", 4)
    variable = file.createVariable("values", "u1", ("n",), fill_value=False)
    variable[:] = values
with h5py.File("values.nc") as file:
    seen["netCDF4, variable[:] ="] = file["values"][:]
with h5py.File("values.h5", "w") as file:
    dataset = file.create_dataset("assigned", 4, "u1")
    dataset[:] = values
    seen["h5py, dataset[:] ="] = dataset[:]
    seen["h5py, create_dataset"] = file.create_dataset("made", data=values, dtype="u1")[:]
    whole = file.create_dataset("whole", data=values)
    seen["h5py, dataset[:].astype"] = whole[:].astype("u1")
    seen["h5py, dataset.astype[:]"] = whole.astype("u1")[:]
    whole.attrs.create("values", values, dtype="u1")
    seen["h5py, attrs.create"] = whole.attrs["values"]
    whole.attrs.modify("values", values)
    seen["h5py, attrs.modify"] = whole.attrs["values"]
    assert whole.attrs["values"].dtype == np.uint8

for way, result in seen.items():
    print(f"{way}: {result.tolist()}")
own = {"h5py, dataset[:].astype", "h5py, attrs.create"}
for way, result in seen.items():
    cuts = way.startswith("h5py") and way not in own
    assert result.tolist() == (cut if cuts else by_numpy), "this has changed"
PYTHON
