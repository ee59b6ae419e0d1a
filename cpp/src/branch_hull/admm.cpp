#include "branch_hull/admm.hpp"

#include <algorithm>
#include <cmath>

#include "branch_hull/balance.hpp"
#include "branch_hull/soft_hull.hpp"

namespace nettrim::branch_hull {
namespace {

Vector relaxed(const Vector& copy, const Vector& own) {
  return kRelaxation * copy + (1 - kRelaxation) * own;
}

Vector shrunk(const Vector& x, double by) {
  return x.unaryExpr([by](double value) { return value - std::clamp(value, -by, by); });
}

}  // namespace

AdmmFactor::AdmmFactor(const Dictionary& dictionary, Gauge gauge)
    : dictionary_(dictionary),
      gauge_(gauge),
      scale_(dictionary.mean_square() > 0 ? 1 / std::sqrt(dictionary.mean_square()) : 1),
      ridge_(dictionary, scale_ * scale_),
      coefficients_(Vector::Zero(dictionary.size())),
      copy_(coefficients_),
      copy_dual_(coefficients_),
      signal_(Vector::Zero(dictionary.rows())),
      signal_dual_(signal_) {}

void AdmmFactor::follow(const Vector& signal_copy, double rho) {
  const Vector old_signal = signal_, old = coefficients_;
  signal_dual_ += relaxed(signal_copy, signal_);
  Vector right = scale_ * dictionary_.correlations(signal_dual_);
  if (gauge_ == Gauge::l1) {
    copy_ = shrunk(coefficients_ - copy_dual_, scale_ / rho);
    copy_dual_ += relaxed(copy_, coefficients_);
    right += copy_dual_;
  }
  ridge_.set_ridge(gauge_ == Gauge::l1 ? 1 : 2 * scale_ * scale_ / rho);
  coefficients_ = ridge_.solve(right, old);
  signal_ = scale_ * dictionary_.signal(coefficients_);
  signal_dual_ -= signal_;
  misfit_ = (signal_copy - signal_).squaredNorm();
  travel_ = (signal_ - old_signal).squaredNorm();
  if (gauge_ == Gauge::l1) {
    copy_dual_ -= coefficients_;
    misfit_ += (copy_ - coefficients_).squaredNorm();
    travel_ += (coefficients_ - old).squaredNorm();
  }
}

void AdmmFactor::scale_duals(double factor) {
  signal_dual_ *= factor;
  copy_dual_ *= factor;
}

HullAdmm::HullAdmm(const UnitHull& program)
    : p_(program), h_(program.A, program.gauge), m_(program.D, program.gauge) {}

void HullAdmm::step() {
  const Vector u_aim = h_.aim(), v_aim = m_.aim();
  Vector u = u_aim, v = v_aim;
  into_hulls(u, v);
  p_dual_ = rho_ * (u - u_aim);
  q_dual_ = rho_ * (v - v_aim);
  h_.follow(u, rho_);
  m_.follow(v, rho_);
}

void HullAdmm::into_hulls(Vector& u, Vector& v) const {
  const Vector u_given = u, v_given = v;
  const auto free = [&](Index l) {
    return p_.has_slack() ? p_.slack_penalty[l] / rho_ : std::numeric_limits<double>::infinity();
  };
  if (p_.tangents) {
    for (Index l = 0; l < p_.rows(); ++l) {
      if (p_.r[l] == 0) continue;
      const double root = std::sqrt(p_.r[l]);
      double near_u = u[l] / root, near_v = v[l] / root;
      p_.tangents->project(near_u, near_v);
      u[l] = near_u * root;
      v[l] = near_v * root;
    }
  } else {
    project_onto_soft_hulls(p_.rows(), p_.r.data(), free, u.data(), v.data());
  }
  for (Index l = 0; l < p_.rows(); ++l) {
    const HullRow kind = p_.kinds[static_cast<std::size_t>(l)];
    if (kind == HullRow::hull) continue;
    u[l] = std::max(u_given[l], 0.0);
    const double most = free(l), given = v_given[l];
    if (kind == HullRow::half_plane) v[l] = given;
    if (kind == HullRow::quadrant) v[l] = given + std::clamp(-given, 0.0, most);
    if (kind == HullRow::ray) v[l] = given - std::clamp(given, -most, most);
  }
}

void HullAdmm::rebalance() {
  const double apart = (h_.misfit() + m_.misfit()) / (h_.size() + m_.size());
  const double moving = (h_.travel() + m_.travel()) / (h_.dual_size() + m_.dual_size());
  const double factor = balancing_factor(apart, moving);
  rho_ *= factor;
  h_.scale_duals(1 / factor);
  m_.scale_duals(1 / factor);
}

HullResult HullAdmm::result() const {
  HullResult a;
  a.h = h_.coefficients();
  a.m = m_.coefficients();
  a.xi = Vector::Zero(p_.slack_penalty.size());
  if (p_.has_slack()) {
    const Vector u = p_.u(a.h), v = p_.v(a.m, a.xi);
    for (Index l = 0; l < p_.rows(); ++l) {
      const HullRow kind = p_.kinds[static_cast<std::size_t>(l)];
      if (kind == HullRow::ray) a.xi[l] = -v[l];
      if (kind == HullRow::hull && u[l] > 0) a.xi[l] = std::max(p_.r[l] / u[l] - v[l], 0.0);
      if (kind == HullRow::quadrant) a.xi[l] = std::max(-v[l], 0.0);
    }
  }
  a.p = p_dual_;
  a.q = q_dual_;
  a.objective = make_feasible(p_, a.h, a.m, a.xi);
  a.dual_bound = dual_bound(p_, a.p, a.q);
  return a;
}

}  // namespace nettrim::branch_hull
