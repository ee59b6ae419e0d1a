#include <cmath>
#include <stdexcept>
#include <string>

#include "branch_hull/admm.hpp"
#include "branch_hull/balance.hpp"
#include "branch_hull/interior.hpp"
#include "branch_hull/monitor.hpp"
#include "branch_hull/program.hpp"

namespace nettrim {
namespace branch_hull {
namespace {

// What is smaller than this share of the largest may be a zero; the first that leaves the proof
// closed is taken.
constexpr double kNegligible[] = {1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8};
constexpr Index kMostNewton = 200, kMostAdmm = 100'000;
constexpr Index kMostWithoutPoint = 20'000;  // of admm, which does not see that there is none
constexpr Index kCertificateEvery = 20;
constexpr Index kLargestDense = 6000;  // of h and m together: newton factors a matrix of this size
constexpr int kStepsBeyond = 4;        // of the proof: what is to be zero becomes smaller still

void check(const BranchHullProgram& p, const BranchHullOptions& o) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
  };
  require(p.rows > 0 && p.h_size > 0 && p.m_size > 0 && p.snapshots > 0, "sizes are positive");
  require(p.snapshots == 1 || o.solver == HullSolver::newton, "newton alone takes snapshots");
  for (const HullDictionary* dictionary : {&p.A, &p.D}) {
    const bool by_products = dictionary->signal && dictionary->correlations;
    require(dictionary->entries || by_products, "A and D are given");
    require(dictionary->entries || o.solver != HullSolver::newton,
            "newton takes A and D as arrays");
  }
  require(p.r && p.kinds, "r and kinds are given");
  require(p.slack_penalty == nullptr || p.gauge == Gauge::l1, "slack goes with l1");
  require(p.tangent_ratio == 0 || (p.tangent_ratio > 1 && p.gauge == Gauge::l1 && !p.slack_penalty),
          "tangent_ratio is over 1 and goes with l1 without slack");
  require(p.tangent_ratio == 0 || o.solver != HullSolver::newton, "newton knows no tangents");
  for (Index l = 0; l < p.rows * p.snapshots; ++l) {
    require(p.kinds[l] != HullRow::hull || (p.r[l] > 0 && std::isfinite(p.r[l])),
            "r is positive on hull rows");
    require(p.slack_penalty == nullptr || p.slack_penalty[l] > 0, "slack_penalty is positive");
  }
  require(o.tol > 0 && o.max_iter >= 0 && o.n_threads > 0,
          "tol and n_threads are positive, max_iter is not negative");
}

// The best point and the best bound so far; they prove each other whichever came first.
void merge(HullResult& best, HullResult&& now) {
  if (now.objective < best.objective) {
    best.h = std::move(now.h);
    best.m = std::move(now.m);
    best.xi = std::move(now.xi);
    best.objective = now.objective;
  }
  if (now.dual_bound > best.dual_bound) {
    best.p = std::move(now.p);
    best.q = std::move(now.q);
    best.dual_bound = now.dual_bound;
  }
}

Vector without_small(const Vector& x, double share) {
  const double least = share * (x.size() > 0 ? x.cwiseAbs().maxCoeff() : 0);
  return (x.array().abs() < least).select(0.0, x);
}

// Exact zeros where an interior point has only small entries, as many as the proof allows.
void sharpen(const UnitHull& p, HullResult& a, double tol) {
  for (const double share : kNegligible) {
    Vector h = without_small(a.h, share), m = without_small(a.m, share);
    Vector xi = without_small(a.xi, share);
    const double objective = make_feasible(p, h, m, xi);
    if (!(1 - a.dual_bound / objective <= tol)) continue;
    a.h = h;
    a.m = m;
    a.xi = xi;
    a.objective = objective;
    return;
  }
}

class Run {
 public:
  Run(const UnitHull& p, const BranchHullOptions& options)
      : p_(p), options_(options), monitor_(options) {
    best_.h = Vector::Zero(p.A.size());
    best_.m = Vector::Zero(p.m_size());
    best_.xi = Vector::Zero(p.slack_penalty.size());
    best_.p = best_.q = Vector::Zero(p.rows());
    best_.objective = kInfinity;
    best_.dual_bound = 0;
  }

  BranchHullSolution solve() {
    const Status status = search();
    return in_given_units(status);
  }

 private:
  Status search() {
    if (p_.r.maxCoeff() == 0) {  // nothing asks for more than zero
      best_.objective = 0;
      return Status::optimal;
    }
    return takes_admm() ? search_by_admm() : search_by_newton();
  }

  bool takes_admm() const {
    if (options_.solver != HullSolver::automatic) return options_.solver == HullSolver::admm;
    return p_.tangents || !p_.has_dense_dictionaries() || p_.A.size() + p_.D.size() > kLargestDense;
  }

  Status search_by_newton() {
    solver_ = "newton";
    Interior interior(p_);
    const Index most = options_.max_iter > 0 ? options_.max_iter : kMostNewton;
    while (iterations_ < most) {
      const bool moved = interior.step();
      ++iterations_;
      if (moved) merge(best_, interior.result());
      if (const auto status = verdict()) {
        if (status == Status::optimal && p_.gauge == Gauge::l1) sharpen_beyond(interior);
        return *status;
      }
      if (!moved) return Status::numerical;
    }
    return Status::max_iter;
  }

  Status search_by_admm() {
    solver_ = "admm";
    HullAdmm admm(p_);
    const Index most = options_.max_iter > 0 ? options_.max_iter : kMostAdmm;
    BackoffCounter rebalancing(kCertificateEvery);
    while (iterations_ < most) {
      admm.step();
      if (++iterations_ % kCertificateEvery == 0 || iterations_ == most || monitor_.is_late()) {
        merge(best_, admm.result());
        if (const auto status = verdict()) return *status;
        const bool pointless = best_.objective == kInfinity;
        if (pointless && iterations_ >= kMostWithoutPoint) return Status::numerical;
      }
      if (rebalancing.due()) admm.rebalance();
    }
    return Status::max_iter;
  }

  void sharpen_beyond(Interior& interior) {
    for (int k = 0; k < kStepsBeyond && interior.step(); ++k) merge(best_, interior.result());
    sharpen(p_, best_, options_.tol);
  }

  std::optional<Status> verdict() const {
    const double unit = objective_unit();
    return monitor_.verdict(iterations_, best_.objective * unit, best_.dual_bound * unit, gap());
  }

  // Of h and m; the product of the scales may be no double.
  double unit() const {
    return std::sqrt(p_.r_scale) / std::sqrt(p_.A.scale()) / std::sqrt(p_.D.scale());
  }
  double objective_unit() const { return p_.gauge == Gauge::l1 ? unit() : unit() * unit(); }
  double gap() const { return best_.objective > 0 ? best_.gap() : 0; }

  // Multipliers are scaled to what the dual program allows
  // (docs/mathematics/branch_hull.md#the-dual-and-the-certificate).
  BranchHullSolution in_given_units(Status status) const {
    BranchHullSolution s;
    s.h = best_.h * unit();
    s.m = best_.m * unit();
    s.xi = p_.has_slack() ? Vector(best_.xi * (unit() * p_.D.scale()))
                          : Vector(Vector::Zero(p_.rows()));
    s.objective = best_.objective * objective_unit();
    s.dual_bound = best_.dual_bound * objective_unit();
    const double size_p = p_.dual_size_of_h(best_.p) * p_.A.scale();
    const double size_q = p_.dual_size_of_m(best_.q) * p_.D.scale();
    const double length = p_.gauge == Gauge::l1 ? 1 : std::sqrt(2 * s.dual_bound);
    s.p = size_p > 0 ? Vector(best_.p * (length / size_p)) : best_.p;
    s.q = size_q > 0 ? Vector(best_.q * (length / size_q)) : best_.q;
    s.gap = gap();
    s.status = status;
    s.iterations = iterations_;
    s.solver = solver_;
    s.seconds = monitor_.seconds();
    return s;
  }

  const UnitHull& p_;
  const BranchHullOptions& options_;
  Monitor monitor_;
  HullResult best_;
  Index iterations_ = 0;
  const char* solver_ = "none";
};

}  // namespace
}  // namespace branch_hull

HullSolver hull_solver_named(const std::string& name) {
  if (name == "auto") return HullSolver::automatic;
  if (name == "newton") return HullSolver::newton;
  if (name == "admm") return HullSolver::admm;
  throw std::invalid_argument("no solver is named " + name);
}

BranchHullSolution solve_branch_hull(const BranchHullProgram& program,
                                     const BranchHullOptions& options) {
  branch_hull::check(program, options);
  const branch_hull::UnitHull unit(program, options.n_threads);
  return branch_hull::Run(unit, options).solve();
}

}  // namespace nettrim
