// What Python cannot see of the core: the inside of an iteration, threads, and the C++ face itself.

#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "branch_hull/admm.hpp"
#include "layer/admm/admm.hpp"
#include "layer/admm/few_groups.hpp"
#include "layer/admm/single_precision.hpp"
#include "layer/admm/stepped_projection.hpp"
#include "layer/certificate.hpp"
#include "layer/newton/newton.hpp"
#include "layer/program_copy.hpp"
#include "layer/search.hpp"
#include "linalg/cholesky.hpp"
#include "linalg/factor.hpp"
#include "linalg/inverse.hpp"
#include "linalg/outer.hpp"
#include "linalg/parallel.hpp"
#include "linalg/pick.hpp"
#include "linalg/quasidefinite.hpp"
#include "linalg/sparse.hpp"
#include "nettrim/budget.hpp"
#include "nettrim/layer.hpp"
#include "nettrim/units.hpp"

namespace {

using namespace nettrim;

int failures = 0;
int checks = 0;

#define CHECK(condition)                                                 \
  do {                                                                   \
    ++checks;                                                            \
    if (!(condition)) {                                                  \
      ++failures;                                                        \
      std::printf("%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #condition); \
    }                                                                    \
  } while (false)

template <class S>
Matrix<S> normal(std::mt19937& generator, Index rows, Index cols) {
  std::normal_distribution<double> draw;
  return Matrix<S>::NullaryExpr(rows, cols, [&] { return static_cast<S>(draw(generator)); });
}

// A random ReLU layer; matrices transposed, so that their memory is row-major.
template <class S>
struct Layer {
  Matrix<S> X, W, Y;
  LayerProgram<S> program;

  Layer(unsigned seed, Index samples, Index features, Index outputs, double relative_epsilon) {
    std::mt19937 generator(seed);
    X = normal<S>(generator, features, samples);
    W = normal<S>(generator, outputs, features) / std::sqrt(static_cast<S>(features));
    Y = (W * X).cwiseMax(S(0));
    program.samples = samples;
    program.features = features;
    program.outputs = outputs;
    program.X = X.data();
    program.Y = Y.data();
    program.level = relative_epsilon * static_cast<double>(Y.norm());
  }
};

// X'U1 + proximal U2 = 0 after every step, whatever rho does, for both shapes of the factor.
void test_multipliers_stay_orthogonal(Index samples, Index features, int threads) {
  Layer<double> layer(1, samples, features, 7, 0.1);
  const auto p = layer::to_unit_size(layer.program, threads);
  layer::Admm<double> admm(p, {});
  admm.start({});
  double worst = 0, first_rho = admm.rho();
  for (int step = 0; step < 200; ++step) {
    admm.step();
    const Matrix<double> U1 = admm.state().signal - admm.consistent().signal;
    const Matrix<double> U2 = admm.state().weights - admm.consistent().weights;
    const Matrix<double> sum = p.gradient_of(U1) + U2 * admm.proximal_weights().asDiagonal();
    worst = std::max(worst, sum.cwiseAbs().maxCoeff());
  }
  CHECK(worst < 1e-10);
  CHECK(admm.rho() != first_rho);  // the invariant has been through at least one change of rho
}

// The same where moves are projected in single precision, to the roundings that it leaves.
void test_moves_are_projected_as_a_whole(Index samples, Index features) {
  Layer<double> layer(1, samples, features, 7, 0.1);
  const auto p = layer::to_unit_size(layer.program, 1);
  layer::SinglePrecisionAdmm<double> single(p, {});
  single.start({});
  for (int step = 0; step < 20; ++step) single.step();
  const auto& rough = single.engine();
  layer::Admm<double> admm(
      p, {}, layer::Mixing::none,
      std::make_unique<layer::SteppedProjection>(p, rough.projection(), rough.state(),
                                                 rough.consistent(), rough.proximal_weights()));
  admm.go_on(rough);
  for (int step = 0; step < 400; ++step) admm.step();
  const auto& [signal, weights] = admm.consistent();
  const Matrix<double> U1 = admm.state().signal - signal, U2 = admm.state().weights - weights;
  const Matrix<double> sum = p.gradient_of(U1) + U2 * admm.proximal_weights().asDiagonal();
  Matrix<double> signals(signal.rows(), signal.cols());
  p.signals_of(weights, signals);
  CHECK((signals - signal).cwiseAbs().maxCoeff() < 1e-8);
  CHECK(sum.cwiseAbs().maxCoeff() < 1e-8);
}

// Twelve features in pairs, of which the program has a price for each.
struct PairsProgram {
  static constexpr Index kGroups = 6;
  Index group[2 * kGroups];
  double prices[kGroups];
  Layer<double> layer;

  explicit PairsProgram(Index samples) : layer(4, samples, 2 * kGroups, 5, 0.2) {
    for (Index j = 0; j < 2 * kGroups; ++j) group[j] = j / 2;
    for (Index g = 0; g < kGroups; ++g) prices[g] = 1;
    layer.program.groups = {kGroups, group, prices};
  }
};

std::vector<Index> features_of(const std::vector<Index>& groups) {
  std::vector<Index> features;
  for (const Index g : groups) features.insert(features.end(), {2 * g, 2 * g + 1});
  return features;
}

void test_groups_leave_and_come_back() {
  const PairsProgram pairs(60);
  const layer::GroupNorm norm(pairs.layer.program);
  layer::GroupsInUse groups(norm);
  Matrix<double> weights = Matrix<double>::Ones(5, 12), gradient = Matrix<double>::Ones(5, 12);
  const auto chooses = [&] {
    groups.look_at(weights, gradient);
    return groups.choose();
  };
  CHECK(!chooses());
  weights.rightCols(4).setZero();
  CHECK(!chooses());  // as steep as the others
  gradient.rightCols(4) *= 0.5;
  CHECK(chooses());
  CHECK(groups.features() == features_of({0, 1, 2, 3}));
  CHECK(!chooses());
  gradient.rightCols(2) *= 4;
  CHECK(chooses());
  CHECK(groups.features() == features_of({0, 1, 2, 3, 5}));
  gradient.rightCols(2) *= 0.1;
  CHECK(!chooses());  // the last pair stays
}

// The iteration gets where it was going although it was without some features for a while.
void test_steps_go_on_with_other_features(Index samples) {
  const PairsProgram pairs(samples);
  const auto p = layer::to_unit_size(pairs.layer.program, 1);
  const std::vector<Index> few = features_of({0, 2, 3, 5});
  const layer::ProgramCopy<double> copy(p, few);
  const std::vector<Index> back = {0, 1, -1, -1, 2, 3, 4, 5, -1, -1, 6, 7};
  layer::Admm<double> first(p, {}), without(copy.program(), {}), last(p, {});
  first.start({});
  for (int step = 0; step < 50; ++step) first.step();
  without.go_on(first, few);
  for (int step = 0; step < 50; ++step) without.step();
  last.go_on(without, back);
  for (int step = 0; step < 3000; ++step) last.step();
  layer::EngineResult<double> a = layer::initial_result(p, layer::Start<double>{});
  last.report(a);
  CHECK(layer::proved(p, a.certificate, 1e-7));
}

void test_bounds_never_exceed_the_optimum(Solver solver) {
  Layer<double> layer(2, 80, 12, 5, 0.2);
  LayerOptions options;
  options.solver = solver;
  options.tol = 1e-10;
  options.check_every = 1;
  std::vector<double> bounds;
  options.callback = [&](const LayerProgress& p) {
    bounds.push_back(p.dual_bound);
    return false;
  };
  const auto s = solve_layer(layer.program, options);
  CHECK(s.status == Status::optimal);
  CHECK(bounds.size() == static_cast<std::size_t>(s.iterations));
  for (double bound : bounds) CHECK(bound <= s.objective * (1 + 1e-9));
}

void test_answer_is_feasible_and_dual_is_valid(Solver solver) {
  Layer<double> layer(3, 90, 15, 6, 0.1);
  LayerOptions options;
  options.solver = solver;
  const auto s = solve_layer(layer.program, options);
  CHECK(s.status == Status::optimal);
  const Matrix<double> difference = s.weights * layer.X - layer.Y;
  const auto active = (layer.Y.array() > 0).cast<double>();
  CHECK((difference.array() * active).matrix().norm() <= layer.program.level * (1 + 1e-6));
  CHECK((s.dual.array() * (1 - active)).maxCoeff() <= 0);
  CHECK((s.dual * layer.X.transpose()).cwiseAbs().maxCoeff() <= 1 + 1e-12);
  const double bound = (s.dual.array() * layer.Y.array()).sum() -
                       layer.program.level * (s.dual.array() * active).matrix().norm();
  CHECK(std::abs(bound - s.dual_bound) <= 1e-12 * s.dual_bound);
}

void test_threads_agree_and_runs_repeat(Solver solver) {
  Layer<double> layer(4, 700, 30, 9, 0.1);
  LayerOptions one, two;
  one.solver = two.solver = solver;
  two.n_threads = 2;
  const auto a = solve_layer(layer.program, one);
  const auto b = solve_layer(layer.program, two);
  const auto c = solve_layer(layer.program, two);
  CHECK(a.status == Status::optimal && b.status == Status::optimal);
  CHECK(std::abs(a.objective - b.objective) <= 2e-6 * a.objective);
  CHECK(b.weights == c.weights && b.dual == c.dual);
}

void test_single_precision() {
  Layer<float> layer(5, 200, 20, 6, 0.1);
  LayerOptions options;
  options.tol = 1e-4;
  CHECK(solve_layer(layer.program, options).status == Status::optimal);
  options.tol = 1e-12;
  CHECK(solve_layer(layer.program, options).status == Status::numerical);
}

void test_an_outside_epsilon_is_proved_infeasible() {
  Layer<double> layer(6, 60, 8, 3, 0.1);
  std::mt19937 generator(0);
  layer.Y = normal<double>(generator, 3, 60);
  layer.program.Y = layer.Y.data();
  layer.program.activation = Activation::linear;
  layer.program.level = 0.1;
  const auto s = solve_layer(layer.program);
  CHECK(s.status == Status::infeasible);
  CHECK(s.dual_bound > 1e9);
}

// A bound on the sum of all outputs' weights is large wherever outputs are many, and no sign of a
// ray; one output whose bound is as large is. One sample, x = 1 and y = 1: the bound is y less
// epsilon for each output, over |g|.
void test_many_outputs_do_not_promise_a_ray() {
  constexpr Index kOutputs = 30'000;
  Layer<double> layer(10, 1, 1, kOutputs, 0);
  layer.X.setOnes();
  layer.Y.setOnes();
  layer.program.level = 0.1 * std::sqrt(static_cast<double>(kOutputs));
  const auto p = layer::to_unit_size(layer.program, 1);
  const Matrix<double> all = Matrix<double>::Ones(kOutputs, 1);
  CHECK(layer::certify<double>(p, Matrix<double>::Zero(kOutputs, 1), all).dual_bound > 1e4);
  CHECK(!layer::promises_ray(p, all));

  // The two samples of one more layer contradict each other: x = 1 and -1, y = 1 at both.
  Layer<double> opposite(11, 2, 1, 3, 0);
  opposite.X << 1, -1;
  opposite.Y.setOnes();
  opposite.program.level = 1e-3;
  Matrix<double> one = Matrix<double>::Zero(3, 2);
  one.row(1).setOnes();
  CHECK(layer::promises_ray(layer::to_unit_size(opposite.program, 1), one));
}

void test_callbacks_stop_a_solve() {
  Layer<double> layer(7, 200, 30, 6, 0.05);
  LayerOptions options;
  options.callback = [](const LayerProgress&) { return true; };
  CHECK(solve_layer(layer.program, options).status == Status::interrupted);
  options.callback = nullptr;
  options.interrupted = [] { return true; };
  const auto s = solve_layer(layer.program, options);
  CHECK(s.status == Status::interrupted && s.iterations == 1);
  // Told once, at any time: also while the last certificate is made, or of a run within the run.
  Layer<double> many(7, 4000, 12, 6, 0.05);
  for (const auto* program : {&layer.program, &many.program}) {
    LayerOptions at;
    Index calls = 0, told = 1;
    at.interrupted = [&] { return ++calls == told; };
    for (bool is_told = true; is_told; ++told) {
      calls = 0;
      const auto stopped = solve_layer(*program, at).status == Status::interrupted;
      is_told = calls >= told;
      CHECK(stopped == is_told);
    }
    CHECK(told > 3);
  }
  options.interrupted = nullptr;
  options.time_limit = 0;
  CHECK(solve_layer(layer.program, options).status == Status::time_limit);
}

template <class Body>
bool refuses(Body&& body) {
  try {
    body();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

void test_nonsense_is_refused() {
  Layer<double> layer(8, 20, 5, 3, 0.1);
  auto bad = layer.program;
  bad.samples = 0;
  CHECK(refuses([&] { solve_layer(bad); }));
  bad = layer.program;
  bad.level = -1;
  CHECK(refuses([&] { solve_layer(bad); }));
  bad = layer.program;
  bad.form = Form::penalised;
  bad.level = 0;
  CHECK(refuses([&] { solve_layer(bad); }));
  LayerOptions options;
  options.n_threads = 0;
  CHECK(refuses([&] { solve_layer(layer.program, options); }));
}

void test_cuts_cover_their_range() {
  for (Index n : {1, 2, 255, 256, 257, 1000}) {
    for (int threads : {1, 2, 3}) {
      Index next = 0;
      for (const Range r : cut(n, 256, threads)) {
        CHECK(r.begin == next && r.size > 0);
        next = r.begin + r.size;
      }
      CHECK(next == n);
    }
  }
}

void test_exceptions_leave_a_parallel_region() {
  CHECK(refuses([] {
    parallel_for(4, 2, [](Index k, int) {
      if (k == 2) throw std::invalid_argument("from a thread");
    });
  }));
}

// Of every size about those of its tiles and blocks; what is above the diagonal is not touched.
template <class S>
void test_signed_cholesky() {
  std::mt19937 generator(11);
  const double rounding = std::is_same_v<S, float> ? 2e-6 : 1e-14;
  for (const Index n : {1, 2, 3, 4, 5, 7, 11, 12, 13, 25, 63, 64, 65, 66, 91, 130, 201}) {
    for (const Index positive : {Index(0), n / 3, n - 1, n}) {
      const Matrix<S> A = normal<S>(generator, n, n + 9);
      Matrix<S> K = A * A.transpose() / static_cast<S>(n) + Matrix<S>::Identity(n, n);
      K.bottomRightCorner(n - positive, n - positive) *= -1;
      Matrix<S> lower = K;
      lower.template triangularView<Eigen::StrictlyUpper>().setConstant(7);
      CHECK(cholesky(lower, positive));
      const Matrix<S> L = lower.template triangularView<Eigen::Lower>();
      Matrix<S> signs = Matrix<S>::Identity(n, n);
      signs.diagonal().tail(n - positive).setConstant(-1);
      CHECK(double((L * signs * L.transpose() - K).norm() / K.norm()) < rounding);
      const Matrix<S> above = lower.template triangularView<Eigen::StrictlyUpper>();
      CHECK(above.sum() == static_cast<S>(7 * (n * (n - 1) / 2)));
    }
  }
  Matrix<S> singular = Matrix<S>::Ones(9, 9);
  CHECK(!cholesky(singular, 9));
}

// Rows of [H C'; C -E] come and go at random; solutions are those of the matrix of the rows there.
void test_quasidefinite_updates() {
  constexpr Index kPositive = 14, kAll = 22;
  std::mt19937 generator(10);
  Matrix<double> K = normal<double>(generator, kAll, kAll);
  const Matrix<double> H = K.topRows(kPositive) * K.topRows(kPositive).transpose();
  K.topLeftCorner(kPositive, kPositive) = H;
  K.topRightCorner(kPositive, kAll - kPositive) =
      K.bottomLeftCorner(kAll - kPositive, kPositive).transpose();
  K.bottomRightCorner(kAll - kPositive, kAll - kPositive).setZero();
  K.diagonal().tail(kAll - kPositive).setConstant(-1e-3);

  QuasidefiniteFactor factor;
  std::vector<Index> order;  // element of each row, -1 where removed
  const auto restart = [&](const std::vector<Index>& elements, Index positive) {
    order = elements;
    factor.prepare(static_cast<Index>(order.size()), 2 * kAll) = K(order, order);
    CHECK(factor.factor(positive));
  };
  restart({0, 3, 5, 6, 11, 15, 17, 21}, 5);
  const Eigen::VectorXd b = normal<double>(generator, kAll, 1);
  double worst = 0;
  for (int change = 0; change < 60; ++change) {
    const Index element = static_cast<Index>(generator() % kAll);
    const auto place = std::find(order.begin(), order.end(), element);
    if (place != order.end()) {
      CHECK(factor.remove(place - order.begin()));
      *place = -1;
    } else if (factor.size() < factor.room()) {
      Eigen::VectorXd entries(factor.size());
      for (Index i = 0; i < entries.size(); ++i) {
        const Index other = order[static_cast<std::size_t>(i)];
        entries[i] = other < 0 ? 99.0 : K(other, element);
      }
      CHECK(factor.append(entries, K(element, element), element < kPositive));
      order.push_back(element);
    }
    std::vector<Index> there;
    Eigen::VectorXd x(factor.size());
    for (Index i = 0; i < x.size(); ++i) {
      const Index e = order[static_cast<std::size_t>(i)];
      x[i] = e < 0 ? 0 : b[e];
      if (e >= 0) there.push_back(e);
    }
    factor.solve(x);
    const Eigen::VectorXd wanted =
        Matrix<double>(K(there, there)).lu().solve(Eigen::VectorXd(b(there)));
    for (Index i = 0, k = 0; i < x.size(); ++i) {
      const bool removed = order[static_cast<std::size_t>(i)] < 0;
      worst = std::max(worst,
                       std::abs(x[i] - (removed ? 0 : wanted[k])) / wanted.cwiseAbs().maxCoeff());
      if (!removed) ++k;
    }
  }
  CHECK(worst < 1e-8);
  factor.prepare(2, 2).setConstant(-1.0);
  CHECK(!factor.factor(2));
}

// More rows than are added at a time, picked from longer ones.
template <class G>
void test_outer_products(Index known, Index fresh) {
  constexpr Index kRows = 700, kLength = 200;
  std::mt19937 generator(3);
  const Matrix<G> X = normal<G>(generator, kLength, kRows);
  std::vector<Index> first, second;
  for (Index j = 0; j < known; ++j) first.push_back(3 * j % kLength);
  for (Index j = 0; j < fresh; ++j) second.push_back(4 * j + 1);
  std::sort(first.begin(), first.end());
  const Picker<G> pick_first(first), pick_second(second);
  OuterProducts<G> products(known + fresh);
  products.begin(known, fresh);
  Matrix<double> sums = Matrix<double>::Zero(known + fresh, fresh);
  for (Index k = 0; k < kRows; ++k) {
    pick_first.pick(X.col(k).data(), products.known());
    pick_second.pick(X.col(k).data(), products.fresh());
    products.push();
    if (products.full()) products.add_to(sums, 2);
  }
  products.add_to(sums, 2);
  std::vector<Index> all = first;
  all.insert(all.end(), second.begin(), second.end());
  const Matrix<double> rows = X(all, Eigen::all).template cast<double>();
  const Matrix<double> wanted = 2 * rows * rows.bottomRows(fresh).transpose();
  const double tol = 1e4 * static_cast<double>(std::numeric_limits<G>::epsilon());
  for (Index j = 0; j < fresh; ++j) {
    const Eigen::VectorXd error = (sums - wanted).col(j);
    CHECK(error.head(known).lpNorm<Eigen::Infinity>() < tol);  // zero of nothing
    CHECK(error.tail(fresh - j).lpNorm<Eigen::Infinity>() < tol);
  }
}

// Gram matrices are kept in single precision; entries are below 4.
void test_working_gram() {
  constexpr double kSingle = 5e-7;
  Layer<double> layer(11, 300, 12, 5, 0.1);
  layer.Y.row(1).setConstant(-1.0);      // never active
  layer.Y.bottomRows(3).array() += 0.1;  // always
  layer.program.Y = layer.Y.data();
  const auto p = layer::to_unit_size(layer.program, 1);
  const layer::WorkingGram<double> grams(p, Precision::float64);
  const std::vector<Index> few = {7, 2, 9}, more = {7, 2, 9, 0, 11};
  for (Index output = 0; output < 5; ++output) {
    Matrix<double> X = p.x_scale * layer.X(more, Eigen::all);
    for (Index i = 0; i < 300; ++i) {
      if (!(layer.Y(output, i) > 0)) X.col(i).setZero();
    }
    PackedSymmetric gram(Precision::float64);
    gram.grow(grams.columns(output, few, 0));
    gram.grow(grams.columns(output, more, 3));
    const Matrix<double> wanted = X * X.transpose();
    const Eigen::VectorXd x = Eigen::VectorXd::LinSpaced(5, -1, 2);
    for (Index i = 0; i < 5; ++i) {
      for (Index j = 0; j < 5; ++j) CHECK(std::abs(gram(i, j) - wanted(i, j)) < kSingle);
      Eigen::VectorXd column = Eigen::VectorXd::Zero(5);
      gram.add_column(i, 2.0, column);
      CHECK((column - 2 * wanted.col(i)).cwiseAbs().maxCoeff() < kSingle);
    }
    CHECK((gram * x - wanted * x).cwiseAbs().maxCoeff() < 4 * kSingle);
  }
  // Of all outputs at once, few fresh columns come from products of all samples.
  std::vector<layer::GramColumns> asked;
  for (Index output = 0; output < 5; ++output) asked.push_back({output, &more, 3});
  grams.fill(asked);
  for (const auto& a : asked) {
    CHECK((a.entries - grams.columns(a.output, more, 3)).cwiseAbs().maxCoeff() < kSingle);
  }
}

// With zeros that are passed over, or too few of them; columns and rows of zeros; any number of
// rows on the left; fewer columns of it than are passed through at a time, and more.
template <class S>
void test_sparse_products(Index n_features, Index n_samples) {
  std::mt19937 generator(17);
  const double most = static_cast<double>(std::max(n_features, n_samples));
  const double tol = 300 * most / 90 * static_cast<double>(std::numeric_limits<S>::epsilon());
  for (const double share : {0.0, 0.1, 0.8}) {
    for (const Index rows : {1, 20, 150, 331}) {
      std::bernoulli_distribution stays(share);
      Matrix<S> X = normal<S>(generator, n_features, n_samples);
      X = X.unaryExpr([&](S x) { return stays(generator) ? x : S(0); });
      X.row(5).setZero();
      const Matrix<S> A = normal<S>(generator, rows, n_features),
                      G = normal<S>(generator, rows, n_samples);
      const Matrix<S> before = normal<S>(generator, rows, n_samples),
                      other = normal<S>(generator, rows, n_features);
      const Matrix<double> signals = before.template cast<double>() +
                                     2 * A.template cast<double>() * X.template cast<double>();
      const Matrix<double> sums =
          other.template cast<double>() +
          2 * G.template cast<double>() * X.transpose().template cast<double>();
      const auto check = [&](const auto& add_samples, const auto& add_features) {
        Matrix<S> out = before, back = other;
        add_samples(out);
        add_features(back);
        CHECK((out.template cast<double>() - signals).cwiseAbs().maxCoeff() < tol);
        CHECK((back.template cast<double>() - sums).cwiseAbs().maxCoeff() < tol);
      };
      check([&](auto& out) { add_product_with_samples(A, X, out, S(2)); },
            [&](auto& out) { add_product_with_features(G, X, out, S(2)); });
      SparseSamples<S> samples;
      samples.read(X, rows);
      check([&](auto& out) { samples.add_product_with_samples(A, X, out, S(2)); },
            [&](auto& out) { samples.add_product_with_features(G, X, out, S(2)); });
    }
  }
}

// Of several outputs at once, of which some are estimated: from one active sample in four, with
// diagonals that are not below the exact ones.
void test_working_gram_estimates() {
  Layer<double> layer(12, 900, 6, 3, 0.1);
  layer.X.row(4).array() *= (layer.X.row(3).array() > 2.5).cast<double>();  // rarely seen
  const auto p = layer::to_unit_size(layer.program, 1);
  layer::WorkingGram<double> grams(p, Precision::float64);
  grams.prepare_estimates();
  const std::vector<Index> features = {1, 4, 5, 0};
  std::vector<layer::GramColumns> asked = {
      {0, &features, 2}, {1, &features, 0, 4}, {2, &features, 0}};
  grams.fill(asked);
  for (const auto& a : asked) {
    const Matrix<double> exact = grams.columns(a.output, features, a.known);
    if (a.stride == 1) {
      CHECK((a.entries - exact).cwiseAbs().maxCoeff() < 1e-13 * exact.norm());  // in another order
      continue;
    }
    CHECK((a.entries - a.entries.transpose()).cwiseAbs().maxCoeff() == 0);
    CHECK((a.entries - exact).norm() < 0.5 * exact.norm());
    CHECK((a.entries.diagonal() - exact.diagonal()).minCoeff() > -1e-5 * exact.trace());
  }
}

// Both engines prove the same optimum, each from a cold start.
void test_engines_agree() {
  for (const Form form : {Form::constrained, Form::penalised}) {
    for (const Index features : {15, 40}) {
      Layer<double> layer(12, 120, features, 8, 0.1);
      layer.program.form = form;
      LayerOptions options;
      options.solver = Solver::newton;
      const auto newton = solve_layer(layer.program, options);
      options.solver = Solver::admm;
      const auto admm = solve_layer(layer.program, options);
      CHECK(newton.status == Status::optimal && admm.status == Status::optimal);
      CHECK(std::abs(newton.objective - admm.objective) <= 3e-6 * admm.objective);
    }
  }
}

// A linear layer's own engine, on its Gram matrix, with and without a part of Y out of reach.
void test_linear_engine_agrees() {
  for (const Form form : {Form::constrained, Form::penalised}) {
    for (const Index samples : {31, 400}) {
      Layer<double> layer(14, samples, 30, 8, 0.9);
      layer.program.activation = Activation::linear;
      layer.program.form = form;
      if (form == Form::penalised) layer.program.level *= 0.1;
      LayerOptions options;
      const auto automatic = solve_layer(layer.program, options);
      options.solver = Solver::newton;
      const auto newton = solve_layer(layer.program, options);
      CHECK(automatic.status == Status::optimal && newton.status == Status::optimal);
      CHECK(form == Form::constrained || automatic.solver == std::string("admm"));
      CHECK(std::abs(newton.objective - automatic.objective) <= 2e-6 * newton.objective);
      CHECK(automatic.dual_bound <= newton.objective * (1 + 1e-9));
    }
  }
}

// Costs of features are their units, whatever they cost all together; a weight of infinite cost is
// zero; and there is no cost below zero.
void test_costs() {
  constexpr Index samples = 60, features = 12, outputs = 4;
  Layer<double> layer(16, samples, features, outputs, 0.1);
  const Eigen::VectorXd units = Eigen::VectorXd::LinSpaced(features, 0.5, 2);
  Matrix<double> costs = 1e3 * units.transpose().replicate(outputs, 1);
  const Matrix<double> X = units.cwiseInverse().asDiagonal() * layer.X;
  auto scaled = layer.program, priced = layer.program;
  scaled.X = X.data();
  priced.costs = costs.data();
  const auto one = solve_layer(priced), other = solve_layer(scaled);
  CHECK(one.status == Status::optimal && other.status == Status::optimal);
  CHECK(std::abs(one.objective - 1e3 * other.objective) <= 2e-6 * one.objective);
  CHECK(std::abs(one.penalty * 1e3 - other.penalty) <= 1e-3 * other.penalty);

  costs(1, 2) = kInfinity;
  priced.level *= 3;
  const auto without = solve_layer(priced);
  CHECK(without.status == Status::optimal && without.weights(1, 2) == 0);
  costs(0, 0) = 0;
  CHECK(refuses([&] { solve_layer(priced); }));
}

// Rows of a regularisation count as if they stood in X, each asked for by the outputs that have it.
void test_drawn_weights() {
  constexpr Index samples = 60, features = 12, outputs = 4, rows = 2 * samples + features;
  constexpr double ridge = 3, pull = 0.2;
  Layer<double> layer(15, samples, features, outputs, 0.1);
  auto formed = layer.program, drawn = layer.program;
  drawn.regularisation = {ridge, pull, layer.W.data()};

  Matrix<double> X(features, rows);
  X << layer.X, std::sqrt(ridge) * Matrix<double>::Identity(features, features),
      std::sqrt(pull) * layer.X;
  Matrix<double> Y = layer.W * X, upper = Matrix<double>::Constant(outputs, rows, 1e6);
  Matrix<bool> active = Matrix<bool>::Constant(outputs, rows, true);
  active.leftCols(samples) = (layer.Y.array() > 0).matrix();
  active.rightCols(samples) = (layer.Y.array() <= 0).matrix();
  upper.leftCols(samples).setZero();
  formed.samples = rows;
  formed.X = X.data();
  formed.Y = Y.data();
  formed.upper = upper.data();
  formed.active = active.data();

  const auto one = solve_layer(drawn), other = solve_layer(formed);
  CHECK(one.status == Status::optimal && other.status == Status::optimal);
  CHECK(std::abs(one.objective - other.objective) <= 2e-6 * other.objective);
  CHECK(one.slopes.size() == outputs && one.slopes.minCoeff() > 0);
  CHECK(other.slopes.size() == 0);

  LayerOptions options;
  options.solver = Solver::admm;
  CHECK(refuses([&] { solve_layer(drawn, options); }));
  drawn.regularisation.original = nullptr;
  CHECK(refuses([&] { solve_layer(drawn); }));
}

// Started at its own answer a solve has nothing to do; started at a neighbour's it has less.
void test_newton_starts_warm() {
  Layer<double> layer(13, 400, 30, 10, 0.1);
  LayerOptions options;
  options.solver = Solver::newton;
  const auto cold = solve_layer(layer.program, options);
  const LayerStart<double> start{cold.weights.data(), cold.dual.data()};
  CHECK(solve_layer(layer.program, options, start).iterations == 0);
  layer.program.level *= 1.1;
  const auto next = solve_layer(layer.program, options);
  const auto warm = solve_layer(layer.program, options, start);
  CHECK(warm.status == Status::optimal && warm.iterations <= next.iterations);
  CHECK(std::abs(warm.objective - next.objective) <= 2e-6 * next.objective);
  const auto weights_only = solve_layer(layer.program, options, {cold.weights.data(), nullptr});
  CHECK(weights_only.status == Status::optimal && weights_only.iterations <= next.iterations);
}

void test_hull_multipliers_stay_orthogonal(Index h_size, Index m_size, Gauge gauge) {
  std::mt19937 generator(3);
  constexpr Index rows = 30;
  const Matrix<double> A = normal<double>(generator, h_size, rows);
  const Matrix<double> D = normal<double>(generator, m_size, rows);
  const std::vector<double> r(rows, 1.5);
  const std::vector<HullRow> kinds(rows, HullRow::hull);
  BranchHullProgram program;
  program.rows = rows;
  program.h_size = h_size;
  program.m_size = m_size;
  program.A.entries = A.data();
  program.D.entries = D.data();
  program.r = r.data();
  program.kinds = kinds.data();
  program.gauge = gauge;
  const branch_hull::UnitHull unit(program);
  branch_hull::HullAdmm admm(unit);
  for (int k = 1; k <= 60; ++k) {
    admm.step();
    if (k % 20 == 0) admm.rebalance();
    if (gauge == Gauge::l2) continue;  // there it is the gradient of the objective
    CHECK(admm.h().invariant().cwiseAbs().maxCoeff() < 1e-12);
    CHECK(admm.m().invariant().cwiseAbs().maxCoeff() < 1e-12);
  }
  CHECK(admm.result().h.allFinite() && admm.result().p.allFinite());
}

void test_orthogonal_basis() {
  std::mt19937 generator(9);
  Matrix<double> X = normal<double>(generator, 6, 600);
  const auto pieces = [&](Range r) -> Matrix<double> { return X.middleCols(r.begin, r.size); };
  const Matrix<double> identity = Matrix<double>::Identity(6, 6);
  for (const double blur : {1.0, 1e-5, 1e-10, 0.0}) {  // of one row beside another
    X.row(5) = X.row(1) + blur * X.row(5);
    for (int threads : {1, 2}) {
      const OrthogonalBasis basis(6, 600, pieces, threads);
      const Matrix<double> Q = basis.samples(identity);
      CHECK((Q * Q.transpose() - identity).cwiseAbs().maxCoeff() < 1e-13);
      CHECK((basis.triangle() * Q - X).cwiseAbs().maxCoeff() < 1e-13);
      CHECK((basis.coordinates(6, pieces) - basis.triangle()).cwiseAbs().maxCoeff() < 1e-11);
    }
  }
}

// Inverses by halves, and after a part of the matrix came or went; for all that a block can be.
void test_inverses_follow_their_matrix() {
  std::mt19937 generator(10);
  for (const Index n : {1, 7, 64, 65, 200}) {
    const Matrix<double> root = normal<double>(generator, n, n + 5);
    Matrix<double> gram = root * root.transpose() + Matrix<double>::Identity(n, n);
    const auto error = [&](const Matrix<double>& lower) {
      const Matrix<double> inverse = lower.selfadjointView<Eigen::Lower>();
      return (inverse * gram - Matrix<double>::Identity(n, n)).cwiseAbs().maxCoeff();
    };
    Matrix<double> inverse = gram;
    invert<double>(inverse);
    CHECK(error(inverse) < 1e-9);
    for (const Index columns : {Index{0}, Index{1}, n, n + 3}) {
      const Matrix<double> V = normal<double>(generator, n, columns);
      for (const double sign : {1.0, -1.0}) {
        gram += sign * V * V.transpose();
        update_inverse<double>(inverse, V, sign);
        CHECK(error(inverse) < 1e-8);
      }
    }
  }
}

// Every weight goes once, and what is kept stays; a fit never has more than its support.
void test_budgets() {
  std::mt19937 generator(11);
  const Matrix<double> X = normal<double>(generator, 30, 200);
  const Matrix<double> W = normal<double>(generator, 5, 30);
  const Matrix<double> target = W * X;
  std::vector<char> active(static_cast<std::size_t>(target.size()));
  for (Index i = 0; i < target.size(); ++i)
    active[static_cast<std::size_t>(i)] = target.data()[i] > 0;
  BudgetProgram program;
  program.samples = 200;
  program.features = 30;
  program.outputs = 5;
  program.X = X.data();
  program.target = target.data();
  program.active = reinterpret_cast<const bool*>(active.data());
  program.prior = W.data();
  program.pull = 0.01;
  program.ridge = 0.1;
  bool keep[30] = {};
  keep[3] = true;
  const Elimination all = eliminate(program, {keep, 0, 0}, {2, nullptr});
  Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> support(30, 5);
  support.setConstant(true);
  for (Index j = 0; j < 5; ++j) {
    Eigen::ArrayXi times = Eigen::ArrayXi::Zero(30);
    for (Index k = 0; k < 29; ++k) ++times[all.order(k, j)];
    CHECK(times.maxCoeff() == 1 && times[3] == 0);
    CHECK(all.order(29, j) == -1 && std::isinf(all.losses(29, j)));
    for (Index k = 0; k < 20; ++k) support(all.order(k, j), j) = false;
  }
  const BudgetFit plain = fit_support(program, support.data(), 0, keep);
  const BudgetFit swapped = fit_support(program, support.data(), 20, keep, {2, nullptr});
  CHECK(swapped.loss <= plain.loss);
  CHECK((swapped.weights.array() != 0).count() <= support.count());
  const BudgetFit stopped = fit_support(program, support.data(), 0, keep, {1, [] { return true; }});
  CHECK(!stopped.complete);
}

void test_units() {
  std::mt19937 generator(12);
  constexpr int kFeatures = 150, kUnits = 60, kOutputs = 7;
  const Matrix<double> X = normal<double>(generator, kFeatures, 400);
  const Matrix<double> W = normal<double>(generator, kOutputs, kFeatures);
  Matrix<double> gram = X * X.transpose();
  gram.diagonal().array() += 1;
  const Matrix<double> correlations = W * gram;
  std::vector<int> unit_of(kFeatures);
  for (int i = 0; i < kFeatures; ++i) unit_of[static_cast<std::size_t>(i)] = i % kUnits;
  const UnitsForm form{kFeatures, kOutputs, gram.data(), correlations.data(), unit_of.data()};
  const UnitsProgram program{kUnits, nullptr, {form}};
  const UnitsElimination all = eliminate_units(program, {1, nullptr});
  const UnitsElimination shared = eliminate_units(program, {2, nullptr});
  CHECK(all.complete && all.order == shared.order);
  std::vector<int> sorted = all.order;
  std::sort(sorted.begin(), sorted.end());
  for (int u = 0; u < kUnits; ++u) CHECK(sorted[static_cast<std::size_t>(u)] == u);
  // Without any unit nothing is explained of what all of them explain.
  const double explained = (correlations.array() * W.array()).sum() / 2;
  const double lost = std::accumulate(all.losses.begin(), all.losses.end(), 0.0);
  CHECK(std::abs(lost - explained) < 1e-9 * explained);
  bool kept[kUnits] = {};
  for (int u = 0; u < kUnits / 3; ++u) kept[u] = true;
  const UnitsExchange one = exchange_units(program, kept, 1, 0, {1, nullptr});
  const UnitsExchange more = exchange_units(program, kept, 100, 0, {2, nullptr});
  CHECK(one.swaps == 1 && more.swaps > 1 && more.gain > one.gain);
  CHECK(std::count(more.kept.begin(), more.kept.end(), true) == kUnits / 3);
  CHECK(!eliminate_units(program, {1, [] { return true; }}).complete);
  CHECK(!exchange_units(program, kept, 9, 0, {1, [] { return true; }}).complete);
}

}  // namespace

int main() {
  for (int threads : {1, 2}) {
    test_multipliers_stay_orthogonal(600, 20, threads);
    test_multipliers_stay_orthogonal(25, 40, threads);
  }
  test_moves_are_projected_as_a_whole(60, 12);
  test_moves_are_projected_as_a_whole(12, 60);
  test_groups_leave_and_come_back();
  test_steps_go_on_with_other_features(90);
  test_steps_go_on_with_other_features(10);
  for (const Solver solver : {Solver::newton, Solver::admm}) {
    test_bounds_never_exceed_the_optimum(solver);
    test_answer_is_feasible_and_dual_is_valid(solver);
    test_threads_agree_and_runs_repeat(solver);
  }
  test_single_precision();
  test_an_outside_epsilon_is_proved_infeasible();
  test_many_outputs_do_not_promise_a_ray();
  test_callbacks_stop_a_solve();
  test_nonsense_is_refused();
  test_cuts_cover_their_range();
  test_exceptions_leave_a_parallel_region();
  for (const Gauge gauge : {Gauge::l1, Gauge::l2}) {
    test_hull_multipliers_stay_orthogonal(12, 8, gauge);
    test_hull_multipliers_stay_orthogonal(50, 40, gauge);
  }
  test_orthogonal_basis();
  test_inverses_follow_their_matrix();
  test_budgets();
  test_units();
  test_signed_cholesky<float>();
  test_signed_cholesky<double>();
  test_quasidefinite_updates();
  test_outer_products<float>(0, 45);
  test_outer_products<double>(65, 3);
  test_outer_products<float>(65, 40);
  for (const Index size : {37, 261}) {
    test_sparse_products<float>(size, 90);
    test_sparse_products<double>(size, 700);
  }
  test_working_gram();
  test_working_gram_estimates();
  test_engines_agree();
  test_linear_engine_agrees();
  test_costs();
  test_drawn_weights();
  test_newton_starts_warm();
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
