#include "layer/gram.hpp"

#include <cmath>

namespace nettrim::layer {
namespace {

using Vector = Eigen::VectorXd;

// A caller's array in double precision and unit size, piece by piece.
template <class S>
OrthogonalBasis::Piece scaled_pieces(const S* data, Index rows, S scale) {
  return [=](Range r) -> Matrix<double> {
    return View<S>(data + r.begin * rows, rows, r.size).template cast<double>() *
           static_cast<double>(scale);
  };
}

// Rounding of the orthogonal reduction: epsilon this near to the least possible counts as equal.
constexpr double kRounding = 1e-12;
// Largest weight of the outside part in a lifted dual, over what epsilon alone would give it.
constexpr double kSteepest = 1e-8;

}  // namespace

template <class S>
GramSpace::GramSpace(const UnitProgram<S>& p)
    : given_Y_(scaled_pieces(p.given.Y, p.n_outputs(), p.y_scale)),
      basis_(
          p.n_features(), p.n_samples(),
          [&p](Range r) -> Matrix<double> {
            return p.X(r).template cast<double>() * static_cast<double>(p.x_scale);
          },
          p.threads),
      coordinates_(basis_.coordinates(p.n_outputs(), given_Y_)),
      triangle_(p.scales.cwiseInverse().asDiagonal() * basis_.triangle()),
      form_(p.given.form),
      costs_(p.costs),
      groups_(p.given.groups),
      n_samples_(p.n_samples()),
      size_(p.total),
      outside_(outside_part().norm()) {
  if (p.regularisation) {
    const double scale = static_cast<double>(p.x_scale);
    ridge_ = p.given.regularisation.ridge * scale * scale;
    original_ = p.regularisation->original * p.scales.asDiagonal();
  }
  aim(p.level);
}

void GramSpace::aim(double level) {
  level_given_ = level_ = level;
  if (form_ != Form::constrained) return;
  feasible_ = outside_ <= level + kRounding * size_;
  level_ = std::sqrt(std::max(level - outside_, 0.0)) * std::sqrt(level + outside_);
}

LayerProgram<double> GramSpace::program() const {
  LayerProgram<double> p;
  p.samples = triangle_.cols();
  p.features = triangle_.rows();
  p.outputs = coordinates_.rows();
  p.X = triangle_.data();
  p.Y = coordinates_.data();
  p.activation = Activation::linear;
  p.form = form_;
  p.level = level_;
  p.costs = costs_ ? costs_->data() : nullptr;
  p.groups = groups_;
  p.regularisation = {ridge_, 0, original_.data()};
  return p;
}

Matrix<double> GramSpace::lift(const Matrix<double>& dual, const Vector& slopes) const {
  const Vector outside = ridge_ > 0 ? slopes : slopes_of(dual);
  return combined(dual - outside.asDiagonal() * coordinates_, outside);
}

// Of multipliers over what is missing, where nothing else has any.
Vector GramSpace::slopes_of(const Matrix<double>& dual) const {
  double slope = 2;
  if (form_ == Form::constrained) {
    slope = level_given_ > 0 ? dual.norm() / std::max(level_, kSteepest * level_given_) : 0.0;
  }
  return Vector::Constant(dual.rows(), slope);
}

Matrix<double> GramSpace::outside_part() const {
  return combined(-coordinates_, Vector::Ones(coordinates_.rows()));
}

// in_range Q + share Y
Matrix<double> GramSpace::combined(const Matrix<double>& in_range, const Vector& share_of_Y) const {
  return basis_.samples(in_range) + share_of_Y.asDiagonal() * given_Y_({0, n_samples_});
}

template GramSpace::GramSpace(const UnitProgram<float>&);
template GramSpace::GramSpace(const UnitProgram<double>&);

}  // namespace nettrim::layer
