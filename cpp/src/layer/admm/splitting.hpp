// What alternating directions share, whatever they see of the samples: the metric of the copy
// W2 = U, the relaxation of a step, and rho.
#pragma once

#include "nettrim/types.hpp"

namespace nettrim::layer {

constexpr double kRelaxation = 1.8;
constexpr Index kRaysApart = 4;  // certificates between looks for a proof of infeasibility

// One for each feature, by its length. rounding: of the precision that is computed in.
Eigen::VectorXd proximal_weights_of(const Eigen::VectorXd& lengths, double rounding);

// The penalty of the splitting at which the threshold is some times the mean size of the weights,
// whose l1 norm in the metric and number are given; penalty: that of the l1 norm.
double first_rho(double penalty, double l1, Index count);

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
