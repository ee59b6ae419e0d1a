// Anderson's mixing (1965) of a fixed-point iteration s -> F(s): the next point is the affine
// combination of the last F(s_k) whose steps F(s_k) - s_k, combined alike, are least (type II;
// Walker and Ni, 2011). Where a mixed point leads to a longer step than the last, the plain
// iteration goes on. Every other step is a plain one, as in periodic mixing (Pratapa, Suryanarayana
// and Pask, 2016), which takes fewer steps in all.
#pragma once

#include <vector>

#include "layer/admm/projection.hpp"

namespace nettrim::layer {

template <class S>
class Anderson {
 public:
  // root_metric: of each feature of the weights, in the norm that steps are measured by.
  Anderson(const UnitProgram<S>& program, const Eigen::VectorXd& root_metric);

  // Whether the next step is one to mix.
  bool is_due() { return ++taken_ % kEvery == 0; }
  // `state` is F(before), and becomes the point to go on from.
  void mix(const Pair<S>& before, Pair<S>& state);
  // The iteration is another one from here.
  void forget() { kept_ = 0; }

 private:
  struct Step {
    Pair<S> end;             // F(s)
    Pair<float> difference;  // F(s) - s, the weights in the metric: for products alone
  };
  static constexpr Index kMemory = 8;  // steps beside the last, each of two states
  static constexpr Index kEvery = 2;

  Step& step(Index k) { return steps_[static_cast<std::size_t>(k)]; }
  double square(Index k) const { return products_(k, k); }
  void keep(const Pair<S>& before, const Pair<S>& state);
  template <class Difference>
  Eigen::VectorXd products(Matrix<float> Pair<float>::* member, Range columns,
                           const Difference& difference);
  void combine(const Eigen::VectorXd& shares, Pair<S>& state);
  Eigen::VectorXd shares() const;
  std::vector<Index> in_order() const;

  const UnitProgram<S>& p_;
  Eigen::Vector<S, Eigen::Dynamic> root_metric_;
  std::vector<Step> steps_;
  Matrix<double> products_;  // of the differences
  Index latest_ = 0, kept_ = 0, taken_ = 0;
  bool mixed_ = false;  // whether the last point was no plain one
};

}  // namespace nettrim::layer
