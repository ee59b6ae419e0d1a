// The norm sum_g price_g ||U_g||_F of weights whose features come in groups.
#pragma once

#include <vector>

#include "nettrim/layer.hpp"

namespace nettrim::layer {

class GroupNorm {
 public:
  template <class S>
  explicit GroupNorm(const LayerProgram<S>& program)
      : GroupNorm(program.groups, program.features) {}

  Index count() const { return prices_.size(); }
  double price(Index group) const { return prices_[group]; }
  const std::vector<Index>& features(Index group) const {
    return features_[static_cast<std::size_t>(group)];
  }
  const std::vector<Index>& free() const { return free_; }  // features that cost nothing
  // The norm of weights on some of the features, in ascending order; groups keep their numbers, and
  // one without features is empty.
  GroupNorm among(const std::vector<Index>& chosen) const;

  // Of weights, outputs x features.
  double of(const Matrix<double>& weights) const;
  // Of each group, the norm of its columns over its price.
  Eigen::VectorXd slopes(const Matrix<double>& gradient) const;
  // One value for all features of a group: the mean of theirs.
  Eigen::VectorXd evened(const Eigen::VectorXd& values) const;
  // Sum of the groups' norms over their prices, each times a value of its features, and how many
  // groups are in use.
  struct Size {
    double sum = 0;
    Index used = 0;
  };
  Size size_in_metric(const Matrix<double>& weights, const Eigen::VectorXd& metric) const;
  // Proximal step: out is the weights of which every group has lost up to `step` times its price
  // over its metric in norm.
  template <class S>
  void shrink(const Matrix<S>& weights, double step, const Eigen::VectorXd& metric,
              Matrix<S>& out) const;

 private:
  GroupNorm(const FeatureGroups& groups, Index features);
  GroupNorm() = default;

  std::vector<std::vector<Index>> features_;
  std::vector<Index> free_;
  Eigen::VectorXd prices_;
};

}  // namespace nettrim::layer
