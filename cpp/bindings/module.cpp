// nettrim._core_<instruction set>: functions only, so that every variant can live in one process.

#include <pybind11/pybind11.h>

#include <string>

#include "nettrim/threads.hpp"
#include "nettrim/types.hpp"

namespace py = pybind11;

namespace nettrim::bindings {
void add_branch_hull(py::module_& m);
void add_budget(py::module_& m);
void add_layer(py::module_& m);
void add_units(py::module_& m);
}  // namespace nettrim::bindings

namespace {

py::dict build_info() {
#ifdef _OPENMP
  constexpr int openmp = _OPENMP;
#else
  constexpr int openmp = 0;
#endif
  const std::string eigen = std::to_string(EIGEN_WORLD_VERSION) + "." +
                            std::to_string(EIGEN_MAJOR_VERSION) + "." +
                            std::to_string(EIGEN_MINOR_VERSION);
  using namespace pybind11::literals;
  return py::dict("version"_a = NETTRIM_VERSION, "compiler"_a = NETTRIM_COMPILER,
                  "isa"_a = NETTRIM_ISA_NAME, "flags"_a = NETTRIM_FLAGS, "openmp"_a = openmp,
                  "eigen"_a = eigen);
}

}  // namespace

PYBIND11_MODULE(NETTRIM_MODULE, m, py::mod_gil_not_used()) {
  m.def("build_info", &build_info);
  m.def("may_start_threads", &nettrim::may_start_threads);
  m.def("work_alone", &nettrim::work_alone);
  nettrim::bindings::add_layer(m);
  nettrim::bindings::add_branch_hull(m);
  nettrim::bindings::add_budget(m);
  nettrim::bindings::add_units(m);
}
