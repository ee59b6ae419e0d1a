// A branch hull program by alternating directions: copies u, v of the signals lie in the hulls,
// copies of the coefficients carry the objective, and h, m are the nearest that agree with both. A
// step costs four products with the dictionaries; a dense one is factored once (l1) or when rho
// changes (l2).
#pragma once

#include "branch_hull/program.hpp"

namespace nettrim::branch_hull {

// One of the two signals: dictionary' coefficients, and its share of the objective.
class AdmmFactor {
 public:
  // The dictionary is to outlive the factor.
  AdmmFactor(const Dictionary& dictionary, Gauge gauge);

  Vector aim() const { return signal_ - signal_dual_; }
  Vector coefficients() const { return scale_ * (gauge_ == Gauge::l1 ? copy_ : coefficients_); }
  // The nearest coefficients to a copy of the signal and, with l1, to their own.
  void follow(const Vector& signal_copy, double rho);
  void scale_duals(double factor);
  double misfit() const { return misfit_; }  // squared distance of the copies
  double travel() const { return travel_; }  // squared step of the signal and the coefficients
  double size() const { return signal_.squaredNorm() + coefficients_.squaredNorm(); }
  double dual_size() const { return signal_dual_.squaredNorm() + copy_dual_.squaredNorm(); }
  // dictionary signal_dual + copy_dual, which is zero after every step.
  Vector invariant() const { return scale_ * dictionary_.correlations(signal_dual_) + copy_dual_; }

 private:
  const Dictionary& dictionary_;
  Gauge gauge_;
  double scale_;  // columns of the dictionary times this have length 1 in the mean
  RidgeSolver ridge_;
  Vector coefficients_, copy_, copy_dual_;  // of the scaled dictionary; duals over rho
  Vector signal_, signal_dual_;
  double misfit_ = 0, travel_ = 0;
};

class HullAdmm {
 public:
  explicit HullAdmm(const UnitHull& program);

  void step();
  void rebalance();
  HullResult result() const;
  const AdmmFactor& h() const { return h_; }
  const AdmmFactor& m() const { return m_; }

 private:
  void into_hulls(Vector& u, Vector& v) const;

  const UnitHull& p_;
  double rho_ = 1;
  AdmmFactor h_, m_;
  Vector p_dual_, q_dual_;
};

}  // namespace nettrim::branch_hull
