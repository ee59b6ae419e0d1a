// Alternating directions between weights that fit and weights that are few, drawn together by a
// growing penalty (ALPS: Meng et al., NeurIPS 2024).
#pragma once

#include <functional>

#include "budget/stop.hpp"
#include "quadratic/forms.hpp"
#include "quadratic/selection.hpp"

namespace nettrim::quadratic {

class Alternation {
 public:
  // What the outputs ask for at some few weights, both at unit size.
  using Renewal = std::function<void(const Matrix<float>& weights, Matrix<float>& moments)>;

  Alternation(const Forms& forms, const BudgetPattern& pattern, Index budget,
              const Matrix<float>& prior, Matrix<float> moments);

  // Until the support has settled. Without a renewal the moments stay.
  void run(budget::StopFlag& stop, const Renewal& renew = {});

  Index iterations() const { return iterations_; }
  const Mask& support() const { return kept_; }
  Matrix<float> weights() const;  // zero out of the support

 private:
  void step();
  void raise_penalty(double changed);
  void invert_forms();

  const Forms& forms_;
  Selection selection_;
  double size_;  // of the support
  Matrix<float> moments_;
  // Weights that fit, and beyond the support what draws them to zero, in units of force_.
  Matrix<float> weights_;
  Matrix<float> right_;
  Mask kept_, before_;
  float penalty_, force_ = 0;
  std::vector<Matrix<float>> inverses_;  // of each form's Gram matrix with the penalty
  Index iterations_ = 0;
};

}  // namespace nettrim::quadratic
