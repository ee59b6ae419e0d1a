// Second derivatives of an output's loss.
#pragma once

#include <algorithm>

#include "budget/rows.hpp"

namespace nettrim::budget {

using Features = std::vector<Index>;

constexpr Index kAlwaysDouble = 128;  // features: single precision would save little time

// body(S()), S being the precision that does for a layer of so many features.
template <class Body>
auto in_precision_for(Index features, Body&& body) {
  return features > kAlwaysDouble ? body(float()) : body(double());
}

class BudgetGram {
 public:
  // With its samples in the precision in which signals, correlations and diagonals are wanted.
  template <class S>
  BudgetGram(const BudgetProgram& program, S precision, int threads);
  // For when there is no time for second derivatives: there is no `of`.
  template <class S>
  BudgetGram(const BudgetProgram& program, S precision);

  Index features() const { return X_.rows(); }
  // Lower triangle of X' D X + ridge over some features, D being the weights of the rows that
  // count.
  template <class S = double>
  Matrix<S> of(const OutputRows& rows, const Features& features) const;
  // The same with given weights of all rows.
  Matrix<double> weighted(const Features& features, const Eigen::VectorXd& rows, int threads) const;
  // X' D X between some features and others.
  template <class S>
  Matrix<S> between(const OutputRows& rows, const Features& features, const Features& others) const;
  // Some samples of some features: features x samples.
  template <class S = double>
  Matrix<S> samples(const Features& features, const std::vector<Index>& samples) const;
  // X'times the residual of every sample, for some features.
  template <class S>
  Eigen::VectorXd correlations(const Features& features, const Eigen::VectorXd& residual) const;
  // Of several outputs, features x outputs: X' times their residuals, and the diagonals of X' D X
  // with the ridge, D being weights of the rows. From samples in double precision.
  struct Sums {
    Matrix<double> slopes, squares;
  };
  template <class S>
  Sums sums(const Matrix<double>& residuals, const Matrix<double>& rows) const;
  // Of outputs x features, samples x outputs.
  template <class S>
  Matrix<S> signals(const Matrix<S>& weights) const;
  // Of one output with weights of some features.
  Eigen::VectorXd signal(const Features& features, const Eigen::VectorXd& weights) const;
  const Eigen::VectorXd& squares() const { return squares_; }  // of every feature

 private:
  // X' D X as a multiple of X'X and some samples' products: those that count or those that do not,
  // of which there are fewer, and inactive ones that count, which are pulled as well.
  struct Parts {
    double share, factor;
    std::vector<Index> fewer, unpulled;
  };
  Parts parts(const OutputRows& rows) const;
  template <class S>
  Matrix<S> scaled(const Features& features, double factor) const;
  template <class S>
  const Matrix<S>& by_feature() const;
  // The same as `samples`, transposed; faster where these are many.
  template <class S>
  Matrix<S> by_feature(const std::vector<Index>& samples, const Features& features) const;
  double whole(Index a, Index b) const {
    return whole_[std::max(a, b) + std::min(a, b) * features()];
  }

  View<double> X_;  // features x samples
  double pull_, ridge_;
  Eigen::VectorXd squares_;
  const double* whole_;  // X'X, lower triangle
  Matrix<double> own_;   // the same, where it was not given
  // X with the samples of a feature side by side: one of them.
  Matrix<float> single_;
  Matrix<double> double_;
};

}  // namespace nettrim::budget
