#include "budget/support.hpp"

#include <algorithm>
#include <numeric>

#include "linalg/cholesky.hpp"

namespace nettrim::budget {
namespace {

constexpr int kSteps = 30;             // of Newton; some five is what it takes
constexpr int kHalvings = 10;          // of a step that does not pay
constexpr double kSettled = 1e-10;     // a relative decrease that is the last
constexpr std::size_t kPromising = 2;  // one of so many absent weights is looked at closely

}  // namespace

Support::Support(const BudgetProgram& program, const BudgetGram& gram, Index output)
    : gram_(&gram),
      ridge_(program.ridge),
      prior_(View<double>(program.prior, program.outputs, program.features).row(output)),
      rows_(program, output),
      features_(static_cast<std::size_t>(program.features)),
      weights_(prior_) {
  std::iota(features_.begin(), features_.end(), Index{0});
}

void Support::take(Features features) {
  const Eigen::VectorXd before = weights();
  features_ = std::move(features);
  weights_ = before(features_);
  signal_ = gram_->signal(features_, weights_);
  rows_.look(signal_);
  loss_ = loss_of(weights_, signal_);
}

void Support::fit(Features features) {
  take(std::move(features));
  const Eigen::VectorXd asked = rows_.residual(Eigen::VectorXd::Zero(rows_.size()));
  Model model{gram_->of(rows_, features_),
              gram_->correlations<double>(features_, asked) + ridge_ * prior_(features_)};
  for (int step = 0; step < kSteps && newton_step(model);) ++step;
}

// Returns whether there is more to gain.
bool Support::newton_step(Model& model) {
  const double before = loss_;
  Matrix<double> factor = model.gram;
  cholesky(factor);
  const Eigen::VectorXd weights = solve_factored(factor, model.right);
  step_towards(weights, gram_->signal(features_, weights));
  const Change change = rows_.look(signal_);
  count(change, model);
  return !change.empty() && loss_ < (1 - kSettled) * before;
}

void Support::step_towards(const Eigen::VectorXd& weights, const Eigen::VectorXd& signal) {
  double share = 1;
  for (int k = 0; k < kHalvings; ++k, share /= 2) {
    const Eigen::VectorXd w = weights_ + share * (weights - weights_);
    const Eigen::VectorXd s = signal_ + share * (signal - signal_);
    const double loss = loss_of(w, s);
    if (loss > loss_) continue;
    weights_ = w;
    signal_ = s;
    loss_ = loss;
    return;
  }
}

void Support::count(const Change& change, Model& model) const {
  for (const auto& [rows, sign] : {std::pair(&change.entering, 1.0), {&change.leaving, -1.0}}) {
    if (rows->empty()) continue;
    const Matrix<double> samples = gram_->samples(features_, *rows);
    Eigen::VectorXd upper(samples.cols());
    for (Index k = 0; k < upper.size(); ++k) {
      upper[k] = rows_.upper((*rows)[static_cast<std::size_t>(k)]);
    }
    add_gram(samples, model.gram, sign);
    add_product(samples, upper, model.right, sign);
  }
}

Eigen::VectorXd Support::weights() const {
  Eigen::VectorXd all = Eigen::VectorXd::Zero(prior_.size());
  all(features_) = weights_;
  return all;
}

SwapValue Support::worth(const Eigen::VectorXd& slopes, const Eigen::VectorXd& squares) const {
  const Candidates absent = candidates(slopes, squares);
  return in_precision_for(prior_.size(),
                          [&](auto zero) { return worth_in<decltype(zero)>(absent); });
}

template <class S>
SwapValue Support::worth_in(const Candidates& absent) const {
  const Index n = prior_.size(), m = static_cast<Index>(features_.size());
  Matrix<S> present = gram_->of<S>(rows_, features_);
  cholesky(present);
  Matrix<S> half = Matrix<S>::Identity(m, m);
  solve_from_left(present, half);
  Matrix<S> cross = gram_->between<S>(rows_, absent.features, features_);
  solve_from_right(present, cross);
  const Eigen::VectorXd left_over =
      absent.squares - cross.rowwise().squaredNorm().template cast<double>();
  const Eigen::VectorXd inverse_diagonal =
      half.colwise().squaredNorm().transpose().template cast<double>();
  SwapValue worth{Eigen::VectorXd::Constant(n, kInfinity), Eigen::VectorXd::Zero(n)};
  worth.cost(features_) = weights_.array().square() / (2 * inverse_diagonal.array());
  worth.gain(absent.features) =
      absent.slope.array().square() / (2 * left_over.cwiseMax(ridge_).array());
  return worth;
}

// By what they gain if no other weight follows, which is less than they are worth.
Support::Candidates Support::candidates(const Eigen::VectorXd& slopes,
                                        const Eigen::VectorXd& squares) const {
  Features all(static_cast<std::size_t>(prior_.size())), absent;
  std::iota(all.begin(), all.end(), Index{0});
  std::set_difference(all.begin(), all.end(), features_.begin(), features_.end(),
                      std::back_inserter(absent));
  const Eigen::VectorXd slope = slopes(absent) + ridge_ * prior_(absent);
  const Eigen::VectorXd alone = slope.array().square() / squares(absent).array();
  std::vector<Index> order(absent.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](Index a, Index b) { return alone[a] > alone[b]; });
  order.resize((absent.size() + kPromising - 1) / kPromising);
  const Eigen::Map<const Eigen::Matrix<Index, Eigen::Dynamic, 1>> features(
      absent.data(), static_cast<Index>(absent.size()));
  const auto chosen = features(order);
  return {Features(chosen.begin(), chosen.end()), slope(order), squares(absent)(order)};
}

double Support::loss_of(const Eigen::VectorXd& weights, const Eigen::VectorXd& signal) const {
  double apart = prior_.squaredNorm();
  for (Index k = 0; k < weights.size(); ++k) {
    const double prior = prior_[features_[static_cast<std::size_t>(k)]];
    apart += weights[k] * (weights[k] - 2 * prior);
  }
  return rows_.loss(signal) + ridge_ * apart / 2;
}

}  // namespace nettrim::budget
