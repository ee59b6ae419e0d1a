#include "budget/gram.hpp"

#include <iterator>
#include <numeric>
#include <type_traits>
#include <utility>

#include "linalg/factor.hpp"
#include "linalg/product_by.hpp"

namespace nettrim::budget {
namespace {

constexpr Index kPiece = 128;   // samples: all features of so many stay in a cache
constexpr Index kColumns = 32;  // features: all samples of so many do

template <class S>
using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

template <class S>
struct Term {
  Index feature;
  S weight;
};

template <class S>
using Terms = std::vector<Term<S>>;

// Several at a time: every load and store of a sum then serves them all.
template <class S, class Samples, class Sums>
void add_terms(const Samples& X, const Terms<S>& terms, Sums&& sums) {
  std::size_t i = 0;
  for (; i + 4 <= terms.size(); i += 4) {
    const Term<S>* const t = terms.data() + i;
    sums += t[0].weight * X.col(t[0].feature) + t[1].weight * X.col(t[1].feature) +
            t[2].weight * X.col(t[2].feature) + t[3].weight * X.col(t[3].feature);
  }
  for (; i < terms.size(); ++i) sums += terms[i].weight * X.col(terms[i].feature);
}

}  // namespace

template <class S>
BudgetGram::BudgetGram(const BudgetProgram& program, S)
    : X_(program.X, program.features, program.samples),
      pull_(program.pull),
      ridge_(program.ridge),
      squares_(X_.rowwise().squaredNorm()),
      whole_(program.gram) {
  if constexpr (std::is_same_v<S, float>) {
    single_ = X_.transpose().cast<float>();
  } else {
    double_ = X_.transpose();
  }
}

template <class S>
BudgetGram::BudgetGram(const BudgetProgram& program, S precision, int threads)
    : BudgetGram(program, precision) {
  if (whole_) return;
  own_ = gram_of(program.features, cut(program.samples, 256, threads), threads,
                 [&](Range r) { return X_.middleCols(r.begin, r.size); });
  whole_ = own_.data();
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

// Of samples in a precision of their own.
template <class S, class Given>
Matrix<S> gather(const Matrix<Given>& X, const std::vector<Index>& samples,
                 const Features& features) {
  Matrix<S> result(static_cast<Index>(samples.size()), static_cast<Index>(features.size()));
  for (Index j = 0; j < result.cols(); ++j) {
    const Given* const values = X.col(features[static_cast<std::size_t>(j)]).data();
    S* const out = result.col(j).data();
    for (std::size_t i = 0; i < samples.size(); ++i) out[i] = static_cast<S>(values[samples[i]]);
  }
  return result;
}

template <class S>
Matrix<S> BudgetGram::by_feature(const std::vector<Index>& samples,
                                 const Features& features) const {
  return single_.size() > 0 ? gather<S>(single_, samples, features)
                            : gather<S>(double_, samples, features);
}

template <>
const Matrix<float>& BudgetGram::by_feature() const {
  return single_;
}

template <>
const Matrix<double>& BudgetGram::by_feature() const {
  return double_;
}

template <class S>
Eigen::VectorXd BudgetGram::correlations(const Features& features,
                                         const Eigen::VectorXd& residual) const {
  const Vector<S> given = residual.cast<S>();
  Eigen::VectorXd result(static_cast<Index>(features.size()));
  for (Index i = 0; i < result.size(); ++i) {
    const auto values = by_feature<S>().col(features[static_cast<std::size_t>(i)]);
    result[i] = static_cast<double>(values.dot(given));
  }
  return result;
}

template <class S>
Matrix<S> BudgetGram::signals(const Matrix<S>& weights) const {
  const Matrix<S>& X = by_feature<S>();
  if (2 * (weights.array() != 0).count() > weights.size()) return product(X, weights.transpose());
  Matrix<S> result = Matrix<S>::Zero(X.rows(), weights.rows());
  std::vector<Terms<S>> terms(static_cast<std::size_t>(weights.rows()));
  for (Index i = 0; i < weights.cols(); ++i) {
    for (Index k = 0; k < weights.rows(); ++k) {
      if (weights(k, i) != 0) terms[static_cast<std::size_t>(k)].push_back({i, weights(k, i)});
    }
  }
  for (const Range r : cut(X.rows(), kPiece, 1)) {
    for (Index k = 0; k < weights.rows(); ++k) {
      add_terms<S>(X.middleRows(r.begin, r.size), terms[static_cast<std::size_t>(k)],
                   result.col(k).segment(r.begin, r.size));
    }
  }
  return result;
}

Eigen::VectorXd BudgetGram::signal(const Features& features, const Eigen::VectorXd& weights) const {
  Terms<double> terms;
  for (Index i = 0; i < weights.size(); ++i) {
    terms.push_back({features[static_cast<std::size_t>(i)], weights[i]});
  }
  Eigen::VectorXd result = Eigen::VectorXd::Zero(X_.cols());
  for (const Range r : cut(result.size(), kPiece, 1)) {
    add_terms(double_.middleRows(r.begin, r.size), terms, result.segment(r.begin, r.size));
  }
  return result;
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

// Lower triangle of a multiple of X'X, with the ridge.
template <class S>
Matrix<S> BudgetGram::scaled(const Features& features, double factor) const {
  const auto m = static_cast<Index>(features.size());
  Matrix<S> gram(m, m);
  for (Index j = 0; j < m; ++j) {
    for (Index i = j; i < m; ++i) {
      gram(i, j) = static_cast<S>(factor * whole(features[static_cast<std::size_t>(i)],
                                                 features[static_cast<std::size_t>(j)]));
    }
  }
  gram.diagonal().array() += static_cast<S>(ridge_);
  return gram;
}

Matrix<double> BudgetGram::weighted(const Features& features, const Eigen::VectorXd& rows,
                                    int threads) const {
  std::vector<Index> all(static_cast<std::size_t>(rows.size()));
  std::iota(all.begin(), all.end(), Index{0});
  const Matrix<double> X = rows.cwiseSqrt().asDiagonal() * by_feature<double>(all, features);
  Matrix<double> gram = Matrix<double>::Zero(X.cols(), X.cols());
  add_lower_product_by(threads, X.transpose(), X, gram, 1.0);
  gram.diagonal().array() += ridge_;
  return gram;
}

template <class S>
Matrix<S> BudgetGram::of(const OutputRows& rows, const Features& features) const {
  const Parts part = parts(rows);
  Matrix<S> gram = scaled<S>(features, part.share);
  for (const auto& [some, factor] :
       {std::pair(&part.fewer, part.factor), {&part.unpulled, pull_}}) {
    if (!some->empty()) {
      add_gram(by_feature<S>(*some, features).transpose(), gram, static_cast<S>(factor));
    }
  }
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
    add_product(by_feature<S>(*some, features).transpose(), by_feature<S>(*some, others), gram,
                static_cast<S>(factor));
  }
  return gram;
}

template <class S>
BudgetGram::Sums BudgetGram::sums(const Matrix<double>& residuals,
                                  const Matrix<double>& rows) const {
  const Matrix<S> asked = residuals.cast<S>(), weights = rows.cast<S>();
  Sums result{Matrix<double>(features(), asked.cols()), Matrix<double>(features(), asked.cols())};
  for (const Range r : cut(features(), kColumns, 1)) {
    Matrix<S> X = double_.middleCols(r.begin, r.size).cast<S>();
    result.slopes.middleRows(r.begin, r.size) =
        product(X.transpose(), asked).template cast<double>();
    X = X.cwiseAbs2();
    const Matrix<S> squares = product(X.transpose(), weights);
    result.squares.middleRows(r.begin, r.size) = squares.template cast<double>().array() + ridge_;
  }
  return result;
}

template BudgetGram::BudgetGram(const BudgetProgram&, float);
template BudgetGram::BudgetGram(const BudgetProgram&, double);
template BudgetGram::BudgetGram(const BudgetProgram&, float, int);
template BudgetGram::BudgetGram(const BudgetProgram&, double, int);
template Matrix<float> BudgetGram::of(const OutputRows&, const Features&) const;
template Matrix<double> BudgetGram::of(const OutputRows&, const Features&) const;
template Matrix<float> BudgetGram::between(const OutputRows&, const Features&,
                                           const Features&) const;
template Matrix<double> BudgetGram::between(const OutputRows&, const Features&,
                                            const Features&) const;
template BudgetGram::Sums BudgetGram::sums<float>(const Matrix<double>&,
                                                  const Matrix<double>&) const;
template BudgetGram::Sums BudgetGram::sums<double>(const Matrix<double>&,
                                                   const Matrix<double>&) const;
template Eigen::VectorXd BudgetGram::correlations<float>(const Features&,
                                                         const Eigen::VectorXd&) const;
template Eigen::VectorXd BudgetGram::correlations<double>(const Features&,
                                                          const Eigen::VectorXd&) const;
template Matrix<float> BudgetGram::signals(const Matrix<float>&) const;
template Matrix<double> BudgetGram::signals(const Matrix<double>&) const;
template Matrix<float> BudgetGram::samples(const Features&, const std::vector<Index>&) const;
template Matrix<double> BudgetGram::samples(const Features&, const std::vector<Index>&) const;

}  // namespace nettrim::budget
