// What alternating directions share, whatever they see of the samples: the metric of the copy
// W2 = U, the relaxation of a step, and rho.
#pragma once

#include "layer/program.hpp"

namespace nettrim::layer {

constexpr double kRelaxation = 1.8;
constexpr Index kRaysApart = 4;  // certificates between looks for a proof of infeasibility

// One for each feature, by its length. rounding: of the precision that is computed in.
Eigen::VectorXd proximal_weights_of(const Eigen::VectorXd& lengths, double rounding);

// The penalty of the splitting at which the threshold is some times the mean size of the weights,
// whose l1 norm in the metric and number are given; penalty: that of the l1 norm.
double first_rho(double penalty, double l1, Index count);

// Weights of a feature, one for each output, of which each has lost up to its threshold in size:
// `step` times its cost over the metric.
template <class P, class Z, class Out>
void shrink(const UnitProgram<P>& p, Index feature, double step, double metric, const Z& z,
            Out&& out) {
  using S = typename Z::Scalar;
  const double threshold = step * (p.scales[feature] / metric);
  if (p.costs) {
    const Eigen::Array<S, Eigen::Dynamic, 1> t =
        (threshold * p.costs->col(feature).array()).template cast<S>();
    out = z - z.max(-t).min(t);
  } else {
    const S t = static_cast<S>(threshold);
    out = z - z.max(-t).min(t);
  }
}

// The l1 norm of weights in the metric, over their costs.
template <class P, class S>
double norm_in_metric(const UnitProgram<P>& p, const Matrix<S>& weights,
                      const Eigen::VectorXd& metric) {
  const Eigen::VectorXd by = metric.cwiseQuotient(p.scales);
  const Matrix<double> sizes = weights.template cast<double>().cwiseAbs();
  if (!p.costs) return sizes.colwise().sum() * by;
  return sizes.cwiseQuotient(*p.costs).colwise().sum() * by;
}

// When to look at rho, and what to make of it.
class Balance {
 public:
  explicit Balance(Index first_wait) : until_(first_wait), wait_(first_wait) {}
  bool is_due() { return --until_ == 0; }
  // rho's factor, from the squared distances that the pair and its multipliers have travelled since
  // the last look; 1 where a change is not worthwhile.
  double factor(double pair, double multipliers);
  void on_certificate(double infeasibility, double gap);

 private:
  Index until_, wait_;
  double lean_ = 1;  // factor on the next change of rho
};

}  // namespace nettrim::layer
