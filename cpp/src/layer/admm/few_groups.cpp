#include "layer/admm/few_groups.hpp"

#include <algorithm>

#include "layer/admm/stepped_projection.hpp"
#include "layer/group_certificate.hpp"
#include "layer/lower_rows.hpp"

namespace nettrim::layer {
namespace {

// A group is flat if its slope is below that of the steepest by this factor. Groups at zero leave
// if they are flat and have so many features, over those that are in, that a new factorisation pays
// and what mixing remembers can be lost.
constexpr double kFlat = 0.9, kWorthLeaving = 0.15;

std::vector<Index> places_among(const std::vector<Index>& features,
                                const std::vector<Index>& others) {
  std::vector<Index> places;
  for (const Index j : features) {
    const auto at = std::lower_bound(others.begin(), others.end(), j);
    places.push_back(at != others.end() && *at == j ? at - others.begin() : Index{-1});
  }
  return places;
}

}  // namespace

GroupsInUse::GroupsInUse(const GroupNorm& norm)
    : norm_(norm), in_(static_cast<std::size_t>(norm.count()), true), came_back_(in_.size()) {}

void GroupsInUse::look_at(const Matrix<double>& weights, const Matrix<double>& gradient) {
  sizes_ = norm_.slopes(weights);
  slopes_ = norm_.slopes(gradient);
}

bool GroupsInUse::choose() {
  const double steepest = slopes_.maxCoeff();
  const bool more = bring_back(steepest), fewer = leave_out(steepest);
  return more || fewer;
}

// Where the steepest of all is out, it and those like it.
bool GroupsInUse::bring_back(double steepest) {
  std::vector<std::size_t> steep;
  bool wanted = false;
  for (std::size_t g = 0; g < in_.size(); ++g) {
    const double slope = slopes_[static_cast<Index>(g)];
    if (in_[g] || slope < kFlat * steepest) continue;
    steep.push_back(g);
    wanted = wanted || slope == steepest;
  }
  if (!wanted) return false;
  for (const std::size_t g : steep) in_[g] = came_back_[g] = true;
  return true;
}

bool GroupsInUse::leave_out(double steepest) {
  std::vector<std::size_t> flat;
  Index leaving = 0, present = static_cast<Index>(norm_.free().size());
  for (std::size_t g = 0; g < in_.size(); ++g) {
    if (!in_[g]) continue;
    const auto k = static_cast<Index>(g), width = static_cast<Index>(norm_.features(k).size());
    present += width;
    if (came_back_[g] || sizes_[k] > 0 || slopes_[k] >= kFlat * steepest) continue;
    flat.push_back(g);
    leaving += width;
  }
  if (static_cast<double>(leaving) < kWorthLeaving * static_cast<double>(present)) return false;
  for (const std::size_t g : flat) in_[g] = false;
  return !flat.empty();
}

std::vector<Index> GroupsInUse::features() const {
  std::vector<Index> chosen = norm_.free();
  for (std::size_t g = 0; g < in_.size(); ++g) {
    if (!in_[g]) continue;
    const auto& own = norm_.features(static_cast<Index>(g));
    chosen.insert(chosen.end(), own.begin(), own.end());
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

template <class S>
FewGroups<S>::FewGroups(const UnitProgram<S>& program, const LayerOptions& options,
                        double rough_tol)
    : p_(program),
      options_(options),
      rough_tol_(rough_tol),
      groups_(*program.groups),
      features_(groups_.features()),
      rough_(rough_stage()) {}

template <class S>
auto FewGroups<S>::rough_stage() const -> Stage<float> {
  Stage<float> stage;
  LayerOptions options = options_;
  options.tol = rough_tol_;
  stage.program = std::make_unique<ProgramCopy<float>>(p_, features_);
  stage.engine = std::make_unique<Admm<float>>(stage.program->program(), options, Mixing::anderson);
  return stage;
}

// On what the engine in single precision sees.
template <class S>
auto FewGroups<S>::fine_stage() const -> Stage<double> {
  const Admm<float>& rough = *rough_.engine;
  Stage<double> stage;
  stage.program = std::make_unique<ProgramCopy<double>>(p_, features_);
  const auto& q = stage.program->program();
  auto projection = std::make_unique<SteppedProjection>(
      q, rough.projection(), rough.state(), rough.consistent(), rough.proximal_weights());
  stage.engine =
      std::make_unique<Admm<double>>(q, options_, Mixing::anderson, std::move(projection));
  return stage;
}

template <class S>
void FewGroups<S>::start(const Start<S>& start) {
  Matrix<float> weights, dual;
  if (start.weights != nullptr) weights = start.weights->template cast<float>();
  if (start.dual != nullptr) dual = start.dual->template cast<float>();
  rough_.engine->start({start.weights ? &weights : nullptr, start.dual ? &dual : nullptr});
}

template <class S>
void FewGroups<S>::refine() {
  fine_ = fine_stage();
  fine_.engine->go_on(*rough_.engine);
}

template <class S>
const Matrix<S>* FewGroups<S>::ray(const EngineResult<S>& a) {
  bool is_there = false;
  with_engine([&](auto& engine) {
    const auto* const ray = engine.ray(a.dual.rows(), a.dual.cols());
    is_there = ray != nullptr;
    if (is_there) ray_ = ray->template cast<S>();
  });
  return is_there ? &ray_ : nullptr;
}

template <class S>
template <class T>
void FewGroups<S>::take_answer(const Admm<T>& engine, EngineResult<S>& a) const {
  Matrix<T> dual(a.dual.rows(), a.dual.cols());
  engine.dual(dual);
  a.dual = dual.template cast<S>();
  // An entry that is positive in one precision may be zero in the other.
  if (std::is_same_v<T, float>) cut_to_valid_signs(p_, a.dual);
  a.weights.setZero(p_.n_outputs(), p_.n_features());
  a.weights(Eigen::all, features_) = engine.weights().template cast<S>();
}

template <class S>
void FewGroups<S>::report(EngineResult<S>& a) {
  with_engine([&](auto& engine) { take_answer(engine, a); });
  meet_free_features(p_, a.dual);
  const Matrix<double> weights = a.weights.template cast<double>();
  const Evidence evidence = evidence_of(p_, a.weights, a.dual, {});
  a.certificate = conclude(p_, p_.norm_of(weights), evidence, a.dual);
  groups_.look_at(weights, evidence.gradient);
  lower_last_rows(p_, options_.tol, a);
}

template <class S>
void FewGroups<S>::on_certificate(double infeasibility, double gap) {
  if (groups_.choose()) see_others();
  with_engine([&](auto& engine) { engine.on_certificate(infeasibility, gap); });
}

template <class S>
void FewGroups<S>::see_others() {
  const auto chosen = groups_.features();
  const auto places = places_among(chosen, features_);
  features_ = chosen;
  Stage<float> rough = rough_stage();
  with_engine([&](auto& engine) { rough.engine->go_on(engine, places); });
  rough_ = std::move(rough);
  if (!fine_.engine) return;
  Stage<double> fine = fine_stage();
  fine.engine->go_on(*fine_.engine, places);
  fine_ = std::move(fine);
}

template class FewGroups<float>;
template class FewGroups<double>;

}  // namespace nettrim::layer
