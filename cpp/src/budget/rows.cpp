#include "budget/rows.hpp"

#include <algorithm>

namespace nettrim::budget {

OutputRows::OutputRows(const BudgetProgram& program, Index output) : pull_(program.pull) {
  const Index n = program.samples;
  target_.resize(n);
  upper_ = Eigen::VectorXd::Zero(n);
  active_.resize(static_cast<std::size_t>(n));
  for (Index i = 0; i < n; ++i) {
    const Index entry = i * program.outputs + output;
    target_[i] = program.target[entry];
    if (program.upper) upper_[i] = program.upper[entry];
    active_[static_cast<std::size_t>(i)] = !program.active || program.active[entry] ? 1 : 0;
  }
  counts_ = active_;
}

Change OutputRows::look(const Eigen::VectorXd& signal) {
  Change change;
  for (Index i = 0; i < size(); ++i) {
    if (is_active(i)) continue;
    const bool above = signal[i] > upper_[i];
    if (above == counts(i)) continue;
    (above ? change.entering : change.leaving).push_back(i);
    counts_[static_cast<std::size_t>(i)] = above ? 1 : 0;
  }
  return change;
}

double OutputRows::loss(const Eigen::VectorXd& signal) const {
  double total = 0;
  for (Index i = 0; i < size(); ++i) {
    const double misfit = signal[i] - target_[i];
    if (is_active(i)) {
      total += misfit * misfit;
    } else {
      const double excess = std::max(signal[i] - upper_[i], 0.0);
      total += excess * excess + pull_ * misfit * misfit;
    }
  }
  return total / 2;
}

Eigen::VectorXd OutputRows::weights() const {
  Eigen::VectorXd result(size());
  for (Index i = 0; i < size(); ++i) result[i] = (counts(i) ? 1 : 0) + (is_active(i) ? 0 : pull_);
  return result;
}

Eigen::VectorXd OutputRows::residual(const Eigen::VectorXd& signal) const {
  Eigen::VectorXd result(size());
  for (Index i = 0; i < size(); ++i) {
    const double misfit = target_[i] - signal[i];
    if (is_active(i)) {
      result[i] = misfit;
    } else {
      result[i] = pull_ * misfit + (counts(i) ? upper_[i] - signal[i] : 0.0);
    }
  }
  return result;
}

}  // namespace nettrim::budget
