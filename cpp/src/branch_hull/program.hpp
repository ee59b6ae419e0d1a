// A branch hull program at unit scale, and what both engines say of it.
#pragma once

#include <optional>
#include <vector>

#include "branch_hull/dictionary.hpp"
#include "branch_hull/tangents.hpp"
#include "nettrim/branch_hull.hpp"

namespace nettrim::branch_hull {

// Threads for so many operations: to start them takes as long as a hundred thousand.
inline int threads_worth(double operations, int threads) { return operations < 1e6 ? 1 : threads; }

// Dictionaries of largest row norm 1 and largest r 1. Rows are those of all snapshots, one after
// the other, and m is that of all.
struct UnitHull {
  explicit UnitHull(const BranchHullProgram& given, int threads = 1);

  Index rows() const { return r.size(); }
  Index rows_of_one() const { return A.rows(); }
  Index snapshots() const { return rows() / rows_of_one(); }
  Index m_size() const { return snapshots() * D.size(); }
  bool has_slack() const { return slack_penalty.size() > 0; }
  bool has_dense_dictionaries() const { return A.is_dense() && D.is_dense(); }
  // size x rows, without signs; only if it is dense.
  auto D_of(Index snapshot) const {
    const bool common = D.rows() == rows_of_one();
    return D.entries().middleCols(common ? 0 : snapshot * rows_of_one(), rows_of_one());
  }
  // Threads for a product of D with one vector for each snapshot.
  int threads_for_product() const {
    return threads_worth(2.0 * static_cast<double>(rows() * D.size()), threads);
  }
  Vector u(const Vector& h) const { return A.signal(h).replicate(snapshots(), 1); }
  Vector v(const Vector& m) const;
  Vector v(const Vector& m, const Vector& xi) const { return has_slack() ? v(m) + xi : v(m); }
  // The adjoints of u and v.
  Vector pull_on_h(const Vector& p) const;
  Vector pull_on_m(const Vector& q) const;
  // The gauges whose product is minimised: of h, and of m with xi.
  double size_of_h(const Vector& h) const;
  double size_of_m(const Vector& m, const Vector& xi) const;
  // Their dual norms, of A p and of D q with q.
  double dual_size_of_h(const Vector& p) const;
  double dual_size_of_m(const Vector& q) const;
  // The objective that a product of gauges has at its balanced point.
  double objective(double product) const;

  int threads;
  Dictionary A, D;
  Vector r, v_signs, slack_penalty;  // slack_penalty is empty without slack
  std::vector<HullRow> kinds;
  Gauge gauge;
  double r_scale;                       // the caller's over these
  std::optional<TangentGrid> tangents;  // in place of the hulls
};

// A balanced point that satisfies the constraints, and multipliers of u and v.
struct HullResult {
  Vector h, m, xi, p, q;
  double objective, dual_bound;
  double gap() const { return 1 - dual_bound / objective; }
};

// The lower bound that any multipliers prove: those of the wrong sign are set to zero first.
double dual_bound(const UnitHull& program, Vector& p, Vector& q);

// Brings a point into the hulls, by one factor or by slack, and balances it. Returns its objective;
// infinity where it has no place there.
double make_feasible(const UnitHull& program, Vector& h, Vector& m, Vector& xi);

}  // namespace nettrim::branch_hull
