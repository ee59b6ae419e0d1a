// What Python cannot see of the core: the inside of an iteration, threads, and the C++ face itself.

#include <cmath>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <vector>

#include "factor.hpp"
#include "layer/admm.hpp"
#include "layer/certificate.hpp"
#include "nettrim/layer.hpp"
#include "parallel.hpp"

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

// X'U1 + anchor U2 = 0 after every step, whatever rho does, for both shapes of the factor.
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
    const Matrix<double> sum = p.gradient_of(U1) + U2 * admm.anchor().asDiagonal();
    worst = std::max(worst, sum.cwiseAbs().maxCoeff());
  }
  CHECK(worst < 1e-10);
  CHECK(admm.rho() != first_rho);  // the invariant has been through at least one change of rho
}

void test_bounds_never_exceed_the_optimum() {
  Layer<double> layer(2, 80, 12, 5, 0.2);
  LayerOptions options;
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

void test_answer_is_feasible_and_dual_is_valid() {
  Layer<double> layer(3, 90, 15, 6, 0.1);
  const auto s = solve_layer(layer.program);
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

void test_threads_agree_and_runs_repeat() {
  Layer<double> layer(4, 700, 30, 9, 0.1);
  LayerOptions one, two;
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

void test_callbacks_stop_a_solve() {
  Layer<double> layer(7, 200, 30, 6, 0.05);
  LayerOptions options;
  options.callback = [](const LayerProgress&) { return true; };
  CHECK(solve_layer(layer.program, options).status == Status::interrupted);
  options.callback = nullptr;
  options.interrupted = [] { return true; };
  const auto s = solve_layer(layer.program, options);
  CHECK(s.status == Status::interrupted && s.iterations == 1);
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

void test_orthogonal_basis() {
  std::mt19937 generator(9);
  const Matrix<double> X = normal<double>(generator, 40, 6);
  const OrthogonalBasis basis(X);
  Matrix<double> padded = Matrix<double>::Zero(40, 6);
  padded.topRows(6) = basis.triangle();
  CHECK((basis.samples(padded) - X).cwiseAbs().maxCoeff() < 1e-13);
  CHECK((basis.coordinates(X) - padded).cwiseAbs().maxCoeff() < 1e-13);
}

}  // namespace

int main() {
  for (int threads : {1, 2}) {
    test_multipliers_stay_orthogonal(600, 20, threads);
    test_multipliers_stay_orthogonal(25, 40, threads);
  }
  test_bounds_never_exceed_the_optimum();
  test_answer_is_feasible_and_dual_is_valid();
  test_threads_agree_and_runs_repeat();
  test_single_precision();
  test_an_outside_epsilon_is_proved_infeasible();
  test_callbacks_stop_a_solve();
  test_nonsense_is_refused();
  test_cuts_cover_their_range();
  test_exceptions_leave_a_parallel_region();
  test_orthogonal_basis();
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
