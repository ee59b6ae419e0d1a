#include "linalg/factor.hpp"
#include "quadratic/alternation.hpp"
#include "quadratic/fit.hpp"

namespace nettrim {
namespace quadratic {
namespace {

constexpr Index kSamplesAtOnce = 256;
constexpr double kWorthAThread = 3e6;  // multiplications of one step: less is not worth waking it

int worthwhile_threads(Index features, Index outputs, int threads) {
  const auto n = static_cast<double>(features), m = static_cast<double>(outputs);
  return static_cast<int>(std::min<double>(threads, 1 + n * n * m / kWorthAThread));
}

// Behind a ReLU: rows that are inactive ask for their signal, at most their bound.
class MovingTargets {
 public:
  MovingTargets(const BudgetProgram& program, int threads)
      : p_(program), threads_(threads), pieces_(cut(program.samples, kSamplesAtOnce, threads)) {}

  Matrix<double> gram() const {
    Matrix<double> gram = gram_of(p_.features, pieces_, threads_, [&](Range r) { return X(r); });
    gram.triangularView<Eigen::StrictlyUpper>() = gram.transpose();
    return gram;
  }

  Matrix<double> correlations(const Matrix<double>& weights) const {
    const Matrix<double> zero = Matrix<double>::Zero(p_.outputs, p_.features);
    return parallel_total(pieces_, threads_, zero, [&](Range r, Matrix<double>& sum) {
      Matrix<double> asked = product(weights, X(r));
      bound(r, asked);
      add_product(asked, X(r).transpose(), sum);
    });
  }

 private:
  View<double> X(Range r) const { return {p_.X + r.begin * p_.features, p_.features, r.size}; }

  void bound(Range r, Matrix<double>& signals) const {
    const Index first = r.begin * p_.outputs;
    for (Index i = 0; i < signals.size(); ++i) {
      double& signal = signals.data()[i];
      const Index entry = first + i;
      if (p_.active == nullptr || p_.active[entry]) {
        signal = p_.target[entry];
      } else {
        signal = std::min(signal, p_.upper == nullptr ? 0.0 : p_.upper[entry]);
      }
    }
  }

  const BudgetProgram& p_;
  int threads_;
  std::vector<Range> pieces_;
};

}  // namespace
}  // namespace quadratic

QuadraticFit solve_quadratic(const QuadraticProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const Forms forms(program,
                    worthwhile_threads(program.features, program.outputs, options.n_threads));
  const View<double> prior(program.prior, program.outputs, program.features);
  const View<double> correlations(program.correlations, program.outputs, program.features);
  const Matrix<float> moments = forms.unit_moments(correlations, prior);
  Alternation alternation(forms, pattern, budget, forms.unit_weights(prior), moments);
  alternation.run(stop);
  QuadraticFit result;
  result.iterations = alternation.iterations();
  result.weights = fit(program, forms, moments, alternation.support(), alternation.weights(), stop);
  result.complete = !stop.is_set();
  return result;
}

QuadraticFit fit_quadratic(const QuadraticProgram& program, const bool* support,
                           const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const Forms forms(program,
                    worthwhile_threads(program.features, program.outputs, options.n_threads));
  const View<double> prior(program.prior, program.outputs, program.features);
  const View<double> correlations(program.correlations, program.outputs, program.features);
  const View<bool> given(support, program.outputs, program.features);
  const Mask mask = forms.in_order(given);
  const Matrix<float> start =
      forms.unit_weights(prior).array() * mask.array().template cast<float>();
  QuadraticFit result;
  result.weights = fit(program, forms, forms.unit_moments(correlations, prior), mask, start, stop);
  result.complete = !stop.is_set();
  return result;
}

SupportChoice choose_support(const BudgetProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const int threads = worthwhile_threads(program.features, program.outputs, options.n_threads);
  const MovingTargets targets(program, threads);
  const View<double> prior(program.prior, program.outputs, program.features);
  const Matrix<double> gram = targets.gram(), first = targets.correlations(prior);
  const double mean = gram.diagonal().mean();
  QuadraticProgram form;
  form.features = program.features;
  form.outputs = program.outputs;
  form.grams = gram.data();
  form.correlations = first.data();
  form.prior = program.prior;
  form.ridge = program.ridge / (mean > 0 ? mean : 1.0);
  const Forms forms(form, threads);
  Alternation alternation(forms, pattern, budget, forms.unit_weights(prior),
                          forms.unit_moments(first, prior));
  alternation.run(stop, [&](const Matrix<float>& weights, Matrix<float>& moments) {
    moments = forms.unit_moments(targets.correlations(forms.given_weights(weights)), prior);
  });
  return {alternation.support().cast<bool>(), !stop.is_set()};
}

}  // namespace nettrim
