// nettrim._cpu: which of the compiled variants this machine can run. Built for the oldest CPU, for
// it is imported before anything is known.
#include "cpu.hpp"

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_cpu, m, pybind11::mod_gil_not_used()) {
  const nettrim::Features features = nettrim::detect_features();
  m.attr("avx2") = features.avx2;
  m.attr("avx512") = features.avx512;
}
