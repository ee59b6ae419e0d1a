#include "layer/program.hpp"

#include <cmath>
#include <limits>

#include "layer/regularisation.hpp"
#include "linalg/sparse.hpp"

namespace nettrim::layer {
namespace {

constexpr Index kSamplesPerPiece = 256;
// Powers of two by which lengths of features may differ before each gets a scale of its own, and
// the largest scale.
constexpr int kFarApart = 10, kMostScale = 100;

// Radius of a ball, over the norm of what is in its center, that rounding does not tell from zero.
constexpr double kPoint = std::numeric_limits<double>::epsilon();

// Multiplications of one product X W, about a tenth of a millisecond: less is not worth waking a
// thread for, which may have to wait until another library's idle threads stop spinning.
constexpr double kWorthAThread = 3e6;

template <class S>
int worthwhile_threads(const LayerProgram<S>& p, int threads) {
  const double product = static_cast<double>(p.samples) * static_cast<double>(p.features) *
                         static_cast<double>(p.outputs);
  return static_cast<int>(std::min<double>(threads, 1 + product / kWorthAThread));
}

// The power of two that brings `size` into [1, 2), as far as the type reaches.
template <class S>
S unit_scale(double size) {
  if (!(size > 0)) return 1;
  constexpr int reach = std::numeric_limits<S>::max_exponent - 3;
  return std::ldexp(S(1), std::clamp(-std::ilogb(size), -reach, reach));
}

// Norms of features without overflow: the largest number is taken out first.
template <class S>
Eigen::VectorXd lengths_of_features(const UnitProgram<S>& p, double largest) {
  Eigen::VectorXd squares = Eigen::VectorXd::Zero(p.n_features());
  if (largest == 0) return squares;
  for (const Range r : p.samples) {
    squares += (p.X(r).template cast<double>() / largest).rowwise().squaredNorm();
  }
  return largest * squares.cwiseSqrt();
}

// With the rows that a regularisation stands for: of the pulled ones no more than there can be.
template <class S>
Eigen::VectorXd with_drawn_rows(const Eigen::VectorXd& lengths, const Regularisation<S>& r) {
  if (r.ridge == 0 && r.pull == 0) return lengths;
  const double pulled = std::sqrt(1 + r.pull), ridge = std::sqrt(r.ridge);
  return (pulled * lengths).unaryExpr([=](double length) { return std::hypot(length, ridge); });
}

// Features as long as the longest, or ones where they are nearly so anyway. Dead features stay.
Eigen::VectorXd evening(const Eigen::VectorXd& lengths) {
  Eigen::VectorXd scales = Eigen::VectorXd::Ones(lengths.size());
  const double longest = lengths.maxCoeff();
  int most = 0;
  for (Index j = 0; j < lengths.size(); ++j) {
    if (!(lengths[j] > 0)) continue;
    const int shorter = std::min(std::ilogb(longest) - std::ilogb(lengths[j]), kMostScale);
    scales[j] = std::ldexp(1.0, shorter);
    most = std::max(most, shorter);
  }
  if (most <= kFarApart) scales.setOnes();
  return scales;
}

template <class S>
void set_costs(UnitProgram<S>& p) {
  const View<double> given(p.given.costs, p.n_outputs(), p.n_features());
  if (const double least = given.minCoeff(); std::isfinite(least)) {
    p.cost_unit = 1 / unit_scale<double>(least);
  }
  p.costs = std::make_shared<Matrix<double>>(given / p.cost_unit);
}

template <class S>
double largest_entry(const S* values, Index size) {
  if (values == nullptr) return 0;
  return Eigen::Map<const Eigen::Array<S, Eigen::Dynamic, 1>>(values, size).abs().maxCoeff();
}

}  // namespace

template <class S>
Samples<S> UnitProgram<S>::X(Range r) const {
  const View<S> where_it_lies(given.X + r.begin * given.features, given.features, r.size);
  if (!even) return {where_it_lies.data(), given.features, r.size};
  return Samples<S>(scales.template cast<S>().asDiagonal() * where_it_lies);
}

template <class S>
void UnitProgram<S>::signals_of(const Matrix<S>& weights, Matrix<S>& out) const {
  const Matrix<S> scaled = x_scale * weights;
  parallel_for(static_cast<Index>(samples.size()), threads, [&](Index k, int) {
    const Range r = samples[static_cast<std::size_t>(k)];
    auto signals = out.middleCols(r.begin, r.size);
    signals.setZero();
    add_product_with_samples(scaled, X(r), signals);
  });
}

template <class S>
Matrix<S> UnitProgram<S>::gradient_of(const Matrix<S>& signal) const {
  Matrix<S> gradient = Matrix<S>::Zero(n_outputs(), n_features());
  for (const Range r : samples) {
    add_product_with_features(signal.middleCols(r.begin, r.size), X(r), gradient);
  }
  return x_scale * gradient;
}

template <class S>
Eigen::VectorXd UnitProgram<S>::costs_of(Index output) const {
  if (!costs) return scales;
  return scales.cwiseProduct(costs->row(output).transpose());
}

template <class S>
double UnitProgram<S>::norm_of(const Matrix<double>& weights) const {
  if (groups) return groups->of(weights);
  if (!costs) return weights.cwiseAbs().colwise().sum() * scales;
  const auto paid = [](double weight, double cost) { return weight == 0 ? 0 : weight * cost; };
  return weights.cwiseAbs().binaryExpr(*costs, paid).colwise().sum() * scales;
}

template <class S>
Matrix<double> UnitProgram<S>::allowed(Matrix<double> weights) const {
  if (!costs) return weights;
  const auto kept = [](double weight, double cost) { return std::isinf(cost) ? 0 : weight; };
  return weights.binaryExpr(*costs, kept);
}

template <class S>
Matrix<S> UnitProgram<S>::given_weights(const Matrix<S>& weights) const {
  return weights * (scales * weight_unit()).template cast<S>().asDiagonal();
}

template <class S>
Matrix<S> UnitProgram<S>::unit_weights(const Matrix<S>& given_weights) const {
  return given_weights * (scales * weight_unit()).cwiseInverse().template cast<S>().asDiagonal();
}

template <class S>
void UnitProgram<S>::set_level(double given_level) {
  given.level = given_level;
  level = given_level * y_scale * (constrained() ? 1.0 : static_cast<double>(x_scale) * cost_unit);
  if (constrained() && level <= kPoint * total) level = 0;
}

template <class S>
UnitProgram<S> to_unit_size(const LayerProgram<S>& program, int threads) {
  UnitProgram<S> p;
  p.given = program;
  p.threads = worthwhile_threads(program, threads);
  p.samples = cut(program.samples, kSamplesPerPiece, p.threads);

  const Index entries = program.samples * program.outputs;
  const double largest_input = largest_entry(program.X, program.samples * program.features);
  p.lengths = with_drawn_rows(lengths_of_features(p, largest_input), program.regularisation);
  p.x_scale = unit_scale<S>(p.lengths.maxCoeff());
  if (program.groups.count > 0) p.groups = std::make_shared<GroupNorm>(program);
  p.scales = p.groups ? Eigen::VectorXd::Ones(program.features).eval() : evening(p.lengths);
  p.even = !p.scales.isOnes(0);
  p.lengths = p.lengths.cwiseProduct(p.scales) * static_cast<double>(p.x_scale);
  if (program.costs != nullptr) set_costs(p);
  double largest = largest_entry(program.Y, entries);
  if (largest == 0) largest = largest_entry(program.upper, entries);
  p.y_scale = unit_scale<S>(largest);
  p.largest = largest * p.y_scale;
  p.regularisation = regularisation_of(p);
  p.with_entries([&](auto entry) {
    p.total = std::sqrt(parallel_sum(static_cast<Index>(p.samples.size()), p.threads, [&](Index k) {
      const Range r = p.samples[static_cast<std::size_t>(k)];
      double sum = 0;
      for (Index i = r.begin * program.outputs; i < (r.begin + r.size) * program.outputs; ++i) {
        const Entry<S> e = entry(i);
        if (e.active) sum += static_cast<double>(e.target) * static_cast<double>(e.target);
      }
      return sum;
    }));
  });
  if (p.regularisation) p.total = std::hypot(p.total, norm_of_drawn_targets(p));
  p.set_level(program.level);
  return p;
}

template <class S>
void cut_to_valid_signs(const UnitProgram<S>& p, Matrix<S>& dual) {
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < dual.size(); ++i) {
      if (!entry(i).active) dual.data()[i] = std::min(dual.data()[i], S(0));
    }
  });
}

template struct UnitProgram<float>;
template struct UnitProgram<double>;
template UnitProgram<float> to_unit_size(const LayerProgram<float>&, int);
template UnitProgram<double> to_unit_size(const LayerProgram<double>&, int);
template void cut_to_valid_signs(const UnitProgram<float>&, Matrix<float>&);
template void cut_to_valid_signs(const UnitProgram<double>&, Matrix<double>&);

}  // namespace nettrim::layer
