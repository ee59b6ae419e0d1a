// The linear system of a Newton step. Snapshots share h alone, so that its matrix is an arrow: the
// block of each snapshot's m is factored by itself, and one matrix of the size of h is left. Time
// and memory are linear in the number of snapshots.
#pragma once

#include <vector>

#include "branch_hull/program.hpp"

namespace nettrim::branch_hull {

// Second derivatives: of all unknowns by themselves, and of every row in u and v.
struct Curvature {
  Vector own, uu, uv, vv;
};

// Unknowns are h, m and, with slack, xi.
class Arrowhead {
 public:
  // rays: rows in which v is to be zero, in their order; without slack, independent ones.
  Arrowhead(const UnitHull& program, const std::vector<Index>& rays);

  bool factor(const Curvature& curvature);  // false where rounding ends it
  // The unknowns, and the multipliers of v = 0, in the place of their right-hand sides.
  void solve(Vector& x, Vector& ray) const;

 private:
  // Of one snapshot: L of the matrix L L' of m; the rows of h with m, times L'^-1; L^-1 times the
  // columns of v = 0; the factor of what v = 0 leaves.
  struct Block {
    Matrix<double> lower, h_with, with_rays, ray_factor;
    Index first_ray = 0, rays = 0;
  };

  Curvature without_slack(const Curvature& c);
  void write_products(const Curvature& c);
  bool factor_block(Index snapshot);
  Matrix<double> what_blocks_leave() const;
  void take_slack_out(Vector& x, const Vector& ray) const;
  void put_slack_back(Vector& x, Vector& ray) const;
  Vector solve_blocks(Vector& m, Vector& ray) const;
  void finish_blocks(const Vector& h, Vector& m, Vector& ray) const;

  const UnitHull& p_;
  const std::vector<Index>& rays_;
  int factor_threads_, solve_threads_;
  std::vector<char> on_ray_;  // with slack
  Vector slack_own_, slack_uv_, slack_vv_, slack_all_;
  std::vector<Block> blocks_;
  Matrix<double> core_;  // of h
};

}  // namespace nettrim::branch_hull
