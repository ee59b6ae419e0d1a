#include "nettrim/branch_hull.hpp"

#include <pybind11/eigen.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "arrays.hpp"
#include "nettrim/anchored_tv.hpp"
#include "nettrim/hyperbola.hpp"
#include "signals.hpp"

namespace nettrim::bindings {
namespace {

BranchHullOptions hull_options(double tol, Index max_iter, double time_limit, int n_threads,
                               const py::object& callback) {
  BranchHullOptions options;
  options.tol = tol;
  options.max_iter = max_iter;
  options.time_limit = time_limit;
  options.n_threads = n_threads;
  options.callback =
      with_lock<BranchHullProgress>(callback, [](const py::object& tell, const auto& p) {
        return tell(p.iteration, p.objective, p.dual_bound, p.gap, p.seconds);
      });
  options.interrupted = SignalCheck();
  return options;
}

// An array, or a pair of Python callables: its products with coefficients and with signals.
using AnyDictionary = std::variant<Array<double>, std::pair<py::object, py::object>>;

// Holds no reference of its own, for it is copied where Python's lock is not held.
auto product_by(py::handle callable, Index size, Index result_size) {
  return [=](const double* x, double* y) {
    const py::gil_scoped_acquire lock;
    const Array<double> result = callable(Array<double>(size, x));
    if (result.size() != result_size) {
      throw py::value_error("a product with a dictionary has the wrong size");
    }
    std::copy_n(result.data(), result_size, y);
  };
}

HullDictionary dictionary_of(const AnyDictionary& given, Index rows, Index size) {
  HullDictionary dictionary;
  if (const auto* array = std::get_if<Array<double>>(&given)) {
    dictionary.entries = array->data();
  } else {
    const auto& [signal, correlations] = std::get<1>(given);
    dictionary.signal = product_by(signal, size, rows);
    dictionary.correlations = product_by(correlations, rows, size);
  }
  return dictionary;
}

py::dict solve_hull(const AnyDictionary& A, const AnyDictionary& D, const Array<double>& r,
                    const Array<std::uint8_t>& kinds, const OptionalArray<double>& slack_penalty,
                    const OptionalArray<double>& v_signs, Index h_size, Index m_size,
                    Index snapshots, bool own_dictionaries, bool l1, double tangent_ratio,
                    const std::string& solver, double tol, Index max_iter, double time_limit,
                    int n_threads, const py::object& callback) {
  BranchHullProgram program;
  program.rows = r.size() / snapshots;
  program.snapshots = snapshots;
  program.own_dictionaries = own_dictionaries;
  program.v_signs = data_or_null(v_signs);
  program.h_size = h_size;
  program.m_size = m_size;
  program.A = dictionary_of(A, program.rows, h_size);
  program.D = dictionary_of(D, program.rows, m_size);
  program.r = r.data();
  program.kinds = reinterpret_cast<const HullRow*>(kinds.data());
  program.gauge = l1 ? Gauge::l1 : Gauge::l2;
  program.slack_penalty = data_or_null(slack_penalty);
  program.tangent_ratio = tangent_ratio;
  auto options = hull_options(tol, max_iter, time_limit, n_threads, callback);
  options.solver = hull_solver_named(solver);
  BranchHullSolution s;
  {
    const py::gil_scoped_release unlock;
    s = solve_branch_hull(program, options);
  }
  using namespace pybind11::literals;
  return py::dict("h"_a = s.h, "m"_a = s.m, "xi"_a = s.xi, "p"_a = s.p, "q"_a = s.q,
                  "objective"_a = s.objective, "dual_bound"_a = s.dual_bound, "gap"_a = s.gap,
                  "status"_a = name(s.status), "iterations"_a = s.iterations, "solver"_a = s.solver,
                  "seconds"_a = s.seconds);
}

py::dict separate(const Array<double>& image, const Array<double>& basis, double mu, double slack,
                  double tol, Index max_iter, double time_limit, int n_threads,
                  const py::object& callback) {
  AnchoredTvProgram program;
  program.height = image.shape(0);
  program.width = image.shape(1);
  program.modes = basis.shape(1);
  program.image = image.data();
  program.basis = basis.data();
  program.mu = mu;
  program.slack = slack;
  const auto options = hull_options(tol, max_iter, time_limit, n_threads, callback);
  AnchoredTvSolution s;
  {
    const py::gil_scoped_release unlock;
    s = solve_anchored_tv(program, options);
  }
  using namespace pybind11::literals;
  return py::dict("w"_a = s.w, "x"_a = s.x, "xi"_a = s.xi, "objective"_a = s.objective,
                  "dual_bound"_a = s.dual_bound, "gap"_a = s.gap, "status"_a = name(s.status),
                  "iterations"_a = s.iterations, "seconds"_a = s.seconds);
}

// In place.
void project(const Array<double>& r, Array<double>& u, Array<double>& v) {
  project_onto_branch_hulls(r.size(), r.data(), u.mutable_data(), v.mutable_data());
}

}  // namespace

void add_branch_hull(py::module_& m) {
  const auto strict = [](const char* argument) { return py::arg(argument).noconvert(); };
  m.def("solve_branch_hull", &solve_hull, strict("A"), strict("D"), strict("r"), strict("kinds"),
        py::kw_only(), strict("slack_penalty").none(true), strict("v_signs").none(true),
        py::arg("h_size"), py::arg("m_size"), py::arg("snapshots"), py::arg("own_dictionaries"),
        py::arg("l1"), py::arg("tangent_ratio"), py::arg("solver"), py::arg("tol"),
        py::arg("max_iter"), py::arg("time_limit"), py::arg("n_threads"), py::arg("callback"));
  m.def("solve_anchored_tv", &separate, strict("image"), strict("basis"), py::kw_only(),
        py::arg("mu"), py::arg("slack"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
        py::arg("n_threads"), py::arg("callback"));
  m.def("project_onto_branch_hulls", &project, strict("r"), strict("u"), strict("v"));
}

}  // namespace nettrim::bindings
