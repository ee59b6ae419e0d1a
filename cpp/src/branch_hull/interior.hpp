// A branch hull program by a primal-dual interior-point method (Mehrotra, 1992; Nesterov and Todd,
// 1997): hulls as second-order cones |(u - v, 2 sqrt(r))| <= u + v, and one dense positive definite
// system of the size of h and m at every step.
#pragma once

#include <Eigen/Cholesky>
#include <vector>

#include "branch_hull/cone.hpp"
#include "branch_hull/program.hpp"

namespace nettrim::branch_hull {

class Interior {
 public:
  Interior(const UnitHull& program, int threads);

  // False where rounding, or data without a solution, end the way.
  bool step();
  HullResult result() const;

 private:
  // x is h, m and, with slack, xi; bound is that of |x| where its sum is the objective, else empty;
  // ray are the multipliers of v = 0.
  struct Unknowns {
    Vector x, bound, ray;
    void add(double factor, const Unknowns& other);
  };
  // One entry for every constraint: bound - x, bound + x, u and v of the rows that are no hulls, as
  // far as they have a sign; and the hulls.
  struct Cones {
    Vector linear;
    std::vector<Vector3> hulls;
    void add(double factor, const Cones& other);
  };
  struct Signals {
    Vector u, v;
  };
  struct Step {
    Unknowns at;
    Cones s, z;
  };

  // Rows whose v = 0 does not follow from that of others.
  std::vector<Index> independent(const std::vector<Index>& rays) const;
  Signals signals(const Vector& x) const;
  Vector gather(const Signals& gradient) const;  // the adjoint
  Cones apply(const Unknowns& at) const;         // constraints without their constants
  Unknowns adjoint(const Cones& z) const;
  Unknowns apply_hessian(const Unknowns& at) const;  // of the objective's curvature and the rays
  Cones weigh(const Cones& c) const;                 // by the squared inverse scaling
  Cones misfit() const;                              // of the constraints, against s

  bool factor();
  bool factor_rays();
  Vector solve_for_x(const Vector& right) const;
  Unknowns solve(const Unknowns& right) const;
  Step direction(const Unknowns& force, const Cones& off, const Cones& target) const;
  Cones corrected(const Cones& target, const Step& affine, double centering) const;
  double longest(const Step& d) const;

  const UnitHull& p_;
  int threads_;
  Index h_size_, m_size_, n_;
  bool bounded_;                                   // l1
  std::vector<Index> hulls_, rays_, on_u_, on_v_;  // rows
  Vector cost_;                                    // of bound

  Step at_;
  std::vector<Scaling> scalings_;
  Vector linear_scaling_;   // s / z
  Vector uu_, uv_, vv_;     // curvature of every row in u and v
  Vector slack_curvature_;  // of xi, with the rows' part
  Matrix<double> factor_, ray_factor_;
  Matrix<double> ray_columns_;
};

}  // namespace nettrim::branch_hull
