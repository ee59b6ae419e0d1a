#include <cmath>
#include <limits>
#include <stdexcept>

#include "layer/admm.hpp"
#include "layer/gram.hpp"
#include "layer/newton.hpp"
#include "layer/search.hpp"
#include "layer/single.hpp"

namespace nettrim {
namespace layer {
namespace {

// How far alternating directions go before Newton's method: relative gap and infeasibility, steps.
constexpr double kRoughTol = 0.3;
constexpr Index kRoughCheckEvery = 15, kMostRoughSteps = 150;
constexpr std::size_t kCheapGrams =
    8'000'000;                 // bytes, where double precision costs next to nothing
constexpr double kNear = 0.1;  // gap and infeasibility from which alternating directions go on

// An engine's run from `start`; what it reaches replaces `a`, whose iterations count on.
template <class S>
Answer<S> run_admm(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start,
                   Answer<S> a, const char* reason) {
  Admm<S> admm(p, supervisor.options());
  admm.start(start);
  a = search(p, supervisor, admm, std::move(a));
  a.solver = "admm";
  a.reason = reason;
  return a;
}

template <class S>
Answer<S> run_newton(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start,
                     Answer<S> a, const char* reason, bool precise) {
  const auto run = [&](auto newton) {
    newton.start(start);
    return search(p, supervisor, newton, std::move(a));
  };
  a = precise ? run(Newton<S, double>(p, supervisor)) : run(Newton<S, float>(p, supervisor));
  a.solver = "newton";
  a.reason = reason;
  return a;
}

template <class S>
double error(const UnitProgram<S>& p, const Answer<S>& a) {
  const bool usable = a.certificate.finite() && a.weights.allFinite() && a.dual.allFinite();
  return usable ? std::max(infeasibility(p, a.certificate), std::abs(a.certificate.gap()))
                : std::numeric_limits<double>::infinity();
}

template <class S>
Answer<S> better(const UnitProgram<S>& p, Answer<S> a, Answer<S> b) {
  return error(p, a) < error(p, b) ? std::move(a) : std::move(b);
}

// Whether the run that gave the answer is the last.
template <class S>
bool is_final(const UnitProgram<S>& p, const LayerOptions& options, const Answer<S>& a) {
  switch (a.status) {
    case Status::interrupted:
    case Status::time_limit:
      return true;
    case Status::max_iter:
      return a.iterations >= options.max_iter;
    case Status::infeasible:
      return hopeless(p, a.certificate);
    default:
      return proved(p, a.certificate, options.tol);
  }
}

// Most of the zeros and of the tight rows, which is all that newton wants to begin with.
template <class S>
Answer<S> run_roughly(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start,
                      Answer<S> a) {
  LayerOptions options = supervisor.options();
  options.tol = std::max(options.tol, kRoughTol);
  options.check_every = std::min(options.check_every, kRoughCheckEvery);
  options.max_iter = std::min(options.max_iter, a.iterations + kMostRoughSteps);
  SingleAdmm<S> admm(p, options);
  admm.start(start);
  Answer<S> rough = search(p, Supervisor(supervisor, options), admm, a);
  rough.solver = "admm";
  rough.reason = "the start of newton";
  return std::isfinite(error(p, rough)) ? rough : a;
}

// From multipliers of a similar program newton begins at once. Stuck with Gram matrices in single
// precision it goes on with double ones, where there is room for them.
template <class S>
Answer<S> run_rough_newton(const UnitProgram<S>& p, const Supervisor& supervisor,
                           const Start<S>& start, Answer<S> a, const char* reason) {
  const std::size_t bytes = most_gram_bytes(p);
  Answer<S> last = std::move(a);
  if (start.dual != nullptr) {
    last.weights = *start.weights;
    last.dual = *start.dual;
  } else {
    last = run_roughly(p, supervisor, start, std::move(last));
    if (is_final(p, supervisor.options(), last)) return last;
  }
  const bool precise = bytes <= kCheapGrams;
  a = run_newton(p, supervisor, {&last.weights, &last.dual}, last, reason, precise);
  if (a.status != Status::numerical || precise || bytes > kRoomForGrams) return a;
  last = better(p, std::move(a), std::move(last));
  return run_newton(p, supervisor, {&last.weights, &last.dual}, last, reason, true);
}

// Where newton gets stuck alternating directions take over, from its answer if that is good.
template <class S>
Answer<S> run_automatic(const UnitProgram<S>& p, const Supervisor& supervisor,
                        const Start<S>& start, Answer<S> a) {
  if (p.constrained() && p.level == 0) {
    return run_admm(p, supervisor, start, std::move(a), "epsilon is zero: a linear program");
  }
  a = run_rough_newton(p, supervisor, start, std::move(a), "fastest on most layers");
  if (a.status != Status::numerical) return a;
  const Answer<S> stuck = a;
  const bool near = error(p, stuck) < kNear;
  a = run_admm(p, supervisor, near ? Start<S>{&stuck.weights, &stuck.dual} : start, std::move(a),
               "newton got stuck");
  const Status status = a.status;
  const Index iterations = a.iterations;
  if (status == Status::optimal || status == Status::infeasible) return a;
  a = better(p, stuck, std::move(a));
  a.status = status;
  a.iterations = iterations;
  return a;
}

template <class S>
Answer<S> run_engine(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start) {
  Answer<S> a = first_answer(p, start);
  if (proved(p, a.certificate, supervisor.options().tol)) {
    a.status = Status::optimal;
    return a;
  }
  switch (supervisor.options().solver) {
    case Solver::admm:
      return run_admm(p, supervisor, start, std::move(a), "asked for");
    case Solver::newton:
      return run_rough_newton(p, supervisor, start, std::move(a), "asked for");
    case Solver::automatic:
      break;
  }
  return run_automatic(p, supervisor, start, std::move(a));
}

// The same program with n_features rows; its answer is certified again on all samples.
template <class S>
Answer<S> run_in_gram_space(const UnitProgram<S>& p, const Supervisor& supervisor,
                            const Start<S>& start) {
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
  if (start.weights) weights = start.weights->template cast<double>() / q.weight_unit();
  const Answer<double> inner = run_engine(q, Supervisor(supervisor, q, space.outside()),
                                          {start.weights ? &weights : nullptr, nullptr});
  a.weights = (inner.weights * q.weight_unit()).template cast<S>();
  const Matrix<double> dual = inner.certificate.scale.asDiagonal() * inner.dual * q.dual_unit();
  a.dual = space.lift(dual).template cast<S>();
  a.certificate = certify(p, a.weights, a.dual);
  a.iterations = inner.iterations;
  a.solver = inner.solver;
  a.reason = inner.reason;
  a.status = inner.status;
  if (a.status == Status::optimal && !proved(p, a.certificate, supervisor.options().tol)) {
    a.status = Status::numerical;
  }
  return a;
}

template <class S>
Answer<S> run(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start) {
  const bool linear = p.given.activation == Activation::linear;
  return linear && p.n_samples() > p.n_features() ? run_in_gram_space(p, supervisor, start)
                                                  : run_engine(p, supervisor, start);
}

template <class S>
LayerSolution<S> in_callers_units(const UnitProgram<S>& p, Answer<S>&& a) {
  const Certificate& c = a.certificate;
  LayerSolution<S> s;
  s.weights = a.weights * static_cast<S>(p.weight_unit());
  s.dual = (c.scale * p.dual_unit()).template cast<S>().asDiagonal() * a.dual;
  s.objective = c.objective * p.objective_unit();
  s.dual_bound = c.dual_bound * p.objective_unit();
  s.gap = c.gap();
  s.residual = c.residual * p.signal_unit();
  s.violation = c.violation * p.signal_unit();
  if (p.constrained()) {
    s.epsilon = p.given.level;
    s.penalty = 2 * p.level / c.dual_norm * p.signal_unit() / static_cast<double>(p.x_scale);
  } else {
    s.epsilon = s.residual;
    s.penalty = p.given.level;
  }
  s.status = s.weights.allFinite() ? a.status : Status::numerical;
  s.iterations = a.iterations;
  s.solver = a.solver;
  s.reason = a.reason;
  return s;
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
  const auto began = std::chrono::steady_clock::now();
  const auto p = layer::to_unit_size(program, options.n_threads);
  const layer::Supervisor supervisor(options, p);
  Matrix<S> weights, dual;
  layer::Start<S> unit_start;
  if (start.weights != nullptr) {
    weights =
        View<S>(start.weights, program.outputs, program.features) / static_cast<S>(p.weight_unit());
    unit_start.weights = &weights;
  }
  if (start.dual != nullptr) {
    dual = View<S>(start.dual, program.outputs, program.samples) / static_cast<S>(p.dual_unit());
    layer::cut_to_valid_signs(p, dual);
    unit_start.dual = &dual;
  }
  auto solution = layer::in_callers_units(p, layer::run(p, supervisor, unit_start));
  solution.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return solution;
}

template LayerSolution<float> solve_layer(const LayerProgram<float>&, const LayerOptions&,
                                          const LayerStart<float>&);
template LayerSolution<double> solve_layer(const LayerProgram<double>&, const LayerOptions&,
                                           const LayerStart<double>&);

}  // namespace nettrim
