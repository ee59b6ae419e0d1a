// Two signals from their entrywise product, the signs of one of them being known: BranchHull
// (Aghasi, Ahmed and Hand, arXiv 1702.04342) and l1-BranchHull (Aghasi, Ahmed, Hand and Joshi,
// NeurIPS 2018), with a certificate that holds at any scale.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "nettrim/types.hpp"

namespace nettrim {

// With u = A h and v = D m + xi, at every row:
//   hull: u, v >= 0 and u v >= r;  half_plane: u >= 0;  quadrant: u, v >= 0;  ray: u >= 0, v = 0;
//   missing: nothing.
enum class HullRow : std::uint8_t { hull, half_plane, quadrant, ray, missing };

// l1: min |h|_1 + |m|_1 + sum slack_penalty |xi|;   l2: min |h|_2^2 + |m|_2^2, without slack.
enum class Gauge { l1, l2 };

// A row-major array of rows x size that outlives the call, or its products with a vector alone:
// sparse matrices, wavelets. Newton takes arrays only.
struct HullDictionary {
  const double* entries = nullptr;
  std::function<void(const double* coefficients, double* result)> signal;  // rows
  std::function<void(const double* signal, double* result)> correlations;  // size
};

// Views of arrays that outlive the call, the signs of u already in A.
//
// Several snapshots share h, and each has an m of its own. What is of a measurement lies snapshot
// after snapshot, `rows` of each, and so do the m. Newton alone, with arrays, takes more than one.
struct BranchHullProgram {
  Index rows = 0, h_size = 0, m_size = 0, snapshots = 1;
  HullDictionary A, D;             // rows x h_size and rows x m_size
  bool own_dictionaries = false;   // D has rows of its own for every snapshot: rows * snapshots
  const double* r = nullptr;       // of a measurement, positive on hull rows and not read elsewhere
  const HullRow* kinds = nullptr;  // of a measurement
  const double* v_signs = nullptr;  // 1 or -1, of a measurement, times D; null: they are in D
  Gauge gauge = Gauge::l1;
  const double* slack_penalty = nullptr;  // of a measurement, positive; null: no slack, xi = 0
  // Over 1: hulls are replaced by tangents, each this much steeper than the one before. A linear
  // program, with l1 and without slack; u v >= r / cosh^2(log(tangent_ratio) / 2) is what it asks.
  double tangent_ratio = 0;
};

struct BranchHullProgress {
  Index iteration;
  double objective, dual_bound, gap, seconds;
};

// automatic: newton for hulls, arrays and what its matrix of h_size + m_size fits; admm else.
enum class HullSolver { automatic, newton, admm };

// "auto", "newton" or "admm"; throws std::invalid_argument for any other name.
HullSolver hull_solver_named(const std::string& name);

struct BranchHullOptions {
  HullSolver solver = HullSolver::automatic;
  double tol = 1e-6;   // on the gap
  Index max_iter = 0;  // 0: 200 of newton, which takes some 20, and 100,000 of admm
  double time_limit = std::numeric_limits<double>::infinity();  // seconds
  int n_threads = 1;
  std::function<bool(const BranchHullProgress&)> callback;  // true stops the solve
  std::function<bool()> interrupted;                        // asked between iterations; true stops
};

// h, m (of all snapshots) and xi satisfy every constraint (a ray's v to 1e-9 of the largest) and
// are balanced: both terms of the objective are equal, but for tangents. Where no such point was
// found objective is infinite.
struct BranchHullSolution {
  Eigen::VectorXd h, m, xi;
  Eigen::VectorXd p, q;  // multipliers of u and v; they prove dual_bound
  double objective = 0, dual_bound = 0, gap = 0;
  Status status = Status::numerical;
  Index iterations = 0;
  const char* solver = "none";
  double seconds = 0;
};

// Throws std::invalid_argument for a program or options that make no sense.
BranchHullSolution solve_branch_hull(const BranchHullProgram& program,
                                     const BranchHullOptions& options = {});

}  // namespace nettrim
