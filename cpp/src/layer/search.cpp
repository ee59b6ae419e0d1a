#include "layer/search.hpp"

#include <limits>

namespace nettrim::layer {

bool Supervisor::stops(Index iteration, const Certificate& c) const {
  if (!options_.callback) return false;
  return options_.callback({iteration, (c.objective + constant_) * objective_unit_,
                            (c.dual_bound + constant_) * objective_unit_, c.gap(),
                            std::hypot(c.residual, outside_) * signal_unit_,
                            c.violation * signal_unit_, seconds()});
}

std::optional<Status> Supervisor::limit(Index iterations) const {
  *interrupted_ = *interrupted_ || (options_.interrupted && options_.interrupted());
  if (*interrupted_) return Status::interrupted;
  if (seconds() > options_.time_limit) return Status::time_limit;
  if (iterations >= options_.max_iter) return Status::max_iter;
  return std::nullopt;
}

bool Patience::ends_with(double merit) {
  fruitless_ = merit < progress_ * best_ ? 0 : fruitless_ + 1;
  if (fruitless_ == 0) best_ = merit;
  return fruitless_ >= most_;
}

template <class S>
double infeasibility(const UnitProgram<S>& p, const Certificate& c) {
  const double excess = p.largest > 0 ? c.violation / p.largest : c.violation;
  if (!p.constrained()) return excess;
  if (c.residual <= p.level) return excess;
  const double scale = p.level > 0 ? p.level : p.total;
  return std::max(excess, scale > 0 ? (c.residual - p.level) / scale : 0.0);
}

template <class S>
bool proved(const UnitProgram<S>& p, const Certificate& c, double tol) {
  return c.finite() && infeasibility(p, c) <= tol && std::abs(c.gap()) <= tol;
}

template <class S>
EngineResult<S> initial_result(const UnitProgram<S>& p, const Start<S>& start) {
  EngineResult<S> a;
  a.weights = start.weights ? *start.weights : Matrix<S>::Zero(p.n_outputs(), p.n_features());
  a.dual = start.dual ? *start.dual : Matrix<S>::Zero(p.n_outputs(), p.n_samples());
  a.certificate = certify(p, a.weights, a.dual);
  return a;
}

#define NETTRIM_FOR(S)                                                      \
  template double infeasibility(const UnitProgram<S>&, const Certificate&); \
  template bool proved(const UnitProgram<S>&, const Certificate&, double);  \
  template EngineResult<S> initial_result(const UnitProgram<S>&, const Start<S>&);
NETTRIM_FOR(float)
NETTRIM_FOR(double)
#undef NETTRIM_FOR

}  // namespace nettrim::layer
