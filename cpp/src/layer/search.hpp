// One run of an engine: steps and certificates in turn, until a proof or a limit ends it.
#pragma once

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "layer/regularisation.hpp"

namespace nettrim::layer {

// An answer in the units of its program.
template <class S>
struct EngineResult {
  Matrix<S> weights, dual;  // outputs x features, outputs x samples
  Eigen::VectorXd slopes;   // of the multipliers of a regularisation's rows; empty for zero
  Certificate certificate;
  Status status = Status::max_iter;
  Index iterations = 0;
  const char *solver = "none", *reason = "the start is optimal";
};

// Where to begin: either may be null.
template <class S>
struct Start {
  const Matrix<S>* weights = nullptr;
  const Matrix<S>* dual = nullptr;
};

// Largest relative violation of a constraint.
template <class S>
double infeasibility(const UnitProgram<S>& p, const Certificate& c);

template <class S>
bool proved(const UnitProgram<S>& p, const Certificate& c, double tol);

// The starting point, or zero weights: they may be the answer already.
template <class S>
EngineResult<S> initial_result(const UnitProgram<S>& p, const Start<S>& start);

// What the caller wants to hear and may stop.
class Supervisor {
 public:
  template <class S>
  Supervisor(const LayerOptions& options, const UnitProgram<S>& p)
      : options_(options), objective_unit_(p.objective_unit()), signal_unit_(p.signal_unit()) {}

  // For a run within the run, with limits of its own.
  Supervisor(const Supervisor& outer, const LayerOptions& options) : Supervisor(outer) {
    options_ = options;
  }

  // For a program `inner` that stands for the outer one, but for a residual that no weights reach.
  Supervisor(const Supervisor& outer, const UnitProgram<double>& inner, double outside)
      : Supervisor(outer) {
    objective_unit_ *= inner.objective_unit();
    signal_unit_ *= inner.signal_unit();
    outside_ = outside / inner.signal_unit();
    constant_ = inner.constrained() ? 0 : outside_ * outside_;
  }

  const LayerOptions& options() const { return options_; }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  bool stops(Index iteration, const Certificate& c) const;
  // The limit that an engine has run into, if any. For the thread that called the solve.
  std::optional<Status> limit(Index iterations) const;
  // Whether an interrupt was told, here or in a run within the run: whatever was proved by then,
  // the caller has to hear of it.
  bool interrupted() const { return *interrupted_; }

 private:
  using Clock = std::chrono::steady_clock;
  LayerOptions options_;
  double objective_unit_, signal_unit_, outside_ = 0, constant_ = 0;
  Clock::time_point began_ = Clock::now();
  // An interrupt is told once, and remembered in all runs.
  std::shared_ptr<bool> interrupted_ = std::make_shared<bool>(false);
};

// Counts the certificates since the last one that was clearly better than all before: below
// `progress` times the best of them. `most` without that end a run.
class Patience {
 public:
  explicit Patience(Index most, double progress = 0.9) : most_(most), progress_(progress) {}
  bool ends_with(double merit);

 private:
  Index most_, fruitless_ = 0;
  double progress_;
  double best_ = std::numeric_limits<double>::infinity();
};

// Whether multipliers look as if they ran away because no weights satisfy the constraints, and
// whether they prove it; then the proof becomes the answer's (ray.cpp).
template <class S>
bool promises_ray(const UnitProgram<S>& program, const Matrix<S>& dual);
template <class S>
bool prove_infeasible(const UnitProgram<S>& program, const Matrix<S>& dual, EngineResult<S>& a);

// Engine:  void step();
//          bool wants_certificate(Index iterations) const;
//          Patience patience() const;               with certificates that make no progress
//          void report(EngineResult<S>&);                 its weights, dual and certificate
//          const Matrix<S>* ray(const EngineResult<S>&);  multipliers that run away, or null
//          void on_certificate(double infeasibility, double gap);
template <class S, class Engine>
EngineResult<S> search(const UnitProgram<S>& p, const Supervisor& supervisor, Engine& engine,
                       EngineResult<S> a) {
  const double tol = supervisor.options().tol;
  Patience patience = engine.patience();
  const auto proves = [&](const Matrix<S>* ray) {
    return ray != nullptr && promises_ray(p, *ray) && prove_infeasible(p, *ray, a);
  };
  const auto verdict = [&](std::optional<Status> limit) -> std::optional<Status> {
    const Certificate& c = a.certificate;
    const bool stopped = supervisor.stops(a.iterations, c);
    const double wrong = infeasibility(p, c);
    if (!c.finite()) return Status::numerical;
    if (proved(p, c, tol)) return Status::optimal;
    if (stopped) return Status::interrupted;
    if (limit && limit != Status::max_iter) return limit;  // no time for another proof
    if (wrong > tol && p.regularisation && c.dual_bound > norm_beyond_reach(p)) {
      return Status::infeasible;
    }
    if (wrong > tol && proves(engine.ray(a))) return Status::infeasible;
    if (limit) return limit;
    if (patience.ends_with(std::max(wrong, std::abs(c.gap())))) return Status::numerical;
    return std::nullopt;
  };
  while (true) {
    engine.step();
    const auto limit = supervisor.limit(++a.iterations);
    if (!limit && !engine.wants_certificate(a.iterations)) continue;
    engine.report(a);
    if (const auto status = verdict(limit)) {
      a.status = *status;
      return a;
    }
    engine.on_certificate(infeasibility(p, a.certificate), a.certificate.gap());
  }
}

}  // namespace nettrim::layer
