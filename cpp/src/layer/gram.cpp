#include "layer/gram.hpp"

#include <cmath>

namespace nettrim::layer {
namespace {

template <class S>
Matrix<double> samples_by_row(const S* data, Index samples, Index columns, S scale) {
  return View<S>(data, columns, samples).transpose().template cast<double>() *
         static_cast<double>(scale);
}

// Rounding of the orthogonal reduction: epsilon this near to the least possible counts as equal.
constexpr double kRounding = 1e-12;
// Largest weight of the outside part in a lifted dual, over what epsilon alone would give it.
constexpr double kSteepest = 1e-8;

}  // namespace

template <class S>
GramSpace::GramSpace(const UnitProgram<S>& p)
    : basis_(samples_by_row(p.given.X, p.n_samples(), p.n_features(), p.x_scale)),
      coordinates_(
          basis_.coordinates(samples_by_row(p.given.Y, p.n_samples(), p.n_outputs(), p.y_scale))),
      X_(basis_.triangle().transpose()),
      Y_(coordinates_.topRows(p.n_features()).transpose()),
      form_(p.given.form),
      outside_(coordinates_.bottomRows(p.n_samples() - p.n_features()).norm()) {
  aim(p.level);
}

void GramSpace::aim(double level) {
  level_given_ = level_ = level;
  if (form_ != Form::constrained) return;
  feasible_ = outside_ <= level + kRounding * coordinates_.norm();
  level_ = std::sqrt(std::max(level - outside_, 0.0)) * std::sqrt(level + outside_);
}

LayerProgram<double> GramSpace::program() const {
  LayerProgram<double> p;
  p.samples = X_.cols();
  p.features = X_.rows();
  p.outputs = Y_.rows();
  p.X = X_.data();
  p.Y = Y_.data();
  p.activation = Activation::linear;
  p.form = form_;
  p.level = level_;
  return p;
}

Matrix<double> GramSpace::lift(const Matrix<double>& dual) const {
  double slope = 2;
  if (form_ == Form::constrained) {
    slope = level_given_ > 0 ? dual.norm() / std::max(level_, kSteepest * level_given_) : 0.0;
  }
  Matrix<double> lifted = slope * coordinates_;
  lifted.topRows(dual.cols()) = dual.transpose();
  return basis_.samples(std::move(lifted)).transpose();
}

Matrix<double> GramSpace::outside_part() const {
  Matrix<double> part = coordinates_;
  part.topRows(Y_.cols()).setZero();
  return basis_.samples(std::move(part)).transpose();
}

template GramSpace::GramSpace(const UnitProgram<float>&);
template GramSpace::GramSpace(const UnitProgram<double>&);

}  // namespace nettrim::layer
