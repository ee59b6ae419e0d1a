#include "budget/gram.hpp"

#include <iterator>
#include <utility>

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
  if (features() > kAlwaysDouble) single_ = X_.cast<float>();
}

template <class S>
Matrix<S> BudgetGram::samples(const Features& features, const std::vector<Index>& samples) const {
  Matrix<S> result(static_cast<Index>(features.size()), static_cast<Index>(samples.size()));
  for (Index j = 0; j < result.cols(); ++j) {
    const auto sample = X_.col(samples[static_cast<std::size_t>(j)]);
    for (Index i = 0; i < result.rows(); ++i) {
      result(i, j) = static_cast<S>(sample[features[static_cast<std::size_t>(i)]]);
    }
  }
  return result;
}

Matrix<double> BudgetGram::samples(const Features& features) const {
  return X_(features, Eigen::all);
}

Eigen::VectorXd BudgetGram::correlations(const Features& features,
                                         const Eigen::VectorXd& residual) const {
  const Eigen::VectorXd all = product(X_, residual);
  return all(features);
}

Matrix<double> BudgetGram::signals(const Matrix<double>& weights) const {
  if (single_.size() == 0) return product(weights, X_);
  return product(weights.cast<float>(), single_).cast<double>();
}

BudgetGram::Parts BudgetGram::parts(const OutputRows& rows) const {
  std::vector<Index> counting, idle, unpulled;
  for (Index i = 0; i < rows.size(); ++i) (rows.counts(i) ? counting : idle).push_back(i);
  if (pull_ > 0) {
    std::copy_if(counting.begin(), counting.end(), std::back_inserter(unpulled),
                 [&](Index i) { return !rows.is_active(i); });
  }
  if (counting.size() < idle.size()) return {pull_, 1 - pull_, counting, unpulled};
  return {1.0, pull_ - 1, idle, unpulled};
}

template <class S>
Matrix<S> BudgetGram::of(const OutputRows& rows, const Features& features) const {
  const auto m = static_cast<Index>(features.size());
  const Parts part = parts(rows);
  Matrix<S> gram(m, m);
  for (Index j = 0; j < m; ++j) {
    for (Index i = j; i < m; ++i) {
      gram(i, j) = static_cast<S>(part.share * whole(features[static_cast<std::size_t>(i)],
                                                     features[static_cast<std::size_t>(j)]));
    }
  }
  for (const auto& [some, factor] :
       {std::pair(&part.fewer, part.factor), {&part.unpulled, pull_}}) {
    if (!some->empty()) add_gram(samples<S>(features, *some), gram, static_cast<S>(factor));
  }
  gram.diagonal().array() += static_cast<S>(ridge_);
  return gram;
}

template <class S>
Matrix<S> BudgetGram::between(const OutputRows& rows, const Features& features,
                              const Features& others) const {
  const Parts part = parts(rows);
  Matrix<S> gram(static_cast<Index>(features.size()), static_cast<Index>(others.size()));
  for (Index j = 0; j < gram.cols(); ++j) {
    for (Index i = 0; i < gram.rows(); ++i) {
      gram(i, j) = static_cast<S>(part.share * whole(features[static_cast<std::size_t>(i)],
                                                     others[static_cast<std::size_t>(j)]));
    }
  }
  for (const auto& [some, factor] :
       {std::pair(&part.fewer, part.factor), {&part.unpulled, pull_}}) {
    if (some->empty()) continue;
    add_product(samples<S>(features, *some), samples<S>(others, *some).transpose(), gram,
                static_cast<S>(factor));
  }
  return gram;
}

Eigen::VectorXd BudgetGram::diagonal(const OutputRows& rows, const Features& features) const {
  const Parts part = parts(rows);
  Eigen::VectorXd result = part.share * squares_(features);
  for (const auto& [some, factor] :
       {std::pair(&part.fewer, part.factor), {&part.unpulled, pull_}}) {
    for (const Index i : *some) result += factor * X_.col(i)(features).cwiseAbs2();
  }
  return result.array() + ridge_;
}

template Matrix<float> BudgetGram::of(const OutputRows&, const Features&) const;
template Matrix<double> BudgetGram::of(const OutputRows&, const Features&) const;
template Matrix<float> BudgetGram::between(const OutputRows&, const Features&,
                                           const Features&) const;
template Matrix<double> BudgetGram::between(const OutputRows&, const Features&,
                                            const Features&) const;
template Matrix<double> BudgetGram::samples(const Features&, const std::vector<Index>&) const;

}  // namespace nettrim::budget
