#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "budget/gram.hpp"
#include "budget/quota.hpp"
#include "budget/stop.hpp"
#include "linalg/inverse.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::budget {
namespace {

constexpr Index kBlock = 128;  // weights removed between two looks at the rows, at most
constexpr Index kShare = 10;   // and no more than one of so many
constexpr Index kBatch = 16;   // outputs whose signals are computed together
constexpr int kBatches = 8;    // or a multiple, whatever the number of threads

// One output that gives up its weights: the inverse of its Gram matrix over the features that are
// left, and the weights of least loss among theirs. A feature that is zero in all samples is idle:
// its weight stays what it was, whatever becomes of others, and it takes no part in the inverse.
class OutputElimination {
 public:
  OutputElimination(const BudgetProgram& program, const BudgetPattern& pattern,
                    const BudgetGram& gram, Index output)
      : gram_(gram),
        prior_(View<double>(program.prior, program.outputs, program.features).row(output)),
        ridge_(program.ridge),
        rows_(program, output),
        quota_(pattern, program.features),
        left_(static_cast<std::size_t>(program.features)) {
    std::iota(left_.begin(), left_.end(), Index{0});
    const auto idle = std::stable_partition(left_.begin(), left_.end(),
                                            [&](Index i) { return gram.squares()[i] > 0; });
    n_live_ = idle - left_.begin();
  }

  Index left() const { return static_cast<Index>(left_.size()); }
  bool finished() const { return finished_; }

  // From the rows as they are at the signal of the weights there are; returns their residual.
  Eigen::VectorXd begin(const Eigen::VectorXd& signal) {
    rows_.look(signal);
    weights_ = prior_(left_);
    return rows_.residual(signal);
  }

  // From weights that know nothing of one another: each counts by its signal alone.
  void begin_alone() {
    weights_ = prior_;
    inverse_diagonal_ = (gram_.squares().array() + ridge_).inverse();
  }

  template <class Vector>
  void write(Vector&& weights) const {
    weights.setZero();
    for (Index i = 0; i < left(); ++i) weights[left_[static_cast<std::size_t>(i)]] = weights_[i];
  }

  // Removes some weights, cheapest first; tells each to gone(feature, loss).
  template <class Gone>
  void remove_block(Gone&& gone) {
    const Index most = std::clamp<Index>(n_live_ / kShare, 1, kBlock);
    directions_.resize(n_live_, most);
    removed_.assign(left_.size(), false);
    Index count = 0;
    while (count < most) {
      Index i = cheapest();
      if (i < 0 && quota_.lift()) i = cheapest();
      if (i < 0) {
        finished_ = true;
        break;
      }
      gone(left_[static_cast<std::size_t>(i)], removal_loss(i));
      if (i < n_live_) follow(i, count++);
      removed_[static_cast<std::size_t>(i)] = true;
      quota_.remove(left_[static_cast<std::size_t>(i)]);
    }
    compact(count);
    finished_ |= left() == 0;
  }

  // Removes all that may go by what they cost now, the others not following.
  template <class Gone>
  void remove_rest(Gone&& gone) {
    std::vector<Index> turns(left_.size());
    std::iota(turns.begin(), turns.end(), Index{0});
    std::stable_sort(turns.begin(), turns.end(),
                     [&](Index a, Index b) { return removal_loss(a) < removal_loss(b); });
    removed_.assign(left_.size(), false);
    do {
      for (const Index i : turns) {
        const auto k = static_cast<std::size_t>(i);
        if (removed_[k] || !quota_.may_go(left_[k])) continue;
        gone(left_[k], removal_loss(i));
        removed_[k] = true;
        quota_.remove(left_[k]);
      }
    } while (quota_.lift());
    finished_ = true;
  }

  // One Newton step towards the least loss, with the rows that count at the signal of the weights.
  // Returns whether it is to be made by `rebuild`, with the residual that this writes.
  bool look_again(const Eigen::VectorXd& signal, Eigen::Ref<Eigen::VectorXd> residual) {
    const Change change = rows_.look(signal);
    const bool must_rebuild = is_due() || !step(change, signal);
    if (must_rebuild) residual = rows_.residual(signal);
    return must_rebuild;
  }

  // Takes the inverse anew, and a step with X'residual.
  void rebuild(const Eigen::VectorXd& correlations) {
    const Features features = live();
    storage_ = inverse_of(features);
    inverse_diagonal_ = Eigen::VectorXd::Constant(left(), 1 / ridge_);
    inverse_diagonal_.head(n_live_) = storage_.diagonal();
    const Eigen::VectorXd slope =
        correlations(features) + ridge_ * (prior_(features) - weights_.head(n_live_));
    weights_.head(n_live_) += storage_.selfadjointView<Eigen::Lower>() * slope;
    built_with_ = n_live_;
  }

  // Whether to take the inverse anew, before rounding gathers in it.
  bool is_due() const { return 2 * n_live_ <= built_with_; }

 private:
  // Returns whether rounding has left the inverse definite.
  bool step(const Change& change, const Eigen::VectorXd& signal) {
    if (change.empty()) return true;
    const Matrix<double> entering = gram_.samples(live(), change.entering);
    const Matrix<double> leaving = gram_.samples(live(), change.leaving);
    update_inverse(inverse(), entering, 1);
    update_inverse(inverse(), leaving, -1);
    inverse_diagonal_.head(n_live_) = inverse().diagonal();
    if (!(inverse_diagonal_.minCoeff() > 0)) return false;
    const Eigen::VectorXd slope = product(entering, excess(change.entering, signal)) -
                                  product(leaving, excess(change.leaving, signal));
    weights_.head(n_live_) -= inverse().selfadjointView<Eigen::Lower>() * slope;
    return true;
  }

  // A large one in single precision, where that is enough: an order and losses come from it, and
  // Newton's steps, whose end it does not move.
  Matrix<double> inverse_of(const Features& features) const {
    if (n_live_ > kAlwaysDouble) {
      Matrix<float> single = gram_.of<float>(rows_, features);
      if (invert<float>(single) && single.diagonal().minCoeff() > 0) return single.cast<double>();
    }
    Matrix<double> result = gram_.of<double>(rows_, features);
    invert<double>(result);
    return result;
  }

  Features live() const { return Features(left_.begin(), left_.begin() + n_live_); }

  Eigen::VectorXd excess(const std::vector<Index>& rows, const Eigen::VectorXd& signal) const {
    Eigen::VectorXd result(static_cast<Index>(rows.size()));
    for (Index k = 0; k < result.size(); ++k) {
      const Index i = rows[static_cast<std::size_t>(k)];
      result[k] = signal[i] - rows_.upper(i);
    }
    return result;
  }

  double removal_loss(Index i) const {
    return weights_[i] * weights_[i] / (2 * inverse_diagonal_[i]);
  }

  Index cheapest() const {
    Index best = -1;
    double least = kInfinity;
    for (Index i = 0; i < left(); ++i) {
      const auto k = static_cast<std::size_t>(i);
      if (removed_[k] || !quota_.may_go(left_[k])) continue;
      if (const double loss = removal_loss(i); loss < least || best < 0) {
        least = loss;
        best = i;
      }
    }
    return best;
  }

  // Lets the other weights follow a removal. The inverse itself follows at the block's end: until
  // then it is corrected by the directions of the removals before.
  void follow(Index i, Index count) {
    auto v = directions_.col(count);
    v.head(i) = storage_.row(i).head(i).transpose();
    v.tail(n_live_ - i) = storage_.col(i).segment(i, n_live_ - i);
    add_product(directions_.leftCols(count), directions_.row(i).head(count).transpose(), v, -1);
    v /= std::sqrt(inverse_diagonal_[i]);
    weights_.head(n_live_) -= (weights_[i] / std::sqrt(inverse_diagonal_[i])) * v;
    inverse_diagonal_.head(n_live_).array() -= v.array().square();
    inverse_diagonal_ = inverse_diagonal_.cwiseMax(std::numeric_limits<double>::min());
  }

  void compact(Index count) {
    Index kept = 0, kept_live = 0;
    for (Index i = 0; i < left(); ++i) {
      const auto from = static_cast<std::size_t>(i), to = static_cast<std::size_t>(kept);
      if (removed_[from]) continue;
      left_[to] = left_[from];
      weights_[kept] = weights_[i];
      inverse_diagonal_[kept] = inverse_diagonal_[i];
      ++kept;
      if (i >= n_live_) continue;
      directions_.row(kept_live) = directions_.row(i);
      places_.resize(to + 1);
      places_[to] = i;
      ++kept_live;
    }
    for (Index b = 0; b < kept_live; ++b) {
      const Index from = places_[static_cast<std::size_t>(b)];
      for (Index a = b; a < kept_live; ++a) {
        storage_(a, b) = storage_(places_[static_cast<std::size_t>(a)], from);
      }
    }
    n_live_ = kept_live;
    left_.resize(static_cast<std::size_t>(kept));
    weights_.conservativeResize(kept);
    inverse_diagonal_.conservativeResize(kept);
    if (n_live_ == 0 || count == 0) return;
    add_gram(directions_.topLeftCorner(n_live_, count), inverse(), -1);
  }

  Eigen::Ref<Matrix<double>> inverse() { return storage_.topLeftCorner(n_live_, n_live_); }

  const BudgetGram& gram_;
  Eigen::VectorXd prior_;
  double ridge_;
  OutputRows rows_;
  Quota quota_;
  Features left_;  // idle ones at the end
  Index n_live_;
  Matrix<double> storage_;  // the inverse's lower triangle in its upper left corner
  Matrix<double> directions_;
  Eigen::VectorXd weights_, inverse_diagonal_;
  std::vector<bool> removed_;
  std::vector<Index> places_;
  Index built_with_ = 0;
  bool finished_ = false;
};

// A few outputs in step, so that their signals are one product.
class OutputBatch {
 public:
  OutputBatch(const BudgetProgram& program, const BudgetPattern& pattern, const BudgetGram& gram,
              Range outputs, const StopFlag& stop)
      : gram_(gram),
        outputs_(outputs),
        stop_(stop),
        is_linear_(program.active == nullptr),
        weights_(outputs.size, program.features) {
    const View<double> prior(program.prior, program.outputs, program.features);
    for (Index k = 0; k < outputs.size; ++k) {
      columns_.emplace_back(program, pattern, gram, outputs.begin + k);
    }
    const Matrix<double> signals = product(prior.middleRows(outputs.begin, outputs.size), gram.X());
    Matrix<double> residuals(program.samples, outputs.size);
    std::vector<Index> begun;
    for (Index k = 0; k < outputs.size; ++k) {
      if (stop.is_late()) {
        column(k).begin_alone();
      } else {
        residuals.col(k) = column(k).begin(signals.row(k));
        begun.push_back(k);
      }
    }
    rebuild(begun, residuals);
  }

  template <class Stopped>
  void run(Elimination& result, Stopped&& stopped) {
    std::vector<Index> gone(columns_.size(), 0);
    while (!finished() && !stopped()) {
      const bool is_late = stop_.is_late();
      for (Index k = 0; k < outputs_.size; ++k) {
        if (column(k).finished()) continue;
        const auto note = [&](Index feature, double loss) {
          Index& place = gone[static_cast<std::size_t>(k)];
          result.order(place, outputs_.begin + k) = static_cast<int>(feature);
          result.losses(place++, outputs_.begin + k) = loss;
        };
        if (is_late) {
          column(k).remove_rest(note);
          continue;
        }
        column(k).remove_block(note);
        column(k).write(weights_.row(k));
      }
      if (is_late) return;
      look_again();
    }
  }

 private:
  // In a linear layer every row counts, whatever its signal is.
  void look_again() {
    std::vector<Index> looking, due;
    for (Index k = 0; k < outputs_.size; ++k) {
      if (!column(k).finished() && (!is_linear_ || column(k).is_due())) looking.push_back(k);
    }
    if (looking.empty()) return;
    const Matrix<double> signals = gram_.signals(weights_);
    Matrix<double> residuals(signals.cols(), outputs_.size);
    for (const Index k : looking) {
      if (column(k).look_again(signals.row(k), residuals.col(k))) due.push_back(k);
    }
    rebuild(due, residuals);
  }

  void rebuild(const std::vector<Index>& due, const Matrix<double>& residuals) {
    if (due.empty()) return;
    const Matrix<double> asked = residuals(Eigen::all, due);
    const Matrix<double> correlations = product(gram_.X(), asked);
    for (std::size_t i = 0; i < due.size(); ++i) {
      column(due[i]).rebuild(correlations.col(static_cast<Index>(i)));
    }
  }

  OutputElimination& column(Index k) { return columns_[static_cast<std::size_t>(k)]; }
  bool finished() const {
    return std::all_of(columns_.begin(), columns_.end(), [](auto& c) { return c.finished(); });
  }

  const BudgetGram& gram_;
  Range outputs_;
  const StopFlag& stop_;
  bool is_linear_;
  Matrix<double> weights_;  // outputs x features
  std::vector<OutputElimination> columns_;
};

}  // namespace
}  // namespace nettrim::budget

namespace nettrim {

Elimination eliminate(const BudgetProgram& program, const BudgetPattern& pattern,
                      const BudgetOptions& options) {
  using namespace budget;
  StopFlag stop(options);
  const BudgetGram gram =
      stop.is_late() ? BudgetGram(program) : BudgetGram(program, options.n_threads);
  Elimination result;
  result.order = Matrix<int>::Constant(program.features, program.outputs, -1);
  result.losses = Matrix<double>::Constant(program.features, program.outputs, kInfinity);
  const auto batches = cut(program.outputs, kBatch, kBatches);
  parallel_for_uneven(
      static_cast<Index>(batches.size()), options.n_threads, [&](Index k, int thread) {
        if (stop.poll(thread)) return;
        OutputBatch(program, pattern, gram, batches[static_cast<std::size_t>(k)], stop)
            .run(result, [&] { return stop.poll(thread); });
      });
  result.complete = !stop.is_set();
  return result;
}

}  // namespace nettrim
