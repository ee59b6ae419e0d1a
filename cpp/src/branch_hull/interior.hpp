// A branch hull program by a primal-dual interior-point method (Mehrotra, 1992; Nesterov and Todd,
// 1997): hulls as second-order cones |(u - v, 2 sqrt(r))| <= u + v, and one positive definite
// system of h and m at every step.
#pragma once

#include <vector>

#include "branch_hull/arrowhead.hpp"
#include "branch_hull/cone.hpp"
#include "branch_hull/program.hpp"
#include "linalg/parallel.hpp"

namespace nettrim::branch_hull {

class Interior {
 public:
  explicit Interior(const UnitHull& program);

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

  Signals signals(const Vector& x) const;
  Vector gather(const Signals& gradient) const;  // the adjoint
  Cones apply(const Unknowns& at) const;         // constraints without their constants
  Unknowns adjoint(const Cones& z) const;
  Unknowns apply_hessian(const Unknowns& at) const;  // of the objective's curvature and the rays
  Cones weigh(const Cones& c) const;                 // by the squared inverse scaling
  Cones misfit() const;                              // of the constraints, against s

  template <class Body>
  void over_hulls(Body&& body) const {
    parallel_over(hull_ranges_, p_.threads, [&](Range range, int) {
      for (Index j = range.begin; j < range.begin + range.size; ++j) {
        body(static_cast<std::size_t>(j));
      }
    });
  }

  bool factor();
  Unknowns solve(const Unknowns& right) const;
  Step direction(const Unknowns& force, const Cones& off, const Cones& target) const;
  Cones corrected(const Cones& target, const Step& affine, double centering) const;
  double longest(const Step& d) const;

  const UnitHull& p_;
  Index h_size_, m_size_, n_;
  bool bounded_;                                   // l1
  std::vector<Index> rays_, hulls_, on_u_, on_v_;  // rows
  std::vector<Range> hull_ranges_;
  Vector cost_;  // of bound

  Step at_;
  std::vector<Scaling> scalings_;
  Vector linear_scaling_;  // s / z
  Arrowhead arrow_;
};

}  // namespace nettrim::branch_hull
