#include "layer/admm/splitting.hpp"

#include <algorithm>
#include <cmath>

namespace nettrim::layer {
namespace {

// Weight of the copy W2 = U in the metric, over the product of the lengths of its feature and of
// the longest: halfway between one weight for all, which stalls where small signals stand beside
// the ones of a bias, and one in proportion to each feature's square, which is slower on even
// columns.
constexpr double kProximalWeight = 0.09;
constexpr double kFirstThreshold = 4;  // over the mean size of the weights
// rho is looked at ever less often, or it may cycle and never settle; it is left alone within the
// first factor and changed by at most the second.
constexpr double kWorthwhile = 1.2, kBoldest = 5;
// Beyond this ratio of infeasibility and gap, rho leans against it. Errors below the second are
// one.
constexpr double kLopsided = 100, kRounding = 1e-12;

}  // namespace

Eigen::VectorXd proximal_weights_of(const Eigen::VectorXd& lengths, double rounding) {
  const Eigen::VectorXd squares = lengths.cwiseAbs2();
  const double longest = squares.maxCoeff() > 0 ? squares.maxCoeff() : 1;
  return kProximalWeight * (squares.cwiseMax(longest * rounding) * longest).cwiseSqrt();
}

double first_rho(double penalty, double l1, Index count) {
  return count > 0 && l1 > 0 ? penalty / (kFirstThreshold * l1 / static_cast<double>(count)) : 1.0;
}

// The distance that the iteration still has to go is least when both have equally far to go: rho
// follows the ratio of what they travelled, half way.
double Balance::factor(double pair, double multipliers) {
  until_ = wait_ += wait_ / 4;
  if (!(pair > 0 && multipliers > 0)) return 1;
  const double wanted = lean_ * std::pow(multipliers / pair, 0.25);
  const double bounded = std::clamp(wanted, 1 / kBoldest, kBoldest);
  return bounded > kWorthwhile || bounded < 1 / kWorthwhile ? bounded : 1;
}

// A negative gap says nothing about the dual.
void Balance::on_certificate(double infeasibility, double gap) {
  lean_ = 1;
  if (gap <= 0) return;
  const double ratio = std::max(infeasibility, kRounding) / std::max(gap, kRounding);
  lean_ = std::pow(ratio / std::clamp(ratio, 1 / kLopsided, kLopsided), 0.25);
}

}  // namespace nettrim::layer
