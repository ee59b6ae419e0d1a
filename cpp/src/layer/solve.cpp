#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "layer/gram.hpp"
#include "layer/repair.hpp"
#include "layer/run.hpp"

namespace nettrim {
namespace layer {
namespace {

// What lifting may cost a bound, relatively: half of what it is above all weights' norms by.
constexpr double kLifting = 5e-10;

// In the caller's units, and as large as the multipliers that are handed over.
template <class S>
Eigen::VectorXd given_slopes(const UnitProgram<S>& p, const EngineResult<S>& a) {
  if (!p.regularisation) return {};
  if (a.slopes.size() == 0) return Eigen::VectorXd::Zero(p.n_outputs());
  return a.certificate.scale.cwiseProduct(a.slopes) * p.dual_unit() *
         static_cast<double>(p.y_scale);
}

// What an answer in Gram space says about the program itself, certified again on all samples.
template <class S>
EngineResult<S> lifted(const UnitProgram<S>& p, const GramSpace& space,
                       const UnitProgram<double>& q, const EngineResult<double>& inner,
                       double tol) {
  EngineResult<S> a;
  a.weights =
      (q.given_weights(inner.weights) * p.scales.cwiseInverse().asDiagonal()).template cast<S>();
  const Matrix<double> dual = inner.certificate.scale.asDiagonal() * inner.dual * q.dual_unit();
  a.slopes = given_slopes(q, inner);
  a.dual = space.lift(dual, a.slopes).template cast<S>();
  a.certificate = certify(p, a.weights, a.dual, a.slopes);
  a.iterations = inner.iterations;
  a.solver = inner.solver;
  a.reason = inner.reason;
  a.status = inner.status;
  if (a.status == Status::optimal && !proved(p, a.certificate, tol)) a.status = Status::numerical;
  const bool beyond_reach =
      q.regularisation &&
      a.certificate.dual_bound > norm_beyond_reach(q) * q.objective_unit() / (1 + kLifting);
  if (a.status == Status::infeasible && !beyond_reach &&
      !prove_infeasible(p, Matrix<S>(a.dual), a)) {
    a.status = Status::numerical;
  }
  return a;
}

// No weights come within epsilon of Y.
template <class S>
EngineResult<S> out_of_reach(const UnitProgram<S>& p, const GramSpace& space) {
  EngineResult<S> a = initial_result(p, Start<S>{});
  const Matrix<S> ray = space.outside_part().template cast<S>();
  a.status = prove_infeasible(p, ray, a) ? Status::infeasible : Status::numerical;
  return a;
}

// The same program with n_features rows.
template <class S>
EngineResult<S> run_in_gram_space(const UnitProgram<S>& p, const Supervisor& supervisor,
                                  const Start<S>& start) {
  const GramSpace space(p);
  if (!space.feasible()) return out_of_reach(p, space);
  const UnitProgram<double> q = to_unit_size(space.program(), p.threads);
  Matrix<double> weights;
  if (start.weights) {
    weights = q.unit_weights(start.weights->template cast<double>() * p.scales.asDiagonal());
  }
  const EngineResult<double> inner = run_engine(q, Supervisor(supervisor, q, space.outside()),
                                                {start.weights ? &weights : nullptr, nullptr});
  return lifted(p, space, q, inner, supervisor.options().tol);
}

// Rows that stand for a Gram matrix are one more than features: they are few enough.
template <class S>
bool has_gram_space(const UnitProgram<S>& p) {
  return p.given.activation == Activation::linear && p.n_samples() > p.n_features() + 1;
}

template <class S>
EngineResult<S> run(const UnitProgram<S>& p, const Supervisor& supervisor, const Start<S>& start) {
  return has_gram_space(p) ? run_in_gram_space(p, supervisor, start)
                           : run_engine(p, supervisor, start);
}

// Levels in descending order: those out of reach come last.
template <class S>
void run_along_in_gram_space(UnitProgram<S>& p, const Supervisor& supervisor,
                             const std::vector<double>& levels,
                             const std::function<void(std::size_t, EngineResult<S>)>& on_result) {
  GramSpace space(p);
  std::vector<double> inner_levels;
  const auto aim = [&](std::size_t k) {
    p.set_level(levels[k]);
    space.aim(p.level);
  };
  for (std::size_t k = 0; k < levels.size(); ++k) {
    aim(k);
    if (space.feasible()) inner_levels.push_back(space.level());
  }
  UnitProgram<double> q = to_unit_size(space.program(), p.threads);
  std::size_t answered = 0;
  run_along<double>(q, Supervisor(supervisor, q, space.outside()), inner_levels,
                    [&](std::size_t k, const EngineResult<double>& inner) {
                      aim(k);
                      on_result(k, lifted(p, space, q, inner, supervisor.options().tol));
                      ++answered;
                    });
  if (answered < inner_levels.size()) return;
  for (std::size_t k = answered; k < levels.size(); ++k) {
    aim(k);
    on_result(k, out_of_reach(p, space));
  }
}

// The caller has the multipliers alone: where a candidate near them proves the bound, that one.
template <class S>
void hand_over_proof(const UnitProgram<S>& p, EngineResult<S>& a) {
  if (!p.even || a.status == Status::infeasible) return;
  Matrix<S> dual = a.dual;
  if (!write_repairs(p, a.weights, a.slopes, dual)) return;
  const Certificate c = certify(p, a.weights, dual, a.slopes);
  if (!(c.dual_bound >= a.certificate.dual_bound)) return;
  a.dual = std::move(dual);
  a.certificate = c;
}

template <class S>
LayerSolution<S> in_callers_units(const UnitProgram<S>& p, EngineResult<S>&& a) {
  hand_over_proof(p, a);
  const Certificate& c = a.certificate;
  LayerSolution<S> s;
  s.weights = p.given_weights(a.weights);
  s.dual = (c.scale * p.dual_unit()).template cast<S>().asDiagonal() * a.dual;
  s.slopes = given_slopes(p, a);
  s.objective = c.objective * p.objective_unit();
  s.dual_bound = c.dual_bound * p.objective_unit();
  if (s.dual_bound == 0 && !s.dual.allFinite()) {  // zeros prove as much
    s.dual.setZero();
    s.slopes.setZero();
  }
  s.gap = c.gap();
  s.residual = c.residual * p.signal_unit();
  s.violation = c.violation * p.signal_unit();
  if (p.constrained()) {
    s.epsilon = p.given.level;
    s.penalty = 2 * p.level / c.dual_norm * p.signal_unit() / p.dual_unit();
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

void check(const FeatureGroups& groups, Index features, Solver solver) {
  if (groups.count == 0) return;
  require(groups.count > 0, "the number of groups must not be negative");
  require(groups.group != nullptr && groups.prices != nullptr, "groups must not be null");
  require(solver != Solver::newton, "newton solves programs without groups");
  for (Index j = 0; j < features; ++j) {
    require(groups.group[j] < groups.count, "groups must be numbers below their count");
  }
  for (Index g = 0; g < groups.count; ++g) {
    require(std::isfinite(groups.prices[g]) && groups.prices[g] > 0, "prices must be positive");
  }
}

template <class S>
void check(const Regularisation<S>& r, const LayerProgram<S>& p, Solver solver) {
  require(std::isfinite(r.ridge) && r.ridge >= 0, "ridge must be finite and >= 0");
  require(std::isfinite(r.pull) && r.pull >= 0, "pull must be finite and >= 0");
  if (r.ridge == 0 && r.pull == 0) return;
  require(r.original != nullptr, "the original weights must not be null");
  require(r.pull == 0 || p.activation == Activation::relu, "pull is for layers with a ReLU");
  require(p.groups.count == 0, "a regularisation is for programs without groups");
  require(solver != Solver::admm, "newton solves regularised programs");
}

void check_costs(const double* costs, Index size, const FeatureGroups& groups) {
  if (costs == nullptr) return;
  require(groups.count == 0, "costs are for programs without groups");
  const Eigen::Map<const Eigen::ArrayXd> all(costs, size);
  require((all > 0).all(), "costs must be positive");  // also none is NaN
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
  check_costs(p.costs, p.features * p.outputs, p.groups);
  check(p.groups, p.features, o.solver);
  check(p.regularisation, p, o.solver);
}

}  // namespace
}  // namespace layer

Solver solver_named(const std::string& name) {
  if (name == "auto") return Solver::automatic;
  if (name == "newton") return Solver::newton;
  if (name == "admm") return Solver::admm;
  throw std::invalid_argument("no solver is named " + name);
}

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
    weights = p.unit_weights(View<S>(start.weights, program.outputs, program.features));
    weights = p.allowed(weights.template cast<double>()).template cast<S>();
    unit_start.weights = &weights;
  }
  if (start.dual != nullptr) {
    dual = View<S>(start.dual, program.outputs, program.samples) / static_cast<S>(p.dual_unit());
    layer::cut_to_valid_signs(p, dual);
    unit_start.dual = &dual;
  }
  auto answer = layer::run(p, supervisor, unit_start);
  if (supervisor.interrupted()) answer.status = Status::interrupted;
  auto solution = layer::in_callers_units(p, std::move(answer));
  solution.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return solution;
}

template <class S>
std::vector<LayerSolution<S>> trace_layer(LayerProgram<S> program,
                                          const std::vector<double>& epsilons,
                                          const LayerOptions& options) {
  program.form = Form::constrained;
  program.level = epsilons.empty() ? 0 : epsilons.front();
  layer::check(program, options);
  layer::require(std::is_sorted(epsilons.begin(), epsilons.end(), std::greater<>()) &&
                     (epsilons.empty() || epsilons.back() > 0),
                 "epsilons must be positive and descending");
  auto p = layer::to_unit_size(program, options.n_threads);
  const layer::Supervisor supervisor(options, p);
  std::vector<LayerSolution<S>> solutions;
  double before = 0;
  const std::function<void(std::size_t, layer::EngineResult<S>)> keep = [&](std::size_t,
                                                                            auto answer) {
    if (supervisor.interrupted()) answer.status = Status::interrupted;
    solutions.push_back(layer::in_callers_units(p, std::move(answer)));
    solutions.back().seconds = supervisor.seconds() - before;
    before = supervisor.seconds();
  };
  if (layer::has_gram_space(p)) {
    layer::run_along_in_gram_space(p, supervisor, epsilons, keep);
  } else {
    layer::run_along(p, supervisor, epsilons, keep);
  }
  return solutions;
}

template LayerSolution<float> solve_layer(const LayerProgram<float>&, const LayerOptions&,
                                          const LayerStart<float>&);
template LayerSolution<double> solve_layer(const LayerProgram<double>&, const LayerOptions&,
                                           const LayerStart<double>&);

template std::vector<LayerSolution<float>> trace_layer(LayerProgram<float>,
                                                       const std::vector<double>&,
                                                       const LayerOptions&);
template std::vector<LayerSolution<double>> trace_layer(LayerProgram<double>,
                                                        const std::vector<double>&,
                                                        const LayerOptions&);

}  // namespace nettrim
