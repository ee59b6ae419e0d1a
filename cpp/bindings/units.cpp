#include "nettrim/units.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "signals.hpp"

namespace nettrim::bindings {
namespace {

UnitsProgram units_program(const std::vector<Array<double>>& grams,
                           const std::vector<Array<double>>& correlations,
                           const std::vector<Array<int>>& unit_of, const Array<bool>& keep) {
  UnitsProgram program;
  program.units = keep.shape(0);
  program.keep = keep.data();
  for (std::size_t k = 0; k < grams.size(); ++k) {
    program.forms.push_back({grams[k].shape(0), correlations[k].shape(1), grams[k].data(),
                             correlations[k].data(), unit_of[k].data()});
  }
  return program;
}

py::dict eliminate(const std::vector<Array<double>>& grams,
                   const std::vector<Array<double>>& correlations,
                   const std::vector<Array<int>>& unit_of, const Array<bool>& keep,
                   double time_limit, int n_threads) {
  const UnitsProgram program = units_program(grams, correlations, unit_of, keep);
  UnitsElimination e;
  {
    const py::gil_scoped_release unlock;
    e = eliminate_units(program, {n_threads, SignalCheck(), time_limit});
  }
  using namespace pybind11::literals;
  return py::dict("order"_a = e.order, "losses"_a = e.losses, "complete"_a = e.complete);
}

py::dict exchange(const std::vector<Array<double>>& grams,
                  const std::vector<Array<double>>& correlations,
                  const std::vector<Array<int>>& unit_of, const Array<bool>& keep,
                  const Array<bool>& kept, Index most, double worthwhile, double time_limit,
                  int n_threads) {
  const UnitsProgram program = units_program(grams, correlations, unit_of, keep);
  UnitsExchange e;
  {
    const py::gil_scoped_release unlock;
    e = exchange_units(program, kept.data(), most, worthwhile,
                       {n_threads, SignalCheck(), time_limit});
  }
  using namespace pybind11::literals;
  return py::dict("kept"_a = e.kept, "swaps"_a = e.swaps, "gain"_a = e.gain,
                  "complete"_a = e.complete);
}

}  // namespace

void add_units(py::module_& m) {
  const auto strict = [](const char* argument) { return py::arg(argument).noconvert(); };
  m.def("eliminate_units", &eliminate, strict("grams"), strict("correlations"), strict("unit_of"),
        py::kw_only(), strict("keep"), py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
  m.def("exchange_units", &exchange, strict("grams"), strict("correlations"), strict("unit_of"),
        py::kw_only(), strict("keep"), strict("kept"), py::arg("most"), py::arg("worthwhile"),
        py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
}

}  // namespace nettrim::bindings
