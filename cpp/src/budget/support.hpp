// The best weights of one output on a support, and what each weight is worth there.
#pragma once

#include "budget/gram.hpp"

namespace nettrim::budget {

// By how much an output's loss would grow without a weight, or shrink with an absent one; to second
// order, all other weights following. Infinite and zero where there is none, or where it is little.
struct SwapValue {
  Eigen::VectorXd cost, gain;  // of every feature
};

class Support {
 public:
  Support(const BudgetProgram& program, const BudgetGram& gram, Index output);

  // The weights there were, on some features.
  void take(Features features);
  // The weights of least loss on some features, by Newton steps from those there were.
  void fit(Features features);

  double loss() const { return loss_; }
  const Features& features() const { return features_; }
  Eigen::VectorXd weights() const;  // of all features
  // What `worth` asks for: of every row, for BudgetGram::sums.
  Eigen::VectorXd residual() const { return rows_.residual(signal_); }
  Eigen::VectorXd row_weights() const { return rows_.weights(); }
  // With these sums of all features. In single precision where there are many: it is but what a
  // swap promises.
  SwapValue worth(const Eigen::VectorXd& slopes, const Eigen::VectorXd& squares) const;

 private:
  // Newton's model of the loss: least where gram * weights = right.
  struct Model {
    Matrix<double> gram;  // lower triangle
    Eigen::VectorXd right;
  };
  bool newton_step(Model& model);
  // Absent weights that promise most, and what is needed of them.
  struct Candidates {
    Features features;
    Eigen::VectorXd slope, squares;
  };
  template <class S>
  SwapValue worth_in(const Candidates& absent) const;
  Candidates candidates(const Eigen::VectorXd& slopes, const Eigen::VectorXd& squares) const;
  void count(const Change& change, Model& model) const;
  void step_towards(const Eigen::VectorXd& weights, const Eigen::VectorXd& signal);
  double loss_of(const Eigen::VectorXd& weights, const Eigen::VectorXd& signal) const;

  const BudgetGram* gram_;
  double ridge_;
  Eigen::VectorXd prior_;
  OutputRows rows_;
  Features features_;
  Eigen::VectorXd weights_, signal_;
  double loss_ = 0;
};

}  // namespace nettrim::budget
