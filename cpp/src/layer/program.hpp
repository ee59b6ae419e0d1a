// A layer program at unit size: the caller's arrays untouched, with powers of two in front, so that
// tolerances mean the same for every layer and scaling rounds nothing.
#pragma once

#include <algorithm>
#include <memory>

#include "layer/group_norm.hpp"
#include "linalg/parallel.hpp"
#include "nettrim/layer.hpp"

namespace nettrim::layer {

// What an entry asks of the signal XU: to be `target`, or to be at most `target`.
template <class S>
struct Entry {
  S target;
  bool active;
};

// Its two parts one by one, which a loop over single-precision entries needs to be vectorised.
template <class S>
struct LinearEntries {
  const S* Y;
  S scale;
  bool active(Index) const { return true; }
  S target(Index i) const { return Y[i] * scale; }
  Entry<S> operator()(Index i) const { return {target(i), true}; }
};

template <class S>
struct ReluEntries {
  const S* Y;
  S scale;
  bool active(Index i) const { return Y[i] > 0; }
  S target(Index i) const { return std::max(Y[i], S(0)) * scale; }
  Entry<S> operator()(Index i) const { return {target(i), active(i)}; }
};

template <class S>
struct BoundedReluEntries {
  const S *Y, *upper;
  S scale;
  bool active(Index i) const { return Y[i] > 0; }
  S target(Index i) const { return (active(i) ? Y[i] : upper[i]) * scale; }
  Entry<S> operator()(Index i) const { return {target(i), active(i)}; }
};

template <class S>
struct MaskedEntries {
  const S *Y, *upper;
  const bool* mask;
  S scale;
  bool active(Index i) const { return mask[i]; }
  S target(Index i) const { return (mask[i] ? Y[i] : upper[i]) * scale; }
  Entry<S> operator()(Index i) const { return {target(i), active(i)}; }
};

// Some samples of X, features x samples: where they lie, or a copy whose features are of like
// length.
template <class S>
class Samples : public View<S> {
 public:
  Samples(const S* data, Index features, Index count) : View<S>(data, features, count) {}
  explicit Samples(Matrix<S>&& copy)
      : View<S>(copy.data(), copy.rows(), copy.cols()), copy_(std::move(copy)) {}
  Samples(Samples&&) = default;

 private:
  Matrix<S> copy_;
};

// What draws the weights of a program at unit size.
template <class S>
struct UnitRegularisation {
  Eigen::VectorXd ridges;   // of each feature
  double pull = 0;          // of each inactive entry
  Matrix<double> original;  // outputs x features
  Matrix<S> signals;        // of those, outputs x samples; empty without a pull
};

// The program in units where the longest feature and the largest output are about 1:
// X' = x_scale X, Y' = y_scale Y, U' = (y_scale / x_scale) U. Where the lengths of the features are
// far apart, all are about 1: features are longer by `scales`, their weights are smaller by as much
// and cost so much each, beside what the caller says of each. All factors are powers of two.
template <class S>
struct UnitProgram {
  LayerProgram<S> given;
  S x_scale = 1, y_scale = 1;
  // Of each feature: by what it is longer; norm of X', and of rows that are not formed.
  Eigen::VectorXd scales, lengths;
  // Of each weight, outputs x features, over cost_unit: the least is about 1. Null: all are alike.
  std::shared_ptr<const Matrix<double>> costs;
  double cost_unit = 1;
  std::shared_ptr<const GroupNorm> groups;  // in place of the l1 norm; then all scales are 1
  std::shared_ptr<const UnitRegularisation<S>> regularisation;  // if there is one
  double level = 0;                                             // epsilon or penalty in these units
  double largest = 0;                                           // max |Y'|
  double total = 0;   // ||Y'_active||_F, and of what weights are drawn to
  bool even = false;  // whether features have scales of their own
  int threads = 1;
  std::vector<Range> samples;  // cut for the threads; about what a core's cache holds

  void set_level(double given_level);

  Index n_samples() const { return given.samples; }
  Index n_features() const { return given.features; }
  Index n_outputs() const { return given.outputs; }
  bool constrained() const { return given.form == Form::constrained; }

  // What one unit of a quantity here is for the caller.
  double signal_unit() const { return 1 / static_cast<double>(y_scale); }
  double weight_unit() const { return static_cast<double>(x_scale) / static_cast<double>(y_scale); }
  double dual_unit() const {
    return constrained() ? static_cast<double>(x_scale) * cost_unit
                         : 1 / static_cast<double>(y_scale);
  }
  double objective_unit() const {
    return constrained() ? weight_unit() * cost_unit : signal_unit() * signal_unit();
  }

  Eigen::VectorXd costs_of(Index output) const;  // l1 penalty of a unit of weight of each feature
  double norm_of(const Matrix<double>& weights) const;      // outputs x features, at their costs
  Matrix<double> allowed(Matrix<double> weights) const;     // without those of infinite cost
  Matrix<S> given_weights(const Matrix<S>& weights) const;  // in the caller's units
  Matrix<S> unit_weights(const Matrix<S>& given_weights) const;

  // X', but for x_scale. In another precision, and with x_scale, it is written in one pass.
  Samples<S> X(Range r) const;
  template <class Out>
  void write_X(Range r, Out&& out) const {
    using G = typename std::decay_t<Out>::Scalar;
    const View<S> given_X(given.X + r.begin * given.features, given.features, r.size);
    if (even) {
      out = (x_scale * (scales.template cast<S>().asDiagonal() * given_X)).template cast<G>();
    } else {
      out = (x_scale * given_X).template cast<G>();
    }
  }
  S X(Index sample, Index feature) const {
    const S x = given.X[sample * given.features + feature];
    return even ? static_cast<S>(scales[feature]) * x : x;
  }

  void signals_of(const Matrix<S>& weights, Matrix<S>& out) const;  // XU, outputs x samples
  Matrix<S> gradient_of(const Matrix<S>& signal) const;             // X' signal, outputs x features

  // Calls kernel(entries) with the functor that reads this program's entries: the choice is made
  // outside the loops.
  template <class Kernel>
  void with_entries(Kernel&& kernel) const {
    if (given.activation == Activation::linear) {
      kernel(LinearEntries<S>{given.Y, y_scale});
    } else if (given.active != nullptr) {
      kernel(MaskedEntries<S>{given.Y, given.upper, given.active, y_scale});
    } else if (given.upper == nullptr) {
      kernel(ReluEntries<S>{given.Y, y_scale});
    } else {
      kernel(BoundedReluEntries<S>{given.Y, given.upper, y_scale});
    }
  }
};

// Multipliers of another program may be positive where this one is inactive; no bound allows that.
template <class S>
void cut_to_valid_signs(const UnitProgram<S>& program, Matrix<S>& dual);

template <class S>
UnitProgram<S> to_unit_size(const LayerProgram<S>& program, int threads);

}  // namespace nettrim::layer
