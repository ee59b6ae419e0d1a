#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "budget/gram.hpp"
#include "budget/quota.hpp"
#include "budget/shared_inverse.hpp"
#include "budget/stop.hpp"
#include "linalg/freed_memory.hpp"
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
// That is kept in precision S, single where it is large: an order and losses come from it, and
// Newton's steps, whose end it does not move.
template <class S>
class OutputElimination {
 public:
  OutputElimination(const BudgetProgram& program, const BudgetPattern& pattern, const bool* start,
                    const BudgetGram& gram, Index output)
      : gram_(gram),
        prior_(View<double>(program.prior, program.outputs, program.features).row(output)),
        ridge_(program.ridge),
        rows_(program, output),
        quota_(pattern, program.features) {
    for (Index i = 0; i < program.features; ++i) {
      if (!start || start[output * program.features + i]) {
        left_.push_back(i);
      } else {
        quota_.remove(i);
      }
    }
    const auto idle = std::stable_partition(left_.begin(), left_.end(),
                                            [&](Index i) { return gram.squares()[i] > 0; });
    n_live_ = idle - left_.begin();
    weights_ = prior_(left_);
  }

  Index left() const { return static_cast<Index>(left_.size()); }
  bool finished() const { return finished_; }

  // Removes weights, up to a number, by what the outputs have in common.
  template <class Gone>
  void remove_roughly(const SharedInverse<S>& shared, Index count, Gone&& gone) {
    storage_ = shared.of(rows_);
    inverse_diagonal_ = Eigen::VectorXd::Constant(left(), 1 / ridge_);
    inverse_diagonal_.head(n_live_) = storage_.diagonal().template cast<double>();
    while (prior_.size() - left() < count && !finished_) remove_block(gone);
  }

  // From the rows as they are at the signal that all weights give, for those that are left will
  // follow it.
  void begin(const Eigen::VectorXd& whole, const Eigen::VectorXd& signal,
             const SharedInverse<S>& shared) {
    rows_.look(whole);
    if (shared.is_exact() && left() == prior_.size()) {
      take_inverse(shared.of(rows_), signal);
    } else {
      rebuild(signal);
    }
  }

  template <class Vector>
  void write(Vector&& weights) const {
    weights.setZero();
    for (Index i = 0; i < left(); ++i) {
      weights[left_[static_cast<std::size_t>(i)]] = static_cast<S>(weights_[i]);
    }
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
    if (inverse_diagonal_.size() == 0) begin_alone();
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
  void look_again(const Eigen::VectorXd& signal) {
    const Change change = rows_.look(signal);
    if (is_due() || !step(change, signal)) rebuild(signal);
  }

  // Whether to take the inverse anew, before rounding gathers in it.
  bool is_due() const { return 4 * n_live_ <= built_with_; }

 private:
  using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

  // From weights that know nothing of one another: each counts by its signal alone.
  void begin_alone() { inverse_diagonal_ = (gram_.squares()(left_).array() + ridge_).inverse(); }

  void rebuild(const Eigen::VectorXd& signal) { take_inverse(inverse_of(live()), signal); }

  // From an inverse that is new, with a Newton step that minds all rows.
  void take_inverse(Matrix<S> inverse, const Eigen::VectorXd& signal) {
    const Features features = live();
    storage_ = std::move(inverse);
    inverse_diagonal_ = Eigen::VectorXd::Constant(left(), 1 / ridge_);
    inverse_diagonal_.head(n_live_) = storage_.diagonal().template cast<double>();
    const Eigen::VectorXd slope = gram_.correlations<S>(features, rows_.residual(signal)) +
                                  ridge_ * (prior_(features) - weights_.head(n_live_));
    weights_.head(n_live_) += times_inverse(slope);
    built_with_ = n_live_;
  }

  // Returns whether rounding has left the inverse definite.
  bool step(const Change& change, const Eigen::VectorXd& signal) {
    if (change.empty()) return true;
    const Matrix<S> entering = gram_.samples<S>(live(), change.entering);
    const Matrix<S> leaving = gram_.samples<S>(live(), change.leaving);
    update_inverse<S>(inverse(), entering, 1);
    update_inverse<S>(inverse(), leaving, -1);
    inverse_diagonal_.head(n_live_) = inverse().diagonal().template cast<double>();
    if (!(inverse_diagonal_.array() > 0).all()) return false;
    const Vector slope = product(entering, excess(change.entering, signal)) -
                         product(leaving, excess(change.leaving, signal));
    weights_.head(n_live_) -= times_inverse(slope.template cast<double>());
    return true;
  }

  // Computed in double precision where single is not enough.
  Matrix<S> inverse_of(const Features& features) const {
    Matrix<S> result = gram_.of<S>(rows_, features);
    if (invert<S>(result) && (result.diagonal().array() > 0).all()) return result;
    Matrix<double> exact = gram_.of<double>(rows_, features);
    invert<double>(exact);
    return exact.cast<S>();
  }

  Eigen::VectorXd times_inverse(const Eigen::VectorXd& slope) {
    const Vector step = inverse().template selfadjointView<Eigen::Lower>() * slope.cast<S>();
    return step.template cast<double>();
  }

  Features live() const { return Features(left_.begin(), left_.begin() + n_live_); }

  Vector excess(const std::vector<Index>& rows, const Eigen::VectorXd& signal) const {
    Vector result(static_cast<Index>(rows.size()));
    for (Index k = 0; k < result.size(); ++k) {
      const Index i = rows[static_cast<std::size_t>(k)];
      result[k] = static_cast<S>(signal[i] - rows_.upper(i));
    }
    return result;
  }

  double removal_loss(Index i) const {
    return weights_[i] * weights_[i] / (2 * inverse_diagonal_[i]);
  }

  // All losses first, as SIMD divides several at a time.
  Index cheapest() {
    removal_losses_ = weights_.array().square() / (2 * inverse_diagonal_.array());
    Index best = -1;
    for (Index i = 0; i < left(); ++i) {
      if (best >= 0 && !(removal_losses_[i] < removal_losses_[best])) continue;
      const auto k = static_cast<std::size_t>(i);
      if (!removed_[k] && quota_.may_go(left_[k])) best = i;
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
    const double root = std::sqrt(inverse_diagonal_[i]);
    v /= static_cast<S>(root);
    weights_.head(n_live_) -= (weights_[i] / root) * v.template cast<double>();
    inverse_diagonal_.head(n_live_).array() -= v.template cast<double>().array().square();
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

  Part<S> inverse() { return storage_.topLeftCorner(n_live_, n_live_); }

  const BudgetGram& gram_;
  Eigen::VectorXd prior_;
  double ridge_;
  OutputRows rows_;
  Quota quota_;
  Features left_;  // idle ones at the end
  Index n_live_;
  Matrix<S> storage_;  // the inverse's lower triangle in its upper left corner
  Matrix<S> directions_;
  Eigen::VectorXd weights_, inverse_diagonal_, removal_losses_;
  std::vector<bool> removed_;
  std::vector<Index> places_;
  Index built_with_ = 0;
  bool finished_ = false;
};

// A few outputs in step, so that their signals are one product.
template <class S>
class OutputBatch {
 public:
  OutputBatch(const BudgetProgram& program, const BudgetPattern& pattern,
              const FirstRemovals& first, const BudgetGram& gram, Range outputs,
              const StopFlag& stop, Elimination& result)
      : gram_(gram),
        outputs_(outputs),
        stop_(stop),
        result_(result),
        is_linear_(program.active == nullptr),
        weights_(View<double>(program.prior, program.outputs, program.features)
                     .middleRows(outputs.begin, outputs.size)
                     .template cast<S>()) {
    for (Index k = 0; k < outputs.size; ++k) {
      columns_.emplace_back(program, pattern, first.left, gram, outputs.begin + k);
    }
  }

  void begin(const FirstRemovals& first, const SharedInverse<S>& shared) {
    const Matrix<S> whole = gram_.signals<S>(weights_);
    for (Index k = 0; k < outputs_.size && !stop_.is_late(); ++k) {
      if (first.rough > 0) column(k).remove_roughly(shared, first.rough, noting(k));
      column(k).write(weights_.row(k));
    }
    if (stop_.is_late()) return;
    const bool is_whole = !first.left && first.rough == 0;
    const Matrix<S> signals = is_whole ? whole : gram_.signals<S>(weights_);
    for (Index k = 0; k < outputs_.size; ++k) {
      column(k).begin(whole.col(k).template cast<double>(), signals.col(k).template cast<double>(),
                      shared);
      column(k).write(weights_.row(k));
    }
    if (!is_whole) look_again();
  }

  template <class Stopped>
  void run(Stopped&& stopped) {
    while (!finished() && !stopped()) {
      const bool is_late = stop_.is_late();
      for (Index k = 0; k < outputs_.size; ++k) {
        if (column(k).finished()) continue;
        if (is_late) {
          column(k).remove_rest(noting(k));
          continue;
        }
        column(k).remove_block(noting(k));
        column(k).write(weights_.row(k));
      }
      if (is_late) return;
      look_again();
    }
  }

 private:
  // In a linear layer every row counts, whatever its signal is.
  void look_again() {
    std::vector<Index> looking;
    for (Index k = 0; k < outputs_.size; ++k) {
      if (!column(k).finished() && (!is_linear_ || column(k).is_due())) looking.push_back(k);
    }
    if (looking.empty()) return;
    const Matrix<S> signals = gram_.signals<S>(weights_);
    for (const Index k : looking) {
      column(k).look_again(signals.col(k).template cast<double>());
    }
  }

  // Writes down what an output removes.
  auto noting(Index k) {
    return
        [this, k, place = weights_.cols() - column(k).left()](Index feature, double loss) mutable {
          result_.order(place, outputs_.begin + k) = static_cast<int>(feature);
          result_.losses(place++, outputs_.begin + k) = loss;
        };
  }

  OutputElimination<S>& column(Index k) { return columns_[static_cast<std::size_t>(k)]; }
  bool finished() const {
    return std::all_of(columns_.begin(), columns_.end(), [](auto& c) { return c.finished(); });
  }

  const BudgetGram& gram_;
  Range outputs_;
  const StopFlag& stop_;
  Elimination& result_;
  bool is_linear_;
  Matrix<S> weights_;  // outputs x features
  std::vector<OutputElimination<S>> columns_;
};

Features live_features(const BudgetGram& gram) {
  Features live;
  for (Index i = 0; i < gram.features(); ++i) {
    if (gram.squares()[i] > 0) live.push_back(i);
  }
  return live;
}

template <class S>
void eliminate_in(const BudgetProgram& program, const BudgetPattern& pattern,
                  const FirstRemovals& first, const BudgetOptions& options, StopFlag& stop,
                  Elimination& result) {
  const BudgetGram gram =
      stop.is_late() ? BudgetGram(program, S()) : BudgetGram(program, S(), options.n_threads);
  SharedInverse<S> shared(program);
  if (!stop.is_late() && (first.rough > 0 || !program.active)) {
    shared.compute(program, gram, live_features(gram), options.n_threads);
  }
  const auto batches = cut(program.outputs, kBatch, kBatches);
  parallel_for_uneven(static_cast<Index>(batches.size()), options.n_threads,
                      [&](Index k, int thread) {
                        if (stop.poll(thread)) return;
                        OutputBatch<S> batch(program, pattern, first, gram,
                                             batches[static_cast<std::size_t>(k)], stop, result);
                        batch.begin(first, shared);
                        batch.run([&] { return stop.poll(thread); });
                      });
}

}  // namespace
}  // namespace nettrim::budget

namespace nettrim {

Elimination eliminate(const BudgetProgram& program, const BudgetPattern& pattern,
                      const BudgetOptions& options, const FirstRemovals& first) {
  using namespace budget;
  keep_freed_memory(kMostKept);
  StopFlag stop(options);
  Elimination result;
  result.order = Matrix<int>::Constant(program.features, program.outputs, -1);
  result.losses = Matrix<double>::Constant(program.features, program.outputs, kInfinity);
  in_precision_for(program.features, [&](auto zero) {
    eliminate_in<decltype(zero)>(program, pattern, first, options, stop, result);
  });
  result.complete = !stop.is_set();
  return result;
}

}  // namespace nettrim
