#include <chrono>
#include <cmath>
#include <stdexcept>
#include <string>

#include "layer/admm.hpp"
#include "layer/certificate.hpp"
#include "layer/gram.hpp"

namespace nettrim {
namespace layer {
namespace {

using Clock = std::chrono::steady_clock;

// A lower bound this large, in unit-size weights per output, is a proof that there are none.
constexpr double kHopeless = 1e9;
// Single precision stalls before it converges: this many certificates without progress end it.
constexpr Index kPatience = 40;
constexpr Index kRaysApart = 8;  // certificates between looks for a proof of infeasibility

// An answer in the units of its program.
template <class S>
struct Answer {
  Matrix<S> weights, dual;  // outputs x features, outputs x samples
  Certificate certificate;
  Status status = Status::max_iter;
  Index iterations = 0;
};

template <class S>
struct Start {
  const Matrix<S>* weights = nullptr;
  const Matrix<S>* dual = nullptr;
};

// What one unit of the unit-size program is for the caller.
template <class S>
double weight_unit(const UnitProgram<S>& p) {
  return static_cast<double>(p.x_scale) / static_cast<double>(p.y_scale);
}

template <class S>
double dual_unit(const UnitProgram<S>& p) {
  return p.constrained() ? static_cast<double>(p.x_scale) : 1 / static_cast<double>(p.y_scale);
}

template <class S>
double objective_unit(const UnitProgram<S>& p) {
  const double signal = 1 / static_cast<double>(p.y_scale);
  return p.constrained() ? weight_unit(p) : signal * signal;
}

// What the caller wants to hear and may stop.
class Supervisor {
 public:
  template <class S>
  Supervisor(const LayerOptions& options, const UnitProgram<S>& p)
      : options_(options),
        objective_unit_(objective_unit(p)),
        signal_unit_(1 / static_cast<double>(p.y_scale)) {}

  // For a program `inner` that stands for the outer one, but for a residual that no weights reach.
  Supervisor(const Supervisor& outer, const UnitProgram<double>& inner, double outside)
      : Supervisor(outer) {
    objective_unit_ *= objective_unit(inner);
    signal_unit_ /= inner.y_scale;
    outside_ = outside * inner.y_scale;
    constant_ = inner.constrained() ? 0 : outside_ * outside_;
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }
  bool late() const { return seconds() > options_.time_limit; }
  bool interrupted() const { return options_.interrupted && options_.interrupted(); }
  bool stops(Index iteration, const Certificate& c) const {
    if (!options_.callback) return false;
    return options_.callback({iteration, (c.objective + constant_) * objective_unit_,
                              (c.dual_bound + constant_) * objective_unit_, c.gap(),
                              std::hypot(c.residual, outside_) * signal_unit_,
                              c.violation * signal_unit_, seconds()});
  }

 private:
  const LayerOptions& options_;
  double objective_unit_, signal_unit_, outside_ = 0, constant_ = 0;
  Clock::time_point began_ = Clock::now();
};

// Largest relative violation of a constraint.
template <class S>
double infeasibility(const UnitProgram<S>& p, const Certificate& c) {
  const double excess = p.largest > 0 ? c.violation / p.largest : c.violation;
  if (!p.constrained()) return excess;
  if (c.residual <= p.level) return excess;
  const double scale = p.level > 0 ? p.level : p.total;
  return std::max(excess, scale > 0 ? (c.residual - p.level) / scale : 0.0);
}

bool finite(const Certificate& c) {
  return std::isfinite(c.objective) && std::isfinite(c.dual_bound) && std::isfinite(c.residual);
}

template <class S>
bool proved(const UnitProgram<S>& p, const Certificate& c, double tol) {
  return finite(c) && infeasibility(p, c) <= tol && std::abs(c.gap()) <= tol;
}

template <class S>
bool hopeless(const UnitProgram<S>& p, const Certificate& c) {
  return p.constrained() && c.dual_bound > kHopeless * static_cast<double>(p.n_outputs());
}

// The starting point, or zero weights, may be the answer already.
template <class S>
Answer<S> first_answer(const UnitProgram<S>& p, const Start<S>& start) {
  Answer<S> a;
  a.weights = start.weights ? *start.weights : Matrix<S>::Zero(p.n_outputs(), p.n_features());
  a.dual = start.dual ? *start.dual : Matrix<S>::Zero(p.n_outputs(), p.n_samples());
  a.certificate = certify(p, a.weights, a.dual);
  return a;
}

// Whether the direction in which the multipliers run away proves that there are no weights.
template <class S>
bool ray_proves_infeasible(const UnitProgram<S>& p, const Admm<S>& admm, Answer<S>& a) {
  admm.ray(a.dual);
  const Certificate ray = certify(p, a.weights, a.dual);
  if (!hopeless(p, ray)) return false;
  a.certificate = ray;
  return true;
}

template <class S>
Answer<S> run_admm(const UnitProgram<S>& p, const LayerOptions& options, const Start<S>& start,
                   const Supervisor& supervisor) {
  Answer<S> a = first_answer(p, start);
  if (proved(p, a.certificate, options.tol)) {
    a.status = Status::optimal;
    return a;
  }
  Admm<S> admm(p);
  admm.start(start.weights, start.dual);
  double best = std::numeric_limits<double>::infinity();
  Index checks = 0, best_check = 0;
  while (true) {
    admm.step();
    ++a.iterations;
    const bool last = a.iterations >= options.max_iter;
    const bool late = supervisor.late();
    const bool interrupted = supervisor.interrupted();
    if (a.iterations % options.check_every != 0 && !last && !late && !interrupted) continue;

    ++checks;
    a.weights = admm.weights();
    admm.dual(a.dual);
    a.certificate = certify(p, a.weights, a.dual);
    const bool stopped = supervisor.stops(a.iterations, a.certificate);
    const double wrong = infeasibility(p, a.certificate);
    const double merit = std::max(wrong, std::abs(a.certificate.gap()));
    if (merit < 0.9 * best) {
      best = merit;
      best_check = checks;
    }
    if (!finite(a.certificate)) return a.status = Status::numerical, a;
    if (proved(p, a.certificate, options.tol)) return a.status = Status::optimal, a;
    if (hopeless(p, a.certificate)) return a.status = Status::infeasible, a;
    if (stopped || interrupted) return a.status = Status::interrupted, a;
    if (late) return a.status = Status::time_limit, a;
    if (last) return a.status = Status::max_iter, a;
    if (std::is_same_v<S, float> && checks - best_check >= kPatience) {
      return a.status = Status::numerical, a;
    }
    if (wrong > options.tol && checks % kRaysApart == 0 && ray_proves_infeasible(p, admm, a)) {
      return a.status = Status::infeasible, a;
    }
    admm.hear(wrong, a.certificate.gap());
  }
}

// The same program with n_features rows; its answer is certified again on all samples.
template <class S>
Answer<S> run_in_gram_space(const UnitProgram<S>& p, const LayerOptions& options,
                            const Start<S>& start, const Supervisor& supervisor) {
  const GramSpace space(p);
  Answer<S> a = first_answer(p, start);
  if (!space.feasible()) {
    a.dual = space.outside_part().template cast<S>();
    a.certificate = certify(p, a.weights, a.dual);
    a.status = Status::infeasible;
    return a;
  }
  const UnitProgram<double> q = to_unit_size(space.program(), p.threads);
  Matrix<double> weights;
  if (start.weights) weights = start.weights->template cast<double>() / weight_unit(q);
  const Answer<double> inner = run_admm(q, options, {start.weights ? &weights : nullptr, nullptr},
                                        Supervisor(supervisor, q, space.outside()));
  a.weights = (inner.weights * weight_unit(q)).template cast<S>();
  a.dual = space.lift(inner.dual * dual_unit(q)).template cast<S>();
  a.certificate = certify(p, a.weights, a.dual);
  a.iterations = inner.iterations;
  a.status = inner.status;
  if (a.status == Status::optimal && !proved(p, a.certificate, options.tol)) {
    a.status = Status::numerical;
  }
  return a;
}

template <class S>
Answer<S> run(const UnitProgram<S>& p, const LayerOptions& options, const Start<S>& start) {
  const Supervisor supervisor(options, p);
  const bool linear = p.given.activation == Activation::linear;
  return linear && p.n_samples() > p.n_features() ? run_in_gram_space(p, options, start, supervisor)
                                                  : run_admm(p, options, start, supervisor);
}

template <class S>
LayerSolution<S> in_callers_units(const UnitProgram<S>& p, Answer<S>&& a) {
  const Certificate& c = a.certificate;
  const double signal_unit = 1 / static_cast<double>(p.y_scale);
  LayerSolution<S> s;
  s.weights = a.weights * static_cast<S>(weight_unit(p));
  s.dual = (c.scale * dual_unit(p)).template cast<S>().asDiagonal() * a.dual;
  s.objective = c.objective * objective_unit(p);
  s.dual_bound = c.dual_bound * objective_unit(p);
  s.gap = c.gap();
  s.residual = c.residual * signal_unit;
  s.violation = c.violation * signal_unit;
  if (p.constrained()) {
    s.epsilon = p.given.level;
    s.penalty = 2 * p.level / c.dual_norm * signal_unit / static_cast<double>(p.x_scale);
  } else {
    s.epsilon = s.residual;
    s.penalty = p.given.level;
  }
  s.status = s.weights.allFinite() ? a.status : Status::numerical;
  s.iterations = a.iterations;
  return s;
}

// Multipliers of another program may be positive where this one is inactive; no bound allows that.
template <class S>
void cut_to_valid_signs(const UnitProgram<S>& p, Matrix<S>& dual) {
  p.with_entries([&](auto entry) {
    for (Index i = 0; i < dual.size(); ++i) {
      if (!entry(i).active) dual.data()[i] = std::min(dual.data()[i], S(0));
    }
  });
}

void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

template <class S>
void check(const LayerProgram<S>& p, const LayerOptions& o) {
  require(p.samples > 0 && p.features > 0 && p.outputs > 0, "X and Y must not be empty");
  require(p.X != nullptr && p.Y != nullptr, "X and Y must not be null");
  require(std::isfinite(p.level) && p.level >= 0, "epsilon or penalty must be finite and >= 0");
  require(p.form == Form::constrained || p.level > 0, "penalty must be positive");
  require(o.tol > 0, "tol must be positive");
  require(o.max_iter > 0, "max_iter must be positive");
  require(o.check_every > 0, "check_every must be positive");
  require(o.n_threads > 0, "n_threads must be positive");
}

}  // namespace
}  // namespace layer

const char* name(Status status) {
  switch (status) {
    case Status::optimal:
      return "optimal";
    case Status::max_iter:
      return "max_iter";
    case Status::time_limit:
      return "time_limit";
    case Status::interrupted:
      return "interrupted";
    case Status::infeasible:
      return "infeasible";
    case Status::numerical:
      return "numerical";
  }
  return "unknown";
}

template <class S>
LayerSolution<S> solve_layer(const LayerProgram<S>& program, const LayerOptions& options,
                             const LayerStart<S>& start) {
  layer::check(program, options);
  const auto began = layer::Clock::now();
  const auto p = layer::to_unit_size(program, options.n_threads);
  Matrix<S> weights, dual;
  layer::Start<S> unit_start;
  if (start.weights != nullptr) {
    weights = View<S>(start.weights, program.outputs, program.features) /
              static_cast<S>(layer::weight_unit(p));
    unit_start.weights = &weights;
  }
  if (start.dual != nullptr) {
    dual =
        View<S>(start.dual, program.outputs, program.samples) / static_cast<S>(layer::dual_unit(p));
    layer::cut_to_valid_signs(p, dual);
    unit_start.dual = &dual;
  }
  auto solution = layer::in_callers_units(p, layer::run(p, options, unit_start));
  solution.seconds = std::chrono::duration<double>(layer::Clock::now() - began).count();
  return solution;
}

template LayerSolution<float> solve_layer(const LayerProgram<float>&, const LayerOptions&,
                                          const LayerStart<float>&);
template LayerSolution<double> solve_layer(const LayerProgram<double>&, const LayerOptions&,
                                           const LayerStart<double>&);

}  // namespace nettrim
