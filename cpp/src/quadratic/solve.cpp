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

// A program at unit size, and its fit to a support.
class UnitQuadratic {
 public:
  UnitQuadratic(const QuadraticProgram& program, int threads)
      : p_(program),
        forms_(program, threads),
        prior_(program.prior, program.outputs, program.features),
        weights_(forms_.unit_weights(prior_)),
        moments_(forms_.unit_moments(
            View<double>(program.correlations, program.outputs, program.features), prior_)) {}

  const Forms& forms() const { return forms_; }
  const View<double>& prior() const { return prior_; }
  const Matrix<float>& weights() const { return weights_; }  // of the prior

  Alternation alternation(const BudgetPattern& pattern, Index budget) const {
    return {forms_, pattern, budget, weights_, moments_};
  }

  QuadraticFit fit(const Mask& support, Matrix<float> start, budget::StopFlag& stop) const {
    QuadraticFit result;
    result.weights = quadratic::fit(p_, forms_, moments_, support, std::move(start), stop);
    result.complete = !stop.is_set();
    return result;
  }

 private:
  const QuadraticProgram& p_;
  Forms forms_;
  View<double> prior_;
  Matrix<float> weights_, moments_;
};

UnitQuadratic to_unit_size(const QuadraticProgram& program, const BudgetOptions& options) {
  return {program, worthwhile_threads(program.features, program.outputs, options.n_threads)};
}

}  // namespace
}  // namespace quadratic

QuadraticFit solve_quadratic(const QuadraticProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const UnitQuadratic unit = to_unit_size(program, options);
  Alternation alternation = unit.alternation(pattern, budget);
  alternation.run(stop);
  QuadraticFit result = unit.fit(alternation.support(), alternation.weights(), stop);
  result.iterations = alternation.iterations();
  return result;
}

QuadraticFit fit_quadratic(const QuadraticProgram& program, const bool* support,
                           const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const UnitQuadratic unit = to_unit_size(program, options);
  const Mask mask = unit.forms().in_order({support, program.outputs, program.features});
  return unit.fit(mask, unit.weights().array() * mask.array().template cast<float>(), stop);
}

SupportChoice choose_support(const BudgetProgram& program, const BudgetPattern& pattern,
                             Index budget, const BudgetOptions& options) {
  using namespace quadratic;
  budget::StopFlag stop(options);
  const int threads = worthwhile_threads(program.features, program.outputs, options.n_threads);
  const MovingTargets targets(program, threads);
  const Matrix<double> gram = targets.gram();
  const Matrix<double> first =
      targets.correlations(View<double>(program.prior, program.outputs, program.features));
  const double mean = gram.diagonal().mean();
  QuadraticProgram form;
  form.features = program.features;
  form.outputs = program.outputs;
  form.grams = gram.data();
  form.correlations = first.data();
  form.prior = program.prior;
  form.ridge = program.ridge / (mean > 0 ? mean : 1.0);
  const UnitQuadratic unit(form, threads);
  Alternation alternation = unit.alternation(pattern, budget);
  alternation.run(stop, [&](const Matrix<float>& weights, Matrix<float>& moments) {
    const Matrix<double> asked = targets.correlations(unit.forms().given_weights(weights));
    moments = unit.forms().unit_moments(asked, unit.prior());
  });
  return {alternation.support().cast<bool>(), !stop.is_set()};
}

}  // namespace nettrim
