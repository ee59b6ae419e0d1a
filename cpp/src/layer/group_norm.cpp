#include "layer/group_norm.hpp"

#include <algorithm>
#include <cmath>

namespace nettrim::layer {
namespace {

template <class S>
double norm_of_columns(const Matrix<S>& weights, const std::vector<Index>& columns) {
  double square = 0;
  for (const Index j : columns) {
    square += static_cast<double>(weights.col(j).squaredNorm());
  }
  return std::sqrt(square);
}

}  // namespace

GroupNorm::GroupNorm(const FeatureGroups& groups, Index features)
    : features_(static_cast<std::size_t>(groups.count)),
      prices_(Eigen::Map<const Eigen::VectorXd>(groups.prices, groups.count)) {
  for (Index j = 0; j < features; ++j) {
    const Index g = groups.group[j];
    (g < 0 ? free_ : features_[static_cast<std::size_t>(g)]).push_back(j);
  }
}

double GroupNorm::of(const Matrix<double>& weights) const {
  double sum = 0;
  for (Index g = 0; g < count(); ++g) sum += price(g) * norm_of_columns(weights, features(g));
  return sum;
}

Eigen::VectorXd GroupNorm::slopes(const Matrix<double>& gradient) const {
  Eigen::VectorXd slopes(count());
  for (Index g = 0; g < count(); ++g) {
    slopes[g] = norm_of_columns(gradient, features(g)) / price(g);
  }
  return slopes;
}

GroupNorm GroupNorm::among(const std::vector<Index>& chosen) const {
  const auto places = [&](const std::vector<Index>& features) {
    std::vector<Index> found;
    for (const Index j : features) {
      const auto at = std::lower_bound(chosen.begin(), chosen.end(), j);
      if (at != chosen.end() && *at == j) found.push_back(at - chosen.begin());
    }
    return found;
  };
  GroupNorm norm;
  for (const auto& features : features_) norm.features_.push_back(places(features));
  norm.free_ = places(free_);
  norm.prices_ = prices_;
  return norm;
}

Eigen::VectorXd GroupNorm::evened(const Eigen::VectorXd& values) const {
  Eigen::VectorXd even = values;
  for (const auto& columns : features_) {
    if (!columns.empty()) even(columns).setConstant(values(columns).mean());
  }
  return even;
}

GroupNorm::Size GroupNorm::size_in_metric(const Matrix<double>& weights,
                                          const Eigen::VectorXd& metric) const {
  Size size;
  for (Index g = 0; g < count(); ++g) {
    const double norm = norm_of_columns(weights, features(g));
    if (!(norm > 0)) continue;
    size.sum += norm * metric[features(g).front()] / price(g);
    ++size.used;
  }
  return size;
}

template <class S>
void GroupNorm::shrink(const Matrix<S>& weights, double step, const Eigen::VectorXd& metric,
                       Matrix<S>& out) const {
  for (const Index j : free_) out.col(j) = weights.col(j);
  for (Index g = 0; g < count(); ++g) {
    if (features(g).empty()) continue;
    const double threshold = step * price(g) / metric[features(g).front()];
    const double norm = norm_of_columns(weights, features(g));
    const S left = norm > threshold ? static_cast<S>(1 - threshold / norm) : S(0);
    for (const Index j : features(g)) out.col(j) = left * weights.col(j);
  }
}

template void GroupNorm::shrink(const Matrix<float>&, double, const Eigen::VectorXd&,
                                Matrix<float>&) const;
template void GroupNorm::shrink(const Matrix<double>&, double, const Eigen::VectorXd&,
                                Matrix<double>&) const;

}  // namespace nettrim::layer
