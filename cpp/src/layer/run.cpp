#include "layer/run.hpp"

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <variant>

#include "layer/admm/admm.hpp"
#include "layer/admm/few_groups.hpp"
#include "layer/admm/gram_admm.hpp"
#include "layer/admm/single_precision.hpp"
#include "layer/newton/newton.hpp"
#include "layer/sampled.hpp"

namespace nettrim::layer {
namespace {

// A start is looked for on some of the samples where that leaves most of them out: so many, and so
// many for each feature; to such a gap and infeasibility. Where it leaves out half of them, and
// epsilon is below this share of Y's norm, so that few rows bind, alternating directions alone look
// at half.
constexpr Index kFewestSampled = 2048, kSampledPerFeature = 4, kWorthSampling = 4, kWorthHalf = 2;
constexpr double kSampledTol = 0.03, kHalfBelow = 0.2;
// How far alternating directions go before Newton's method: relative gap and infeasibility, steps.
constexpr double kRoughTol = 0.4;
constexpr Index kRoughCheckEvery = 10, kMostRoughSteps = 150;
// Bytes of all Gram matrices up to which double precision costs next to nothing.
constexpr std::size_t kCheapGrams = 8'000'000;
constexpr double kTightBall = 3e-3;  // epsilon, relative to Y, below which it saves rounds
// Steps of alternating directions before newton is tried again from where they are, and their
// growth.
constexpr Index kFirstLeg = 1000, kLegGrowth = 4;
// Steps of alternating directions on a Gram matrix, in single and in double precision, before
// newton has its turn: the latter are for those that leave more than this share of the weights.
constexpr Index kSingleSteps = 32, kGramSteps = 300;
constexpr double kFewWeights = 0.4;
// Of alternating directions with mixing: certificates' tolerance that single precision is good for.
constexpr double kSingleTol = 5e-4;
constexpr double kNear = 0.1;  // gap and infeasibility from which alternating directions go on

// An engine's run; what it reaches replaces `a`, whose iterations count on. newton begins at `a`.
template <class S>
EngineResult<S> run_admm(const UnitProgram<S>& p, const Supervisor& supervisor,
                         const Start<S>& start, EngineResult<S> a, const char* reason) {
  Admm<S> admm(p, supervisor.options());
  admm.start(start);
  a = search(p, supervisor, admm, std::move(a));
  a.solver = "admm";
  a.reason = reason;
  return a;
}

template <class S>
EngineResult<S> run_newton(const UnitProgram<S>& p, const Supervisor& supervisor, EngineResult<S> a,
                           const char* reason, Precision grams) {
  Newton<S> newton(p, supervisor, grams);
  newton.start(a.weights, a.dual);
  a = search(p, supervisor, newton, std::move(a));
  a.solver = "newton";
  a.reason = reason;
  return a;
}

template <class S>
double error(const UnitProgram<S>& p, const EngineResult<S>& a) {
  const bool usable = a.certificate.finite() && a.weights.allFinite() && a.dual.allFinite();
  return usable ? std::max(infeasibility(p, a.certificate), std::abs(a.certificate.gap()))
                : std::numeric_limits<double>::infinity();
}

template <class S>
EngineResult<S> better(const UnitProgram<S>& p, EngineResult<S> a, EngineResult<S> b) {
  return error(p, a) < error(p, b) ? std::move(a) : std::move(b);
}

// Whether the run that gave the answer is the last.
template <class S>
bool is_final(const UnitProgram<S>& p, const LayerOptions& options, const EngineResult<S>& a) {
  switch (a.status) {
    case Status::interrupted:
    case Status::time_limit:
      return true;
    case Status::max_iter:
      return a.iterations >= options.max_iter;
    case Status::infeasible:
      return true;
    default:
      return proved(p, a.certificate, options.tol);
  }
}

// Whether a ball is so tiny that squared residuals are lost in the rounding of the squares of Y.
// What keeps newton from a proof there keeps alternating directions from it as well.
template <class S>
bool is_lost_in_rounding(const UnitProgram<S>& p) {
  static const double root = std::sqrt(std::numeric_limits<double>::epsilon());
  return p.constrained() && p.level < root * p.total;
}

// The start itself, which may be the answer.
template <class S>
EngineResult<S> opening(const UnitProgram<S>& p, const Supervisor& supervisor,
                        const Start<S>& start) {
  EngineResult<S> a = initial_result(p, start);
  if (proved(p, a.certificate, supervisor.options().tol)) a.status = Status::optimal;
  return a;
}

// Most of the zeros and of the tight rows, which is all that newton wants to begin with.
template <class S>
EngineResult<S> run_roughly(const UnitProgram<S>& p, const Supervisor& supervisor,
                            const Start<S>& start, EngineResult<S> a) {
  LayerOptions options = supervisor.options();
  options.tol = std::max(options.tol, kRoughTol);
  options.check_every = std::min(options.check_every, kRoughCheckEvery);
  options.max_iter = std::min(options.max_iter, a.iterations + kMostRoughSteps);
  SinglePrecisionAdmm<S> admm(p, options);
  admm.start(start);
  EngineResult<S> rough = search(p, Supervisor(supervisor, options), admm, a);
  rough.solver = "admm";
  rough.reason = "the start of newton";
  return std::isfinite(error(p, rough)) ? rough : a;
}

// The samples to look for a start on; all, if that is not worth it.
template <class S>
Index samples_for_start(const UnitProgram<S>& p) {
  const Index few = std::max(kFewestSampled, kSampledPerFeature * p.n_features());
  if (kWorthSampling * few <= p.n_samples()) return few;
  const bool is_close = p.constrained() && p.level < kHalfBelow * p.total;
  return is_close && kWorthHalf * few <= p.n_samples() ? p.n_samples() / 2 : p.n_samples();
}

template <class S>
Precision gram_precision(const UnitProgram<S>& p) {
  const bool is_tight = p.constrained() && p.level < kTightBall * p.total;
  return most_gram_bytes(p) <= kCheapGrams || is_tight ? Precision::float64 : Precision::float32;
}

// Where newton begins: an answer to the program of some samples, where there are many, or what
// alternating directions find on all.
template <class S>
EngineResult<S> find_start(const UnitProgram<S>& p, const Supervisor& supervisor,
                           const Start<S>& start, EngineResult<S> a) {
  const Index count = samples_for_start(p);
  if (count == p.n_samples()) return run_roughly(p, supervisor, start, std::move(a));
  const SampledProgram<S> sampled(p, count);
  const UnitProgram<S>& q = sampled.program();
  LayerOptions options = supervisor.options();
  options.tol = std::max(options.tol, kSampledTol);
  options.callback = nullptr;  // its bounds say nothing about the whole
  const Supervisor inner(supervisor, options);
  Matrix<S> weights;
  if (start.weights != nullptr) weights = q.unit_weights(p.given_weights(*start.weights));
  const Start<S> inner_start{start.weights ? &weights : nullptr, nullptr};
  EngineResult<S> rough = initial_result(q, inner_start);
  rough.iterations = a.iterations;
  rough = run_roughly(q, inner, inner_start, std::move(rough));
  if (kWorthSampling * count <= p.n_samples() && !is_final(q, options, rough)) {
    rough = run_newton(q, inner, std::move(rough), "on some samples", gram_precision(q));
  }
  if (std::isfinite(error(q, rough))) sampled.extend(rough, a);
  a.iterations = rough.iterations;
  const bool ended = rough.status == Status::interrupted || rough.status == Status::time_limit;
  a.status = ended ? rough.status : Status::max_iter;
  if (is_final(p, options, a)) a.certificate = certify(p, a.weights, a.dual, a.slopes);
  return a;
}

// A regularised program, from where `a` is.
template <class S>
EngineResult<S> run_newton_alone(const UnitProgram<S>& p, const Supervisor& supervisor,
                                 EngineResult<S> a, const char* reason) {
  const Precision grams = gram_precision(p);
  a = run_newton(p, supervisor, std::move(a), reason, grams);
  if (a.status != Status::numerical || grams == Precision::float64) return a;
  return run_newton(p, supervisor, std::move(a), reason, Precision::float64);
}

// From multipliers of a similar program newton begins at once, and anew if that leads nowhere.
// Stuck with Gram matrices in single precision it goes on with double ones.
template <class S>
EngineResult<S> run_rough_newton(const UnitProgram<S>& p, const Supervisor& supervisor,
                                 const Start<S>& start, EngineResult<S> a, const char* reason) {
  if (p.regularisation) return run_newton_alone(p, supervisor, std::move(a), reason);
  const Precision grams = gram_precision(p);
  if (start.dual != nullptr) {
    a.weights = *start.weights;
    a.dual = *start.dual;
    a = run_newton(p, supervisor, std::move(a), reason, grams);
    if (a.status != Status::numerical) return a;
  }
  a = find_start(p, supervisor, start.dual ? Start<S>{} : start, std::move(a));
  if (is_final(p, supervisor.options(), a)) return a;
  a = run_newton(p, supervisor, std::move(a), reason, grams);
  if (a.status != Status::numerical || grams == Precision::float64) return a;
  return run_newton(p, supervisor, std::move(a), reason, Precision::float64);
}

// Some steps of alternating directions, and newton from where they lead.
template <class S>
EngineResult<S> run_leg(const UnitProgram<S>& p, const Supervisor& supervisor,
                        const Start<S>& start, EngineResult<S> a, Index steps) {
  LayerOptions options = supervisor.options();
  options.max_iter = std::min(options.max_iter, a.iterations + steps);
  a = run_admm(p, Supervisor(supervisor, options), start, std::move(a), "newton got stuck");
  if (is_final(p, supervisor.options(), a) || !std::isfinite(error(p, a))) return a;
  EngineResult<S> refined =
      run_newton(p, supervisor, a, "from where alternating directions led", Precision::float64);
  if (is_final(p, supervisor.options(), refined)) return refined;
  a.iterations = refined.iterations;
  return a;
}

// A linear layer's alternating directions, the first of them in single precision, in which there is
// nothing to be proved. Newton goes on from there where few weights are left, and from where they
// have come in the end.
EngineResult<double> run_on_gram(const UnitProgram<double>& p, const Supervisor& supervisor,
                                 EngineResult<double> a) {
  LayerOptions options = supervisor.options();
  const LinearForm form(p);
  GramAdmm<float> single(p, form, options);
  const Index last = std::min(a.iterations + kSingleSteps, options.max_iter - 1);
  for (; a.iterations < last && !supervisor.limit(a.iterations); ++a.iterations) single.step();
  GramAdmm<double> engine(std::move(single), options);
  for (const Index steps : {Index(1), kGramSteps}) {
    options.max_iter = std::min(supervisor.options().max_iter, a.iterations + steps);
    a = search(p, Supervisor(supervisor, options), engine, std::move(a));
    a.solver = "admm";
    a.reason = "fastest on linear layers";
    if (is_final(p, supervisor.options(), a) || !std::isfinite(error(p, a))) return a;
    const auto left = static_cast<double>((a.weights.array() != 0).count());
    if (steps < kGramSteps && left > kFewWeights * static_cast<double>(a.weights.size())) continue;
    EngineResult<double> refined =
        run_newton(p, supervisor, a, "from where alternating directions led", gram_precision(p));
    if (refined.status != Status::numerical) return refined;
    a.iterations = refined.iterations;
  }
  return a;
}

// Groups couple the outputs: alternating directions with Anderson's mixing, in single precision as
// far as that goes.
template <class S>
EngineResult<S> run_mixed(const UnitProgram<S>& p, const Supervisor& supervisor,
                          const Start<S>& start, EngineResult<S> a) {
  LayerOptions options = supervisor.options();
  options.tol = std::max(options.tol, kSingleTol);
  FewGroups<S> engine(p, supervisor.options(), options.tol);
  engine.start(start);
  a = search(p, Supervisor(supervisor, options), engine, std::move(a));
  a.solver = "admm";
  a.reason = "in single precision";
  if (std::is_same_v<S, float> || is_final(p, supervisor.options(), a)) return a;
  engine.on_certificate(infeasibility(p, a.certificate), a.certificate.gap());
  engine.refine();
  a = search(p, supervisor, engine, std::move(a));
  a.solver = "admm";
  a.reason = "groups couple the outputs";
  return a;
}

// Where newton gets stuck alternating directions take over, from its answer if that is good.
template <class S>
EngineResult<S> run_automatic(const UnitProgram<S>& p, const Supervisor& supervisor,
                              const Start<S>& start, EngineResult<S> a) {
  if (p.groups) return run_mixed(p, supervisor, start, std::move(a));
  if (p.regularisation) return run_newton_alone(p, supervisor, std::move(a), "weights are drawn");
  if (p.constrained() && p.level == 0) {
    return run_admm(p, supervisor, start, std::move(a), "epsilon is zero: a linear program");
  }
  if constexpr (std::is_same_v<S, double>) {
    const bool has_gram =
        p.given.activation == Activation::linear && p.n_features() <= p.n_samples();
    if (has_gram && start.dual == nullptr) {  // from multipliers newton begins at once
      a = run_on_gram(p, supervisor, std::move(a));
      if (is_final(p, supervisor.options(), a)) return a;
    }
  }
  a = run_rough_newton(p, supervisor, start, std::move(a), "fastest on most layers");
  if (a.status != Status::numerical || is_lost_in_rounding(p)) return a;
  EngineResult<S> best = a, from = a;
  bool near = error(p, a) < kNear;
  for (Index steps = kFirstLeg; !is_final(p, supervisor.options(), a); steps *= kLegGrowth) {
    a = run_leg(p, supervisor, near ? Start<S>{&from.weights, &from.dual} : start, std::move(a),
                steps);
    if (a.status == Status::optimal || a.status == Status::infeasible) return a;
    if (a.status == Status::numerical) break;
    from = a;
    near = true;
    best = better(p, std::move(best), a);
  }
  best.status = a.status;
  best.iterations = a.iterations;
  return best;
}

// A program solved at one level after the other by a newton that stays.
template <class S>
class NewtonPath {
 public:
  NewtonPath(const UnitProgram<S>& p, const Supervisor& supervisor, Precision grams)
      : p_(p), supervisor_(supervisor), grams_(grams) {}

  EngineResult<S> solve_present_level() {
    if (newton_) {
      newton_->aim();
    } else if (EngineResult<S> a = begin(); !newton_) {
      return a;
    }
    EngineResult<S> a = search(p_, supervisor_, *newton_, EngineResult<S>{});
    a.solver = "newton";
    a.reason = "along a path";
    if (a.status != Status::numerical) return a;
    newton_.reset();
    const EngineResult<S> stuck = a;
    return run_automatic(p_, supervisor_, {&stuck.weights, &stuck.dual}, std::move(a));
  }

 private:
  // The answer, if there is one without newton.
  EngineResult<S> begin() {
    EngineResult<S> a = opening(p_, supervisor_, Start<S>{});
    if (a.status == Status::optimal) return a;
    if (!p_.regularisation) a = run_roughly(p_, supervisor_, {}, std::move(a));
    if (is_final(p_, supervisor_.options(), a)) return a;
    newton_.emplace(p_, supervisor_, grams_);
    newton_->start(a.weights, a.dual);
    return a;
  }

  const UnitProgram<S>& p_;
  const Supervisor& supervisor_;
  Precision grams_;
  std::optional<Newton<S>> newton_;
};

// A program of groups solved at one level after the other by alternating directions that stay.
template <class S>
class MixedPath {
 public:
  MixedPath(const UnitProgram<S>& p, const Supervisor& supervisor)
      : p_(p), supervisor_(supervisor) {}

  EngineResult<S> solve_present_level() {
    EngineResult<S> a = opening(p_, supervisor_, Start<S>{});
    if (a.status == Status::optimal) return a;
    if (!engine_) {
      engine_ = std::make_unique<Admm<S>>(p_, supervisor_.options(), Mixing::anderson);
      engine_->start({});
    }
    a = search(p_, supervisor_, *engine_, std::move(a));
    a.solver = "admm";
    a.reason = "along a path";
    return a;
  }

 private:
  const UnitProgram<S>& p_;
  const Supervisor& supervisor_;
  std::unique_ptr<Admm<S>> engine_;
};

template <class S>
std::variant<NewtonPath<S>, MixedPath<S>> path_of(const UnitProgram<S>& p,
                                                  const Supervisor& supervisor) {
  if (p.groups) return MixedPath<S>(p, supervisor);
  return NewtonPath<S>(p, supervisor, gram_precision(p));
}

}  // namespace

template <class S>
EngineResult<S> run_engine(const UnitProgram<S>& p, const Supervisor& supervisor,
                           const Start<S>& start) {
  EngineResult<S> a = opening(p, supervisor, start);
  if (a.status == Status::optimal) return a;
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

template <class S>
void run_along(UnitProgram<S>& p, const Supervisor& supervisor, const std::vector<double>& levels,
               const std::function<void(std::size_t, EngineResult<S>)>& on_result) {
  if (!levels.empty()) p.set_level(levels.back());
  std::variant<NewtonPath<S>, MixedPath<S>> path = path_of(p, supervisor);
  for (std::size_t k = 0; k < levels.size(); ++k) {
    p.set_level(levels[k]);
    EngineResult<S> a = std::visit([](auto& it) { return it.solve_present_level(); }, path);
    if (supervisor.interrupted()) a.status = Status::interrupted;
    const bool ended = a.status == Status::interrupted || a.status == Status::time_limit;
    on_result(k, std::move(a));
    if (ended) return;
  }
}

template EngineResult<float> run_engine(const UnitProgram<float>&, const Supervisor&,
                                        const Start<float>&);
template EngineResult<double> run_engine(const UnitProgram<double>&, const Supervisor&,
                                         const Start<double>&);

template void run_along(UnitProgram<float>&, const Supervisor&, const std::vector<double>&,
                        const std::function<void(std::size_t, EngineResult<float>)>&);
template void run_along(UnitProgram<double>&, const Supervisor&, const std::vector<double>&,
                        const std::function<void(std::size_t, EngineResult<double>)>&);

}  // namespace nettrim::layer
