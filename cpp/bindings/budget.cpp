#include <pybind11/stl.h>

#include "arrays.hpp"
#include "nettrim/gelu.hpp"
#include "nettrim/quadratic.hpp"
#include "signals.hpp"

namespace nettrim::bindings {
namespace {

BudgetProgram program_of(const Array<double>& X, const Array<double>& target,
                         const OptionalArray<double>& upper, const OptionalArray<bool>& active,
                         const Array<double>& prior, double pull, double ridge) {
  BudgetProgram program;
  program.samples = X.shape(0);
  program.features = X.shape(1);
  program.outputs = target.shape(1);
  program.X = X.data();
  program.target = target.data();
  program.upper = data_or_null(upper);
  program.active = data_or_null(active);
  program.prior = prior.data();
  program.pull = pull;
  program.ridge = ridge;
  return program;
}

BudgetOptions budget_options(double time_limit, int n_threads) {
  return {n_threads, SignalCheck(), time_limit};
}

py::dict trace(const Array<double>& X, const Array<double>& target,
               const OptionalArray<double>& gram, const OptionalArray<double>& upper,
               const OptionalArray<bool>& active, const Array<double>& prior, double pull,
               double ridge, const OptionalArray<bool>& keep, Index group, Index most,
               const OptionalArray<bool>& left, Index rough, double time_limit, int n_threads) {
  BudgetProgram program = program_of(X, target, upper, active, prior, pull, ridge);
  program.gram = data_or_null(gram);
  Elimination e;
  {
    const py::gil_scoped_release unlock;
    e = eliminate(program, {data_or_null(keep), group, most}, budget_options(time_limit, n_threads),
                  {data_or_null(left), rough});
  }
  using namespace pybind11::literals;
  return py::dict("order"_a = to_array(std::move(e.order)),
                  "losses"_a = to_array(std::move(e.losses)), "complete"_a = e.complete);
}

py::dict fit(const Array<double>& X, const Array<double>& target, const OptionalArray<double>& gram,
             const OptionalArray<double>& upper, const OptionalArray<bool>& active,
             const Array<double>& prior, double pull, double ridge, const OptionalArray<bool>& keep,
             const Array<bool>& support, Index rounds, double time_limit, int n_threads) {
  BudgetProgram program = program_of(X, target, upper, active, prior, pull, ridge);
  program.gram = data_or_null(gram);
  BudgetFit f;
  {
    const py::gil_scoped_release unlock;
    f = fit_support(program, support.data(), rounds, data_or_null(keep),
                    budget_options(time_limit, n_threads));
  }
  using namespace pybind11::literals;
  return py::dict("weights"_a = to_array(std::move(f.weights)), "loss"_a = f.loss,
                  "swaps"_a = f.swaps, "complete"_a = f.complete);
}

QuadraticProgram quadratic_of(const Array<double>& grams, const OptionalArray<int>& form_of,
                              const Array<double>& correlations, const Array<double>& prior,
                              double ridge, bool rough) {
  QuadraticProgram program;
  program.features = prior.shape(0);
  program.outputs = prior.shape(1);
  program.forms = grams.shape(0);
  program.grams = grams.data();
  program.form_of = data_or_null(form_of);
  program.correlations = correlations.data();
  program.prior = prior.data();
  program.ridge = ridge;
  program.rough = rough;
  return program;
}

py::dict fields_of(QuadraticFit&& f) {
  using namespace pybind11::literals;
  return py::dict("weights"_a = to_array(std::move(f.weights)), "iterations"_a = f.iterations,
                  "complete"_a = f.complete);
}

py::dict solve_on_grams(const Array<double>& grams, const OptionalArray<int>& form_of,
                        const Array<double>& correlations, const Array<double>& prior, double ridge,
                        bool rough, const OptionalArray<bool>& keep, Index group, Index most,
                        Index budget, double time_limit, int n_threads) {
  const QuadraticProgram program = quadratic_of(grams, form_of, correlations, prior, ridge, rough);
  QuadraticFit f;
  {
    const py::gil_scoped_release unlock;
    f = solve_quadratic(program, {data_or_null(keep), group, most}, budget,
                        budget_options(time_limit, n_threads));
  }
  return fields_of(std::move(f));
}

py::dict fit_on_grams(const Array<double>& grams, const OptionalArray<int>& form_of,
                      const Array<double>& correlations, const Array<double>& prior, double ridge,
                      bool rough, const Array<bool>& support, double time_limit, int n_threads) {
  const QuadraticProgram program = quadratic_of(grams, form_of, correlations, prior, ridge, rough);
  QuadraticFit f;
  {
    const py::gil_scoped_release unlock;
    f = fit_quadratic(program, support.data(), budget_options(time_limit, n_threads));
  }
  return fields_of(std::move(f));
}

py::dict choose(const Array<double>& X, const Array<double>& target,
                const OptionalArray<double>& upper, const OptionalArray<bool>& active,
                const Array<double>& prior, double pull, double ridge,
                const OptionalArray<bool>& keep, Index group, Index most, Index budget,
                double time_limit, int n_threads) {
  const BudgetProgram program = program_of(X, target, upper, active, prior, pull, ridge);
  SupportChoice c;
  {
    const py::gil_scoped_release unlock;
    c = choose_support(program, {data_or_null(keep), group, most}, budget,
                       budget_options(time_limit, n_threads));
  }
  using namespace pybind11::literals;
  return py::dict("support"_a = to_array(std::move(c.support)), "complete"_a = c.complete);
}

template <class S>
Array<S> like(const Array<S>& z) {
  return Array<S>(std::vector<py::ssize_t>(z.shape(), z.shape() + z.ndim()));
}

template <class S>
Array<S> gelu_values(const Array<S>& z) {
  Array<S> values = like(z);
  S* const out = values.mutable_data();
  const py::gil_scoped_release unlock;
  gelu(z.size(), z.data(), out);
  return values;
}

template <class S>
py::tuple gelu_values_and_slopes(const Array<S>& z) {
  Array<S> values = like(z), slopes = like(z);
  S *const value = values.mutable_data(), *const slope = slopes.mutable_data();
  {
    const py::gil_scoped_release unlock;
    gelu(z.size(), z.data(), value, slope);
  }
  return py::make_tuple(values, slopes);
}

template <class S, class Argument>
void add_gelu(py::module_& m, const Argument& z) {
  m.def("gelu", &gelu_values<S>, z);
  m.def("gelu_and_slope", &gelu_values_and_slopes<S>, z);
}

}  // namespace

void add_budget(py::module_& m) {
  const auto strict = [](const char* argument) { return py::arg(argument).noconvert(); };
  m.def("eliminate", &trace, strict("X"), strict("target"), py::kw_only(),
        strict("gram").none(true) = py::none(), strict("upper").none(true),
        strict("active").none(true), strict("prior"), py::arg("pull"), py::arg("ridge"),
        strict("keep").none(true), py::arg("group"), py::arg("most"),
        strict("left").none(true) = py::none(), py::arg("rough") = 0,
        py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
  m.def("fit_support", &fit, strict("X"), strict("target"), py::kw_only(),
        strict("gram").none(true) = py::none(), strict("upper").none(true),
        strict("active").none(true), strict("prior"), py::arg("pull"), py::arg("ridge"),
        strict("keep").none(true), strict("support"), py::arg("rounds"),
        py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
  m.def("choose_support", &choose, strict("X"), strict("target"), py::kw_only(),
        strict("upper").none(true), strict("active").none(true), strict("prior"), py::arg("pull"),
        py::arg("ridge"), strict("keep").none(true), py::arg("group"), py::arg("most"),
        py::arg("budget"), py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
  add_gelu<float>(m, strict("z"));
  add_gelu<double>(m, strict("z"));
  m.def("fit_quadratic", &fit_on_grams, strict("grams"), py::kw_only(),
        strict("form_of").none(true), strict("correlations"), strict("prior"), py::arg("ridge"),
        py::arg("rough") = false, strict("support"), py::arg("time_limit") = kNoLimit,
        py::arg("n_threads"));
  m.def("solve_quadratic", &solve_on_grams, strict("grams"), py::kw_only(),
        strict("form_of").none(true), strict("correlations"), strict("prior"), py::arg("ridge"),
        py::arg("rough") = false, strict("keep").none(true), py::arg("group"), py::arg("most"),
        py::arg("budget"), py::arg("time_limit") = kNoLimit, py::arg("n_threads"));
}

}  // namespace nettrim::bindings
