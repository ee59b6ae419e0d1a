#include "budget/gram.hpp"

#include "linalg/factor.hpp"

namespace nettrim::budget {

BudgetGram::BudgetGram(const BudgetProgram& program)
    : X_(program.X, program.features, program.samples),
      pull_(program.pull),
      ridge_(program.ridge),
      squares_(X_.rowwise().squaredNorm()) {}

BudgetGram::BudgetGram(const BudgetProgram& program, int threads) : BudgetGram(program) {
  whole_ = gram_of(program.features, cut(program.samples, 256, threads), threads,
                   [&](Range r) { return X_.middleCols(r.begin, r.size); });
}

Matrix<double> BudgetGram::samples(const Features& features,
                                   const std::vector<Index>& samples) const {
  Matrix<double> result(static_cast<Index>(features.size()), static_cast<Index>(samples.size()));
  for (Index j = 0; j < result.cols(); ++j) {
    const auto sample = X_.col(samples[static_cast<std::size_t>(j)]);
    for (Index i = 0; i < result.rows(); ++i) {
      result(i, j) = sample[features[static_cast<std::size_t>(i)]];
    }
  }
  return result;
}

Eigen::VectorXd BudgetGram::correlations(const Features& features,
                                         const Eigen::VectorXd& residual) const {
  const Eigen::VectorXd all = product(X_, residual);
  return all(features);
}

// Of rows that count and rows that do not, the fewer are added up: the rest is in X'X.
Matrix<double> BudgetGram::of(const OutputRows& rows, const Features& features) const {
  std::vector<Index> counting, idle, unpulled;
  for (Index i = 0; i < rows.size(); ++i) (rows.counts(i) ? counting : idle).push_back(i);
  const bool add = counting.size() < idle.size();
  const double share = add ? pull_ : 1.0;  // of all rows
  const auto m = static_cast<Index>(features.size());
  Matrix<double> gram(m, m);
  for (Index j = 0; j < m; ++j) {
    for (Index i = j; i < m; ++i) {
      const Index a = features[static_cast<std::size_t>(i)],
                  b = features[static_cast<std::size_t>(j)];
      gram(i, j) = share * whole_(std::max(a, b), std::min(a, b));
    }
  }
  const auto& fewer = add ? counting : idle;
  if (!fewer.empty()) add_gram(samples(features, fewer), gram, add ? 1 - pull_ : pull_ - 1);
  // An inactive row that counts is pulled as well.
  for (const Index i : counting) {
    if (!rows.is_active(i)) unpulled.push_back(i);
  }
  if (pull_ > 0 && !unpulled.empty()) add_gram(samples(features, unpulled), gram, pull_);
  gram.diagonal().array() += ridge_;
  return gram;
}

}  // namespace nettrim::budget
