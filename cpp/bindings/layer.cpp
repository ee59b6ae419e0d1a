#include "nettrim/layer.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "signals.hpp"

namespace nettrim::bindings {
namespace {

LayerOptions layer_options(double tol, Index max_iter, double time_limit, int n_threads,
                           const py::object& callback) {
  LayerOptions options;
  options.tol = tol;
  options.max_iter = max_iter;
  options.time_limit = time_limit;
  options.n_threads = n_threads;
  options.callback = with_lock<LayerProgress>(callback, [](const py::object& tell, const auto& p) {
    return tell(p.iteration, p.objective, p.dual_bound, p.gap, p.residual, p.violation, p.seconds);
  });
  options.interrupted = SignalCheck();
  return options;
}

template <class S>
LayerProgram<S> program_of(const Array<S>& X, const Array<S>& Y, const OptionalArray<S>& upper,
                           const OptionalArray<bool>& active, bool relu,
                           const OptionalArray<double>& costs) {
  LayerProgram<S> program;
  program.samples = X.shape(0);
  program.features = X.shape(1);
  program.outputs = Y.shape(1);
  program.X = X.data();
  program.Y = Y.data();
  program.upper = data_or_null(upper);
  program.active = data_or_null(active);
  program.activation = relu ? Activation::relu : Activation::linear;
  program.costs = data_or_null(costs);
  return program;
}

template <class S>
Regularisation<S> regularisation_of(double ridge, double pull, const OptionalArray<S>& original) {
  return {ridge, pull, data_or_null(original)};
}

FeatureGroups groups_of(const OptionalArray<Index>& groups, const OptionalArray<double>& prices) {
  if (!groups || !prices) return {};
  return {prices->shape(0), groups->data(), prices->data()};
}

template <class S>
py::dict to_dict(LayerSolution<S>&& s) {
  using namespace pybind11::literals;
  auto fields = py::dict(
      "weights"_a = to_array(std::move(s.weights)), "objective"_a = s.objective,
      "dual_bound"_a = s.dual_bound, "gap"_a = s.gap, "residual"_a = s.residual,
      "violation"_a = s.violation, "epsilon"_a = s.epsilon, "penalty"_a = s.penalty,
      "status"_a = name(s.status), "iterations"_a = s.iterations, "solver"_a = s.solver,
      "reason"_a = s.reason, "seconds"_a = s.seconds, "dual"_a = to_array(std::move(s.dual)));
  if (s.slopes.size() > 0) {
    fields["slopes"] = py::array_t<double>(s.slopes.size(), s.slopes.data());
  }
  return fields;
}

template <class S>
py::dict solve(const Array<S>& X, const Array<S>& Y, const OptionalArray<S>& upper,
               const OptionalArray<bool>& active, bool relu, std::optional<double> epsilon,
               std::optional<double> penalty, const std::string& solver, double tol, Index max_iter,
               double time_limit, Index check_every, int n_threads,
               const OptionalArray<S>& start_weights, const OptionalArray<S>& start_dual,
               const py::object& callback, const OptionalArray<Index>& groups,
               const OptionalArray<double>& prices, double ridge, double pull,
               const OptionalArray<S>& original, const OptionalArray<double>& costs) {
  LayerProgram<S> program = program_of(X, Y, upper, active, relu, costs);
  program.groups = groups_of(groups, prices);
  program.regularisation = regularisation_of(ridge, pull, original);
  program.form = epsilon ? Form::constrained : Form::penalised;
  program.level = epsilon ? *epsilon : penalty.value();

  LayerOptions options = layer_options(tol, max_iter, time_limit, n_threads, callback);
  options.solver = solver_named(solver);
  options.check_every = check_every;

  const LayerStart<S> start{data_or_null(start_weights), data_or_null(start_dual)};
  LayerSolution<S> s;
  {
    const py::gil_scoped_release unlock;
    s = solve_layer(program, options, start);
  }
  return to_dict(std::move(s));
}

template <class S>
py::list trace(const Array<S>& X, const Array<S>& Y, const OptionalArray<S>& upper,
               const OptionalArray<bool>& active, bool relu, const std::vector<double>& epsilons,
               double tol, Index max_iter, double time_limit, int n_threads,
               const py::object& callback, const OptionalArray<Index>& groups,
               const OptionalArray<double>& prices, double ridge, double pull,
               const OptionalArray<S>& original, const OptionalArray<double>& costs) {
  const LayerOptions options = layer_options(tol, max_iter, time_limit, n_threads, callback);
  LayerProgram<S> program = program_of(X, Y, upper, active, relu, costs);
  program.groups = groups_of(groups, prices);
  program.regularisation = regularisation_of(ridge, pull, original);
  std::vector<LayerSolution<S>> solutions;
  {
    const py::gil_scoped_release unlock;
    solutions = trace_layer(program, epsilons, options);
  }
  py::list list;
  for (auto& s : solutions) list.append(to_dict(std::move(s)));
  return list;
}

template <class S>
void add_solve(py::module_& m) {
  const auto strict = [](const char* argument) { return py::arg(argument).noconvert(); };
  m.def("solve_layer", &solve<S>, strict("X"), strict("Y"), py::kw_only(),
        strict("upper").none(true), strict("active").none(true), py::arg("relu"),
        py::arg("epsilon"), py::arg("penalty"), py::arg("solver"), py::arg("tol"),
        py::arg("max_iter"), py::arg("time_limit"), py::arg("check_every"), py::arg("n_threads"),
        strict("start_weights").none(true), strict("start_dual").none(true), py::arg("callback"),
        strict("groups").none(true) = py::none(), strict("prices").none(true) = py::none(),
        py::arg("ridge") = 0.0, py::arg("pull") = 0.0, strict("original").none(true) = py::none(),
        strict("costs").none(true) = py::none());
  m.def("trace_layer", &trace<S>, strict("X"), strict("Y"), py::kw_only(),
        strict("upper").none(true), strict("active").none(true), py::arg("relu"),
        py::arg("epsilons"), py::arg("tol"), py::arg("max_iter"), py::arg("time_limit"),
        py::arg("n_threads"), py::arg("callback"), strict("groups").none(true) = py::none(),
        strict("prices").none(true) = py::none(), py::arg("ridge") = 0.0, py::arg("pull") = 0.0,
        strict("original").none(true) = py::none(), strict("costs").none(true) = py::none());
}

}  // namespace

void add_layer(py::module_& m) {
  add_solve<double>(m);
  add_solve<float>(m);
}

}  // namespace nettrim::bindings
